"""Formats of rating files, each with its reader."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from itertools import chain

from autorec_cli.data.readers.layout import Layout
from autorec_cli.data.readers.options import ReadOptions
from autorec_cli.data.readers.rows import RatingRows
from autorec_cli.data.readers.sources import FILE_KINDS, OpenSource
from autorec_cli.data.readers.tables.json_lines import is_json, read_json_lines
from autorec_cli.data.readers.tables.parquet import read_columnar
from autorec_cli.data.readers.text.blocks import to_utf_8
from autorec_cli.data.readers.text.preamble import plain_text
from autorec_cli.data.readers.text.reader import read_text

LayoutAndRows = tuple[Layout, Iterator[RatingRows]]
Reader = Callable[[OpenSource, ReadOptions, Layout | None], AbstractContextManager[LayoutAndRows | None]]
"""Context of a source's layout and rows, None without rows; gets the layout of the first source of that format."""

FILE_READERS: Mapping[bytes, Reader] = dict.fromkeys(FILE_KINDS, read_columnar)
"""Readers that open a file themselves, by its first bytes; anything else is text."""


def read_source(
    source: OpenSource, options: ReadOptions, like: Layout | None = None
) -> AbstractContextManager[LayoutAndRows | None]:
    """Layout and rows of a source; None without rows.

    Args:
        source: Opened with the keys of `FILE_READERS`.
        options: How to read it.
        like: Layout of the first source of the same format.

    Raises:
        InputDataError: the layout is not clear, or a row is bad.
    """
    if source.magic:
        return FILE_READERS[source.magic](source, options, like)
    chunks = to_utf_8(source.chunks or iter(()), options, source.name)
    head = next(chunks, b"")
    if is_json(source.name, head):
        return read_json_lines(replace(source, chunks=chain([head], chunks)), options, like)
    text, options = plain_text(head, chunks, options, source.name)
    return read_text(replace(source, chunks=text), options, like)
