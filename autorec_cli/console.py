"""The conversation with whoever runs the program: messages, small tables and progress, all of it on stderr.

On a terminal this is Rich; elsewhere it is plain lines that begin with a UTC time, fit for a log file under cron.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Protocol

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column, Table
from rich.text import Text
from rich.theme import Theme

COLOURS = Theme(
    {
        "warning": "bold magenta",
        "error": "bold red",
        "bar.back": "grey50",
        "bar.complete": "magenta",
        "bar.finished": "magenta",
        "progress.download": "none",
        "progress.remaining": "none",
    }
)
"""What can be read on black and on white: yellow, cyan, green and dim letters cannot on one of them."""


@lru_cache(maxsize=1)
def stderr_console() -> Console:
    """The Rich console that writes to stderr."""
    return Console(stderr=True, highlight=False, theme=COLOURS)


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
        _print("info", Text(message))


def detail(message: str) -> None:
    """Print what only --verbose shows."""
    if _voice.verbose:
        _print("debug", Text(message))


def warn(message: str) -> None:
    """Print a warning on stderr."""
    _voice.warnings.append(message)
    _print("warning", Text.assemble(("warning:", "warning"), " ", message), message)


def fail(message: str) -> None:
    """Print the one line that explains why the program stops."""
    message = f"{_voice.speaker}: {message}" if _voice.speaker else message
    _print("error", Text.assemble(("error:", "error"), " ", message), message)


def _print(level: str, shown: Text, message: str | None = None, facts: Mapping[str, str] | None = None) -> None:
    """One line, whatever is in it; that stderr cannot be written is no reason to stop.

    Args:
        level: What JSON lines call it.
        shown: The line as it is for reading.
        message: What JSON lines hold, if it is not `shown`.
        facts: What else JSON lines hold.
    """
    now = datetime.now(UTC)
    with suppress(OSError):
        if _voice.as_json:
            entry = {"time": now.isoformat(timespec="milliseconds"), "level": level, "message": message or shown.plain}
            sys.stderr.write(json.dumps({**entry, **({"facts": dict(facts)} if facts else {})}) + "\n")
            sys.stderr.flush()
        elif is_terminal():
            shown.plain = _one_line(shown.plain)
            stderr_console().print(shown)
        else:
            sys.stderr.write(f"{now:%Y-%m-%dT%H:%M:%SZ} {_one_line(shown.plain)}\n")
            sys.stderr.flush()


def _one_line(text: str) -> str:
    """`text` with what would move the cursor written as an escape."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def show_facts(title: str, facts: Sequence[tuple[str, str]]) -> None:
    """Print a two-column summary on stderr: a Rich table on a terminal, one line a fact elsewhere."""
    if _voice.quiet:
        return
    if _voice.as_json:
        _print("info", Text(title), facts=dict(facts))
        return
    if not is_terminal():
        for name, value in facts:
            say(f"{title}: {name}: {value}")
        return
    table = Table(title=Text(title), title_justify="left", show_header=False, box=box.ROUNDED)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts:
        table.add_row(Text(name), Text(_one_line(value)))
    stderr_console().print(table)


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
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[text]}", markup=False, table_column=Column(no_wrap=True)),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=stderr_console(), expand=True) as bar:
        task = bar.add_task(title, total=total, text="")

        def advance(completed: int, total: int, text: str, *, passing: bool = False, lasting: bool = False) -> None:  # noqa: ARG001
            if lasting:
                say(f"{title} {completed}/{total} {text}")
            bar.update(task, completed=completed, total=total, text="" if lasting else text)

        yield advance
