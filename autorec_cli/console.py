"""The conversation with whoever runs the program: messages, small tables and progress, all of it on stderr.

On a terminal this is Rich; elsewhere it is plain lines that begin with a UTC time, fit for a log file under cron.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import lru_cache
from typing import Protocol

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column, Table
from rich.text import Text


@lru_cache(maxsize=1)
def stderr_console() -> Console:
    """The Rich console that writes to stderr."""
    return Console(stderr=True, highlight=False)


def is_terminal() -> bool:
    """Whether stderr is a terminal that can do more than print lines; FORCE_COLOR and the like do not make it one."""
    return sys.stderr.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")


def say(message: str) -> None:
    """Print one message on stderr; `message` is plain text, never markup."""
    _print(Text(message))


def warn(message: str) -> None:
    """Print a warning on stderr."""
    _print(Text.assemble(("warning:", "yellow"), " ", message))


def fail(message: str) -> None:
    """Print the one line that explains why the program stops."""
    _print(Text.assemble(("error:", "bold red"), " ", message))


def _print(message: Text) -> None:
    """One line, whatever is in it; that stderr cannot be written is no reason to stop."""
    with suppress(OSError):
        if is_terminal():
            message.plain = _one_line(message.plain)
            stderr_console().print(message)
        else:
            stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            sys.stderr.write(f"{stamp} {_one_line(message.plain)}\n")
            sys.stderr.flush()


def _one_line(text: str) -> str:
    """`text` with what would move the cursor written as an escape."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def show_facts(title: str, facts: Sequence[tuple[str, str]]) -> None:
    """Print a two-column summary on stderr: a Rich table on a terminal, one line a fact elsewhere."""
    if not is_terminal():
        for name, value in facts:
            say(f"{title}: {name}: {value}")
        return
    table = Table(title=Text(title), title_justify="left", show_header=False, box=box.ROUNDED)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts:
        table.add_row(Text(name), Text(_one_line(value)))
    stderr_console().print(table)


class Advance(Protocol):
    """Moves a progress bar to `completed` of `total` and replaces the text beside it."""

    def __call__(self, completed: int, total: int, text: str) -> None:
        """Show it."""


@contextmanager
def progress(title: str, total: int) -> Iterator[Advance]:
    """Show a bar on a terminal; elsewhere each call of the yielded function prints its text as one line."""
    if not is_terminal():

        def log(completed: int, total: int, text: str) -> None:
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

        def advance(completed: int, total: int, text: str) -> None:
            bar.update(task, completed=completed, total=total, text=text)

        yield advance
