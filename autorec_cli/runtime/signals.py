"""Signals that end a run, after it has saved its work."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any

STOPPING = {
    signal.SIGINT: "interrupted",
    signal.SIGTERM: "terminated",
    signal.SIGHUP: "the terminal or connection was closed",
    signal.SIGUSR1: "stopped by SIGUSR1",
    signal.SIGUSR2: "stopped by SIGUSR2",
    signal.SIGXCPU: "the limit of CPU time was reached",
}
"""Signals, and messages about them. Batch systems send the last three some time before they kill a job."""

INSISTING = (signal.SIGINT, signal.SIGTERM)
"""Signals that end a run at once if they come while it saves its work."""


def exit_status(number: int) -> int:
    """Exit status after a signal, as shells show it."""
    return 128 + number


def number_of(status: int) -> int:
    """Signal of an exit status."""
    return status - 128


MESSAGES = {exit_status(number): message for number, message in STOPPING.items()}
"""Exit status -> message."""


def catch(handler: Callable[[int, Any], object]) -> dict[int, Any]:
    """Let `handler` handle all signals that end a run.

    A signal that our parent had us ignore, as nohup and a shell's `&` do, stays ignored.

    Returns:
        The earlier handlers, for `restore`.
    """
    before: dict[int, Any] = {}
    for number in STOPPING:
        if signal.getsignal(number) != signal.SIG_IGN:
            before[number] = signal.signal(number, handler)
    return before


def restore(before: dict[int, Any]) -> None:
    """Undo `catch`, except for signals that are ignored since."""
    for number, handler in before.items():
        if signal.getsignal(number) is not _ignore:
            signal.signal(number, handler)


def ignore_repetitions() -> None:
    """Ignore signals that come more than once without meaning it.

    A closed terminal sends SIGHUP twice, systemd may send it after SIGTERM, and SIGXCPU comes every second.
    """
    ignore(number for number in STOPPING if number not in INSISTING)


def ignore(numbers: Iterable[int]) -> None:
    """Ignore signals from now on."""
    for number in numbers:
        signal.signal(number, _ignore)


def _ignore(number: int, _frame: FrameType | None) -> None:
    """Do nothing.

    For SIG_IGN, Python reports a signal that comes at the same moment as an error.
    """
