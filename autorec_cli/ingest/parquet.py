"""Ratings from a Parquet file: the same checks as for text, on columns that have types."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import polars as pl

from autorec_cli.errors import InputDataError
from autorec_cli.ingest.detection import Layout, find_columns
from autorec_cli.ingest.numbers import seconds_since_1970
from autorec_cli.ingest.options import ROLES, ReadOptions
from autorec_cli.ingest.parsing import Rows, check_rows

SAMPLE_ROWS = 2000
SAMPLE_LETTERS = 256  # of a value
BATCH_ROWS = 1 << 20

DAMAGE = (pl.exceptions.PolarsError, pl.exceptions.PanicException)
"""What polars raises at a damaged file; a panic is no `Exception`."""

STDERR = 2


def detect_parquet(path: Path, options: ReadOptions, name: str) -> Layout:
    """The layout of a Parquet file, by the names of its columns, else by their contents.

    Raises:
        InputDataError: the file is damaged, has no rows, or which column is which cannot be told.
    """
    try:
        with _silent_panics():
            sample = pl.scan_parquet(path, glob=False).head(SAMPLE_ROWS).collect()
    except (*DAMAGE, OSError) as error:
        raise InputDataError(f"{name} is a damaged Parquet file: {error}") from error
    if not sample.height:
        raise InputDataError(f"{name} has no rows")
    texts = sample.select(pl.all().cast(pl.String, strict=False).str.head(SAMPLE_LETTERS).fill_null(""))
    columns = find_columns(sample.columns, texts.rows(), options, name)
    for role in ("user", "item"):
        dtype = sample.dtypes[columns.of(role) or 0]
        if dtype.is_nested() or dtype == pl.Binary:
            raise InputDataError(f"{name}: the {role} column is of type {dtype}, which is no id; choose with --columns")
    return Layout(None, sample.columns, columns, len(sample.columns))


def parquet_rows(path: Path, layout: Layout, name: str, skip_bad_rows: bool) -> Iterator[Rows]:
    """The rows of a Parquet file, a batch at a time, in order.

    Raises:
        InputDataError: a row is bad or the file is damaged.
    """
    assert layout.header is not None
    names = {role: layout.header[index] for role in ROLES if (index := layout.columns.of(role)) is not None}
    chosen = pl.scan_parquet(path, glob=False).select(**{role: pl.col(column) for role, column in names.items()})
    first_row = 1
    try:
        batches = chosen.collect_batches(chunk_size=BATCH_ROWS, maintain_order=True)
        while (batch := _next(batches)) is not None:
            if batch.height:
                numbers = np.arange(first_row, first_row + batch.height)
                yield check_rows(_as_text(batch), numbers, layout, f"{name}, row", skip_bad_rows)
                first_row += batch.height
    except DAMAGE as error:
        raise InputDataError(f"{name} is a damaged Parquet file or has unusable columns: {error}") from error


def _next(batches: Iterator[pl.DataFrame]) -> pl.DataFrame | None:
    with _silent_panics():
        return next(batches, None)


@contextmanager
def _silent_panics() -> Iterator[None]:
    """Keep stderr from what Rust prints when polars gives up on a damaged file: the exception says it in a sentence."""
    try:
        saved = os.dup(STDERR)
    except OSError:  # stderr is closed
        yield
        return
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, STDERR)
        yield
    finally:
        os.dup2(saved, STDERR)
        os.close(saved)
        os.close(null)


def _as_text(batch: pl.DataFrame) -> pl.DataFrame:
    """Ids as they print, dates as seconds; what is neither id nor number nor date as text, to be parsed like text."""
    frame = batch.with_columns(pl.col("user", "item").cast(pl.String))
    if "timestamp" in frame.columns and frame["timestamp"].dtype in (pl.Date, pl.Datetime):
        frame = frame.with_columns(seconds_since_1970(frame["timestamp"]).alias("timestamp"))
    others = [name for name, dtype in frame.schema.items() if not dtype.is_numeric()]
    return frame.with_columns(pl.col(others).cast(pl.String))
