"""Checkpoints during training, when due and at a signal.

Regular ones are saved after an epoch. The first signal lets the current step end. Where several processes train a
network, each saves the state of its own columns. They agree every AGREE_EVERY steps whether a signal came, so that all
stop and save after the same step. A new checkpoint replaces the old one when all have written theirs; if they are
killed amid that, all resume from the last one that each of them has.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from autorec_cli.errors import AutoRecError, Stopped, TrainingDivergedError, UsageError
from autorec_cli.runtime import signals
from autorec_cli.runtime.process_group import SINGLE_PROCESS, ProcessGroup
from autorec_cli.training.checkpoints.resume import (
    checkpoint_path,
    find_checkpoint,
    pending_path,
    remove_checkpoint,
    remove_checkpoints,
    sweep_checkpoints,
)

if TYPE_CHECKING:
    from autorec_cli.training.checkpoints.checkpoint import Selection, TrainerState
    from autorec_cli.training.request import Resume

logger = logging.getLogger(__name__)

AGREE_EVERY = 8
"""Steps between two agreements of several processes on whether a signal came."""


@contextmanager
def deferred_signals() -> Iterator[Callable[[], int | None]]:
    """Record the first signal while the block runs.

    It does not stop the run; a second Ctrl-C or SIGTERM stops it at once.

    Yields:
        A function that returns the number of the signal that came; None before one has.
    """
    received: list[int] = []

    def record(number: int, _frame: FrameType | None) -> None:
        # The user insists: the step that hangs may be what they want to end.
        if received and number in signals.INSISTING:
            raise SystemExit(signals.exit_status(number))
        received.append(number)
        signals.ignore_repetitions()

    is_main = threading.current_thread() is threading.main_thread()  # other threads get no signals
    before = signals.catch(record) if is_main else {}
    try:
        # Read by polling: a handler that raised could break a write or a collective operation in the middle.
        yield lambda: received[0] if received else None
    finally:
        signals.restore(before)


@dataclass
class Checkpointer:
    """Saves and resumes the checkpoints of one run.

    Attributes:
        path: Checkpoint file of this process.
        model: Model that will be written; checkpoints get the permissions of an existing one.
        run: See `checkpoint.Checkpoint`.
        environment: See `checkpoint.Checkpoint`.
        save_every: Minimum seconds between two checkpoints; 0 saves one per epoch.
        history: Facts of the epochs so far.
        outcomes: Best epochs of the phases that ended, of the earlier run at first.
        resumed: State of the earlier run, until `take`; None to start from the beginning.
        received: Returns the number of the signal that came; see `deferred_signals`.
        process_group: Processes that train the network.
    """

    path: Path
    model: Path
    run: Mapping[str, Any]
    environment: Mapping[str, Any]
    save_every: float
    history: list[Mapping[str, Any]]
    outcomes: list[Selection] = field(default_factory=list)
    resumed: TrainerState | None = None
    received: Callable[[], int | None] = lambda: None
    process_group: ProcessGroup = SINGLE_PROCESS
    _n_phases: int = 0
    _n_steps: int = 0
    _last_save: float = field(default_factory=time.monotonic)
    _has_warned: bool = False

    @contextmanager
    def deferring_signals(self) -> Iterator[None]:
        """Let a signal wait for `after_step` while the block runs.

        Raises:
            Stopped: a signal came after the last step.
        """
        with deferred_signals() as self.received:
            yield
            number, _ = self._agree()
        if number:
            how = "with --resume to continue" if self.path.exists() else "again"
            status = signals.exit_status(number)
            raise Stopped(status, f"{signals.MESSAGES[status]}; run the same command {how}")

    def next_outcome(self) -> Selection | None:
        """Best epoch of the next phase, if it has ended.

        It has if the earlier run ended it; else None, and the phase begins.
        """
        if self._n_phases == len(self.outcomes):
            return None
        self._n_phases += 1
        return self.outcomes[self._n_phases - 1]

    def complete(self, outcome: Selection) -> None:
        """Keep the outcome of the phase that ended."""
        self.outcomes.append(outcome)
        self._n_phases += 1

    def take(self) -> TrainerState | None:
        """Hand over the earlier run's state, which is large, and forget it."""
        # Two references would keep it in memory beside the trainer's own copy.
        state, self.resumed = self.resumed, None
        return state

    def after_step(self, state: Callable[[], TrainerState]) -> None:
        """Save a checkpoint and stop if a signal came.

        Raises:
            Stopped: it did.
        """
        self._n_steps += 1
        # An agreement is a message to all; a few steps of delay are less than a user notices.
        if self.process_group.size > 1 and self._n_steps % AGREE_EVERY:
            return
        self._stop_if(self._agree()[0], state)

    def after_epoch(self, state: Callable[[], TrainerState]) -> None:
        """Save a checkpoint if it is due.

        Failure to write it is no reason to stop.

        Raises:
            Stopped: a signal came.
        """
        # Clocks differ between machines: one process that is due makes all save, or none could resume.
        number, is_due = self._agree()
        self._stop_if(number, state)
        if not is_due:
            return
        try:
            self._save(state())
        except AutoRecError as error:
            if not self._has_warned:
                logger.warning(f"this run cannot be resumed if it is interrupted: {error}")
            self._has_warned = True
        # After failures too, so that a full disk is not tried after every epoch.
        self._last_save = time.monotonic()

    def _agree(self) -> tuple[int, bool]:
        """Agree on the signal received, and whether a checkpoint is due.

        The signal is that of any process, 0 if none came.
        """
        due = time.monotonic() - self._last_save >= self.save_every
        # One message for both questions.
        number, is_due = self.process_group.max([self.received() or 0, due]).tolist()
        return int(number), bool(is_due)

    def _stop_if(self, number: int, state: Callable[[], TrainerState]) -> None:
        if not number:
            return
        status = signals.exit_status(number)
        reason = signals.MESSAGES[status]
        try:
            self._save(state())
        except AutoRecError as error:
            raise Stopped(status, f"{reason}, and no checkpoint for --resume was saved: {error}") from error
        raise Stopped(status, f"{reason}; run the same command with --resume to continue from {self.path}")

    def _save(self, state: TrainerState) -> None:
        from autorec_cli.training.checkpoints import checkpoint

        contents = checkpoint.Checkpoint(self.run, self.environment, self.history, self.outcomes, state)
        if self.process_group.size == 1:
            checkpoint.save(contents, self.path, self.model)
            return
        failure = None
        try:
            # Under another name until all have theirs: checkpoints of different steps cannot be combined.
            checkpoint.save(contents, pending_path(self.path), self.model)
        except AutoRecError as error:
            failure = error
        if self.process_group.max(failure is not None):
            # Of no use alone, and the model may need its place.
            with suppress(OSError):
                pending_path(self.path).unlink(missing_ok=True)
            raise failure or UsageError("another process could not save its checkpoint")
        pending_path(self.path).replace(self.path)


