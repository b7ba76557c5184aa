"""Styled lines, tables and progress bars, drawn by Rich.

Imported only if stderr is a terminal, as importing Rich takes a while.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import TextIO, cast

from rich import box
from rich.console import Console, RenderableType
from rich.constrain import Constrain
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.spinner import Spinner
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
        """Current stderr, without Rich in between.

        Rich lets other writers pass through its progress bar.
        """
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


@lru_cache(maxsize=1)
def _spinner() -> Live:
    # Not redirected: what others print on stdout would go to stderr.
    return Live(console=_console(), transient=True, redirect_stdout=False, redirect_stderr=False)


_bars: list[Callable[[str], None]] = []
"""Shows a stage in the progress bar that is on the screen, if there is one."""


def show_stage(text: str) -> None:
    """Show a stage in the progress bar or a spinner.

    `text` stays beside the spinner until `end_stage`; the log is printed above it.
    """
    if _bars:
        _bars[-1](text)
        return
    _spinner().start()
    # At once: the stage that begins may keep the thread that draws from running.
    _spinner().update(Spinner("line", Text(text)), refresh=True)


def end_stage() -> None:
    """Remove the spinner, if there is one."""
    _spinner().stop()


ECHO = 3
"""Columns beside a bar for the ^C that a terminal writes, which would otherwise move the cursor to the next line."""


class _Bar(Progress):
    """Bar almost as wide as the screen.

    It disappears when it ends.
    """

    def __init__(self, *columns: ProgressColumn) -> None:
        super().__init__(*columns, console=_console(), expand=True, transient=True, refresh_per_second=4)

    def get_renderables(self) -> Iterable[RenderableType]:
        """Draw the tasks, a little narrower than the screen."""
        yield Constrain(self.make_tasks_table(self.tasks), _console().width - ECHO)


@contextmanager
def _bar(stage: Callable[[str], None], *columns: ProgressColumn) -> Iterator[Progress]:
    """Show a bar, and stages by `stage`."""
    end_stage()
    with _Bar(*columns) as bar:
        _bars.append(stage)
        try:
            yield bar
        finally:
            _bars.pop()


@contextmanager
def progress_bar(title: str, total: int) -> Iterator[Callable[[int, int, str], None]]:
    """Show a progress bar; the yielded function moves it."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        _text_column("text"),
        TimeRemainingColumn(compact=True, table_column=Column(no_wrap=True)),
    )
    with _bar(lambda _: None, *columns) as bar:
        task, width = bar.add_task(title, total=total, text=""), 0

        def move(completed: int, total: int, text: str) -> None:
            nonlocal width
            # As wide as the widest text so far, or the bar would change its length with every text.
            width = max(width, len(text))
            bar.update(task, completed=completed, total=total, text=text.ljust(width))

        yield move


class _Remaining(ProgressColumn):
    """Time left by an estimate of the caller's.

    The part of the bar that is filled does not matter.
    """

    def __init__(self, seconds_left: Callable[[], float | None]) -> None:
        super().__init__(Column(no_wrap=True))
        self._seconds_left = seconds_left

    def render(self, task: Task) -> Text:  # noqa: ARG002
        """Hours, minutes and seconds, in a column of one width."""
        return Text(f"{_duration(self._seconds_left()):>7}")


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "-:--"
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


@contextmanager
def fraction_bar(
    label: str, text: str, seconds_left: Callable[[], float | None]
) -> Iterator[Callable[[float, str, str], None]]:
    """Show a bar for a fraction.

    It is between two texts and before the time left.

    Args:
        label: First text before the bar.
        text: First text after it.
        seconds_left: Seconds left, asked again whenever the bar is drawn.

    Yields:
        A function that sets the fraction and both texts; the bar keeps its length if these keep theirs.
    """

    def show(stage: str) -> None:
        bar.update(task, label=f"{stage:{len(label)}.{len(label)}}", text=" " * len(text), refresh=True)

    columns = (_text_column("label"), BarColumn(bar_width=None), _text_column("text"), _Remaining(seconds_left))
    with _bar(show, *columns) as bar:
        task = bar.add_task("", total=1.0, label=label, text=text)
        yield lambda fraction, label, text: bar.update(task, completed=fraction, label=label, text=text)


def _text_column(field: str) -> TextColumn:
    return TextColumn(f"{{task.fields[{field}]}}", markup=False, table_column=Column(no_wrap=True))
