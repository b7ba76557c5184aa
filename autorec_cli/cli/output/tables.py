"""Tables for people, cut to the width of a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

AROUND = len("│  ")
"""Characters of a table beside each cell."""
JOINERS = "\u200c\u200d"
"""Invisible characters that are part of the spelling in Persian, in Indian scripts and in emoji."""


def write_table(blocks: Iterable[pl.DataFrame], stream: IO[bytes], title: str | None = None, decimals: int = 4) -> None:
    """Write a table for people; only terminals limit its width."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=None if title is None else Text(_cell(title)), title_justify="left", box=box.ROUNDED)
    for number, block in enumerate(blocks):
        if number == 0:
            for name, dtype in block.schema.items():
                table.add_column(Text(name), justify="right" if dtype.is_numeric() else "left", overflow="fold")
        for row in block.iter_rows():
            table.add_row(*(Text(_cell(value, decimals)) for value in row))
    on_terminal = is_screen(stream)
    console = Console() if on_terminal else Console(width=10_000, color_system=None, legacy_windows=False)
    with console.capture() as capture:
        console.print(table)
    # Rich pads to the console's width, which is 10,000 in a file.
    lines = (line.rstrip(" ") for line in capture.get().splitlines(keepends=False))
    encoding = sys.stdout.encoding if on_terminal else "utf-8"
    stream.write("".join(f"{line}\n" for line in lines).encode(encoding, errors="replace"))
    stream.flush()


def is_screen(stream: IO[bytes]) -> bool:
    """True if `stream` is standard output on a terminal."""
    return stream is sys.stdout.buffer and sys.stdout.isatty()


def room_beside(table: pl.DataFrame, stream: IO[bytes]) -> int:
    """Columns of the terminal beside a table.

    A further column of `table` may take them; 0 without a terminal.
    """
    from rich.console import Console

    return max(0, Console().width - _width(table) - AROUND) if is_screen(stream) else 0


def parts_that_fit(table: pl.DataFrame, stream: IO[bytes]) -> list[pl.DataFrame]:
    """Split a table that is too wide for the terminal.

    It is split by columns, and each part has the first one.
    """
    from rich.console import Console

    first, *others = table.columns
    parts = [[first]]
    for name in others:
        if len(parts[-1]) > 1 and is_screen(stream) and _width(table.select(*parts[-1], name)) > Console().width:
            parts.append([first])
        parts[-1].append(name)
    return [table.select(part) for part in parts]


def _width(table: pl.DataFrame) -> int:
    """Characters in a line of a table.

    One more vertical line ends it.
    """
    from rich.cells import cell_len

    return 1 + sum(AROUND + max(map(cell_len, [name, *map(_cell, table[name])])) for name in table.columns)


def _cell(value: object, decimals: int = 4) -> str:
    """Text of a cell, with nothing that steers a terminal."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.{decimals}f}"
    if isinstance(value, int):
        return f"{value:,}"
    return "".join(c if c.isprintable() or c in JOINERS else ascii(c)[1:-1] for c in str(value))
