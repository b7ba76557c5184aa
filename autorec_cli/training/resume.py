"""What an earlier run of `train` left beside the model that it was to write, and whether to go on from it."""

from __future__ import annotations

import glob
import re
from collections.abc import Mapping
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from autorec_cli.cli.console import say, warn
from autorec_cli.errors import ArtifactError, counted
from autorec_cli.runtime.process_group import SINGLE_PROCESS, ProcessGroup, differences, restart_count
from autorec_cli.storage.files import followed

if TYPE_CHECKING:
    from autorec_cli.config import TrainSettings
    from autorec_cli.training.checkpoint import Saved

WARM_START = "--warm-start"

NEXT = ".next"
"""How the name of a state ends that waits until all processes have theirs."""


class Resume(IntEnum):
    """Whether to go on from what an earlier run left."""

    NO = 0
    IF_IT_CAN = 1
    """Torchrun has started all again: what this run did not leave, or not whole, is no reason to stop."""
    YES = 2


def resuming(asked: bool) -> Resume:
    """The wish of a run that was, or was not, `asked` to go on by --resume."""
    if asked:
        return Resume.YES
    return Resume.IF_IT_CAN if restart_count() else Resume.NO


def state_path(model: Path, process_group: ProcessGroup = SINGLE_PROCESS) -> Path:
    """Where the state of a run that writes `model` is kept; a symbolic link is followed, as its lock is."""
    target = followed(model)
    of_whom = "" if process_group.size == 1 else f".{process_group.rank + 1}-of-{process_group.size}"
    return target.with_name(f"{target.name}.resume{of_whom}")


def waiting_path(path: Path) -> Path:
    """Where a state waits until all processes have theirs."""
    return path.with_name(path.name + NEXT)


def forget(output: Path, process_group: ProcessGroup = SINGLE_PROCESS) -> None:
    """Remove the states of a run that has come to its end, and those of other numbers of processes."""
    forget_own(state_path(output, process_group))
    for other in _of_other_worlds(output, process_group):
        other.unlink(missing_ok=True)


def forget_own(path: Path) -> None:
    """Remove the state at `path`, and the one that waits to take its place."""
    path.unlink(missing_ok=True)
    waiting_path(path).unlink(missing_ok=True)


def _of_other_worlds(output: Path, process_group: ProcessGroup) -> dict[Path, int]:
    """The states beside `output` of other numbers of processes, and these numbers."""
    own = state_path(output)
    named = re.compile(rf"{re.escape(own.name)}(\.\d+-of-(\d+))?(\.next)?")
    found = {}
    for path in own.parent.glob(f"{glob.escape(own.name)}*"):
        if (match := named.fullmatch(path.name)) and (size := int(match[2] or 1)) != process_group.size:
            found[path] = size
    return found


def find_state(
    output: Path, wish: Resume, run: Mapping[str, Any], place: Mapping[str, Any], process_group: ProcessGroup
) -> Saved | None:
    """What to go on from; None in all processes, having said why, if there is nothing or it is not wanted.

    Args:
        output: The model that will be written; its lock is held.
        wish: Whether to go on.
        run: See `resume.Saved`.
        place: See `resume.Saved`.
        process_group: The processes that train the network.

    Raises:
        ArtifactError: what an earlier run left is damaged, of another run or of another number of processes.
    """

    path = state_path(output, process_group)
    if not wish:
        if path.exists():
            say(f"{path} holds the state of a run that was cut off; this one starts anew, --resume would have gone on")
        return None
    saved, problem = _last_of_all(output, run, process_group)
    missing, hindered = process_group.max(np.array([saved is None, problem is not None])).tolist()
    if saved is None or missing:
        if hindered and wish is Resume.YES:
            raise problem or ArtifactError(
                "another process cannot go on from its state, and says why; train without --resume to start anew"
            )
        why = (
            f"what was left at {path} is of another run or damaged" if hindered else f"there is no {path} to go on from"
        )
        say(f"{why}, so training starts from the beginning")
        forget_own(path)
        return None
    others = differences(saved.place, place)
    if others:
        warn(f"the run was cut off in another place ({', '.join(others)}): last digits of the model may differ")
    stage = "choosing epochs" if saved.state.chosen is None else "the final fit"
    n_steps = counted(saved.state.part.n_steps, "step")
    say(f"going on from {path}: {stage}, after epoch {saved.state.epoch} and {n_steps}")
    return saved


