"""Detection of newline, delimiter and header in a sample."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

from autorec_cli.data.readers.columns.contents import (
    MIN_MATCHING,
    column_of,
    contents_of,
    is_number,
    is_numeric,
    is_plain_number,
)
from autorec_cli.data.readers.columns.names import role_of
from autorec_cli.data.readers.columns.search import find_columns
from autorec_cli.data.readers.layout import TextLayout
from autorec_cli.data.readers.options import BLANKS, DELIMITERS, NO_COLUMN, ReadOptions
from autorec_cli.data.readers.text.blocks import check_utf_8, last_row_end
from autorec_cli.data.readers.text.exact_csv import Record, TextFormat, records
from autorec_cli.errors import InputDataError, counted, quoted

SAMPLE_BYTES = 64 << 10
SEPARATOR_LINE = re.compile(rb'"?sep=([\x09\x20-\x7e])"?[ \t]*(?=\r?\n|\r)', re.IGNORECASE)
MIN_ROWS = 2  # a header and a row
MIN_FIELDS = 3  # a user, an item and a rating
DELIMITER_ROWS = 1000
"""Rows that each delimiter is tried on."""
CANDIDATES = ("::", "\t", ";", ",", "|", BLANKS)  # in order of preference


def detect_text(
    sample: bytes, text_format: TextFormat, options: ReadOptions, name: str
) -> tuple[TextLayout, Record | None]:
    """Detect the layout of text that begins with `sample`.

    Returns:
        The layout, and the record of the header if there is one.

    Raises:
        InputDataError: it has no ratings, or its columns cannot be determined.
    """
    rows = list(records(sample, text_format))
    if not rows:
        raise InputDataError(f"{name} is empty: it has only blank lines")
    fields = [row.fields for row in rows]
    _check_quotes(fields, text_format, name)
    has_header = has_header_row(fields, options)
    _check_first_line(rows, has_header, options, name)
    header = fields[0] if has_header else None
    if has_header and len(rows) == 1:
        raise InputDataError(f"{name} has a header and no ratings")
    body = fields[1:] if has_header else fields
    columns = find_columns(header, body, options, name)
    # Rows may be bad: the usual number of fields counts, and that of the first row.
    n_fields = len(header) if header else max(len(body[0]), Counter(map(len, body)).most_common(1)[0][0])
    number_ids = frozenset(
        role for role in ("user", "item") if all(map(is_plain_number, column_of(body, columns.of(role) or 0)))
    )
    layout = TextLayout(text_format, header, columns, max(n_fields, columns.last + 1), number_ids)
    return layout, rows[0] if has_header else None


def _check_first_line(rows: Sequence[Record], has_header: bool, options: ReadOptions, name: str) -> None:
    """Refuse lines above the header, and columns without a name.

    R leaves out the name of the row numbers.
    """
    if len(rows) < MIN_ROWS:
        return
    first = rows[0]
    widths = [_n_filled(row.fields) for row in rows]
    width, count = Counter(widths[1:]).most_common(1)[0]
    is_short = len(first.fields) < width or widths[0] <= 1 < width
    if not is_short or count < MIN_MATCHING * (len(rows) - 1):
        return
    later = [row.fields for row in rows[widths.index(width) :]]
    if has_header or has_header_row(later, options):
        raise InputDataError(
            f"{name}: line {first.line} has {counted(widths[0], 'field')}, but most rows have {width}: remove lines "
            "above the header, and name every column, even the row numbers of R's write.table"
        )


def _n_filled(fields: Sequence[str]) -> int:
    """Number of fields up to the last filled one."""
    return max((index + 1 for index, field in enumerate(fields) if field.strip()), default=0)


def _check_quotes(rows: list[list[str]], text_format: TextFormat, name: str) -> None:
    """Refuse text with a column all in quotes.

    R writes it so; tabs and blanks leave quotes where they are.
    """
    if text_format.quoted or text_format.quote is not None or len(rows) < MIN_ROWS:
        return
    of_tabs = text_format.delimiter == "\t"
    how = "is tab-separated" if of_tabs else "is not separated by commas or tabs"
    advice = "set --quote double to remove them" if of_tabs else "write it as CSV"
    for index in range(len(rows[0])):
        values = column_of(rows[1:], index)
        if values and all(len(value) > 1 and value[0] == value[-1] == '"' for value in values):
            raise InputDataError(
                f"{name} {how} and has quotes around column {index + 1}; {advice}, or set --quote none if they are "
                "part of the values"
            )


def detect_delimiter(sample: bytes, like: TextFormat, name: str, candidates: Sequence[str] = CANDIDATES) -> str:
    """Detect the delimiter that splits `sample` most evenly.

    One that gives at least three fields wins over one that gives two. Blanks lose to a delimiter that splits as evenly,
    unless it stands between digits only, as a decimal comma does.

    Args:
        sample: Whole rows.
        like: Newline and quotes.
        name: Name of the source, for messages.
        candidates: Delimiters to try, in order of preference.

    Raises:
        InputDataError: no delimiter splits the rows.
    """
    best: tuple[tuple[bool, bool, bool, int], str] | None = None
    for rank, delimiter in enumerate(candidates):
        if (
            not any(piece in sample for piece in (b" ", b"\t") if delimiter == BLANKS)
            and delimiter.encode() not in sample
        ):
            continue
        rows = [row.fields for row in islice(records(sample, replace(like, delimiter=delimiter)), DELIMITER_ROWS)]
        if not rows:
            continue
        width, count = Counter(map(len, rows)).most_common(1)[0]
        if width < 2:
            continue
        # In "u1,Big Item 5" the blanks are part of a name.
        if delimiter == BLANKS and best is not None and best[0][1] and _separates_texts(rows, best[1]):
            is_even = count >= MIN_MATCHING * len(rows) and len(rows[0]) == width
            if not best[0][0] and is_even and _end_in_ratings(rows[1:], width, best[1]):
                raise InputDataError(f"{name}: both blanks and {best[1]!r} could separate the fields; set --delimiter")
            continue
        # In "a;b,c;d,5" both split evenly, but only the comma leaves a number for the rating.
        numeric = any(is_numeric(column_of(rows[1:] or rows, index)) for index in range(width))
        score = (width >= MIN_FIELDS, count >= MIN_MATCHING * len(rows), numeric, -rank)
        if best is None or score > best[0]:
            best = score, delimiter
    if best is None:
        line = _first_line(sample)
        advice = "set --delimiter and --columns"
        if re.fullmatch(r"""'"[^"]*[,;|][^"]*"'""", line):
            advice = "remove the quotes around whole lines"
        raise InputDataError(f"{name}: no delimiter found in {line}; {advice}")
    return best[1]


def _end_in_ratings(rows: list[list[str]], width: int, delimiter: str) -> bool:
    """True if rows split at blanks may end in ratings.

    Then `delimiter` would be part of their items.
    """
    if width < MIN_FIELDS or any(delimiter in first for first in column_of(rows, 0)):
        return False
    return contents_of(rows, width - 1).is_like_stars


def _separates_texts(rows: list[list[str]], delimiter: str) -> bool:
    """True if `delimiter` stands in most rows elsewhere than between two digits."""
    piece = re.escape(delimiter)
    beside_text = re.compile(rf"{piece}(?!\d)|(?<!\d){piece}")
    found = sum(any(map(beside_text.search, row)) for row in rows)
    return found >= MIN_MATCHING * len(rows)


def _first_line(sample: bytes) -> str:
    lines = sample.decode("utf-8", "replace").split("\n")
    return quoted(next((line.strip() for line in lines if line.strip()), ""))


def has_header_row(rows: list[list[str]], options: ReadOptions) -> bool:
    """True if the first of `rows` is a header."""
    if options.has_header is not None:
        return options.has_header
    first, rest = rows[0], rows[1:]
    # A column that is given by its name needs one.
    if any(not column.isdecimal() and column != NO_COLUMN for column in options.columns.values()):
        return True
    known = [index for index, cell in enumerate(first) if len(cell) > 1 and role_of(cell)]
    n_numbers = sum(map(is_number, first))
    if n_numbers:
        return _names_and_numbers(first, rest, known, n_numbers)
    # Names of two roles, or one that its column does not repeat, are no ids.
    if len({role_of(first[index]) for index in known}) >= 2 or any(_is_new(first, rest, index) for index in known):
        return True
    # A text above numbers is their name, be it a known one or not.
    given = options.columns.get("rating", NO_COLUMN)
    where = [int(given) - 1] if given.isdecimal() else range(len(first))
    return any(
        index < len(first) and first[index].strip() and rest and is_numeric(column_of(rest, index)) for index in where
    )


def _names_and_numbers(first: list[str], rest: list[list[str]], known: Sequence[int], n_numbers: int) -> bool:
    """True if a first row with numbers is a header.

    Such are `userId,1,2,3`, and `,0,1,2` by pandas.
    """
    if any(_is_new(first, rest, index) and (n_numbers > 1 or is_numeric(column_of(rest, index))) for index in known):
        return True
    named = first if first[0].strip() else first[1:]
    if named != [str(number) for number in range(len(named))]:
        return False
    return len(named) < len(first) or any(
        column_of(rest, index) and _has_no_number(rest, index) for index in range(len(first))
    )


def _has_no_number(rows: list[list[str]], index: int) -> bool:
    return not any(map(is_number, column_of(rows, index)))


def _is_new(first: list[str], rest: list[list[str]], index: int) -> bool:
    """True if a cell of the first row is nowhere below."""
    return first[index] not in column_of(rest, index)


def sample_text(
    head: bytes, options: ReadOptions, name: str, candidates: Sequence[str] = CANDIDATES, is_cut: bool = False
) -> tuple[TextFormat, bytes]:
    """Detect the format of text that begins with `head`.

    Args:
        head: Start of the text.
        options: How to read it.
        name: Name of the source, for messages.
        candidates: Delimiters to try.
        is_cut: `head` may end within a row.

    Returns:
        Delimiter and newline, and a sample of whole rows.

    Raises:
        InputDataError: it is not text, or has no known delimiter.
    """
    newline = _newline(head)
    sample = _whole_rows(head, newline, options) if is_cut or len(head) > SAMPLE_BYTES else head
    if b"\0" in sample:
        likely = "utf-32-le" if b"\0\0\0" in sample[:8] else "utf-16"
        raise InputDataError(f"{name} is not text: it contains NUL bytes; for {likely.upper()} set --encoding {likely}")
    check_utf_8(sample, 1, TextFormat(",", newline), name)
    if not sample.strip():
        raise InputDataError(f"{name} is empty: it has only blank lines")
    delimiter = options.delimiter
    if delimiter is None:
        delimiter = detect_delimiter(sample, TextFormat(",", newline, options.quote), name, candidates)
    return TextFormat(delimiter, newline, options.quote), sample


def without_separator_line(head: bytes, options: ReadOptions) -> tuple[bytes, ReadOptions]:
    """Take the delimiter from a first line such as `sep=;`.

    Excel reads such a line; it becomes a blank one.
    """
    line = SEPARATOR_LINE.match(head)
    if line is None or line[1].decode() not in DELIMITERS:
        return head, options
    delimiter = options.delimiter or DELIMITERS[line[1].decode()]
    return head[line.end() :], replace(options, delimiter=delimiter)  # the line's end stays, to count lines right


def has_whole_rows(head: bytes, options: ReadOptions) -> bool:
    """True if the text `head` holds at least two whole rows."""
    return bool(_rows_within(head, _newline(head), options))


def _newline(head: bytes) -> bytes:
    return b"\n" if b"\n" in head[:SAMPLE_BYTES] or b"\r" not in head else b"\r"


def _whole_rows(head: bytes, newline: bytes, options: ReadOptions) -> bytes:
    """Sample of `head` that ends with a row."""
    # Without such an end a quote is unbalanced, or a row is very long.
    return _rows_within(head, newline, options) or head[: head.rfind(newline, 0, SAMPLE_BYTES) + 1] or head


def _rows_within(head: bytes, newline: bytes, options: ReadOptions) -> bytes:
    """Shortest sample of at least two whole rows.

    It has `SAMPLE_BYTES` if there are as many, and is empty if there are no two rows.
    """
    text_format = TextFormat(options.delimiter or ",", newline, options.quote)
    n_bytes = SAMPLE_BYTES
    while True:
        sample = head[: last_row_end(head[:n_bytes], text_format)]
        if sample and len(list(islice(records(sample, text_format), MIN_ROWS))) == MIN_ROWS:
            return sample
        if n_bytes >= len(head):
            return b""
        n_bytes *= 2
