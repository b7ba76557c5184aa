"""Exact reader of delimited text, row by row in Python.

polars reads good blocks. This reads the sample for detection, and blocks with unusual quotes or bad rows, because it
knows the line of every row. Quotes count only around a whole field, with inner quotes doubled (RFC 4180); elsewhere,
and in tab-separated text (IANA's text/tab-separated-values), a quote is an ordinary character.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from autorec_cli.data.readers.options import BLANKS, DOUBLE_QUOTES, NO_QUOTES

QUOTE = b'"'


@dataclass(frozen=True)
class TextFormat:
    r"""Delimiter and newline of a text.

    Attributes:
        delimiter: Text between fields; `BLANKS` is any run of spaces and tabs.
        newline: b"\n" (which b"\r\n" ends in too) or b"\r".
        quote: "double" if quotes enclose fields, "none" if they are characters; None to go by the delimiter.
    """

    delimiter: str
    newline: bytes = b"\n"
    quote: str | None = None

    @property
    def quoted(self) -> bool:
        """True if quotes enclose fields.

        They never do with "::" or blanks, and with tabs only if asked for.
        """
        if self.delimiter in ("::", BLANKS) or self.quote == NO_QUOTES:
            return False
        return self.delimiter != "\t" or self.quote == DOUBLE_QUOTES


class Record(NamedTuple):
    """Row: first line, fields, end offset, quoting problem."""

    line: int
    fields: list[str]
    end: int
    problem: str | None = None


def records(block: bytes, text_format: TextFormat, first_line: int = 1) -> Iterator[Record]:
    """Rows of `block`, without blank lines."""
    newline = text_format.newline
    start, line = 0, first_line
    while start < len(block):
        found = block.find(newline, start)
        end = len(block) if found < 0 else found + 1
        problem = None
        if text_format.quoted and block.find(QUOTE, start, end) >= 0:
            raw, end, problem = _quoted_record(block, start, text_format)
            fields = [value.decode("utf-8", "replace") for value in raw]
        else:
            text = block[start:end].removesuffix(newline).removesuffix(b"\r").decode("utf-8", "replace")
            fields = _split(text, text_format.delimiter)
        if len(fields) > 1 or fields[0].strip(" \t"):
            yield Record(line, fields, end, problem)
        line += block.count(newline, start, end)
        start = end


def _split(line: str, delimiter: str) -> list[str]:
    if delimiter == BLANKS:
        return re.split(r"[ \t]+", line.strip(" \t"))
    return line.split(delimiter)


@lru_cache(maxsize=32)
def _patterns(text_format: TextFormat) -> tuple[re.Pattern[bytes], re.Pattern[bytes]]:
    """Patterns of a quoted and of any field.

    Group 2 is the end of the field: a delimiter, or the end of the line or text.
    """
    delimiter, newline = re.escape(text_format.delimiter.encode()), re.escape(text_format.newline)
    end = rb"(%s|\r?%s|\r?\Z)" % (delimiter, newline)
    # Possessive (`*+`): a quote that is never closed is given up at once, and not tried at every length.
    quoted = re.compile(rb'"([^"]*+(?:""[^"]*+)*+)"' + end)
    plain = re.compile(rb"([^%s%s]*?)" % (delimiter, newline) + end)
    return quoted, plain


def _quoted_record(block: bytes, start: int, text_format: TextFormat) -> tuple[list[bytes], int, str | None]:
    quoted, plain = _patterns(text_format)
    delimiter = text_format.delimiter.encode()
    fields: list[bytes] = []
    problem = None
    while True:
        match = quoted.match(block, start)
        if match:
            fields.append(match[1].replace(b'""', QUOTE))
        else:
            match = plain.match(block, start)
            assert match is not None  # the empty field at the end of the text always matches
            fields.append(match[1])
            if match[1].startswith(QUOTE):
                problem = "a quoted field is not closed, or text follows its closing quote"
        start = match.end()
        if match[2] != delimiter:
            return fields, start, problem
