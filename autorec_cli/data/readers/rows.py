"""Checked rows of a source, and messages about bad ones."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from autorec_cli.data.readers.layout import Layout
from autorec_cli.data.readers.numbers import FLOAT32_MAX, parse_numbers
from autorec_cli.data.readers.options import ROLES, Period, ReadOptions
from autorec_cli.data.readers.timestamps import ISO_DATE, TimestampFormat, narrow, parse_timestamps
from autorec_cli.errors import InputDataError, quoted

REST = "rest"  # column of the first surplus field
PROBLEM = "problem"  # column of quoting errors
MAX_EXPLAINED = 5  # bad rows reported
USE_POINTS = "use a decimal point, not a comma, and no thousands separators"
NO_NUMBER = "is not a number"
MOSTLY = 0.9  # fraction of ratings from which bad ones are the rule


@dataclass(frozen=True)
class RatingRows:
    """Good rows of a block, in order.

    Attributes:
        users, items: Ids, String; or Int64 if each id is its number in decimal.
        ratings: float32.
        timestamps: int32 or float64; None if the source has none.
        n_lines: Lines of the block, blank and bad ones included.
        n_skipped: Bad rows left out.
        skipped: Place and problem of the first of these.
        n_outside: Rows left out because they are outside the period.
        n_missing: Rows left out because their rating stands for none.
    """

    users: pl.Series
    items: pl.Series
    ratings: NDArray[np.float32]
    timestamps: NDArray[np.generic] | None
    n_lines: int
    n_skipped: int = 0
    skipped: tuple[str, ...] = ()
    n_outside: int = 0
    n_missing: int = 0

    def __len__(self) -> int:
        return len(self.ratings)


def rows_of(frame: pl.DataFrame, n_lines: int, n_skipped: int = 0, skipped: tuple[str, ...] = ()) -> RatingRows:
    """Convert a frame of good rows, with columns by role.

    Without ratings, each is 1.
    """
    has_ratings = "rating" in frame.columns
    ratings = frame["rating"].to_numpy().astype(np.float32) if has_ratings else np.ones(frame.height, np.float32)
    timestamps = narrow(frame["timestamp"].to_numpy()) if "timestamp" in frame.columns else None
    return RatingRows(frame["user"], frame["item"], ratings, timestamps, n_lines, n_skipped, skipped)


def frame_of(rows: RatingRows) -> pl.DataFrame:
    """Frame of rows, with ids as text."""
    columns = {
        "user": rows.users.cast(pl.String),
        "item": rows.items.cast(pl.String),
        "rating": pl.Series(rows.ratings),
    }
    if rows.timestamps is not None:
        columns["timestamp"] = pl.Series(rows.timestamps)
    return pl.DataFrame(columns)


def no_rows(layout: Layout, n_outside: int = 0) -> RatingRows:
    """Empty block, after `n_outside` rows outside the period."""
    timestamps = None if layout.columns.timestamp is None else np.empty(0, dtype=np.int32)
    no_ids = pl.Series([], dtype=pl.String)
    return RatingRows(no_ids, no_ids, np.empty(0, dtype=np.float32), timestamps, 0, n_outside=n_outside)


def within_period(rows: RatingRows, period: Period) -> RatingRows:
    """Filter rows by `period`."""
    if not period.is_limited or rows.timestamps is None or not len(rows):
        return rows
    moments = rows.timestamps.astype(np.float64)
    kept = _take(rows, (moments >= period.since) & (moments < period.until))
    return replace(kept, n_outside=rows.n_outside + len(rows) - len(kept))


def without_missing(rows: RatingRows, options: ReadOptions) -> RatingRows:
    """Leave out rows whose rating stands for none."""
    kept = rows
    # Compared as ratings are stored: 0.1 is another number in double precision.
    if options.missing_rating is not None:
        kept = _take(kept, kept.ratings != np.float32(options.missing_rating))
    if options.interactions:
        kept = _take(kept, kept.ratings > 0)
    return replace(kept, n_missing=rows.n_missing + len(rows) - len(kept))


def _take(rows: RatingRows, keep: NDArray[np.bool_]) -> RatingRows:
    if keep.all():
        return rows
    return replace(
        rows,
        users=rows.users.filter(pl.Series(keep)),
        items=rows.items.filter(pl.Series(keep)),
        ratings=rows.ratings[keep],
        timestamps=None if rows.timestamps is None else rows.timestamps[keep],
    )


def check_rows(
    texts: pl.DataFrame, numbers: NDArray[np.int64], layout: Layout, where: str, skip_bad_rows: bool
) -> RatingRows:
    """Parse and check a frame of rows.

    Args:
        texts: Columns by role, String or numeric, and `REST` and `PROBLEM` if any.
        numbers: Line or row numbers in the source.
        layout: Column names, for messages.
        where: Start of a message, before the number.
        skip_bad_rows: Leave out bad rows instead of raising.

    Raises:
        InputDataError: a row is bad and `skip_bad_rows` is false.
    """
    parsed, good = texts, pl.lit(True)
    if "rating" in texts.columns:
        parsed = texts.with_columns(parse_numbers(texts["rating"]).alias("rating"))
        good = pl.col("rating").abs() <= FLOAT32_MAX
    if "timestamp" in texts.columns:
        parsed = parsed.with_columns(
            parse_timestamps(texts["timestamp"], layout.columns.timestamp_format).alias("timestamp")
        )
    for role in ("user", "item"):
        good &= pl.col(role).is_not_null()
        if texts.schema[role] == pl.String:
            good &= pl.col(role) != ""
    if "timestamp" in texts.columns:
        good &= pl.col("timestamp").is_finite()
    for extra in {REST, PROBLEM} & set(texts.columns):
        good &= pl.col(extra).is_null()
    is_good = parsed.select(good.fill_null(False).alias("good"))["good"]
    bad = np.flatnonzero(~is_good.to_numpy())
    explained = tuple(
        f"{where} {numbers[row]}, {_explain(texts.row(row, named=True), layout)}"
        for row in bad[:MAX_EXPLAINED].tolist()
    )
    if explained and not skip_bad_rows:
        raise InputDataError(explained[0] + _advice(explained[0], texts, parsed))
    return rows_of(parsed.filter(is_good), texts.height, len(bad), explained)


def _advice(problem: str, texts: pl.DataFrame, parsed: pl.DataFrame) -> str:
    """Advice on the first bad row, unless its problem ends with some."""
    # Where one number has a comma, others have: they are not for skipping.
    if problem.endswith(USE_POINTS):
        return ""
    if problem.endswith(NO_NUMBER):
        numbers = parsed["rating"].filter(texts["rating"].cast(pl.String).str.strip_chars() != "")
        if numbers.null_count() >= MOSTLY * len(numbers):
            return "; write ratings as numbers, or ignore them with --columns rating=none"
    return "; fix it or use --on-error skip"


def _explain(row: dict[str, object], layout: Layout) -> str:
    """Describe the leftmost bad column of a row."""
    if row.get(PROBLEM):
        return str(row[PROBLEM])
    for role in sorted((role for role in ROLES if role in row), key=lambda role: layout.columns.of(role) or 0):
        value = row[role]
        complaint = _complaint(role, None if value is None else str(value), layout.columns.timestamp_format)
        if complaint:
            return f"column {layout.column_name(role)}: {complaint}"
    return f"the row has more than {layout.n_fields} fields, the next is {quoted(row.get(REST))}"


def _complaint(role: str, value: str | None, written: TimestampFormat) -> str | None:
    if value is None or not value.strip():
        is_id = role in ("user", "item") and value
        return None if is_id else "the field is missing or empty"
    if role in ("user", "item"):
        return None
    number = parse_numbers(pl.Series([value]))[0]
    if role == "timestamp":
        moment = parse_timestamps(pl.Series([value]), written)[0]
        return None if moment is not None and np.isfinite(moment) else f"{quoted(value)} is {_no_date(value, written)}"
    if number is None:
        has_comma = parse_numbers(pl.Series([value.replace(",", "")]))[0] is not None
        hint = f"; {USE_POINTS}" if has_comma else ""
        return f"{quoted(value)} {NO_NUMBER}{hint}"
    return None if abs(number) <= FLOAT32_MAX else f"{quoted(value)} is not a finite number"


def _no_date(value: str, written: TimestampFormat) -> str:
    if written.pattern is not None:
        return f"not a date of the format {written.pattern}"
    if ISO_DATE.fullmatch(value) or parse_numbers(pl.Series([value]))[0] is not None:
        return "not a possible date"
    return (
        "neither a number nor a date like 2024-01-31 or 2024-01-31T12:00:00Z; name the format of other dates with "
        "--date-format"
    )
