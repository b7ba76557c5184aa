"""Resuming a run: its checkpoint, and whether it had finished."""

from __future__ import annotations

import glob
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from autorec_cli.errors import ArtifactError, counted
from autorec_cli.runtime.comparison import differences
from autorec_cli.runtime.process_group import SINGLE_PROCESS, ProcessGroup
from autorec_cli.storage.files import sweep
from autorec_cli.storage.links import followed
from autorec_cli.training.request import Resume

if TYPE_CHECKING:
    from autorec_cli.config import Hyperparameters
    from autorec_cli.training.checkpoints.checkpoint import Checkpoint

logger = logging.getLogger(__name__)

WARM_START = "--warm-start"

PENDING = ".next"
"""Suffix of a checkpoint that waits until all processes have written theirs."""


def checkpoint_path(model: Path, process_group: ProcessGroup = SINGLE_PROCESS) -> Path:
    """Path of the checkpoint of a run that writes `model`.

    A symbolic link is followed, as for its lock.
    """
    # Beside the file and not beside the link: a run that names the file itself must find it.
    target = followed(model)
    suffix = "" if process_group.size == 1 else f".{process_group.rank + 1}-of-{process_group.size}"
    return target.with_name(f"{target.name}.resume{suffix}")


def pending_path(path: Path) -> Path:
    """Path of a checkpoint until all processes have written theirs."""
    return path.with_name(path.name + PENDING)


def remove_checkpoints(output: Path, process_group: ProcessGroup = SINGLE_PROCESS) -> None:
    """Remove the checkpoints of a finished run, of any world size."""
    remove_checkpoint(checkpoint_path(output, process_group))
    for other in _of_other_sizes(output, process_group):
        other.unlink(missing_ok=True)


def remove_checkpoint(path: Path) -> None:
    """Remove the checkpoint at `path`, and the pending one."""
    path.unlink(missing_ok=True)
    pending_path(path).unlink(missing_ok=True)


def sweep_checkpoints(output: Path) -> None:
    """Remove temporary files of checkpoints that killed runs left.

    They may be of any world size. The lock of `output` is held, and no process of this run writes before all have
    agreed to save.
    """
    own = checkpoint_path(output)
    # Not only this process's own: the next run may be of fewer processes.
    for temporary in own.parent.glob(f".{glob.escape(own.name)}*.tmp"):
        name = temporary.name[1:].rsplit(".", 2)[0]
        if _pattern(output).fullmatch(name):
            sweep(own.with_name(name))


def _pattern(output: Path) -> re.Pattern[str]:
    """Names of checkpoints of runs that write `output`.

    The second group is the world size.
    """
    # Names from a glob are checked by it: MODEL.resume-old is the user's.
    return re.compile(rf"{re.escape(checkpoint_path(output).name)}(\.\d+-of-(\d+))?(\.next)?")


def _of_other_sizes(output: Path, process_group: ProcessGroup) -> dict[Path, int]:
    """Checkpoints of runs with other world sizes, and these sizes."""
    own = checkpoint_path(output)
    found = {}
    for path in own.parent.glob(f"{glob.escape(own.name)}*"):
        if (match := _pattern(output).fullmatch(path.name)) and (size := int(match[2] or 1)) != process_group.size:
            found[path] = size
    return found


def find_checkpoint(
    output: Path, policy: Resume, run: Mapping[str, Any], environment: Mapping[str, Any], process_group: ProcessGroup
) -> Checkpoint | None:
    """Load the checkpoint to resume from.

    None in all processes if there is none, or it is not wanted.

    Args:
        output: Model that will be written; its lock is held.
        policy: Whether to resume.
        run: See `checkpoint.Checkpoint`.
        environment: See `checkpoint.Checkpoint`.
        process_group: Processes that train the network.

    Raises:
        ArtifactError: the checkpoint is corrupted, or of another run or world size.
    """
    path = checkpoint_path(output, process_group)
    if not policy:
        if path.exists():
            logger.info(f"{path} is the checkpoint of an interrupted run; starting over, use --resume to continue it")
        return None
    # A checkpoint that one process cannot use is useless to all, so they decide together below.
    checkpoint, problem = _last_common(output, run, process_group)
    missing, unusable = process_group.max([checkpoint is None, problem is not None]).tolist()
    if checkpoint is None or missing:
        if unusable and policy is Resume.YES:
            raise problem or ArtifactError(
                "another process cannot use its checkpoint, see its message; train without --resume to start over"
            )
        reason = f"the checkpoint {path} is of another run or corrupted" if unusable else f"there is no {path}"
        logger.info(f"{reason}, so training starts from the beginning")
        remove_checkpoint(path)
        return None
    # No reason to refuse: a machine may have been replaced since.
    changed = differences(checkpoint.environment, environment)
    if changed:
        logger.warning(f"resuming in another environment ({', '.join(changed)}): last digits of the model may differ")
    logger.info(f"resuming from {path}, after {_progress(checkpoint)}")
    return checkpoint


