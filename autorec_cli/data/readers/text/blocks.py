"""Blocks of whole UTF-8 rows, cut from a stream."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from autorec_cli.data.readers.options import BLANKS, ReadOptions
from autorec_cli.data.readers.rows import RatingRows
from autorec_cli.data.readers.sources import CHUNK_BYTES, chunk_bytes
from autorec_cli.data.readers.text.exact_csv import QUOTE, TextFormat
from autorec_cli.errors import InputDataError
from autorec_cli.runtime.threads import in_order

MAX_ROW_BYTES = 16 << 20
"""Bytes of one row, or of consecutive blank lines, at most."""
SLICE_BYTES = 64 << 10
"""Bytes scanned at a time, which stay in the processor's cache with their masks."""
SEPARATOR = "\x1f"  # replaces "::", since polars takes single-byte delimiters only


def to_utf_8(chunks: Iterator[bytes], options: ReadOptions, name: str) -> Iterator[bytes]:
    """Decode `chunks` to UTF-8 and drop the byte order mark.

    A mark of UTF-16 or UTF-32 overrides `options.encoding`. UTF-8 is passed on unchecked: `check_utf_8` checks it block
    by block, where lines are counted.

    Raises:
        InputDataError: the text is not in that encoding.
    """
    first = next(chunks, b"")
    encoding = options.encoding
    if first.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):  # the first begins with the mark of UTF-16
        encoding = "utf-32"
    elif first.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    elif options.is_utf_8:
        yield first.removeprefix(codecs.BOM_UTF8)
        yield from chunks
        return
    decoder = codecs.getincrementaldecoder(encoding)("strict")
    line, chunk = 1, first
    try:
        yield decoder.decode(chunk).removeprefix("\ufeff").encode()
        for next_chunk in chunks:
            line += chunk.count(b"\n")
            chunk = next_chunk
            yield decoder.decode(chunk).encode()
        yield decoder.decode(b"", final=True).encode()
    except UnicodeError as error:
        line += chunk.count(b"\n", 0, getattr(error, "start", len(chunk)))
        raise InputDataError(f"{name}, line {line}: the text is not {encoding}; set --encoding") from error


def cut_blocks(first: bytes, chunks: Iterator[bytes], text_format: TextFormat, name: str) -> Iterator[bytes]:
    """Join `first` and `chunks` and cut them at row ends.

    A newline inside quotes does not end a row.

    Raises:
        InputDataError: a row or a run of blank lines exceeds `MAX_ROW_BYTES`, as in a decompression bomb.
    """
    rest = first
    n_white = n_read = 0
    for chunk in chunks:
        n_white = n_white + len(chunk) if chunk.isspace() else 0
        if n_white > MAX_ROW_BYTES:
            raise InputDataError(
                f"{name} has more than {MAX_ROW_BYTES >> 20} MiB of consecutive blank lines; it is corrupted, "
                "create it again"
            )
        least = chunk_bytes(n_read)  # blocks grow as chunks do
        n_read += len(chunk)
        if len(rest) + len(chunk) >= least and not (text_format.quoted and (QUOTE in chunk or QUOTE in rest)):
            # No quotes, the usual case: any newline ends a row, and the block is copied only once.
            cut = chunk.rfind(text_format.newline) + 1
            if cut:
                yield b"".join((rest, memoryview(chunk)[:cut]))
                rest = chunk[cut:]
                continue
        rest += chunk
        if len(rest) < least:
            continue
        cut = last_row_end(rest, text_format)
        if cut:
            yield rest[:cut]
            rest = rest[cut:]
        elif len(rest) > MAX_ROW_BYTES:
            raise InputDataError(
                f"{name} has a row of more than {MAX_ROW_BYTES >> 20} MiB; it is not a file of ratings or is corrupted"
            )
    if rest:
        yield rest


@contextmanager
def parsed_blocks(
    blocks: Iterator[bytes],
    parse: Callable[[bytes], RatingRows | None],
    examine: Callable[[bytes, int], RatingRows],
    line: int = 1,
) -> Iterator[Iterator[RatingRows]]:
    """Parse blocks on several threads, which end with the context.

    Args:
        blocks: Whole rows.
        parse: Rows of a block; None if it may have bad rows.
        examine: Rows of such a block, by the number of its first line.
        line: Number of the first line.
    """

    def examined(parsed: Iterator[tuple[bytes, RatingRows | None]]) -> Iterator[RatingRows]:
        # Not on the threads, which parse blocks before their line numbers are known.
        first_line = line
        for block, found in parsed:
            rows = examine(block, first_line) if found is None else found
            first_line += rows.n_lines
            yield rows

    with in_order(lambda block: (block, parse(block)), blocks) as parsed:
        yield examined(parsed)


