"""`train --resume`: the first SIGTERM or Ctrl-C lets the current step end and keeps where training stands.

States are also kept between epochs, so that a run that is killed without a word can go on too. Where several processes
train one network, each keeps the state of its own columns. They stop, and keep states, after the same step: one that a
signal reaches waits until all have agreed, which they do every AGREE_EVERY steps. A new state takes the old one's place
when all have theirs; if they are killed amid that, all go on from the last that each of them still has.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import numpy as np

from autorec_cli.cli.console import warn
from autorec_cli.errors import AutoRecError, QualityGateError, Stopped, TrainingDivergedError, UsageError
from autorec_cli.runtime.process_group import SINGLE_PROCESS, ProcessGroup
from autorec_cli.storage.files import sweep
from autorec_cli.training.resume import Resume, find_state, forget, forget_own, state_path, waiting_path

if TYPE_CHECKING:
    from autorec_cli.training.checkpoint import Chosen, State

SAVE_EVERY = 30.0
"""Seconds between two states kept without being asked to."""

AGREE_EVERY = 8
"""Steps between two moments at which several processes ask each other whether a signal came."""

SIGNALS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}


def check_save_every(seconds: float) -> None:
    """Check the value of --save-every.

    Raises:
        UsageError: it is no number of seconds.
    """
    if not (math.isfinite(seconds) and seconds >= 0):
        raise UsageError(f"--save-every must be a number of seconds from 0, not {seconds}")


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
        process_group: The processes that train the network.
    """

    path: Path
    run: Mapping[str, Any]
    place: Mapping[str, Any]
    save_every: float
    history: list[Mapping[str, Any]]
    left: State | None = None
    came: Callable[[], int | None] = lambda: None
    process_group: ProcessGroup = SINGLE_PROCESS
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
        if self.process_group.size > 1 and self._n_steps % AGREE_EVERY:
            return
        self._stop_if(self._agree()[0], state)

    def _agree(self) -> tuple[int, bool]:
        """The number of the signal that came to any process, 0 if none did, and whether it is time to keep a state."""
        due = time.monotonic() - self._last >= self.save_every
        number, is_due = self.process_group.max(np.array([self.came() or 0, due])).tolist()
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
        from autorec_cli.training import checkpoint

        saved = checkpoint.Saved(self.run, self.place, self.history, state)
        if self.process_group.size == 1:
            checkpoint.save(saved, self.path)
            return
        failure = None
        try:
            checkpoint.save(saved, waiting_path(self.path))
        except AutoRecError as error:
            failure = error
        if self.process_group.max(failure is not None):
            raise failure or UsageError("another process could not keep its state")
        waiting_path(self.path).replace(self.path)


@contextmanager
def keeping(
    output: Path,
    wish: Resume,
    save_every: float,
    run: Mapping[str, Any],
    place: Mapping[str, Any],
    process_group: ProcessGroup = SINGLE_PROCESS,
) -> Iterator[StateKeeper]:
    """Keep states of the run that writes `output` while it trains; they go when the run has come to its end.

    Args:
        output: The model that will be written; its lock is held.
        wish: Whether to go on from what an earlier run left.
        save_every: See `StateKeeper`.
        run: See `resume.Saved`.
        place: See `resume.Saved`.
        process_group: The processes that train the network.

    Yields:
        The keeper, which knows where to go on.

    Raises:
        ArtifactError: what an earlier run left is damaged, of another run or of another number of processes.
    """
    path = state_path(output, process_group)
    sweep(path)
    sweep(waiting_path(path))
    saved = find_state(output, wish, run, place, process_group)
    history, left = (list(saved.history), saved.state) if saved else ([], None)
    del saved  # or it would hold the state for as long as training takes
    keeper = StateKeeper(path, run, place, save_every, history, left, process_group=process_group)
    del left
    try:
        yield keeper
    except (TrainingDivergedError, QualityGateError):  # it would end so again
        forget_own(path)
        raise
    forget(output, process_group)
