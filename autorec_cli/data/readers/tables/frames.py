"""Reader of typed columns: frames and batches of Parquet files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from autorec_cli.data.readers.columns.search import find_columns
from autorec_cli.data.readers.layout import Columns, Layout
from autorec_cli.data.readers.options import ReadOptions, name_or_number
from autorec_cli.data.readers.rows import RatingRows, check_rows
from autorec_cli.data.readers.tables.column_types import check_types, id_of, texts_of
from autorec_cli.data.readers.timestamps import TimestampFormat, seconds_since_1970
from autorec_cli.errors import InputDataError, UsageError

FRAME = "the frame"
"""Name of a frame in messages."""
SAMPLE_ROWS = 2000
BATCH_ROWS = 1 << 20


def polars_frame(frame: Any) -> pl.DataFrame:  # noqa: ANN401 (pandas is not imported for its type)
    """Convert a pandas frame to polars; missing values become null.

    Raises:
        UsageError: it is neither pandas nor polars.
    """
    if isinstance(frame, pl.DataFrame):
        return frame
    if type(frame).__module__.partition(".")[0] != "pandas":
        raise UsageError(f"ratings must be file names or a polars or pandas frame, not {type(frame).__name__}")
    return pl.DataFrame([_polars_column(str(name), frame[name]) for name in frame.columns])


def _polars_column(name: str, column: Any) -> pl.Series:  # noqa: ANN401
    values = column.to_numpy()
    if values.dtype.kind in "iufbM":  # numbers, booleans and datetimes
        return pl.Series(name, values)
    texts = [None if missing else str(value) for value, missing in zip(values, column.isna(), strict=True)]
    return pl.Series(name, texts, dtype=pl.String)


def detect_frame(frame: pl.DataFrame, options: ReadOptions) -> Layout:
    """Detect a frame's layout by column names, else contents.

    Raises:
        InputDataError: it has no rows, or its columns cannot be determined.
    """
    if not frame.height:
        raise InputDataError(f"{FRAME} has no rows")
    return detect_typed(frame.head(SAMPLE_ROWS), options, FRAME)


def detect_typed(sample: pl.DataFrame, options: ReadOptions, name: str, kind: str = "parquet") -> Layout:
    """Detect the layout of typed columns by their first rows.

    Raises:
        InputDataError: its columns cannot be determined.
    """
    columns = columns_of(sample, options, name)
    check_types({role: sample.columns[index] for role, index in columns.by_role().items()}, sample, sample.schema, name)
    return layout_of(sample.columns, columns, kind)


def columns_of(
    sample: pl.DataFrame, options: ReadOptions, name: str, types: Mapping[str, pl.DataType] | None = None
) -> Columns:
    """Determine the columns of typed rows, see `find_columns`.

    Args:
        sample: First rows.
        options: Columns chosen by the user.
        name: Name of the source, for messages.
        types: Types by column; None for those of `sample`.

    Raises:
        InputDataError: they cannot be determined.
    """
    header = sample.columns
    asked = {role: name_or_number(header, text) for role, text in options.columns.items()}
    found = find_columns(header, texts_of(sample).rows(), replace(options, columns=asked, has_header=None), name)
    dtype = None if found.timestamp is None else {**sample.schema, **(types or {})}[header[found.timestamp]]
    if dtype in (pl.Date, pl.Datetime):
        found = replace(found, timestamp_format=TimestampFormat(are_seconds=True))
    return found


def layout_of(header: Sequence[str], columns: Columns, kind: str = "parquet") -> Layout:
    """Layout of typed columns in a source of some kind."""
    return Layout(None, list(header), columns, len(header), kind=kind)


def frame_rows(frame: pl.DataFrame, layout: Layout, skip_bad_rows: bool) -> Iterator[RatingRows]:
    """Rows of a frame, batch by batch.

    Raises:
        InputDataError: a row is bad.
    """
    for start in range(0, frame.height, BATCH_ROWS):
        yield typed_rows(frame.slice(start, BATCH_ROWS), start + 1, layout, FRAME, skip_bad_rows)


def typed_rows(batch: pl.DataFrame, first: int, layout: Layout, name: str, skip_bad_rows: bool) -> RatingRows:
    """Rows of a batch of typed columns, numbered from `first`.

    Raises:
        InputDataError: a row is bad.
    """
    chosen = plain_types(batch.select(**{role: pl.nth(index) for role, index in layout.columns.by_role().items()}))
    return check_rows(chosen, np.arange(first, first + batch.height), layout, f"{name}, row", skip_bad_rows)


def plain_types(batch: pl.DataFrame) -> pl.DataFrame:
    """Cast ids to Int64 or String, and dates to seconds.

    Numbers stay; all other columns become String, to be parsed like text.
    """
    types = batch.schema
    frame = batch.with_columns(id_of(role, types[role]) for role in ("user", "item"))
    if "timestamp" in types and types["timestamp"] in (pl.Date, pl.Datetime):
        frame = frame.with_columns(seconds_since_1970(frame["timestamp"]).alias("timestamp"))
    others = [name for name, dtype in frame.schema.items() if not dtype.is_numeric()]
    return frame.with_columns(pl.col(others).cast(pl.String))
