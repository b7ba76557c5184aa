"""Reader of Parquet and Arrow files, with the checks of text.

A file may be part of a table written by Spark or Hive: `ratings/day=2024-01-31/part-0.parquet` has a column `day` in
its path only. With a period, polars skips row groups whose statistics lie outside.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path, PurePath
from urllib.parse import unquote

import numpy as np
import polars as pl

from autorec_cli.data.readers.columns.names import role_of
from autorec_cli.data.readers.layout import Columns, Layout
from autorec_cli.data.readers.options import EVER, Period, ReadOptions
from autorec_cli.data.readers.rows import RatingRows, check_rows, no_rows
from autorec_cli.data.readers.sources import (
    ARROW_MAGIC,
    ARROW_STREAM_MAGIC,
    FILE_KINDS,
    PARQUET_MAGIC,
    OpenSource,
)
from autorec_cli.data.readers.tables.column_types import check_types, is_usable, without_extensions
from autorec_cli.data.readers.tables.frames import BATCH_ROWS, SAMPLE_ROWS, columns_of, layout_of, plain_types
from autorec_cli.data.readers.timestamps import (
    COMPACT_UNITS,
    FIRST_COMPACT,
    LAST_COMPACT,
    PER_SECOND,
    TimestampFormat,
    parse_timestamps,
)
from autorec_cli.errors import InputDataError, listed, quoted

NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
"""Null in a path written by Spark or Hive."""
ROW = "__row__"
UNITS_PER_SECOND = {"ms": 10**3, "us": 10**6, "ns": 10**9}
SECONDS_PER_DAY = 86400
WHOLE = (pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64)

LONGEST_REASON = 200
DAMAGE = (pl.exceptions.PolarsError, pl.exceptions.PanicException)
"""Exceptions from polars for a damaged file; a panic is not an `Exception`."""


@contextmanager
def read_columnar(
    source: OpenSource, options: ReadOptions, like: Layout | None = None
) -> Iterator[tuple[Layout, Iterator[RatingRows]] | None]:
    """Layout of a Parquet or Arrow file, and its rows.

    Yields None for a file without rows, as Spark writes some. `like` is the layout of the first file of its format.

    Raises:
        InputDataError: see `detect_file` and `file_rows`.
    """
    layout = detect_file(source, options, like)
    if layout is None:
        yield None
    else:
        yield layout, file_rows(source, layout, options.skip_bad_rows, options.period)


def scan_file(source: OpenSource, row_numbers: str | None = None) -> pl.LazyFrame:
    """Lazy frame of a file, extension types as stored.

    Args:
        source: Opened as a file.
        row_numbers: Name of a column of row numbers from 0 to add.

    Raises:
        InputDataError: the file is damaged.
    """
    assert source.file is not None
    with damage_named(source):
        scan = SCANS[source.magic]
        return without_extensions(scan(source.file, row_numbers))


def _scan_arrow_stream(path: Path, row_numbers: str | None) -> pl.LazyFrame:
    """All of a stream, which has no index of its batches."""
    return pl.read_ipc_stream(path, row_index_name=row_numbers).lazy()


SCANS: Mapping[bytes, Callable[[Path, str | None], pl.LazyFrame]] = {
    PARQUET_MAGIC: lambda path, row_numbers: pl.scan_parquet(path, glob=False, row_index_name=row_numbers),
    ARROW_MAGIC: lambda path, row_numbers: pl.scan_ipc(path, glob=False, row_index_name=row_numbers),
    ARROW_STREAM_MAGIC: _scan_arrow_stream,
}


@contextmanager
def damage_named(source: OpenSource) -> Iterator[None]:
    """Turn errors of polars into a sentence.

    Raises:
        InputDataError: the file cannot be read.
    """
    kind = FILE_KINDS[source.magic]
    try:
        yield
    except pl.exceptions.DuplicateError as error:
        twice = re.search(r"'(.*)'", str(error))
        raise InputDataError(
            f"{source.name} has two columns {twice[0] if twice else 'of one name'}; rename one of them"
        ) from error
    except (*DAMAGE, OSError) as error:
        unless = "" if kind == "Parquet" else ", has two columns of one name or a type that polars cannot read"
        raise InputDataError(f"{source.name} is a damaged {kind} file{unless}: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    """First line of an error, which may be pages long."""
    return str(error).strip().partition("\n")[0][:LONGEST_REASON]


def partitions_of(name: str) -> dict[str, str | None]:
    """Columns in the path `name`, such as `day=2024-01-31/part-0.parquet`."""
    pairs = (part.partition("=") for part in PurePath(name).parts[:-1])
    return {unquote(key): None if value == NO_VALUE else unquote(value) for key, _, value in pairs if key and value}


def detect_file(source: OpenSource, options: ReadOptions, like: Layout | None = None) -> Layout | None:
    """Detect the layout of a Parquet or Arrow file.

    The columns are those of the first file, else found by name, else by contents. The name of the file may hold columns
    of a partitioned table.

    Returns:
        The layout; None if the file has no rows.

    Raises:
        InputDataError: the file is damaged, its columns cannot be determined, or it lacks columns of the first file.
    """
    name, kind = source.name, FILE_KINDS[source.magic]
    partitions = partitions_of(name)
    with damage_named(source):
        frame = scan_file(source)
        types = dict(frame.collect_schema())
        if not frame.select(pl.len()).collect().item():
            return None
        header = [*types, *(column for column in partitions if column not in types)]
        columns = None if like is None else _columns_like(like, header, options, name)
        rows = pl.DataFrame()
        if columns is None:
            # Values of types that have no text are not read: polars cannot read all of them.
            legible = [column for column in header if is_usable("user", types.get(column, pl.String))]
            rows = _with_partitions(frame, legible, partitions).head(SAMPLE_ROWS).collect()
    if columns is None:
        empty = [pl.Series(column, [""] * rows.height) for column in header if column not in legible]
        columns = columns_of(rows.with_columns(empty).select(header), options, name, types)
    check_types({role: header[index] for role, index in columns.by_role().items()}, rows, types, name)
    return layout_of(header, columns, kind.lower())


def _columns_like(like: Layout, header: list[str], options: ReadOptions, name: str) -> Columns | None:
    """Columns named as in `like`; None to search anew.

    Raises:
        InputDataError: a column is missing, and no other name fits its role.
    """
    assert like.header is not None
    wanted = {role: like.header[index] for role, index in like.columns.by_role().items()}
    # A number stands for another column where the header is another one.
    by_number = any(map(str.isdigit, options.columns.values()))
    if header == like.header or (not by_number and set(wanted.values()) <= set(header)):
        places = {role: header.index(column) for role, column in wanted.items()}
        return replace(
            like.columns,
            user=places["user"],
            item=places["item"],
            rating=places.get("rating"),
            timestamp=places.get("timestamp"),
        )
    known = {role_of(column) for column in header} | set(options.columns)
    for role, column in wanted.items():
        if role not in known:
            raise InputDataError(
                f"{name} has no column {quoted(column)}, unlike the first Parquet file; it has {listed(header)}: files "
                "read together need the same columns"
            )
    return None


def _with_partitions(frame: pl.LazyFrame, columns: list[str], partitions: Mapping[str, str | None]) -> pl.LazyFrame:
    """Select `columns` of a file and of its path (String)."""
    there = frame.collect_schema().names()
    return frame.select(
        pl.col(name) if name in there else pl.lit(partitions[name], pl.String).alias(name) for name in columns
    )


def file_rows(source: OpenSource, layout: Layout, skip_bad_rows: bool, period: Period = EVER) -> Iterator[RatingRows]:
    """Rows of a Parquet or Arrow file in order, batch by batch.

    Rows outside `period` are left out if the timestamps are integers, dates or datetimes; row groups without others are
    not read. With other types they are yielded, for the caller to filter.

    Raises:
        InputDataError: a row is bad or the file is damaged.
    """
    assert layout.header is not None
    names = {role: layout.header[index] for role, index in layout.columns.by_role().items()}
    partitions = partitions_of(source.name)
    n_read = 0
    with damage_named(source):
        file = scan_file(source, ROW)
        n_rows = file.select(pl.len()).collect().item()
        types = file.collect_schema()
        within = None
        if period.is_limited and names["timestamp"] in types:
            within = _within(period, names["timestamp"], types[names["timestamp"]], layout.columns.timestamp_format)
        elif period.is_limited and not _has(period, partitions[names["timestamp"]], layout.columns.timestamp_format):
            yield no_rows(layout, n_rows)
            return
        chosen = _with_partitions(file if within is None else file.filter(within), [ROW, *names.values()], partitions)
        chosen = chosen.select(ROW, **{role: pl.col(column) for role, column in names.items()})
        batches = chosen.collect_batches(chunk_size=BATCH_ROWS, maintain_order=True)
        for batch in batches:
            if batch.height:
                n_read += batch.height
                numbers = batch[ROW].to_numpy().astype(np.int64) + 1
                rows = plain_types(batch.drop(ROW))
                yield check_rows(rows, numbers, layout, f"{source.name}, row", skip_bad_rows)
    # Those that were not read are outside the period.
    if n_read < n_rows:
        yield no_rows(layout, n_rows - n_read)


def _has(period: Period, text: str | None, written: TimestampFormat) -> bool:
    """True if timestamp `text` is in `period` or unreadable."""
    moment = parse_timestamps(pl.Series([text], dtype=pl.String), written)[0]
    return moment is None or period.since <= moment < period.until


def _within(period: Period, column: str, dtype: pl.DataType, written: TimestampFormat) -> pl.Expr | None:
    """Filter for `column` in `period` or null, if possible.

    It may keep other rows. None for types other than integers, dates and datetimes.
    """
    if isinstance(dtype, pl.Datetime):
        is_within = _between(period, column, dtype, Fraction(UNITS_PER_SECOND[dtype.time_unit]))
    elif dtype == pl.Date:
        is_within = _between(period, column, dtype, Fraction(1, SECONDS_PER_DAY))
    elif dtype in WHOLE:
        is_within = _between(period, column, dtype, Fraction(1))
        limits = np.iinfo(np.dtype(str(dtype).lower()))
        # The size of a number tells its unit (`timestamps`), so it is compared in each one that the type can hold.
        for least, per_second in ((int(least), Fraction(per_second)) for least, per_second in PER_SECOND.items()):
            if least <= limits.max:
                in_unit = pl.col(column) >= pl.lit(least, dtype)
                is_within |= in_unit & _between(period, column, dtype, per_second)
            if -least >= limits.min:
                is_within |= pl.col(column) <= pl.lit(-least, dtype)
        for unit in COMPACT_UNITS if written.have_compact else ():
            if LAST_COMPACT * unit <= limits.max:
                is_within |= pl.col(column).is_between(
                    pl.lit(FIRST_COMPACT * unit, dtype), pl.lit((LAST_COMPACT + 1) * unit - 1, dtype)
                )
    else:
        return None
    return is_within | pl.col(column).is_null()


def _between(period: Period, column: str, dtype: pl.DataType, per_second: Fraction) -> pl.Expr:
    """Filter for a column of one unit.

    Bounds are literals of the column's own type, because only then polars compares them with the statistics of row
    groups. A bound beyond the type's range becomes its nearest value.
    """
    physical = "int32" if dtype == pl.Date else str(dtype).lower() if dtype in WHOLE else "int64"
    limits = np.iinfo(np.dtype(physical))

    def literal(seconds: float) -> pl.Expr:
        whole = math.ceil(Fraction(seconds) * per_second)
        value = pl.lit(min(max(whole, int(limits.min)), int(limits.max)), dtype if dtype in WHOLE else pl.Int64)
        if isinstance(dtype, pl.Datetime):
            value = value.cast(pl.Datetime(dtype.time_unit))
            zone = dtype.time_zone
            return value.dt.replace_time_zone("UTC").dt.convert_time_zone(zone) if zone else value
        return value.cast(dtype)

    is_within = pl.lit(True)
    if math.isfinite(period.since):
        is_within = pl.col(column) >= literal(period.since)
    if math.isfinite(period.until):
        before = pl.col(column) < literal(period.until)
        is_within = is_within & before if math.isfinite(period.since) else before
    return is_within
