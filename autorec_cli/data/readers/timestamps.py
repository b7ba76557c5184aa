"""Timestamps, converted to seconds since 1970 in UTC.

They are numbers, ISO 8601 dates or dates of a given format. Numbers from 1e11 on are milliseconds, from 1e14 on
microseconds, from 1e17 on nanoseconds: a unit more or less would put them thousands of years away. Numbers such as
20240131 are dates where a sample holds dates; they are numbers where it holds other numbers of this size, as a counter
does.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from autorec_cli.data.readers.numbers import parse_numbers
from autorec_cli.errors import UsageError, quoted

ISO_FORMATS = {
    "%Y-%m-%dT%H:%M:%S": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d",
    "%Y-%m-%d %H:%M:%S": r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d",
    "%Y-%m-%d": r"\d{4}-\d\d-\d\d",
    "%Y-%m-%dT%H:%M": r"\d{4}-\d\d-\d\dT\d\d:\d\d",
    "%Y-%m-%d %H:%M": r"\d{4}-\d\d-\d\d \d\d:\d\d",
    "%Y%m%dT%H%M%S": r"\d{8}T\d{6}",
    "%Y%m%dT%H%M": r"\d{8}T\d{4}",
}
"""Patterns of dates and times by strptime format; a fraction of a second and a time zone may follow."""
OTHER_DATES = (
    "%m/%d/%Y",
    "%d/%m/%Y",
    "%d.%m.%Y",
    "%Y/%m/%d",
    "%m-%d-%Y",
    "%d-%m-%Y",
    "%d %B %Y",
    "%B %d, %Y",
)
OTHER_FORMATS = tuple(date + clock for clock in ("", " %H:%M", " %H:%M:%S", " %I:%M %p") for date in OTHER_DATES)
"""Formats to suggest for `--date-format`."""
ZONE = re.compile(r"\s*(?:Z|UTC|(?P<sign>[+-])(?P<hours>[01]\d|2[0-3])(?::?(?P<minutes>[0-5]\d))?(?: UTC)?)?", re.ASCII)
ISO_END = rf"(?:[.,]\d+)?{ZONE.pattern}"
ISO_DATE = re.compile(rf"\s*(?:{'|'.join(ISO_FORMATS.values())}){ISO_END}\s*", re.ASCII)
EXAMPLE = datetime(2034, 11, 25, 17, 48, 59)  # parts have all their digits, and no two are alike
FIRST_COMPACT, LAST_COMPACT = 19000101, 21001231
COMPACT_UNITS = (1, 10**4, 10**6)
"""Compact dates have 8 digits; 12 with hours and minutes, and 14 with seconds too."""
MILLISECONDS = 1e11
PER_SECOND = {1e17: 1e9, 1e14: 1e6, MILLISECONDS: 1e3}
"""Units per second by the size from which on numbers are in that unit."""
DATES_FROM = 1e8
"""Smaller numbers are no seconds since 1970 in a column of these: they would be of 1973 or before."""
EPOCH_RANGES = tuple((DATES_FROM * unit, 3e9 * unit) for unit in (1.0, *PER_SECOND.values()))
"""1973 to 2065 in each unit."""
COMPACT_DATE = re.compile(
    r"\s*(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?:(?:[01]\d|2[0-3])[0-5]\d(?:[0-5]\d)?)?\s*", re.ASCII
)
"""20240131, 202401311200 or 20240131120000."""
MIN_COMPACT = 0.5
"""Fraction of the small numbers of a sample that are dates if numbers such as 20240131 are."""
WHOLE = re.compile(r"[+-]?\d{1,18}", re.ASCII)
INT32 = np.iinfo(np.int32)


@dataclass(frozen=True)
class TimestampFormat:
    """Format of the timestamps of a source.

    Attributes:
        pattern: strptime format given by the user; None for numbers and ISO 8601.
        are_seconds: Seconds already, made from dates by the reader.
        are_whole: All of the sample are whole numbers.
        have_compact: Numbers such as 20240131 are dates.
    """

    pattern: str | None = None
    are_seconds: bool = False
    are_whole: bool = False
    have_compact: bool = True


ANY_FORMAT = TimestampFormat()


def detect_format(values: Sequence[str], pattern: str | None = None) -> TimestampFormat | None:
    """Detect the format of a sample of timestamps.

    None if none of them can be read.
    """
    texts = pl.Series(values, dtype=pl.String).str.strip_chars()
    readable = parse_timestamps(texts, TimestampFormat(pattern)).is_finite().fill_null(False)
    if not readable.any():
        return None
    numbers = parse_numbers(texts)
    # Among other dates, numbers such as 20240131 are dates as well.
    has_dates = (readable & numbers.is_null()).any()
    small = numbers.filter(numbers.abs() < DATES_FROM).to_numpy()
    dates = _compact_to_seconds(small[_like_compact(small)].astype(np.int64))
    return TimestampFormat(
        pattern,
        are_whole=pattern is None and all(map(WHOLE.fullmatch, values)),
        have_compact=bool(has_dates or np.count_nonzero(~np.isnan(dates)) >= MIN_COMPACT * len(small)),
    )


def parse_timestamps(values: pl.Series, written: TimestampFormat = ANY_FORMAT) -> pl.Series:
    """Parse timestamps to seconds since 1970 in UTC.

    The result is Float64, and null where they cannot be read. Dates without a time zone are in UTC. Whole numbers of
    seconds keep their type.
    """
    if values.dtype.is_numeric():
        return values if written.are_seconds else _numbers_to_seconds(values, written)
    texts = values.str.strip_chars()
    if written.pattern is not None:
        return seconds_since_1970(_to_datetime(texts, written.pattern))
    numbers = parse_numbers(texts)
    if numbers.null_count() == texts.null_count():
        return _numbers_to_seconds(numbers, written)
    if numbers.null_count() == len(texts):
        return _parse_iso(texts)
    return _numbers_to_seconds(numbers, written).fill_null(_parse_iso(texts.set(numbers.is_not_null(), None)))


def _numbers_to_seconds(numbers: pl.Series, written: TimestampFormat) -> pl.Series:
    """Scale numbers to seconds by their size, and convert compact dates."""
    if numbers.null_count() == len(numbers):
        return numbers
    low, high = float(numbers.min()), float(numbers.max())  # type: ignore[arg-type]
    if low > (LAST_COMPACT if written.have_compact else -MILLISECONDS) and high < MILLISECONDS:
        return numbers  # the usual case: seconds
    values = numbers.cast(pl.Float64).to_numpy()
    size = np.abs(values)
    per_second = np.select([size >= least for least in PER_SECOND], list(PER_SECOND.values()), 1.0)
    seconds = values / per_second
    if written.have_compact:
        is_compact = _like_compact(values)
        seconds[is_compact] = _compact_to_seconds(values[is_compact].astype(np.int64))
    return pl.Series(seconds, nan_to_null=True)


def _like_compact(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Mask of whole numbers between compact dates, such as 20240131 and 20240199."""
    ranges = [(FIRST_COMPACT * unit, (LAST_COMPACT + 1) * unit) for unit in COMPACT_UNITS]
    in_range = np.logical_or.reduce([(values >= low) & (values < high) for low, high in ranges])
    mask: NDArray[np.bool_] = in_range & (values == np.floor(values))
    return mask


