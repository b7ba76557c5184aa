"""`train --resume`: the first SIGTERM or Ctrl-C lets the current step end and keeps where training stands.

States are also kept between epochs, so that a run that is killed without a word can go on too. Where several processes
train one network, each keeps the state of its own columns. They stop, and keep states, after the same step: one that a
signal reaches waits until all have agreed, which they do every AGREE_EVERY steps. A new state takes the old one's place
when all have theirs; if they are killed amid that, all go on from the last that each of them still has.
"""

from __future__ import annotations

import glob
import math
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import numpy as np

from autorec_cli.console import say, warn
from autorec_cli.errors import ArtifactError, AutoRecError, QualityGateError, Stopped, TrainingDivergedError, UsageError
from autorec_cli.files import followed, sweep
from autorec_cli.world import ALONE, World, n_restarts

if TYPE_CHECKING:
    from autorec_cli.config import TrainSettings
    from autorec_cli.resume import Chosen, Saved, State

SAVE_EVERY = 30.0
"""Seconds between two states kept without being asked to."""

AGREE_EVERY = 8
"""Steps between two moments at which several processes ask each other whether a signal came."""

WARM_START = "--warm-start"

NEXT = ".next"
"""How the name of a state ends that waits until all processes have theirs."""

SIGNALS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}


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
    return Resume.IF_IT_CAN if n_restarts() else Resume.NO


def check_save_every(seconds: float) -> None:
    """Check the value of --save-every.

    Raises:
        UsageError: it is no number of seconds.
    """
    if not (math.isfinite(seconds) and seconds >= 0):
        raise UsageError(f"--save-every must be a number of seconds from 0, not {seconds}")


def state_path(model: Path, world: World = ALONE) -> Path:
    """Where the state of a run that writes `model` is kept; a symbolic link is followed, as its lock is."""
    target = followed(model)
    of_whom = "" if world.size == 1 else f".{world.rank + 1}-of-{world.size}"
    return target.with_name(f"{target.name}.resume{of_whom}")


def _next(path: Path) -> Path:
    """Where a state waits until all processes have theirs."""
    return path.with_name(path.name + NEXT)


@contextmanager
def heeding() -> Iterator[Callable[[], int | None]]:
    """Note the first SIGTERM or Ctrl-C while the block runs, instead of stopping; the second one stops at once.

    Yields:
        What gives the number of the signal that came, None before one has.
    """
    received: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        if received:
            raise SystemExit(128 + number)
        received.append(number)

    before = {}
    if threading.current_thread() is threading.main_thread():  # others get no signals
        # Who started us with a signal ignored, as nohup and `&` do, wants it to stay so.
        before = {number: signal.getsignal(number) for number in SIGNALS}
        before = {number: handler for number, handler in before.items() if handler != signal.SIG_IGN}
    try:
        for number in before:
            signal.signal(number, note)
        yield lambda: received[0] if received else None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass
