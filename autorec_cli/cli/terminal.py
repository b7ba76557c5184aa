"""Styled lines, tables and progress bars, drawn by Rich.

Imported only if stderr is a terminal, as importing Rich takes a while.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import TextIO, cast

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


class _Stderr(io.TextIOBase):
    """The current stderr, whose errors are no reason to stop.

    A terminal that was closed fails, even in the thread that draws a progress bar.
    """

    @property
    def stream(self) -> TextIO:
        """The stream itself, also while Rich lets other writers pass through its progress bar."""
        return cast(TextIO, getattr(sys.stderr, "rich_proxied_file", sys.stderr))

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Encoding of the terminal, which decides what a bar is drawn with."""
        return self.stream.encoding

    def isatty(self) -> bool:
        """True for a terminal."""
        return self.stream.isatty()

    def fileno(self) -> int:
        """File descriptor, from which Rich learns the size."""
        return self.stream.fileno()

    def write(self, text: str) -> int:
        """Write, if possible."""
        with suppress(OSError):
            self.stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush, if possible."""
        with suppress(OSError):
            self.stream.flush()


@lru_cache(maxsize=1)
def _console() -> Console:
    return Console(file=cast(TextIO, _Stderr()), highlight=False, theme=COLORS)


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
