"""Parser of text blocks with polars.

A good block is read once, with types. Only if that fails, the block is read again as strings, to tell bad rows from
blank lines and unusual numbers, such as " 4.5", and to report the line of a bad row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray

from autorec_cli.data.readers.layout import TextLayout
from autorec_cli.data.readers.numbers import FLOAT32_MAX
from autorec_cli.data.readers.rows import PROBLEM, REST, RatingRows, check_rows, no_rows, rows_of
from autorec_cli.data.readers.text.blocks import (
    check_utf_8,
    is_utf_8,
    numbers_print_as_read,
    single_byte_delimiter,
    without_blank_lines,
)
from autorec_cli.data.readers.text.exact_csv import QUOTE, TextFormat, records
from autorec_cli.data.readers.text.quotes import encloses_rows, field_encloses_rows, well_quoted
from autorec_cli.data.readers.timestamps import parse_timestamps

ENCLOSED_ROWS = (
    "a quoted field has lines that look like rows; set --quote none if quotes are characters, or --quote double if the "
    "field is right"
)
DataType: TypeAlias = pl.DataType | type[pl.DataType]
IS_BLANK = np.isin(np.arange(256), list(b" \t\r\n"))  # by byte


def parse_block(block: bytes, layout: TextLayout, name: str) -> RatingRows | None:
    """Rows of `block`, or None unless polars reads all right.

    Args:
        block: Whole rows, without the header.
        layout: Delimiter and columns.
        name: Name of the source, for messages.

    Raises:
        InputDataError: see `single_byte_delimiter`.
    """
    text_format = layout.text_format
    if not is_utf_8(block):
        return None
    has_quotes = text_format.quoted and QUOTE in block
    n_rows = well_quoted(block, text_format) if has_quotes else None
    if (has_quotes and n_rows is None) or _has_stray_returns(block, text_format):
        return None
    # Fewer rows than lines: a quoted field has several, and may have taken in rows by a stray quote.
    if has_quotes and n_rows != _n_lines(block, text_format) and encloses_rows(block, layout):
        return None
    frame = _read_typed(block, layout, name)
    if frame is not None and "timestamp" in frame.columns:
        frame = frame.with_columns(
            parse_timestamps(frame["timestamp"], layout.columns.timestamp_format).alias("timestamp")
        )
    if frame is None or n_rows not in (None, frame.height) or not _is_good(frame):
        return None if has_quotes else _parse_without_blank_lines(block, layout, name)
    return rows_of(frame, block.count(text_format.newline) if has_quotes else frame.height)


def _n_lines(block: bytes, text_format: TextFormat) -> int:
    return block.count(text_format.newline) + (not block.endswith(text_format.newline))


def _read_typed(block: bytes, layout: TextLayout, name: str) -> pl.DataFrame | None:
    """Typed columns: ids as Int64 if expected, else String.

    Integers are looked up in an array later, strings in a hash table.
    """
    types: dict[str, DataType] = {"user": pl.String, "item": pl.String}
    if layout.columns.rating is not None:
        # Read as float32 a few would be rounded otherwise than where blocks have bad rows.
        types["rating"] = pl.Float64
    if layout.columns.timestamp is not None:
        types["timestamp"] = pl.Int64 if layout.columns.timestamp_format.are_whole else pl.String
    if layout.number_ids and numbers_print_as_read(block, layout.text_format):
        frame = _read(block, layout, name, types | dict.fromkeys(layout.number_ids, pl.Int64))
        # A null is an id that is no integer after all.
        if frame is None or not any(frame[role].null_count() for role in layout.number_ids):
            return frame
    return _read(block, layout, name, types)


def _parse_without_blank_lines(block: bytes, layout: TextLayout, name: str) -> RatingRows | None:
    """Rows of a block if only blank lines were wrong.

    The block has no quotes.
    """
    filled = without_blank_lines(block, layout.text_format)
    if len(filled) == len(block):
        return None
    rows = parse_block(filled, layout, name) if filled else no_rows(layout)
    return None if rows is None else replace(rows, n_lines=block.count(layout.text_format.newline))


def examine_block(block: bytes, first_line: int, layout: TextLayout, name: str, skip_bad_rows: bool) -> RatingRows:
    """Rows of a block with possible bad rows.

    Args:
        block: Whole rows, without the header.
        first_line: Number of its first line in the source.
        layout: Delimiter and columns.
        name: Name of the source, for messages.
        skip_bad_rows: Leave out bad rows instead of raising.

    Raises:
        InputDataError: a row is bad; the message names line, column and value.
    """
    text_format = layout.text_format
    check_utf_8(block, first_line, text_format, name)
    if (text_format.quoted and QUOTE in block) or _has_stray_returns(block, text_format):
        texts, lines = _read_exactly(block, first_line, layout, text_format)
    else:
        found = _read(block, layout, name, dict.fromkeys([*layout.columns.by_role(), REST], pl.String))
        assert found is not None
        texts = found
        lines = np.arange(first_line, first_line + texts.height)
        filled = ~_blank_rows(texts.height, block, text_format)
        texts, lines = texts.filter(filled), lines[filled]
    rows = check_rows(texts, lines, layout, f"{name}, line", skip_bad_rows)
    return replace(rows, n_lines=max(block.count(text_format.newline), 1))


def _has_stray_returns(block: bytes, text_format: TextFormat) -> bool:
    """True if a carriage return is part of an id.

    polars would strip it at the end of any field.
    """
    return text_format.newline == b"\n" and b"\r" in block and block.count(b"\r") != block.count(b"\r\n")


def _read(block: bytes, layout: TextLayout, name: str, types: Mapping[str, DataType]) -> pl.DataFrame | None:
    """Columns by role, with null for missing or bad values.

    Args:
        block: Whole rows.
        layout: Delimiter and columns.
        name: Name of the source, for messages.
        types: Type of each role's column, and of `REST` if rows may have more fields.

    Returns:
        The columns; None if a row has more fields than `layout` and `types` allow.
    """
    data, separator = single_byte_delimiter(block, layout.text_format, name)
    roles = {layout.n_fields if role == REST else layout.columns.of(role): role for role in types}
    n_fields = layout.n_fields + (REST in types)
    schema = {
        roles.get(index, f"field {index}"): types.get(roles.get(index, ""), pl.String) for index in range(n_fields)
    }
    try:
        return pl.read_csv(
            data,
            has_header=False,
            schema=schema,
            separator=separator,
            quote_char='"' if layout.text_format.quoted else None,
            eol_char=layout.text_format.newline.decode(),
            missing_columns="insert",
            extra_columns="ignore" if REST in types else "raise",
            ignore_errors=True,  # a bad number becomes null, which `_is_good` finds
            columns=[index for index, name in enumerate(schema) if name in types],
        )
    except (pl.exceptions.ComputeError, pl.exceptions.SchemaError):
        return None


def _is_good(frame: pl.DataFrame) -> bool:
    """Check that nothing is missing and ratings are finite float32."""
    if any(column.null_count() for column in frame):
        return False
    if any(frame[role].dtype == pl.String and (frame[role] == "").any() for role in ("user", "item")):
        return False
    if "rating" not in frame.columns:
        return True
    ratings = frame["rating"].to_numpy()  # numpy's extremes are nan if any value is
    return bool(ratings.min(initial=0) >= -FLOAT32_MAX and ratings.max(initial=0) <= FLOAT32_MAX)


def _blank_rows(n_rows: int, block: bytes, text_format: TextFormat) -> NDArray[np.bool_]:
    """Mask of blank lines in an unquoted block, (n_rows,)."""
    data = np.frombuffer(block, dtype=np.uint8)
    ends = np.append(np.flatnonzero(data == ord(text_format.newline)), len(data))[:n_rows]
    # Bytes other than blanks up to the end of each line; a line that adds none is blank.
    n_filled = np.append(0, np.cumsum(~IS_BLANK[data], dtype=np.int32))[ends]
    blank: NDArray[np.bool_] = np.diff(n_filled, prepend=0) == 0
    return blank


def _read_exactly(
    block: bytes, first_line: int, layout: TextLayout, text_format: TextFormat
) -> tuple[pl.DataFrame, NDArray[np.int64]]:
    """Columns as `_read` gives them, read row by row.

    Returns:
        The columns with `PROBLEM`, and the line of each row; no blank lines.
    """
    positions = {**layout.columns.by_role(), REST: layout.n_fields}
    columns: dict[str, list[str | None]] = {name: [] for name in (*positions, PROBLEM)}
    lines = []
    start = 0
    for record in records(block, text_format, first_line):
        problem = record.problem
        if problem is None and field_encloses_rows(block[start : record.end], layout):
            problem = ENCLOSED_ROWS
        start = record.end
        for name, index in positions.items():
            columns[name].append(record.fields[index] if index < len(record.fields) else None)
        columns[PROBLEM].append(problem)
        lines.append(record.line)
    frame = pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String))
    return frame.with_columns(pl.col(REST).replace("", None)), np.array(lines, dtype=np.int64)