@contextmanager
def checkpointing(
    output: Path,
    policy: Resume,
    save_every: float,
    run: Mapping[str, Any],
    environment: Mapping[str, Any],
    process_group: ProcessGroup = SINGLE_PROCESS,
) -> Iterator[Checkpointer]:
    """Save checkpoints of a run while the block trains.

    They are removed at its end.

    Args:
        output: Model that will be written; its lock is held.
        policy: Whether to resume from an earlier run's checkpoint.
        save_every: See `Checkpointer`.
        run: See `checkpoint.Checkpoint`.
        environment: See `checkpoint.Checkpoint`.
        process_group: Processes that train the network.

    Yields:
        The checkpointer, which has the state to resume from.

    Raises:
        ArtifactError: the checkpoint is corrupted, or of another run or world size.
    """
    path = checkpoint_path(output, process_group)
    sweep_checkpoints(output)
    found = find_checkpoint(output, policy, run, environment, process_group)
    history, outcomes, resumed = (list(found.history), list(found.outcomes), found.state) if found else ([], [], None)
    del found  # or it would keep the state in memory during training
    checkpointer = Checkpointer(
        path, output, run, environment, save_every, history, outcomes, resumed, process_group=process_group
    )
    del resumed
    try:
        yield checkpointer
    except TrainingDivergedError:  # a resumed run would fail again
        remove_checkpoint(path)
        raise
    # Only now: until the model is saved, the checkpoint is the only copy of the work.
    remove_checkpoints(output, process_group)
