"""Parsing of ratings and timestamps, column by column."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
from numpy.typing import NDArray

from autorec_cli.errors import UsageError, quoted

ISO_PARTS = (
    r"^(?P<date>\d{4}-\d\d-\d\d)(?:[T ](?P<minute>\d\d:\d\d)(?P<second>:\d\d(?:\.\d+)?)?)?"
    r"\s*(?P<offset>Z|[+-]\d\d:?\d\d)?$"
)
INT32 = np.iinfo(np.int32)
FLOAT32_MAX = float(np.finfo(np.float32).max)


def parse_numbers(texts: pl.Series) -> pl.Series:
    """Parse decimal numbers to Float64, others to null."""
    if texts.dtype.is_numeric():  # from Parquet
        return texts.cast(pl.Float64)
    return texts.str.strip_chars().cast(pl.Float64, strict=False)


def parse_timestamps(texts: pl.Series) -> pl.Series:
    """Parse numbers and ISO 8601 dates to Float64.

    Numbers stay as they are; dates become seconds since 1970, in UTC unless they have an offset.
    """
    numbers = parse_numbers(texts)
    if texts.dtype.is_numeric() or numbers.null_count() == texts.null_count():
        return numbers
    parts = texts.str.strip_chars().str.extract_groups(ISO_PARTS).struct.unnest()
    text = parts.select(
        pl.concat_str(
            pl.col("date"),
            pl.lit("T"),
            pl.col("minute").fill_null("00:00"),
            pl.col("second").fill_null(":00"),
            pl.col("offset").fill_null("+00:00").replace("Z", "+00:00").str.replace(r"(\d\d):?(\d\d)$", "$1:$2"),
        ).alias("text")
    )["text"]
    moments = text.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%:z", time_unit="us", time_zone="UTC", strict=False)
    return numbers.fill_null(seconds_since_1970(moments))


def parse_moment(flag: str, text: str) -> float:
    """Parse option `flag`: a timestamp or ISO 8601 date.

    Raises:
        UsageError: it is neither.
    """
    moment = parse_timestamps(pl.Series([text]))[0]
    if moment is None or not math.isfinite(moment):
        raise UsageError(
            f"{flag} {quoted(text)} is neither a date like 2024-01-31 or 2024-01-31T12:00:00Z nor a number"
        )
    return float(moment)


def seconds_since_1970(moments: pl.Series) -> pl.Series:
    """Seconds since 1970 of a Datetime or Date column, Float64."""
    return moments.cast(pl.Datetime("us")).dt.epoch("us").cast(pl.Float64) / 1e6


def narrow(timestamps: NDArray[np.generic]) -> NDArray[np.generic]:
    """Cast timestamps to int32 if exact, else to float64.

    int32 saves 4 bytes per rating.
    """
    if not len(timestamps):
        return timestamps.astype(np.int32)
    low, high = timestamps.min(), timestamps.max()
    if low >= INT32.min and high <= INT32.max:
        whole = timestamps.astype(np.int32)
        if timestamps.dtype.kind in "iu" or np.array_equal(whole, timestamps):
            return whole
    return timestamps.astype(np.float64)
