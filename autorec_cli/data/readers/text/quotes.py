"""Quotes of a block: in their places, and around no rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from autorec_cli.data.readers.columns.contents import is_number
from autorec_cli.data.readers.layout import TextLayout
from autorec_cli.data.readers.options import DOUBLE_QUOTES
from autorec_cli.data.readers.text.exact_csv import TextFormat


def well_quoted(block: bytes, text_format: TextFormat) -> int | None:
    """Number of rows, or None if quotes are misplaced.

    Fast parsers take every second quote as an opening one. This is right exactly when each opening quote follows a
    delimiter, a newline or a closing quote, and each closing quote precedes one of them or an opening quote.
    """
    data = np.frombuffer(block, dtype=np.uint8)
    quotes = np.flatnonzero(data == ord('"'))
    if len(quotes) % 2:
        return None
    newline, delimiter = ord(text_format.newline), ord(text_format.delimiter)
    opening, closing = quotes[0::2], quotes[1::2]
    before = data[opening[opening > 0] - 1]
    after_at = closing[closing < len(data) - 1] + 1
    after = data[after_at]
    starts = np.isin(before, (delimiter, newline, ord('"')))
    ends = np.isin(after, (delimiter, newline, ord('"')))
    # A quote may also close before the \r\n of a line.
    returns = after_at[(after == ord("\r")) & ~ends]
    crlf = returns[returns < len(data) - 1] + 1
    if not starts.all() or np.count_nonzero(~ends) != np.count_nonzero(data[crlf] == newline):
        return None
    newlines = np.flatnonzero(data == newline)
    # An even number of quotes before a newline: it is in no field.
    outside = np.searchsorted(quotes, newlines) % 2 == 0
    return int(np.count_nonzero(outside)) + (not block.endswith(text_format.newline))


def encloses_rows(block: bytes, layout: TextLayout) -> bool:
    """True if a quoted field has lines that look like rows.

    A quote too many at the start of one row, and another one rows later, enclose all rows between them.

    Args:
        block: Whole rows with quotes in their places, see `well_quoted`.
        layout: Delimiter and columns.
    """
    text_format = layout.text_format
    if text_format.quote == DOUBLE_QUOTES:
        return False
    data = np.frombuffer(block, dtype=np.uint8)
    newlines = _places(data, text_format.newline)
    # Newlines inside a field, each before a line that may look like a row.
    inner = newlines[np.searchsorted(_places(data, b'"'), newlines) % 2 == 1]
    if not len(inner):
        return False
    ends = np.append(newlines, len(data))[np.searchsorted(newlines, inner, side="right")]
    delimiters = _places(data, text_format.delimiter.encode())
    n_delimiters = np.searchsorted(delimiters, ends) - np.searchsorted(delimiters, inner)
    like_rows = n_delimiters == layout.n_fields - 1
    # Only these get the slower look: each from the start of its row to the end of its line.
    outer = np.append(-1, np.setdiff1d(newlines, inner, assume_unique=True))
    starts = outer[np.searchsorted(outer, inner) - 1] + 1
    rows = zip(starts[like_rows].tolist(), ends[like_rows].tolist(), strict=True)
    return any(field_encloses_rows(block[start:end], layout) for start, end in rows)


def field_encloses_rows(row: bytes, layout: TextLayout) -> bool:
    """True if a row consists of lines that look like rows.

    These are its first line and a later one.
    """
    text_format = layout.text_format
    if text_format.quote == DOUBLE_QUOTES:
        return False
    first, *later = row.strip(b"\r\n").split(text_format.newline)
    return bool(later) and _looks_like_row(first, layout) and any(_looks_like_row(line, layout) for line in later)


def _places(data: NDArray[np.uint8], byte: bytes) -> NDArray[np.int64]:
    return np.flatnonzero(data == ord(byte))


def _looks_like_row(line: bytes, layout: TextLayout) -> bool:
    """True for a line with the fields of a row.

    It has their number, ids, and a number for the rating.
    """
    fields = [field.strip(' \r"') for field in line.decode("utf-8", "replace").split(layout.text_format.delimiter)]
    if len(fields) != layout.n_fields:
        return False
    columns = layout.columns.by_role()
    is_rated = "rating" not in columns or is_number(fields[columns["rating"]])
    return is_rated and bool(fields[columns["user"]] and fields[columns["item"]])
