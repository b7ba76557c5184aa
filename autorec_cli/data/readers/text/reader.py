"""Reader of delimited text, on several threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from autorec_cli.data.readers.layout import Layout
from autorec_cli.data.readers.options import ReadOptions
from autorec_cli.data.readers.rows import RatingRows
from autorec_cli.data.readers.sources import OpenSource
from autorec_cli.data.readers.text.blocks import MAX_ROW_BYTES, cut_blocks, parsed_blocks
from autorec_cli.data.readers.text.detection import (
    SAMPLE_BYTES,
    detect_text,
    has_whole_rows,
    sample_text,
    without_separator_line,
)
from autorec_cli.data.readers.text.fast_csv import examine_block, parse_block


@contextmanager
def read_text(
    source: OpenSource, options: ReadOptions, _like: Layout | None = None
) -> Iterator[tuple[Layout, Iterator[RatingRows]]]:
    """Layout of delimited text in UTF-8, and its rows block by block.

    Threads end with the context.

    Raises:
        InputDataError: the layout is not clear, or a row is bad.
    """
    name = source.name
    chunks = source.chunks or iter(())
    head, is_cut = _read_head(chunks, options)
    head, options = without_separator_line(head, options)
    text_format, sample = sample_text(head, options, name, is_cut=is_cut)
    layout, header = detect_text(sample, text_format, options, name)
    start, first_line = (header.end, 1 + head.count(text_format.newline, 0, header.end)) if header else (0, 1)

    with parsed_blocks(
        cut_blocks(head[start:], chunks, text_format, name),
        lambda block: parse_block(block, layout, name),
        lambda block, line: examine_block(block, line, layout, name, options.skip_bad_rows),
        first_line,
    ) as rows:
        yield layout, rows


def _read_head(chunks: Iterator[bytes], options: ReadOptions) -> tuple[bytes, bool]:
    """Start of a text, with whole rows in it.

    Returns:
        The start; True if there may be more of the text.
    """
    head = b""
    for chunk in chunks:
        head += chunk
        if len(head) >= SAMPLE_BYTES and (has_whole_rows(head, options) or len(head) > MAX_ROW_BYTES):
            return head, True
    return head, False
