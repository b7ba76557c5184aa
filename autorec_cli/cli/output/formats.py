"""Formats of results, and the choice between them.

Each is a writer of blocks of rows.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING

from autorec_cli.cli.output.sqlite import write_sqlite
from autorec_cli.cli.output.tables import write_table
from autorec_cli.config import require_choice
from autorec_cli.errors import UsageError

if TYPE_CHECKING:
    import polars as pl

Blocks = Iterable["pl.DataFrame"]
Writer = Callable[[Blocks, IO[bytes]], None]


def write_delimited(blocks: Blocks, stream: IO[bytes], separator: str, header: bool) -> None:
    """Write CSV or TSV, quoted where needed."""
    for number, block in enumerate(blocks):
        # As text and not to the stream: polars would wrap an error of the stream in its own.
        text = block.write_csv(include_header=header and number == 0, separator=separator)
        stream.write(text.encode())
        stream.flush()


def write_jsonl(blocks: Blocks, stream: IO[bytes]) -> None:
    """Write one JSON object per line."""
    for block in blocks:
        stream.write(block.write_ndjson().encode())
        stream.flush()


def write_json(blocks: Blocks, stream: IO[bytes]) -> None:
    """Write one JSON array, one object per line."""
    stream.write(b"[")
    before = b"\n"
    for block in blocks:
        for line in filter(None, block.write_ndjson().split("\n")):  # splitlines would cut texts at U+2028, U+0085
            stream.write(before + line.encode())
            before = b",\n"
        stream.flush()
    stream.write(b"\n]\n")


def write_parquet(blocks: Blocks, stream: IO[bytes]) -> None:
    """Write one Parquet file, from all rows in memory."""
    import polars as pl

    packed = io.BytesIO()  # polars would wrap an error of the stream in its own
    pl.concat(blocks).write_parquet(packed)
    stream.write(packed.getbuffer())


FORMATS: Mapping[str, Writer] = {
    "table": write_table,
    "csv": partial(write_delimited, separator=",", header=True),
    "tsv": partial(write_delimited, separator="\t", header=True),
    "jsonl": write_jsonl,
    "json": write_json,
    "parquet": write_parquet,
}
WITH_DATABASE: Mapping[str, Writer] = {**FORMATS, "sqlite": write_sqlite}
"""Formats of recommendations, which have a table of their own in a database."""
BINARY = ("parquet", "sqlite")
"""Formats that no terminal shows."""
WITHOUT_HEADER: Mapping[str, Writer] = {
    "csv": partial(write_delimited, separator=",", header=False),
    "tsv": partial(write_delimited, separator="\t", header=False),
}


COMPRESSED = (".gz", ".zst")
"""Endings after that of the format, as in top.csv.gz."""


def format_by_ending(output: str, formats: Iterable[str] = WITH_DATABASE) -> str | None:
    """Format by the ending of a file name, if any."""
    ending = _ending(output)
    by_name = {"ndjson": "jsonl", "txt": "table", "db": "sqlite"}.get(ending, ending)
    return by_name if by_name in formats else None


def _ending(output: str) -> str:
    """Ending of a file name, without that of a compression."""
    path = Path("" if output == "-" else output)
    ending = Path(path.stem if path.suffix.lower() in COMPRESSED else path).suffix.lstrip(".").lower()
    return "" if ending.isdigit() else ending  # a date, as in top.20240131


def default_format(asked: str | None, output: str) -> str:
    """Output format as in `choose_format`, without checking."""
    on_terminal = output == "-" and sys.stdout.isatty()
    return asked or format_by_ending(output) or ("table" if on_terminal else "csv")


def choose_format(asked: str | None, output: str, formats: Iterable[str] = FORMATS) -> str:
    """Output format: as asked, by ending, or by destination.

    It is one of `formats`. A terminal gets a table; a pipe or a file without an ending gets CSV.

    Raises:
        UsageError: the format or the ending is unknown, they contradict each other, or it is binary on a terminal.
    """
    if asked is not None:
        require_choice("--format", asked, formats)
    ending, by_name = _ending(output), format_by_ending(output, formats)
    if ending and asked is None and by_name is None:  # the first format, table, has no ending to advise
        raise UsageError(
            f"cannot write .{ending} files ({output}); end the name with .{', .'.join(list(formats)[1:])}, with .gz or "
            ".zst after it, or name a --format"
        )
    check_agreement("--format", asked, by_name, output)
    chosen = default_format(asked, output)
    if chosen == "parquet" and Path(output).suffix.lower() in COMPRESSED:
        raise UsageError(f"parquet files are compressed already; leave out {Path(output).suffix} of {output}")
    if chosen in BINARY:
        check_no_terminal(chosen, output)
    return chosen


def check_agreement(flag: str, asked: str | None, by_name: str | None, output: str) -> None:
    """Check a format against the ending of a file name.

    Raises:
        UsageError: they contradict each other.
    """
    if asked and by_name and asked != by_name:
        raise UsageError(f"{flag} {asked} contradicts the file name {output}; change one of them")


def check_no_terminal(format: str, output: str) -> None:
    """Check that bytes that could reprogram a terminal go elsewhere.

    Raises:
        UsageError: `output` is a terminal.
    """
    if output == "-" and sys.stdout.isatty():
        raise UsageError(f"{format} cannot be shown on a terminal; write a file with -o or use a pipe")


def writer_for(name: str, header: bool = True, csv_safe: bool = False) -> Writer:
    """Writer of the format `name`.

    Args:
        name: One of WITH_DATABASE.
        header: False leaves out the header row of csv and tsv.
        csv_safe: Whether cells of csv and tsv that would be formulas get an apostrophe.

    Raises:
        UsageError: `header` is False or `csv_safe` is True, and the format is not csv or tsv.
    """
    for flag, given in (("--no-header", not header), ("--csv-safe", csv_safe)):
        if given and name not in WITHOUT_HEADER:
            raise UsageError(f"{flag} applies to csv and tsv only, not to {name}; leave it out")
    write = WITH_DATABASE[name] if header else WITHOUT_HEADER[name]
    return partial(_write_guarded, write) if csv_safe else write


FORMULA_STARTS = "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"
"""First characters of a formula in spreadsheets (OWASP, CSV injection), full-width forms included."""


def _write_guarded(write: Writer, blocks: Blocks, stream: IO[bytes]) -> None:
    write((_without_formulas(block) for block in blocks), stream)


def _without_formulas(block: pl.DataFrame) -> pl.DataFrame:
    """Put an apostrophe before texts that spreadsheets would calculate."""
    import polars as pl
    import polars.selectors as cs

    texts = cs.string()
    return block.with_columns(
        pl.when(texts.str.slice(0, 1).is_in(list(FORMULA_STARTS))).then("'" + texts).otherwise(texts).name.keep()
    )


def counted_blocks(blocks: Blocks, written: list[int]) -> Iterator[pl.DataFrame]:
    """Yield `blocks`, noting the rows of each in `written`."""
    for block in blocks:
        # Counted on the way, as the blocks are never all in memory.
        written.append(block.height)
        yield block