def _last_of_all(
    output: Path, run: Mapping[str, Any], process_group: ProcessGroup
) -> tuple[Saved | None, ArtifactError | None]:
    """The last state of `run` of which every process has its part; None if there is none, and what hinders here.

    Nothing hinders where no state was ever whole: a state has its name once all processes have theirs.
    """
    from autorec_cli.training import checkpoint

    path = state_path(output, process_group)
    problem = None
    for other, size in _of_other_worlds(output, process_group).items():
        processes = "1 process" if size == 1 else f"{size} processes"
        if other.suffix != NEXT:
            problem = ArtifactError(
                f"{other} is of {processes}; start as many, or train without --resume to start anew"
            )
    if path.exists():
        problem = ArtifactError(
            f"the state of another process is not of the step that {path} is of; bring back what is missing, or train "
            "without --resume to start anew"
        )
    states = {}
    for place in filter(Path.exists, (waiting_path(path), path)):
        try:
            _require_run(place, run)
            states[checkpoint.progress(place)] = place
        except ArtifactError as error:
            problem = error
    everyone = [set(marks.tolist()) for marks in process_group.all_gather(np.array([*states, -1, -1][:2]))]
    last = max(set.intersection(*everyone) - {-1}, default=None)
    if last is None:
        return None, problem
    try:
        saved = checkpoint.load(states[last])
    except ArtifactError as error:
        return None, error
    if states[last] != path:
        states[last].replace(path)
    return saved, None


def _require_run(state: Path, run: Mapping[str, Any]) -> None:
    from autorec_cli.training import checkpoint

    found = differences(checkpoint.run_of(state), run)
    if found:
        raise ArtifactError(
            f"{state} is of another run ({', '.join(found)}); repeat its options and dataset, or train without "
            "--resume to start anew"
        )


def identity(fingerprint: str, settings: TrainSettings, warm_start: int | None) -> dict[str, Any]:
    """What a run is, as JSON types: equal for equal runs only.

    Args:
        fingerprint: Of the dataset.
        settings: Of the training.
        warm_start: Checksum of the model to start from, None without one.
    """
    return {"dataset": fingerprint, "settings": settings.to_document(), WARM_START: warm_start}


def may_have_ended(output: Path, wish: Resume, may_replace: bool, process_group: ProcessGroup = SINGLE_PROCESS) -> bool:
    """Whether `output` may be what a resumed run would write, made before that run was killed."""
    return bool(wish) and (state_path(output, process_group).exists() or not may_replace)


def finished(
    output: Path, run: Mapping[str, Any], versions: Mapping[str, str], process_group: ProcessGroup = SINGLE_PROCESS
) -> dict[str, Any] | None:
    """The provenance of the model `output` if `run` would make it, and what left a state, if there is one, was that.

    It was killed after saving the model. With the state still there the model may have taken the place of the one that
    it started from. Of several processes the first one asks.
    """
    from autorec_cli.inference import model_file
    from autorec_cli.training import checkpoint

    state = state_path(output, process_group)
    try:
        saved = checkpoint.run_of(state) if state.exists() else run
        if {**saved, WARM_START: None} != {**run, WARM_START: None}:
            return None
        document = model_file.check(output)
    except ArtifactError:
        return None
    provenance: dict[str, Any] = document["provenance"]
    before = (provenance.get("warm_start") or {}).get("checksum")
    of_model = {"dataset": provenance.get("fingerprint"), "settings": document.get("settings"), WARM_START: before}
    asked = {**run, WARM_START: before if run[WARM_START] is not None else None}
    if not ({**run, **of_model} == saved == asked and provenance.get("versions") == versions):
        return None
    say(f"{output} is whole: the run that is to go on had come to its end")
    return provenance