class StateKeeper:
    """Keeps states of one run in one file; a `resume.Keeper`.

    Attributes:
        path: The file.
        run, place: See `resume.Saved`.
        save_every: Seconds that pass between two states at least; 0 keeps one an epoch.
        history: What has been told of the epochs.
        left: Where the earlier run stood that this one goes on from, until `take`; None for the beginning.
        came: Gives the number of the signal that came; see `heeding`.
        world: The processes that train the network.
    """

    path: Path
    run: Mapping[str, Any]
    place: Mapping[str, Any]
    save_every: float
    history: list[Mapping[str, Any]]
    left: State | None = None
    came: Callable[[], int | None] = lambda: None
    world: World = ALONE
    _n_steps: int = 0
    _last: float = field(default_factory=time.monotonic)
    _complained: bool = False

    @contextmanager
    def heeding_signals(self) -> Iterator[None]:
        """Let the first signal that comes while the block runs wait for `after_step`.

        Raises:
            Stopped: one came after the last step.
        """
        with heeding() as self.came:
            yield
            number, _ = self._agree()
        if number:
            how = "with --resume to go on" if self.path.exists() else "again"
            raise Stopped(128 + number, f"{SIGNALS[signal.Signals(number)]}; run the same command {how}")

    def chosen(self) -> Chosen | None:
        """See `resume.Keeper`."""
        return None if self.left is None else self.left.chosen

    def take(self) -> State | None:
        """See `resume.Keeper`."""
        state, self.left = self.left, None
        return state

    def after_step(self, state: Callable[[], State]) -> None:
        """Keep the state and end the program if a signal came.

        Raises:
            Stopped: it did.
        """
        self._n_steps += 1
        if self.world.size > 1 and self._n_steps % AGREE_EVERY:
            return
        self._stop_if(self._agree()[0], state)

    def _agree(self) -> tuple[int, bool]:
        """The number of the signal that came to any process, 0 if none did, and whether it is time to keep a state."""
        due = time.monotonic() - self._last >= self.save_every
        number, is_due = self.world.most(np.array([self.came() or 0, due])).tolist()
        return int(number), bool(is_due)

    def _stop_if(self, number: int, state: Callable[[], State]) -> None:
        if not number:
            return
        word = SIGNALS[signal.Signals(number)]
        try:
            self._save(state())
        except AutoRecError as error:
            raise Stopped(128 + number, f"{word}, and no state for --resume was kept: {error}") from error
        raise Stopped(128 + number, f"{word}; run the same command with --resume to go on from {self.path}")

    def after_epoch(self, state: Callable[[], State]) -> None:
        """Keep the state if it is time; that it cannot be written is no reason to stop."""
        number, due = self._agree()
        self._stop_if(number, state)
        if not due:
            return
        try:
            self._save(state())
        except AutoRecError as error:
            if not self._complained:
                warn(f"this run could not go on after an interruption: {error}")
            self._complained = True
        self._last = time.monotonic()

    def _save(self, state: State) -> None:
        from autorec_cli import resume

        saved = resume.Saved(self.run, self.place, self.history, state)
        if self.world.size == 1:
            resume.save(saved, self.path)
            return
        failure = None
        try:
            resume.save(saved, _next(self.path))
        except AutoRecError as error:
            failure = error
        if self.world.most(failure is not None):
            raise failure or UsageError("another process could not keep its state")
        _next(self.path).replace(self.path)


@contextmanager
def keeping(
    output: Path,
    wish: Resume,
    save_every: float,
    run: Mapping[str, Any],
    place: Mapping[str, Any],
    world: World = ALONE,
) -> Iterator[StateKeeper]:
    """Keep states of the run that writes `output` while it trains; they go when the run has come to its end.

    Args:
        output: The model that will be written; its lock is held.
        wish: Whether to go on from what an earlier run left.
        save_every: See `StateKeeper`.
        run: See `resume.Saved`.
        place: See `resume.Saved`.
        world: The processes that train the network.

    Yields:
        The keeper, which knows where to go on.

    Raises:
        ArtifactError: what an earlier run left is damaged, of another run or of another number of processes.
    """
    path = state_path(output, world)
    sweep(path)
    sweep(_next(path))
    saved = _find(output, wish, run, place, world)
    history, left = (list(saved.history), saved.state) if saved else ([], None)
    del saved  # or it would hold the state for as long as training takes
    keeper = StateKeeper(path, run, place, save_every, history, left, world=world)
    del left
    try:
        yield keeper
    except (TrainingDivergedError, QualityGateError):  # it would end so again
        _forget(path)
        raise
    forget(output, world)


def forget(output: Path, world: World = ALONE) -> None:
    """Remove the states of a run that has come to its end, and those of other numbers of processes."""
    _forget(state_path(output, world))
    for other in _of_other_worlds(output, world):
        other.unlink(missing_ok=True)


