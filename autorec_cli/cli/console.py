"""The conversation with whoever runs the program: messages, small tables and progress, all of it on stderr.

On a terminal Rich draws them (see `terminal`); elsewhere they are plain lines that begin with a UTC time, fit for a log
file under cron.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol


def is_terminal() -> bool:
    """Whether stderr is a terminal that can do more than print lines; FORCE_COLOR and the like do not make it one."""
    return sys.stderr.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")


@dataclass
class Voice:
    """How the program talks, and what it had to warn of so far.

    Attributes:
        quiet: Nothing but warnings and errors is said.
        verbose: Details are said too.
        as_json: Every message is a JSON object on a line of its own.
        speaker: Who talks, where there are several.
        warnings: What `warn` was given.
    """

    quiet: bool = False
    verbose: bool = False
    as_json: bool = False
    speaker: str = ""
    warnings: list[str] = field(default_factory=list)


_voice = Voice()


def talk(voice: Voice) -> None:
    """Talk as `voice` says from now on."""
    global _voice
    _voice = voice


def say(message: str) -> None:
    """Print one message on stderr; `message` is plain text, never markup."""
    if not _voice.quiet:
        _print("info", message)


def detail(message: str) -> None:
    """Print what only --verbose shows."""
    if _voice.verbose:
        _print("debug", message)


def warn(message: str) -> None:
    """Print a warning on stderr."""
    _voice.warnings.append(message)
    _print("warning", message, mark="warning")


def fail(message: str) -> None:
    """Print the one line that explains why the program stops."""
    message = f"{_voice.speaker}: {message}" if _voice.speaker else message
    _print("error", message, mark="error")


def _print(level: str, message: str, mark: str = "", facts: Mapping[str, str] | None = None) -> None:
    """One line, whatever is in it; that stderr cannot be written is no reason to stop.

    Args:
        level: What JSON lines call it.
        message: The line.
        mark: What comes before it where it is read by people.
        facts: What else JSON lines hold.
    """
    now = datetime.now(UTC)
    with suppress(OSError), _outliving_readers():
        if _voice.as_json:
            entry = {"time": now.isoformat(timespec="milliseconds"), "level": level, "message": message}
            sys.stderr.write(json.dumps({**entry, **({"facts": dict(facts)} if facts else {})}) + "\n")
            sys.stderr.flush()
        elif is_terminal():
            from autorec_cli.cli.terminal import print_line

            print_line(_one_line(message), mark)
        else:
            sys.stderr.write(f"{now:%Y-%m-%dT%H:%M:%SZ} {f'{mark}: ' if mark else ''}{_one_line(message)}\n")
            sys.stderr.flush()


@contextmanager
def _outliving_readers() -> Iterator[None]:
    """Let the block write to a stderr whose reader is gone, as after `2>&1 | head`: what is said then is lost.

    The signal SIGPIPE, which ends us where results are written, is kept off this thread meanwhile.
    """
    if not hasattr(signal, "SIGPIPE"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGPIPE})
    try:
        yield
    except BrokenPipeError:
        if signal.SIGPIPE in signal.sigpending():
            signal.sigwait({signal.SIGPIPE})
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stderr.fileno())  # what is left in its buffer would end us when it is flushed
        os.close(null)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _one_line(text: str) -> str:
    """`text` with what would move the cursor written as an escape."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def show_facts(title: str, facts: Sequence[tuple[str, str]]) -> None:
    """Print a two-column summary on stderr: a Rich table on a terminal, one line a fact elsewhere."""
    if _voice.quiet:
        return
    if _voice.as_json:
        _print("info", title, facts=dict(facts))
        return
    if not is_terminal():
        for name, value in facts:
            say(f"{title}: {name}: {value}")
        return
    from autorec_cli.cli.terminal import print_table

    print_table(title, [(name, _one_line(value)) for name, value in facts])


class Advance(Protocol):
    """Moves a progress bar to `completed` of `total` and replaces the text beside it."""

    def __call__(self, completed: int, total: int, text: str, *, passing: bool = False, lasting: bool = False) -> None:
        """Show it; what is `passing` is for the bar only and never becomes a line, what is `lasting` always does."""


@contextmanager
def progress(title: str, total: int) -> Iterator[Advance]:
    """Show a bar on a terminal; elsewhere each call of the yielded function prints its text as one line."""
    if _voice.quiet or _voice.as_json or not is_terminal():

        def log(completed: int, total: int, text: str, *, passing: bool = False, lasting: bool = False) -> None:  # noqa: ARG001
            if not passing:
                say(f"{title} {completed}/{total} {text}")

        yield log
        return
    from autorec_cli.cli.terminal import progress_bar

    with progress_bar(title, total) as move:

        def advance(completed: int, total: int, text: str, *, passing: bool = False, lasting: bool = False) -> None:  # noqa: ARG001
            if lasting:
                say(f"{title} {completed}/{total} {text}")
            move(completed, total, "" if lasting else text)

        yield advance
