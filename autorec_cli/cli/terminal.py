"""Styled lines, tables and progress bars, drawn by Rich.

Imported only if stderr is a terminal, as importing Rich takes a while.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column, Table
from rich.text import Text
from rich.theme import Theme

COLORS = Theme(
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
"""Colors that are readable on black and on white, as yellow, cyan, green and dim text are not."""


@lru_cache(maxsize=1)
def _console() -> Console:
    return Console(stderr=True, highlight=False, theme=COLORS)


def print_line(text: str, mark: str = "") -> None:
    """Print `text` without markup, after a colored `mark`."""
    _console().print(Text.assemble((f"{mark}:", mark), " ", text) if mark else Text(text))


def print_table(title: str, rows: Sequence[tuple[str, str]]) -> None:
    """Print names and values."""
    table = Table(title=Text(title), title_justify="left", show_header=False, box=box.ROUNDED)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(Text(name), Text(value))
    _console().print(table)


@contextmanager
def progress_bar(title: str, total: int) -> Iterator[Callable[[int, int, str], None]]:
    """Show a progress bar; the yielded function moves it."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[text]}", markup=False, table_column=Column(no_wrap=True)),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=_console(), expand=True) as bar:
        task = bar.add_task(title, total=total, text="")

        def move(completed: int, total: int, text: str) -> None:
            bar.update(task, completed=completed, total=total, text=text)

        yield move
