"""The conversation with whoever runs the program: messages, small tables and progress, all of it on stderr.

On a terminal this is Rich; elsewhere it is plain lines that begin with a UTC time, fit for a log file under cron.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from typing import Protocol

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table


@lru_cache(maxsize=1)
def stderr_console() -> Console:
    """The Rich console that writes to stderr."""
    return Console(stderr=True, highlight=False)


def is_terminal() -> bool:
    """Whether stderr is a terminal."""
    return stderr_console().is_terminal


def say(message: str) -> None:
    """Print one message on stderr; `message` is plain text, never markup."""
    if is_terminal():
        stderr_console().print(escape(message))
    else:
        stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        sys.stderr.write(f"{stamp} {message}\n")
        sys.stderr.flush()


def warn(message: str) -> None:
    """Print a warning on stderr."""
    if is_terminal():
        stderr_console().print(f"[yellow]warning:[/yellow] {escape(message)}")
    else:
        say(f"warning: {message}")


def fail(message: str) -> None:
    """Print the one line that explains why the program stops."""
    if is_terminal():
        stderr_console().print(f"[bold red]error:[/bold red] {escape(message)}")
    else:
        say(f"error: {message}")


def show_facts(title: str, facts: Sequence[tuple[str, str]]) -> None:
    """Print a two-column summary on stderr: a Rich table on a terminal, one line a fact elsewhere."""
    if not is_terminal():
        for name, value in facts:
            say(f"{title}: {name}: {value}")
        return
    table = Table(title=escape(title), title_justify="left", show_header=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for name, value in facts:
        table.add_row(escape(name), escape(value))
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
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[text]}"))
    with Progress(*columns, TimeRemainingColumn(), console=stderr_console()) as bar:
        task = bar.add_task(escape(title), total=total, text="")

        def advance(completed: int, total: int, text: str) -> None:
            bar.update(task, completed=completed, total=total, text=escape(text))

        yield advance
