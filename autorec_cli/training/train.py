"""Training from a prepared dataset to a model file.

`train_to_file` locks the output, resumes or starts, checks memory, fits, promotes and saves. A single process is a
process group of one: it has the whole dataset in memory, and only there can a model be compared with an older one.
With more processes each reads its own columns.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from autorec_cli.errors import UsageError
from autorec_cli.network.memory_estimate import available, require_memory
from autorec_cli.runtime.comparison import require_same
from autorec_cli.runtime.process_group import ProcessGroup, connected
from autorec_cli.runtime.stages import begin_stage
from autorec_cli.storage.file_kinds import is_encoded
from autorec_cli.storage.locks import hold
from autorec_cli.training.checkpoints.checkpointer import Checkpointer, checkpointing
from autorec_cli.training.checkpoints.resume import (
    find_finished,
    identity,
    may_have_finished,
    remove_checkpoints,
)
from autorec_cli.training.curves import learning_curves
from autorec_cli.training.plan import TrainingPlan
from autorec_cli.training.request import TrainRequest, check_output
from autorec_cli.training.retraining.promotion import Promotion
from autorec_cli.training.sources import Outcome, Source, open_training_data

if TYPE_CHECKING:
    from autorec_cli.config import Hyperparameters
    from autorec_cli.network.device import Place
    from autorec_cli.training.loop.epoch_result import EpochResult
    from autorec_cli.training.loop.validation import ValidationResult

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainedModel:
    """Facts of a run after the model was saved.

    Attributes:
        output: Model file.
        networks: Hyperparameters of each network.
        provenance: See `export.provenance_of`.
        validations: Result of the selected epoch for each objective; none without validation ratings.
        seconds: Duration of loading, training and saving.
        processes: Facts of each process; empty for a single one.
        promotion: Decision of `keep_if_better`; None without it.
    """

    output: Path
    networks: Sequence[Hyperparameters]
    provenance: Mapping[str, Any]
    validations: Sequence[ValidationResult]
    seconds: float
    processes: list[dict[str, int]] = field(default_factory=list)
    promotion: Promotion | None = None


Record = Mapping[str, Any]
"""Facts of an epoch as JSON types: `EpochResult.to_record`, and the time of its end."""


class Reporter(Protocol):
    """Receives the facts of a run, and decides how to show them.

    It is called in the process that the user watches.
    """

    def planned(self, plan: TrainingPlan) -> None:
        """Show the plan of a dry run."""

    def training(self, plan: TrainingPlan, earlier: list[Record]) -> AbstractContextManager[Callable[[Record], object]]:
        """Show that training starts; `earlier` are the epochs of a resumed run.

        Returns:
            A context that lasts while the run trains, and gives the function to call after every epoch.
        """

    def finished(self, trained: TrainedModel) -> None:
        """Show the outcome."""


def train_to_file(request: TrainRequest, process_group: ProcessGroup, reporter: Reporter) -> dict[str, Any]:
    """Train and write a model file.

    Args:
        request: What to train, and how.
        process_group: The processes, all of which call this; `SINGLE_PROCESS` for one.
        reporter: Receives the facts of the run in the first process.

    Returns:
        Summary of the run, as JSON types; empty in all processes but the first.

    Raises:
        UsageError: an output cannot be written, the device is not available, or processes were started differently.
        LockedError: another run is writing the output.
        NotEnoughMemoryError: the run would not fit into memory; nothing was trained.
        ArtifactError: the dataset, the older model or the checkpoint cannot be used.
        TrainingDivergedError: the loss is not finite; `output` is unchanged.
        LostPeerError: another process has ended or cannot be reached.
        Stopped: a signal came; a checkpoint is kept.
    """
    _check_group(request, process_group)
    output, is_first = request.output, process_group.is_first
    writes = is_first and not request.dry_run
    with ExitStack() as stack:
        # Before anything is read: a second run would train for hours and then find the output taken.
        if writes:
            stack.enter_context(hold(output, request.wait_lock))
        may_be_done = writes and may_have_finished(output, request.resume_policy, request.may_replace, process_group)
        if is_first:
            check_output(output, request.may_replace or may_be_done)
        # After the checks that need one process only, whose messages come at once.
        stack.enter_context(connected(process_group))
        # Sizes and hyperparameters only: several processes read their columns once they agree on these.
        source = open_training_data(request, process_group)
        run = identity(source.fingerprint, source.networks, source.checksum, process_group.size)
        if process_group.size > 1:
            _require_same_start(request, run, process_group)
        # A run that was killed after it saved its model, but before it ended, has nothing left to do.
        provenance = find_finished(output, run, _versions(), process_group) if may_be_done else None
        # Only the first process sees the output; the others must not go on and wait for it.
        if process_group.max(provenance is not None):
            remove_checkpoints(output, process_group)
            if provenance is None:
                return {}
            promotion = None if request.keep_if_better is None else Promotion()  # it has replaced the older model
            return _summary(source, output, provenance, promotion=promotion)
        if is_first:
            check_output(output, request.may_replace)
        source.read()
        return _train_source(request, source, run, process_group, reporter)


def _check_group(request: TrainRequest, process_group: ProcessGroup) -> None:
    """Check that this process suffices for warm start and promotion.

    Raises:
        UsageError: it does not.
    """
    if request.warm_start is None and request.keep_if_better is None:
        return
    if process_group.size > 1:
        raise UsageError("--warm-start and --keep-if-better need the whole model in one process: no torchrun")
    if is_encoded(request.data):
        raise UsageError(
            "--warm-start and --keep-if-better need a prepared dataset; run `autorec prepare --encoded "
            f"{request.data} -o DATASET` first"
        )


def _train_source(
    request: TrainRequest,
    source: Source,
    run: Mapping[str, Any],
    process_group: ProcessGroup,
    reporter: Reporter,
) -> dict[str, Any]:
    """Train and save, after everything that can be refused quickly was refused."""
    begin_stage("loading libraries")
    from autorec_cli.network.device import find_place

    place, networks = find_place(request.device, request.threads), source.networks
    started = time.perf_counter()
    need, free = source.need(place.engine), available(place.device)
    devices = str(place) if process_group.size == 1 else f"{process_group.size} x {place}"
    plan = TrainingPlan(networks, source.training_shape, devices, need, free, source.feedback or "ratings")
    if request.dry_run and process_group.is_first:
        reporter.planned(plan)
    # After the plan was shown: a dry run that does not fit says by how much.
    require_memory(plan.need, plan.free, networks)
    if request.dry_run:
        return {
            "output": str(request.output),
            "trained": False,
            "networks": [network.to_document() for network in networks],
        }
    environment = {**place.to_document(), **_versions()}
    policy, every = request.resume_policy, request.save_every
    with checkpointing(request.output, policy, every, run, environment, process_group) as checkpointer:
        outcome = _fit(source, place, plan, checkpointer, reporter)
        promotion = outcome.save()
    processes = source.process_facts()  # collective: before the others leave
    if not process_group.is_first:
        return {}
    seconds = time.perf_counter() - started
    reporter.finished(
        TrainedModel(request.output, networks, outcome.provenance, outcome.validations, seconds, processes, promotion)
    )
    summary = _summary(source, request.output, outcome.provenance, outcome.validations, promotion)
    return {**summary, "processes": processes} if processes else summary


def _fit(
    source: Source,
    place: Place,
    plan: TrainingPlan,
    checkpointer: Checkpointer,
    reporter: Reporter,
) -> Outcome:
    from autorec_cli.training.loop.trainer import drain

    history = checkpointer.history  # the list itself: the checkpoint after an epoch has its record
    with reporter.training(plan, history) as show, checkpointer.deferring_signals():

        def on_epoch(result: EpochResult) -> None:
            history.append({"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **result.to_record()})
            show(history[-1])

        outcome = drain(source.fit(place.device, checkpointer), on_epoch)
    outcome.provenance["curves"] = learning_curves(history)
    return outcome


def _require_same_start(request: TrainRequest, run: Mapping[str, Any], process_group: ProcessGroup) -> None:
    """Check that all processes do the same run in the same way.

    Raises:
        UsageError: they do not; raised in all processes.
    """
    from autorec_cli.network.device import find_place

    engine = find_place(request.device, request.threads).engine
    options = {"dry run": request.dry_run, "resume": int(request.resume_policy), "engine": engine}
    require_same({**run, **_versions(), **options}, process_group)


def _versions() -> dict[str, str]:
    from autorec_cli.training.export import versions

    return versions()


def _summary(
    source: Source,
    output: Path,
    provenance: Mapping[str, Any],
    validations: Sequence[ValidationResult] = (),
    promotion: Promotion | None = None,
) -> dict[str, Any]:
    """Summary of a run, as JSON types.

    None stands for what was not measured. `n_chosen_by` is the number of validation ratings that epochs were selected
    on, of which a warm start leaves few.
    """
    from autorec_cli.training.loop.validation import metric_of
    from autorec_cli.training.networks import networks_of

    shape, metrics = source.shape, dict.fromkeys(metric_of(network.objective) for network in source.networks)
    baselines = {validation.metric: validation.baseline for validation in validations}
    return {
        "output": str(output),
        "bytes": output.stat().st_size,
        "n_users": shape.n_users,
        "n_items": shape.n_items,
        "n_train": shape.n_train,
        "n_valid": shape.n_valid,
        "fitted_parts": provenance["fitted_parts"],
        "n_chosen_by": provenance.get("warm_start", {}).get("n_chosen_by", shape.n_valid),
        **{f"valid_{name}": provenance["metrics"].get(f"valid_{name}") for name in metrics},
        **{f"baseline_valid_{name}": baselines.get(name) for name in metrics},
        "networks": networks_of(provenance, source.networks[0]),
        **(promotion.to_document() if promotion else {}),
    }