def _forget(path: Path) -> None:
    path.unlink(missing_ok=True)
    _next(path).unlink(missing_ok=True)


def _of_other_worlds(output: Path, world: World) -> dict[Path, int]:
    """The states beside `output` of other numbers of processes, and these numbers."""
    own = state_path(output)
    named = re.compile(rf"{re.escape(own.name)}(\.\d+-of-(\d+))?(\.next)?")
    found = {}
    for path in own.parent.glob(f"{glob.escape(own.name)}*"):
        if (match := named.fullmatch(path.name)) and (size := int(match[2] or 1)) != world.size:
            found[path] = size
    return found


def _find(output: Path, wish: Resume, run: Mapping[str, Any], place: Mapping[str, Any], world: World) -> Saved | None:
    """What to go on from; None in all processes, having said why, if there is nothing or it is not wanted."""
    from autorec_cli import resume

    path = state_path(output, world)
    if not wish:
        if path.exists():
            say(f"{path} holds the state of a run that was cut off; this one starts anew, --resume would have gone on")
        return None
    saved, problem = _last_of_all(output, run, world)
    missing, hindered = world.most(np.array([saved is None, problem is not None])).tolist()
    if saved is None or missing:
        if hindered and wish is Resume.YES:
            raise problem or ArtifactError(
                "another process cannot go on from its state, and says why; train without --resume to start anew"
            )
        why = (
            f"what was left at {path} is of another run or damaged" if hindered else f"there is no {path} to go on from"
        )
        say(f"{why}, so training starts from the beginning")
        _forget(path)
        return None
    others = resume.differences(saved.place, place)
    if others:
        warn(f"the run was cut off in another place ({', '.join(others)}): last digits of the model may differ")
    stage = "choosing epochs" if saved.state.chosen is None else "the final fit"
    say(f"going on from {path}: {stage}, after epoch {saved.state.epoch} and {saved.state.part.n_steps} steps")
    return saved


def _last_of_all(output: Path, run: Mapping[str, Any], world: World) -> tuple[Saved | None, ArtifactError | None]:
    """The last state of `run` of which every process has its part; None if there is none, and what hinders here.

    Nothing hinders where no state was ever whole: a state has its name once all processes have theirs.
    """
    from autorec_cli import resume

    path = state_path(output, world)
    problem = None
    for other, size in _of_other_worlds(output, world).items():
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
    for place in filter(Path.exists, (_next(path), path)):
        try:
            _require_run(place, run)
            states[resume.progress(place)] = place
        except ArtifactError as error:
            problem = error
    everyone = [set(marks.tolist()) for marks in world.gather(np.array([*states, -1, -1][:2]))]
    last = max(set.intersection(*everyone) - {-1}, default=None)
    if last is None:
        return None, problem
    try:
        saved = resume.load(states[last])
    except ArtifactError as error:
        return None, error
    if states[last] != path:
        states[last].replace(path)
    return saved, None


def _require_run(state: Path, run: Mapping[str, Any]) -> None:
    from autorec_cli import resume

    found = resume.differences(resume.run_of(state), run)
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


def may_have_ended(output: Path, wish: Resume, may_replace: bool, world: World = ALONE) -> bool:
    """Whether `output` may be what a resumed run would write, made before that run was killed."""
    return bool(wish) and (state_path(output, world).exists() or not may_replace)


def finished(
    output: Path, run: Mapping[str, Any], versions: Mapping[str, str], world: World = ALONE
) -> dict[str, Any] | None:
    """The provenance of the model `output` if `run` would make it, and what left a state, if there is one, was that.

    It was killed after saving the model. With the state still there the model may have taken the place of the one that
    it started from. Of several processes the first one asks.
    """
    from autorec_cli import checkpoint, resume

    state = state_path(output, world)
    try:
        saved = resume.run_of(state) if state.exists() else run
        if {**saved, WARM_START: None} != {**run, WARM_START: None}:
            return None
        document = checkpoint.check(output)
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
