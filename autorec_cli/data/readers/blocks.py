"""Blocks of whole rows in UTF-8, cut from a stream of bytes."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from autorec_cli.data.readers.exact_csv import QUOTE, TextFormat
from autorec_cli.data.readers.options import BLANKS, ReadOptions
from autorec_cli.data.readers.sources import CHUNK_BYTES, chunk_bytes
from autorec_cli.errors import InputDataError

MAX_ROW_BYTES = 16 << 20
"""Of one row, and of blank lines on end."""
WHITESPACE = b" \t\r\n"
SLICE_BYTES = 64 << 10  # looked through at once: few enough for the processor's cache
SEPARATOR = "\x1f"  # stands for "::" in what polars parses, which knows delimiters of one byte only


def to_utf_8(chunks: Iterator[bytes], options: ReadOptions, name: str) -> Iterator[bytes]:
    """`chunks` in UTF-8 without a byte order mark; a UTF-16 mark outweighs `options.encoding`.

    Whether text that is said to be UTF-8 is UTF-8 is checked block by block, where lines are counted.

    Raises:
        InputDataError: the bytes are not text of the encoding.
    """
    first = next(chunks, b"")
    encoding = options.encoding
    if first.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    elif options.is_utf_8:
        yield first.removeprefix(codecs.BOM_UTF8)
        yield from chunks
        return
    decoder = codecs.getincrementaldecoder(encoding)("strict")
    line, chunk = 1, first
    try:
        yield decoder.decode(chunk).removeprefix("\ufeff").encode()
        for following in chunks:
            line += chunk.count(b"\n")
            chunk = following
            yield decoder.decode(chunk).encode()
        yield decoder.decode(b"", final=True).encode()
    except UnicodeError as error:
        line += chunk.count(b"\n", 0, getattr(error, "start", len(chunk)))
        raise InputDataError(
            f"{name}, line {line}: the text is not {encoding}; give its encoding with --encoding"
        ) from error


def cut_blocks(first: bytes, chunks: Iterator[bytes], text_format: TextFormat, name: str) -> Iterator[bytes]:
    """`first` and `chunks` joined and cut again at the ends of rows; a newline inside quotes ends no row.

    Raises:
        InputDataError: a row is longer than any row of ratings can be, as the zeros of a zip bomb are, or nothing but
            blank lines follows.
    """
    rest = first
    n_white = n_read = 0
    for chunk in chunks:
        n_white = 0 if chunk.strip(WHITESPACE) else n_white + len(chunk)
        if n_white > MAX_ROW_BYTES:
            raise InputDataError(
                f"{name} has more than {MAX_ROW_BYTES >> 20} MiB of blank lines on end; it is damaged, make it again"
            )
        least = chunk_bytes(n_read)
        n_read += len(chunk)
        if len(rest) + len(chunk) >= least and not (text_format.quoted and (QUOTE in chunk or QUOTE in rest)):
            cut = chunk.rfind(text_format.newline) + 1
            if cut:
                yield b"".join((rest, memoryview(chunk)[:cut]))
                rest = chunk[cut:]
                continue
        rest += chunk
        if len(rest) < least:
            continue
        cut = _last_row_end(rest, text_format)
        if cut:
            yield rest[:cut]
            rest = rest[cut:]
        elif len(rest) > MAX_ROW_BYTES:
            raise InputDataError(
                f"{name} has a row of more than {MAX_ROW_BYTES >> 20} MiB; this is no file of ratings, or it is damaged"
            )
    if rest:
        yield rest


def _last_row_end(data: bytes, text_format: TextFormat) -> int:
    """Where the last whole row of `data` ends; 0 if none does."""
    last = cut = data.rfind(text_format.newline) + 1
    if not text_format.quoted or QUOTE not in data:
        return cut
    n_quotes = data.count(QUOTE, 0, cut)
    while n_quotes % 2:  # the newline before the cut is inside quotes: no newline after the last quote ends a row
        earlier = data.rfind(text_format.newline, 0, data.rfind(QUOTE, 0, cut)) + 1
        n_quotes -= data.count(QUOTE, earlier, cut)
        cut = earlier
    # What stays open for a whole block is no field, it is a stray quote, which the exact reader will find.
    return cut if cut or len(data) < 2 * CHUNK_BYTES else last


def without_blank_lines(block: bytes, text_format: TextFormat) -> bytes:
    """`block`, which has no quotes, without its lines of nothing but blanks and tabs."""
    newline = re.escape(text_format.newline)
    return re.sub(rb"(\A|%s)[ \t\r\n]*%s" % (newline, newline), rb"\1", block)


def is_utf_8(block: bytes) -> bool:
    """Whether `block` is UTF-8."""
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
            f"{name}, line {line}: the text is not UTF-8; give its encoding, for example --encoding latin-1"
        ) from error


def numbers_print_as_read(block: bytes, text_format: TextFormat) -> bool:
    """Check that a field which polars reads as a whole number is the text that the number prints as.

    It reads "007", "+7", "-0", " 7" and quoted numbers too.
    """
    newline, delimiter = text_format.newline, text_format.delimiter[-1].encode()
    pads = [byte for byte in (b" ", b"\t") if text_format.delimiter != BLANKS and byte != delimiter]
    if any(byte in block for byte in (QUOTE, b"+", *pads)):
        return False
    if block[:1] == b"0" and block[1:2].isdigit():
        return False
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


def well_quoted(block: bytes, text_format: TextFormat) -> int | None:
    """Number of rows of a block with quotes if every quote opens, closes or is doubled inside a field, else None.

    Reading every second quote as an opening one is what fast parsers do; it is right exactly when each opening quote
    follows a delimiter, a newline or a closing quote, and each closing one is followed by those.
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
    returns = after_at[(after == ord("\r")) & ~ends]
    crlf = returns[returns < len(data) - 1] + 1
    if not starts.all() or np.count_nonzero(~ends) != np.count_nonzero(data[crlf] == newline):
        return None
    newlines = np.flatnonzero(data == newline)
    outside = np.searchsorted(quotes, newlines) % 2 == 0
    return int(np.count_nonzero(outside)) + (not block.endswith(text_format.newline))


def single_byte_delimiter(block: bytes, text_format: TextFormat, name: str) -> tuple[bytes, str]:
    """`block` with its delimiter replaced by one of a single byte, and that delimiter.

    Raises:
        InputDataError: the text holds the byte that would stand for "::".
    """
    if text_format.delimiter == "::":
        if SEPARATOR.encode() in block:
            raise InputDataError(f"{name} has '::' between its fields and the control character 31 in them; remove it")
        return block.replace(b"::", SEPARATOR.encode()), SEPARATOR
    if text_format.delimiter == BLANKS:
        newline = text_format.newline
        block = block.replace(b"\t", b" ")
        while b"  " in block:
            block = block.replace(b"  ", b" ")
        block = block.replace(newline + b" ", newline).replace(b" " + newline, newline).replace(b" \r\n", b"\r\n")
        return block.strip(b" "), " "
    return block, text_format.delimiter
