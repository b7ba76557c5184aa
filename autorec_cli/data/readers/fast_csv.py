"""A block of text becomes checked columns; every bad row is found here.

The good path reads a block once: by `plain` where ids are plain numbers, else typed, in polars. Only where that shows
something wrong is the block read again as text, to tell bad rows from blank lines and from numbers in other dress, and
to name the line of a bad one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from autorec_cli.data.readers.blocks import (
    check_utf_8,
    is_utf_8,
    single_byte_delimiter,
    well_quoted,
    without_blank_lines,
)
from autorec_cli.data.readers.detection import Layout
from autorec_cli.data.readers.exact_csv import QUOTE, TextFormat, records
from autorec_cli.data.readers.numbers import FLOAT32_MAX, narrow, parse_numbers, parse_timestamps
from autorec_cli.data.readers.options import ROLES
from autorec_cli.data.readers.plain import read_plain
from autorec_cli.errors import InputDataError, quoted

REST = "rest"  # the field after the last one a row may have
PROBLEM = "problem"  # what is wrong with the quotes of a row
MOST_EXPLAINED = 5  # bad rows that are named
IS_BLANK = np.isin(np.arange(256), list(b" \t\r\n"))  # of every byte


@dataclass(frozen=True)
class Rows:
    """The good rows of a block, in order.

    Attributes:
        users, items: Ids, String; or int32 numbers that print as the ids do, where all ids of the block are such.
        ratings: float32.
        timestamps: int32 or float64; None if the source has none.
        n_lines: Lines of the block, blank and bad ones included.
        n_skipped: Bad rows left out.
        skipped: What was wrong with the first ones of them, each with its place.
        n_outside: Rows left out because they are outside the period that was asked for.
    """

    users: pl.Series | NDArray[np.int32]
    items: pl.Series | NDArray[np.int32]
    ratings: NDArray[np.float32]
    timestamps: NDArray[np.generic] | None
    n_lines: int
    n_skipped: int = 0
    skipped: tuple[str, ...] = ()
    n_outside: int = 0

    def __len__(self) -> int:
        return len(self.ratings)


def _rows(frame: pl.DataFrame, n_lines: int, n_skipped: int = 0, skipped: tuple[str, ...] = ()) -> Rows:
    """The rows of a frame of good ones: user, item (String), rating and, if the source has one, timestamp."""
    ratings = frame["rating"].to_numpy().astype(np.float32)
    timestamps = narrow(frame["timestamp"].to_numpy()) if "timestamp" in frame.columns else None
    return Rows(frame["user"], frame["item"], ratings, timestamps, n_lines, n_skipped, skipped)


def parse_block(block: bytes, layout: Layout, name: str) -> Rows | None:
    """The rows of `block` if it has nothing but good ones that a fast reader reads rightly, else None.

    Args:
        block: Whole rows, without the header.
        layout: How it is laid out.
        name: The source, for messages.

    Raises:
        InputDataError: see `single_byte_delimiter`.
    """
    text_format = layout.text_format
    assert text_format is not None
    rows = read_plain(block, layout, name)
    if rows is not None:
        timestamps = None if rows.timestamps is None else narrow(rows.timestamps)
        return Rows(rows.users, rows.items, rows.ratings, timestamps, len(rows.users))
    if not is_utf_8(block):
        return None
    has_quotes = text_format.quoted and QUOTE in block
    n_rows = well_quoted(block, text_format) if has_quotes else None
    if (has_quotes and n_rows is None) or _has_stray_returns(block, text_format):
        return None
    frame = _read(block, layout, name, as_text=False)
    if n_rows not in (None, frame.height) or not _is_good(frame):
        return None if has_quotes else _parse_without_blank_lines(block, layout, name)
    return _rows(frame, block.count(text_format.newline) if has_quotes else frame.height)


def _parse_without_blank_lines(block: bytes, layout: Layout, name: str) -> Rows | None:
    """What `parse_block` gives for a block without quotes if blank lines were all that was wrong with it."""
    assert layout.text_format is not None
    filled = without_blank_lines(block, layout.text_format)
    if len(filled) == len(block):
        return None
    rows = parse_block(filled, layout, name) if filled else no_rows(layout)
    return None if rows is None else replace(rows, n_lines=block.count(layout.text_format.newline))


def no_rows(layout: Layout, n_outside: int = 0) -> Rows:
    """Nothing but rows that are outside the period."""
    timestamps = None if layout.columns.timestamp is None else np.empty(0, dtype=np.int32)
    no_ids = pl.Series([], dtype=pl.String)
    return Rows(no_ids, no_ids, np.empty(0, dtype=np.float32), timestamps, 0, n_outside=n_outside)


def examine_block(block: bytes, first_line: int, layout: Layout, name: str, skip_bad_rows: bool) -> Rows:
    """The rows of a block in which something may be wrong.

    Args:
        block: Whole rows, without the header.
        first_line: Number of its first line in the source.
        layout: How it is laid out.
        name: The source, for messages.
        skip_bad_rows: Whether to leave out bad rows instead of raising.

    Raises:
        InputDataError: a row is bad; the message names line, column and value.
    """
    text_format = layout.text_format
    assert text_format is not None
    check_utf_8(block, first_line, text_format, name)
    if (text_format.quoted and QUOTE in block) or _has_stray_returns(block, text_format):
        texts, lines = _read_exactly(block, first_line, layout, text_format)
    else:
        texts = _read(block, layout, name, as_text=True)
        lines = np.arange(first_line, first_line + texts.height)
        filled = ~_blank_rows(texts.height, block, text_format)
        texts, lines = texts.filter(filled), lines[filled]
    rows = check_rows(texts, lines, layout, f"{name}, line", skip_bad_rows)
    return replace(rows, n_lines=max(block.count(text_format.newline), 1))


def _has_stray_returns(block: bytes, text_format: TextFormat) -> bool:
    """Whether a carriage return is part of an id: polars takes it away at the end of any field."""
    return text_format.newline == b"\n" and b"\r" in block and block.count(b"\r") != block.count(b"\r\n")


def _read(block: bytes, layout: Layout, name: str, as_text: bool) -> pl.DataFrame:
    """The columns of `layout` by role, and `REST`; null for what is missing, empty or, unless `as_text`, no number."""
    assert layout.text_format is not None
    data, separator = single_byte_delimiter(block, layout.text_format, name)
    positions = {role: index for role in ROLES if (index := layout.columns.of(role)) is not None}
    schema: dict[str, pl.DataType | type[pl.DataType]] = {
        f"column_{index}": pl.String for index in range(layout.n_fields + 1)
    }
    if not as_text:
        schema[f"column_{positions['rating']}"] = pl.Float64
        if "timestamp" in positions:
            schema[f"column_{positions['timestamp']}"] = pl.Int64
    frame = pl.read_csv(
        data,
        has_header=False,
        schema=schema,
        separator=separator,
        quote_char='"' if layout.text_format.quoted else None,
        eol_char=layout.text_format.newline.decode(),
        missing_columns="insert",
        extra_columns="ignore",
        ignore_errors=True,  # what is no number becomes null, and null is looked into
        columns=[f"column_{i}" for i in sorted({*positions.values(), layout.n_fields})],
    )
    columns = {role: pl.col(f"column_{index}") for role, index in positions.items()}
    columns[REST] = pl.col(f"column_{layout.n_fields}")
    return frame.select(**columns)


def _is_good(frame: pl.DataFrame) -> bool:
    """Whether a typed frame can be taken as it is: nothing missing, nothing left over, finite ratings."""
    if frame[REST].null_count() != frame.height or any(column.null_count() for column in frame.drop(REST)):
        return False
    in_range = pl.col("rating").abs() <= FLOAT32_MAX  # false for nan and infinity
    has_ids = (pl.col("user") != "") & (pl.col("item") != "")
    return bool(frame.select((in_range & has_ids).all()).item())


def _blank_rows(n_rows: int, block: bytes, text_format: TextFormat) -> NDArray[np.bool_]:
    """Which of the `n_rows` rows of a block without quotes are lines of nothing but blanks and tabs, (n_rows,)."""
    data = np.frombuffer(block, dtype=np.uint8)
    ends = np.append(np.flatnonzero(data == ord(text_format.newline)), len(data))[:n_rows]
    n_filled = np.append(0, np.cumsum(~IS_BLANK[data], dtype=np.int32))[ends]
    blank: NDArray[np.bool_] = np.diff(n_filled, prepend=0) == 0
    return blank


def _read_exactly(
    block: bytes, first_line: int, layout: Layout, text_format: TextFormat
) -> tuple[pl.DataFrame, NDArray[np.int64]]:
    """What `_read` gives as text, row by row in Python, with `PROBLEM` and the line of every row; no blank lines."""
    positions = {role: index for role in ROLES if (index := layout.columns.of(role)) is not None}
    positions[REST] = layout.n_fields
    columns: dict[str, list[str | None]] = {name: [] for name in (*positions, PROBLEM)}
    lines = []
    for record in records(block, text_format, first_line):
        for name, index in positions.items():
            columns[name].append(record.fields[index] if index < len(record.fields) else None)
        columns[PROBLEM].append(record.problem)
        lines.append(record.line)
    frame = pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String))
    return frame.with_columns(pl.col(REST).replace("", None)), np.array(lines, dtype=np.int64)


def check_rows(
    texts: pl.DataFrame, numbers: NDArray[np.int64], layout: Layout, where: str, skip_bad_rows: bool
) -> Rows:
    """The good rows of a frame of text, with ratings and timestamps parsed.

    Args:
        texts: The roles as String, and `REST` and `PROBLEM` where they apply.
        numbers: Number of every row in the source.
        layout: Names the columns in messages.
        where: Begins a message, before the row's number.
        skip_bad_rows: Whether to leave out bad rows instead of raising.

    Raises:
        InputDataError: a row is bad and bad rows are not skipped.
    """
    parsed = texts.with_columns(parse_numbers(texts["rating"]).alias("rating"))
    if "timestamp" in texts.columns:
        parsed = parsed.with_columns(parse_timestamps(texts["timestamp"]).alias("timestamp"))
    good = pl.col("rating").abs() <= FLOAT32_MAX
    for role in ("user", "item"):
        good &= pl.col(role).fill_null("") != ""
    if "timestamp" in texts.columns:
        good &= pl.col("timestamp").is_finite()
    for extra in {REST, PROBLEM} & set(texts.columns):
        good &= pl.col(extra).is_null()
    is_good = parsed.select(good.fill_null(False).alias("good"))["good"]
    bad = np.flatnonzero(~is_good.to_numpy())
    explained = tuple(
        f"{where} {numbers[row]}, {_explain(texts.row(row, named=True), layout)}"
        for row in bad[:MOST_EXPLAINED].tolist()
    )
    if explained and not skip_bad_rows:
        raise InputDataError(f"{explained[0]}; fix it or use --on-error skip")
    return _rows(parsed.filter(is_good), texts.height, len(bad), explained)


def _explain(row: dict[str, object], layout: Layout) -> str:
    """What is wrong with a row: the leftmost column that is at fault, and its value."""
    if row.get(PROBLEM):
        return str(row[PROBLEM])
    for role in sorted((role for role in ROLES if role in row), key=lambda role: layout.columns.of(role) or 0):
        value = row[role]
        complaint = _complaint(role, None if value is None else str(value))
        if complaint:
            return f"column {layout.column_name(role)}: {complaint}"
    return f"the row has more than {layout.n_fields} fields, the next is {quoted(row.get(REST))}"


def _complaint(role: str, value: str | None) -> str | None:
    if value is None or not value.strip():
        is_id = role in ("user", "item") and value
        return None if is_id else "the field is missing or empty"
    if role in ("user", "item"):
        return None
    number = parse_numbers(pl.Series([value]))[0]
    if role == "timestamp":
        moment = parse_timestamps(pl.Series([value]))[0]
        fine = moment is not None and np.isfinite(moment)
        known = "a number nor a date like 2024-01-31 or 2024-01-31T12:00:00Z"
        return None if fine else f"{quoted(value)} is neither {known}"
    if number is None:
        has_comma = parse_numbers(pl.Series([value.replace(",", ".")]))[0] is not None
        hint = "; decimals have a point here, so replace the commas in them" if has_comma else ""
        return f"{quoted(value)} is not a number{hint}"
    return None if abs(number) <= FLOAT32_MAX else f"{quoted(value)} is not a finite number"
