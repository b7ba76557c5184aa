"""Blocks of plain rows, read by a small compiled loop.

Most published ratings are rows such as `1,31,2.5,1260759144`: ids that are plain numbers of at most nine digits,
decimal ratings, whole timestamps. Such a block takes a fifth of the time here that a CSV parser takes for it. Whatever
is not plain is for the parser: nothing here is an error, and what is read is what the parser would have read.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autorec_cli.data import loops
from autorec_cli.data.loops import OTHER
from autorec_cli.data.readers.blocks import SEPARATOR, is_utf_8, single_byte_delimiter
from autorec_cli.data.readers.detection import Layout
from autorec_cli.data.readers.exact_csv import QUOTE, TextFormat
from autorec_cli.data.readers.options import ROLES


@dataclass(frozen=True)
class PlainRows:
    """The rows of a block.

    Attributes:
        users, items: Numbers that print as the ids do, (n_rows,) int32.
        ratings: (n_rows,) float32.
        timestamps: (n_rows,) int64; None if the source has none.
    """

    users: NDArray[np.int32]
    items: NDArray[np.int32]
    ratings: NDArray[np.float32]
    timestamps: NDArray[np.int64] | None


def read_plain(block: bytes, layout: Layout, name: str) -> PlainRows | None:
    """The rows of `block`; None if it is not plain, or if the loop is not compiled.

    Args:
        block: Whole rows.
        layout: How it is laid out.
        name: The source, for messages.
    """
    text_format = layout.text_format
    assert text_format is not None
    if not loops.are_compiled() or text_format.newline != b"\n":
        return None
    places = [layout.columns.of(role) for role in ROLES]
    roles = [1 + places.index(field) if field in places else OTHER for field in range(layout.n_fields)]
    if OTHER in roles and not _is_harmless(block, text_format):
        return None
    if text_format.delimiter == "::" and SEPARATOR.encode() in block:  # the parser says what is wrong with it
        return None
    text, delimiter = single_byte_delimiter(block, text_format, name)
    columns = loops.read_rows(text, delimiter, roles)
    if columns is None:
        return None
    users, items, ratings, timestamps = columns
    return PlainRows(users, items, ratings, None if layout.columns.timestamp is None else timestamps)


def _is_harmless(block: bytes, text_format: TextFormat) -> bool:
    """Whether fields that nobody reads, in which anything can be, may be passed over."""
    has_quotes = text_format.quoted and QUOTE in block
    return not has_quotes and SEPARATOR.encode() not in block and is_utf_8(block)