def _compact_to_seconds(numbers: NDArray[np.int64]) -> NDArray[np.float64]:
    """Seconds since 1970 of numbers such as 20240131; NaN of impossible dates."""
    # All are brought to 14 digits.
    units = np.select([numbers >= FIRST_COMPACT * unit for unit in reversed(COMPACT_UNITS)], COMPACT_UNITS[::-1])
    days, clock = np.divmod(numbers * (COMPACT_UNITS[-1] // units), COMPACT_UNITS[-1])
    year, month, day = days // 10000, days // 100 % 100, days % 100
    hour, minute, second = clock // 10000, clock // 100 % 100, clock % 100
    months = ((year - 1970) * 12 + month - 1).astype("datetime64[M]")
    date = months.astype("datetime64[D]") + (day - 1)
    # A day that a month does not have leads into another one.
    possible = (month >= 1) & (month <= 12) & (date.astype("datetime64[M]") == months)
    possible &= (hour < 24) & (minute < 60) & (second < 60)
    seconds = date.astype(np.int64) * 86400 + hour * 3600 + minute * 60 + second
    return np.where(possible, seconds, np.nan)


def _parse_iso(texts: pl.Series) -> pl.Series:
    """Parse ISO 8601 dates, one format after the other.

    Most columns have a single one.
    """
    seconds = np.full(len(texts), np.nan)
    pending = np.flatnonzero(texts.is_not_null().to_numpy())
    texts = texts.drop_nulls()
    first = texts[0] if len(texts) else ""  # its format is tried first
    for pattern in sorted(ISO_FORMATS, key=lambda pattern: re.fullmatch(ISO_FORMATS[pattern] + ISO_END, first) is None):
        if not len(texts):
            break
        parsed = _parse_iso_format(texts, pattern)
        seconds[pending] = parsed.to_numpy()
        left = parsed.is_null()
        texts, pending = texts.filter(left), pending[left.to_numpy()]
    return pl.Series(seconds, nan_to_null=True)


def _parse_iso_format(texts: pl.Series, pattern: str) -> pl.Series:
    """Parse texts that begin with a date of one format.

    Others become null.
    """
    length = len(EXAMPLE.strftime(pattern))
    text = pl.col("text")
    # polars is fast without fraction and time zone only, and lenient with spaces and missing zeros.
    heads = pl.when(text.str.contains(f"^{ISO_FORMATS[pattern]}")).then(text.str.head(length))
    zone = text.str.slice(length).str.strip_chars_start(".,0123456789")
    end = text.str.len_chars() - zone.str.len_chars()
    parts = texts.to_frame("text").select(
        moment=heads.str.to_datetime(pattern, time_unit="us", strict=False, cache=False).dt.epoch("us"),
        zone=zone,
        fraction=pl.when(end > length).then(text.str.slice(length, end - length)),
    )
    # A column has few time zones: each is parsed once.
    zones = parts["zone"].unique().drop_nulls()
    shifts = pl.Series([_zone_shift(zone) for zone in zones], dtype=pl.Int64)
    shift = pl.col("zone").replace_strict(zones, shifts, default=None) if len(zones) > 1 else pl.lit(shifts[0])
    moment = pl.col("moment") + shift
    if parts["fraction"].null_count() < len(parts):
        is_fraction = pl.col("fraction").str.contains(r"^[.,]\d+$") & pattern.endswith("%S")
        fraction = ("0." + pl.col("fraction").str.slice(1)).cast(pl.Float64, strict=False) * 1e6
        moment += pl.when(pl.col("fraction").is_null()).then(0).when(is_fraction).then(fraction.round().cast(pl.Int64))
    return parts.select(moment / 1e6).to_series()


def _zone_shift(text: str) -> int | None:
    """Microseconds from a time zone to UTC; None if it is none."""
    zone = ZONE.fullmatch(text)
    if zone is None:
        return None
    minutes = int(zone["hours"] or 0) * 60 + int(zone["minutes"] or 0)
    return minutes * 60_000_000 * (1 if zone["sign"] == "-" else -1)


def _to_datetime(texts: pl.Series, pattern: str) -> pl.Series:
    pattern = _polars_pattern(pattern)
    zone = "UTC" if re.search("%:{0,3}z|%#z", pattern) else None
    return texts.str.to_datetime(pattern, time_unit="us", time_zone=zone, strict=False, cache=False)


def _polars_pattern(pattern: str) -> str:
    """Format of polars for a format of Python."""
    return pattern.replace(".%f", "%.f")


def check_date_format(pattern: str) -> None:
    """Check `--date-format`.

    Raises:
        UsageError: it does not name year, month and day.
    """
    try:
        written = pl.Series([EXAMPLE]).dt.replace_time_zone("UTC").dt.strftime(_polars_pattern(pattern))
        read = parse_timestamps(written, TimestampFormat(pattern))[0]
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        read = None
    if read is None or datetime.fromtimestamp(read, UTC).date() != EXAMPLE.date():
        raise UsageError(
            f"--date-format {quoted(pattern)} is not a format of dates, such as %m/%d/%Y, %d.%m.%Y %H:%M or '%b %d, %Y'"
        )


def formats_of(values: Sequence[str]) -> list[str]:
    """Formats for `--date-format` that all of some texts have."""
    texts = pl.Series(values, dtype=pl.String).str.strip_chars()
    # polars reads 18 as %Y too, as the year 18.
    if not texts.str.contains(r"\d{4}").all():
        formats = [pattern.replace("%Y", "%y") for pattern in OTHER_FORMATS]
    else:
        formats = list(OTHER_FORMATS)
    return [pattern for pattern in formats if not _to_datetime(texts, pattern).has_nulls()]


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