def _progress(checkpoint: Checkpoint) -> str:
    """Epochs of all networks, and steps of the next one."""
    last, n_steps = "", counted(checkpoint.state.progress.n_steps, "step")
    for record in checkpoint.history[-1:]:
        of_network = f"{record['objective']} by {record['variant']}, {record['phase']}"
        last = f" (the last: {of_network} {record['epoch']}/{record['n_epochs']})"
    return f"{counted(len(checkpoint.history), 'epoch')}{last} and {n_steps}"


def _last_common(
    output: Path, run: Mapping[str, Any], process_group: ProcessGroup
) -> tuple[Checkpoint | None, ArtifactError | None]:
    """Load the last checkpoint of `run` that every process has.

    None if there is none, and the problem if any. A kill amid the first checkpoint is no problem: checkpoints get their
    names once all processes have written theirs.
    """
    from autorec_cli.training.checkpoints import checkpoint

    path = checkpoint_path(output, process_group)
    problem = _size_problem(output, process_group)
    if path.exists():
        problem = ArtifactError(
            f"the checkpoint of another process is missing, or not of the same step as {path}; bring it back, or train "
            "without --resume to start over"
        )
    found = {}
    # A kill between two renames leaves some processes with the new checkpoint pending.
    for place in filter(Path.exists, (pending_path(path), path)):
        try:
            _require_run(place, run)
            found[checkpoint.read_progress(place)] = place
        except ArtifactError as error:
            problem = error
    # At most two per process, padded with -1: all_gather needs equal shapes.
    everywhere = [set(steps.tolist()) for steps in process_group.all_gather(np.array([*found, -1, -1][:2]))]
    last = max(set.intersection(*everywhere) - {-1}, default=None)
    if last is None:
        return None, problem
    try:
        # Only now: the steps of the others came from headers, a load reads all tensors.
        loaded = checkpoint.load(found[last])
    except ArtifactError as error:
        return None, error
    if found[last] != path:
        found[last].replace(path)
    return loaded, None


def _size_problem(output: Path, process_group: ProcessGroup) -> ArtifactError | None:
    for other, size in _of_other_sizes(output, process_group).items():
        processes = "1 process" if size == 1 else f"{size} processes"
        if other.suffix != PENDING:
            return ArtifactError(f"{other} is of {processes}; start as many, or train without --resume to start over")
    return None


def _require_run(path: Path, run: Mapping[str, Any]) -> None:
    from autorec_cli.training.checkpoints import checkpoint

    found = differences(checkpoint.read_run(path), run)
    if found:
        raise ArtifactError(
            f"{path} is of another run ({', '.join(found)}); repeat its options and dataset, or train without --resume "
            "to start over"
        )


def identity(
    fingerprint: str, networks: Sequence[Hyperparameters], warm_start: int | None, n_processes: int
) -> dict[str, Any]:
    """Identity of a run, as JSON types: equal for equal runs only.

    Args:
        fingerprint: Fingerprint of the dataset.
        networks: Hyperparameters of each network.
        warm_start: Checksum of the model to start from; None for a cold start.
        n_processes: World size.
    """
    # Not threads or device: a run may be resumed with others.
    settings = _numbered([network.to_document() for network in networks])
    return {"dataset": fingerprint, "settings": settings, WARM_START: warm_start, "processes": n_processes}


def _numbered(settings: Sequence[Any]) -> dict[str, Any]:
    """Settings of each network by its name in messages."""
    return {f"network {number}": document for number, document in enumerate(settings, 1)}


def may_have_finished(
    output: Path, policy: Resume, may_replace: bool, process_group: ProcessGroup = SINGLE_PROCESS
) -> bool:
    """Check whether the run to resume may have finished.

    `output` is its result then, written before it was killed.
    """
    # A run ends by removing its checkpoint. Without one, an output that may be replaced is simply made again.
    return bool(policy) and (checkpoint_path(output, process_group).exists() or not may_replace)


def find_finished(
    output: Path, run: Mapping[str, Any], versions: Mapping[str, str], process_group: ProcessGroup = SINGLE_PROCESS
) -> dict[str, Any] | None:
    """Provenance of the model `output`, if `run` had finished it.

    That is a run that was killed after saving its model; else None. If its checkpoint is still there, the model may
    have replaced the one that the run started from. With several processes, call this in the first one.
    """
    from autorec_cli.inference.files import model_file
    from autorec_cli.training.checkpoints import checkpoint

    path = checkpoint_path(output, process_group)
    try:
        saved = checkpoint.read_run(path) if path.exists() else run
        # Where a run starts from the model that it replaces, its checksum is by now that of the result.
        if {**saved, WARM_START: None} != {**run, WARM_START: None}:
            return None
        # In blocks: a model that is only recognized need not fit into memory.
        document = model_file.check(output)
    except ArtifactError:
        return None
    provenance: dict[str, Any] = document["provenance"]
    older = (provenance.get("warm_start") or {}).get("checksum")
    settings = _numbered([network.get("settings") for network in provenance.get("networks", [document])])
    of_model = {"dataset": provenance.get("fingerprint"), "settings": settings, WARM_START: older}
    told_by_model = {**run, **of_model}  # a model does not know the number of processes
    wanted = {**run, WARM_START: older if run[WARM_START] is not None else None}
    if not (told_by_model == saved == wanted and provenance.get("versions") == versions):
        return None
    logger.info(f"{output} is complete: the interrupted run had finished")
    return provenance