def last_row_end(data: bytes, text_format: TextFormat) -> int:
    """End of the last whole row of `data`, or 0."""
    last = cut = data.rfind(text_format.newline) + 1
    if not text_format.quoted or QUOTE not in data:
        return cut
    n_quotes = data.count(QUOTE, 0, cut)
    while n_quotes % 2:  # the newline before the cut is inside quotes: no newline after the last quote ends a row
        earlier = data.rfind(text_format.newline, 0, data.rfind(QUOTE, 0, cut)) + 1
        n_quotes -= data.count(QUOTE, earlier, cut)
        cut = earlier
    # A quote open for two chunks is a stray one: cut anyway, and the exact reader reports its line.
    return cut if cut or len(data) < 2 * CHUNK_BYTES else last


def without_blank_lines(block: bytes, text_format: TextFormat) -> bytes:
    """Remove blank lines from `block`, which has no quotes."""
    newline = re.escape(text_format.newline)
    return re.sub(rb"(\A|%s)[ \t\r\n]*%s" % (newline, newline), rb"\1", block)


def is_utf_8(block: bytes) -> bool:
    """Check that `block` is UTF-8, without raising."""
    if block.isascii():
        return True
    try:
        block.decode()
    except UnicodeDecodeError:
        return False
    return True


def check_utf_8(block: bytes, first_line: int, text_format: TextFormat, name: str) -> None:
    """Check that `block` is UTF-8.

    Raises:
        InputDataError: it is not; the message names the line.
    """
    if block.isascii():
        return
    try:
        block.decode()
    except UnicodeDecodeError as error:
        line = first_line + block.count(text_format.newline, 0, error.start)
        raise InputDataError(
            f"{name}, line {line}: the text is not UTF-8; set its encoding, for example --encoding latin-1"
        ) from error


def numbers_print_as_read(block: bytes, text_format: TextFormat) -> bool:
    """Check that integers in `block` are written as they print.

    polars reads "007", "+7", "-0", " 7" and quoted numbers as integers too, but as ids they differ from "7".
    """
    newline, delimiter = text_format.newline, text_format.delimiter[-1].encode()
    pads = [byte for byte in (b" ", b"\t") if text_format.delimiter != BLANKS and byte != delimiter]
    if any(byte in block for byte in (QUOTE, b"+", *pads)):
        return False
    if block[:1] == b"0" and block[1:2].isdigit():
        return False
    # Bytes that come just before the digits of a field, a minus sign among them.
    starts = newline + delimiter + bytes(byte for byte in b"-\t" if byte in block)
    data = np.frombuffer(block, dtype=np.uint8)
    for start in range(0, len(data) - 1, SLICE_BYTES):
        byte = data[start + 1 : start + SLICE_BYTES + 1]
        before = data[start : start + len(byte)]
        first_zeros = (byte == ord("0")) & _is_one_of(before, starts)
        places = np.flatnonzero(first_zeros) + start + 1
        if len(places):
            after = data[np.minimum(places + 1, len(data) - 1)]
            is_minus_zero = (data[places - 1] == ord("-")) & (after != ord("."))
            if (((after >= ord("0")) & (after <= ord("9"))) | is_minus_zero).any():
                return False
    return True


def _is_one_of(data: NDArray[np.uint8], wanted: bytes) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = data == wanted[0]
    for byte in wanted[1:]:
        found |= data == byte
    return found


def single_byte_delimiter(block: bytes, text_format: TextFormat, name: str) -> tuple[bytes, str]:
    """Replace the delimiter of `block` with a single byte.

    Returns:
        The block, and its new delimiter.

    Raises:
        InputDataError: the text contains the byte that would replace "::".
    """
    if text_format.delimiter == "::":
        if SEPARATOR.encode() in block:
            raise InputDataError(
                f"{name} is delimited by '::' and contains the control character 31; remove that character"
            )
        return block.replace(b"::", SEPARATOR.encode()), SEPARATOR
    if text_format.delimiter == BLANKS:
        newline = text_format.newline
        block = block.replace(b"\t", b" ")
        while b"  " in block:
            block = block.replace(b"  ", b" ")
        block = block.replace(newline + b" ", newline).replace(b" " + newline, newline).replace(b" \r\n", b"\r\n")
        return block.strip(b" "), " "
    return block, text_format.delimiter
