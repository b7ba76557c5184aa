"""Results on stdout or in a file: one writer a format, fed block by block so that the first rows leave early."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING

from autorec_cli.errors import UsageError
from autorec_cli.files import replace_file

if TYPE_CHECKING:
    import polars as pl

Blocks = Iterable["pl.DataFrame"]
Writer = Callable[[Blocks, IO[bytes]], None]

FLOAT_DIGITS = 6


def write_table(blocks: Blocks, stream: IO[bytes], title: str | None = None) -> None:
    """A table for reading; off a terminal it is as wide as its rows need, so that nothing is cut."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=None if title is None else Text(title), title_justify="left")
    for number, block in enumerate(blocks):
        if number == 0:
            for name, dtype in block.schema.items():
                table.add_column(Text(name), justify="right" if dtype.is_numeric() else "left", overflow="fold")
        for row in block.iter_rows():
            table.add_row(*(Text(_cell(value)) for value in row))
    if stream is sys.stdout.buffer and sys.stdout.isatty():
        Console(highlight=False).print(table)
    else:
        plain = Console(highlight=False, width=10_000, color_system=None, legacy_windows=False)
        with plain.capture() as capture:
            plain.print(table)
        stream.write(capture.get().encode())


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def write_delimited(blocks: Blocks, stream: IO[bytes], separator: str, header: bool) -> None:
    """CSV or TSV: quoted where needed, one header row unless told otherwise."""
    for number, block in enumerate(blocks):
        text = block.write_csv(include_header=header and number == 0, separator=separator, float_precision=FLOAT_DIGITS)
        stream.write(text.encode())
        stream.flush()


def write_jsonl(blocks: Blocks, stream: IO[bytes]) -> None:
    """One JSON object a line."""
    for block in blocks:
        stream.write(block.write_ndjson().encode())
        stream.flush()


def write_json(blocks: Blocks, stream: IO[bytes]) -> None:
    """One JSON array of objects, an object a line."""
    stream.write(b"[")
    before = b"\n"
    for block in blocks:
        for line in block.write_ndjson().splitlines():
            stream.write(before + line.encode())
            before = b",\n"
        stream.flush()
    stream.write(b"\n]\n")


def write_parquet(blocks: Blocks, stream: IO[bytes]) -> None:
    """One Parquet file; the rows of all blocks are held in memory until its end."""
    import polars as pl

    pl.concat(blocks).write_parquet(stream)


FORMATS: Mapping[str, Writer] = {
    "table": write_table,
    "csv": partial(write_delimited, separator=",", header=True),
    "tsv": partial(write_delimited, separator="\t", header=True),
    "jsonl": write_jsonl,
    "json": write_json,
    "parquet": write_parquet,
}
WITHOUT_HEADER: Mapping[str, Writer] = {
    "csv": partial(write_delimited, separator=",", header=False),
    "tsv": partial(write_delimited, separator="\t", header=False),
}


def choose_format(asked: str | None, output: str) -> str:
    """The output format: what was asked for, else what the name `output` ends in, else table or CSV.

    A terminal gets a table; a pipe or a file gets CSV.

    Raises:
        UsageError: the format is unknown, contradicts the name's ending, or is binary and bound for a terminal.
    """
    if asked is not None and asked not in FORMATS:
        raise UsageError(f"--format must be one of {', '.join(FORMATS)}, not {asked!r}")
    ending = Path(output).suffix.lstrip(".").lower() if output != "-" else ""
    by_name = {"ndjson": "jsonl", "txt": "table"}.get(ending, ending)
    if asked and by_name in FORMATS and by_name != asked:
        raise UsageError(f"--format {asked} contradicts the name {output}; change one of them")
    on_terminal = output == "-" and sys.stdout.isatty()
    chosen = asked or (by_name if by_name in FORMATS else "table" if on_terminal else "csv")
    if chosen == "parquet" and on_terminal:
        raise UsageError("Parquet is not for terminals; name a file with -o or use a pipe")
    return chosen


def writer_for(name: str, header: bool = True) -> Writer:
    """The writer called `name`.

    Raises:
        UsageError: `header` is False and the format has no header to leave out.
    """
    if header:
        return FORMATS[name]
    if name not in WITHOUT_HEADER:
        raise UsageError(f"--no-header means nothing for the format {name}; leave it out")
    return WITHOUT_HEADER[name]


@contextmanager
def open_output(output: str) -> Iterator[IO[bytes]]:
    """The stream to write results to: stdout for "-", else a file that appears whole when the block ends."""
    if output == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    with replace_file(Path(output)) as temporary, temporary.open("wb") as stream:
        yield stream
