"""Results on stdout or in a file, block by block."""

from __future__ import annotations

import io
import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from autorec_cli.cli.console import LOG, end_stage
from autorec_cli.cli.output.sqlite import write_sqlite
from autorec_cli.config import require_choice
from autorec_cli.errors import UsageError
from autorec_cli.storage.files import open_special, replace_file, require_parent
from autorec_cli.storage.locks import Tell, hold

if TYPE_CHECKING:
    import polars as pl

Blocks = Iterable["pl.DataFrame"]
Writer = Callable[[Blocks, IO[bytes]], None]

AROUND = len("│  ")
"""Characters of a table beside each cell."""
JOINERS = "\u200c\u200d"
"""Invisible characters that are part of the spelling in Persian, in Indian scripts and in emoji."""


def write_table(blocks: Blocks, stream: IO[bytes], title: str | None = None, decimals: int = 4) -> None:
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
    """Columns of the terminal that a further column of `table` may take; 0 without a terminal."""
    from rich.console import Console

    return max(0, Console().width - _width(table) - AROUND) if is_screen(stream) else 0


def parts_that_fit(table: pl.DataFrame, stream: IO[bytes]) -> list[pl.DataFrame]:
    """Split a table that is too wide for the terminal by columns; each part has the first column."""
    from rich.console import Console

    first, *others = table.columns
    parts = [[first]]
    for name in others:
        if len(parts[-1]) > 1 and is_screen(stream) and _width(table.select(*parts[-1], name)) > Console().width:
            parts.append([first])
        parts[-1].append(name)
    return [table.select(part) for part in parts]


def _width(table: pl.DataFrame) -> int:
    """Characters in a line of a table; it ends with one more vertical line."""
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
    """Output format, one of `formats`: as asked, by file ending, or by destination.

    A terminal gets a table; a pipe or a file without an ending gets CSV.

    Raises:
        UsageError: the format or the ending is unknown, they contradict each other, or it is binary on a terminal.
    """
    if asked is not None:
        require_choice("--format", asked, formats)
    ending, by_name = _ending(output), format_by_ending(output, formats)
    if ending and asked is None and by_name is None:
        raise UsageError(
            f"cannot write .{ending} files ({output}); end the name with .{', .'.join(list(formats)[1:])}, with .gz or "
            ".zst after it, or name a --format"
        )
    check_agreement("--format", asked, by_name, output)
    chosen = default_format(asked, output)
    if chosen == "parquet" and Path(output).suffix.lower() in COMPRESSED:
        raise UsageError(f"parquet files are compressed already; leave out {Path(output).suffix} of {output}")
    if chosen in ("parquet", "sqlite"):
        check_no_terminal(chosen, output)
    return chosen


def check_agreement(flag: str, asked: str | None, by_name: str | None, output: str) -> None:
    """Check a format against the ending of a file name.

    Raises:
        UsageError: it is.
    """
    if asked and by_name and asked != by_name:
        raise UsageError(f"{flag} {asked} contradicts the file name {output}; change one of them")


def check_no_terminal(format: str, output: str) -> None:
    """Check that bytes that could reprogram a terminal go elsewhere.

    Raises:
        UsageError: it does.
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


def check_place(output: str) -> None:
    """Check before the work that `output` can be written.

    Raises:
        UsageError: it is a directory, or its directory does not exist.
    """
    if Path(output).is_dir():
        raise UsageError(f"{output} is a directory; name a file")
    if output != "-":
        require_parent(Path(output))


@contextmanager
def reserve_output(
    output: str, wait_lock: float = 0.0, tell: Tell = LOG.info, warn: Tell = LOG.warning
) -> Iterator[None]:
    """Hold the lock of the file `output`.

    Standard output, pipes and devices have no lock. See `hold`.

    Raises:
        LockedError: another run is still writing `output` after `wait_lock` seconds.
        UsageError: it is a directory, or in one that does not exist or cannot be written.
    """
    path = Path(output)
    if output != "-" and path.is_dir():
        raise UsageError(f"{output} is a directory; name a file for the output")
    if output == "-" or (path.exists() and not path.is_file()):
        yield
    else:
        with hold(path, wait_lock, tell, warn):
            yield


def _is_file(stream: IO[str]) -> bool:
    """True for a file on disk."""
    try:
        return stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    except (OSError, ValueError):  # closed, or in memory
        return False


@contextmanager
def open_output(output: str) -> Iterator[IO[bytes]]:
    """Open stdout or a file that appears whole at the end, compressed if its name ends with .gz or .zst.

    Devices and named pipes are written to directly.

    Raises:
        UsageError: it cannot be written, for example because the disk is full.
    """
    path = Path(output)
    if output == "-" and not _is_file(sys.stdout):
        end_stage()  # a terminal, or a pipe to what may show it there, such as head and less
    try:
        if output == "-":
            yield sys.stdout.buffer
            sys.stdout.buffer.flush()
        elif path.is_dir():
            raise UsageError(f"{output} is a directory; name a file for the output")
        elif path.exists() and not path.is_file():
            with open_special(path) as stream:
                yield stream
        else:
            with replace_file(path) as stream, _compressing(stream, path.suffix.lower()) as compressed:
                yield compressed
    except OSError as error:
        name = "standard output" if output == "-" else output
        forget_stdout()
        raise UsageError(f"cannot write {name}: {error.strerror}; make room or choose another place with -o") from error


@contextmanager
def _compressing(stream: IO[bytes], suffix: str) -> Iterator[IO[bytes]]:
    if suffix == ".gz":
        import gzip

        # Without name and time, equal results are equal bytes. Level 6 is gzip's own.
        with gzip.GzipFile("", "wb", 6, stream, mtime=0) as compressed:
            yield cast("IO[bytes]", compressed)
    elif suffix == ".zst":
        if sys.version_info >= (3, 14):
            from compression import zstd
        else:
            from backports import zstd

        with zstd.ZstdFile(stream, "w") as compressed:
            yield cast("IO[bytes]", compressed)
    else:
        yield stream


def forget_stdout() -> None:
    """Drop buffered output, or Python would fail again at exit."""
    with suppress(OSError):
        sys.stdout.flush()
        return
    # The interpreter flushes stdout at exit, and would print a second error after ours.
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
