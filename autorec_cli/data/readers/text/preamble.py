"""Texts that are not rows alone, made into plain rows.

They are comments, MatrixMarket, KONECT and blocks of the Netflix Prize. They become plain delimited text with as many
lines, so that messages name the right one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain

from autorec_cli.data.readers.columns.contents import is_number
from autorec_cli.data.readers.columns.names import role_of
from autorec_cli.data.readers.options import BLANKS, ReadOptions
from autorec_cli.errors import InputDataError, quoted

MARKS = (b"%", b"#")
MATRIX = b"%%matrixmarket"
# "% bip weighted", the first line of KONECT.
KONECT = re.compile(rb"%\s*(?:bip|sym|asym)\b")
VALUES = ("real", "integer", "double", "pattern")
# Rows, columns and cells of MatrixMarket.
SIZES = re.compile(rb"\d+\s+\d+\s+\d+")
# "1:", the item of the rows "user,rating" or "user,rating,date" below it.
BLOCK_LINE = re.compile(rb"^([^\s:,;|\x00-\x1f]+):[ \t]*\r?$", re.MULTILINE)
BLOCK_ROW = re.compile(rb"[^\s,:]+,\s*[-+.\deE]+\s*(?:,[^,:]*)?")
SEPARATORS = re.compile(r"[\s,;|]+|::")


def plain_text(
    head: bytes, chunks: Iterator[bytes], options: ReadOptions, name: str
) -> tuple[Iterator[bytes], ReadOptions]:
    """Plain delimited text in UTF-8, and options to read it.

    Raises:
        InputDataError: it is in a form of MatrixMarket or of blocks that has no ratings of users and items.
    """
    beginning = head[: head.find(b"\n", 1 << 10) + 1 or len(head)]  # a KiB, to the end of its line
    lines = [line.strip() for line in beginning.split(b"\n") if line.strip()][:2]
    if lines and BLOCK_LINE.fullmatch(lines[0]):
        if len(lines) < 2 or not BLOCK_ROW.fullmatch(lines[1]):
            raise InputDataError(
                f"{name}: {quoted(lines[0].decode('utf-8', 'replace'))} begins a block of an item, as in the Netflix "
                "Prize, but the next line is not user,rating or user,rating,date"
            )
        return rows_of_blocks(chain([head], chunks)), _block_options(lines[1], options, name)
    if not lines or not lines[0].startswith(MARKS):
        return chain([head], chunks), options
    start, blank = _without_comments(head)
    return chain([blank + head[start:]], chunks), _comment_options(lines[0], head[start:], options, name)


def _without_comments(head: bytes) -> tuple[int, bytes]:
    """Start of the first row, and text for the lines before."""
    newline = b"\n" if b"\n" in head or b"\r" not in head else b"\r"
    has_sizes = head.lstrip()[: len(MATRIX)].lower() == MATRIX
    comments = []
    start = 0
    while start < len(head):
        end = head.find(newline, start) + 1 or len(head)
        line = head[start:end].strip()
        if line and not line.startswith(MARKS):
            if not has_sizes or not SIZES.fullmatch(line):
                break
            has_sizes, line = False, b""
        comments.append(line)
        start = end
    else:  # a text of comments alone is refused as what it is
        return 0, b""
    cells = _cells(line)
    if any(_is_row(comment, cells) for comment in comments):
        return 0, b""
    kept = [_names_in(comment, len(cells)) for comment in comments]
    return start, b"".join(names + newline for names in kept)


def _cells(line: bytes) -> list[str]:
    return [cell for cell in SEPARATORS.split(line.decode("utf-8", "replace").strip()) if cell]


def _is_row(line: bytes, row: list[str]) -> bool:
    """True for a row whose id begins with a mark.

    It has as many cells as `row`, and numbers where that has some.
    """
    cells = _cells(line)
    if not line.startswith(b"#") or line[1:2].isspace() or len(cells) < 3 or len(cells) != len(row):
        return False
    return all(is_number(cell) == is_number(other) for cell, other in list(zip(cells, row, strict=True))[1:])


def _names_in(comment: bytes, n_cells: int) -> bytes:
    """Column names that a comment holds, else nothing."""
    text = comment.lstrip(b"#").strip() if comment.startswith(b"#") else b""
    cells = _cells(text)
    roles = {role_of(cell) for cell in cells} - {None}
    return text if len(roles) >= 2 and len(cells) == n_cells else b""


def _comment_options(first: bytes, rows: bytes, options: ReadOptions, name: str) -> ReadOptions:
    """Options for a text whose first line is the comment `first`."""
    is_matrix = first[: len(MATRIX)].lower() == MATRIX
    if not is_matrix and not KONECT.match(first):
        return options
    n_fields = len(rows.split(b"\n", 1)[0].split())
    if is_matrix:
        words = first.decode("utf-8", "replace").lower().split()[1:]
        n_fields = 2 if words[2:3] == ["pattern"] else 3
        if words[:2] != ["matrix", "coordinate"] or words[2:] not in [[kind, "general"] for kind in VALUES]:
            raise InputDataError(
                f"{name} is a MatrixMarket file ({quoted(' '.join(words))}), but not a general coordinate matrix of "
                "real or integer values; write it as one"
            )
    columns = (
        {"user": "1", "item": "2"}
        | ({"rating": "3"} if n_fields > 2 else {})
        | ({"timestamp": "4"} if n_fields > 3 else {})
    )
    return replace(
        options, delimiter=options.delimiter or BLANKS, has_header=False, columns=columns | dict(options.columns)
    )


def _block_options(row: bytes, options: ReadOptions, name: str) -> ReadOptions:
    """Options for rows of blocks such as `row`.

    They get their item as the last field.
    """
    if set(options.columns) - {"timestamp"}:
        raise InputDataError(
            f"{name} has blocks of rows user,rating,date below the lines of their items; leave out "
            "--columns, which are known"
        )
    n_fields = row.count(b",") + 1
    columns = {"user": "1", "rating": "2", "item": str(n_fields + 1)} | ({"timestamp": "3"} if n_fields > 2 else {})
    return replace(options, delimiter=",", has_header=False, columns=columns | dict(options.columns))


def rows_of_blocks(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Rows with their item as the last field.

    A line that named an item becomes blank.
    """
    rest, item = b"", b""
    for chunk in chain(chunks, [b""]):  # the empty one lets out the last row, which may have no newline
        text = rest + chunk
        cut = text.rfind(b"\n") + 1 if chunk else len(text)
        text, rest = text[:cut].replace(b"\r\n", b"\n"), text[cut:]
        parts = BLOCK_LINE.split(text)  # rows, item, rows, item, ...
        pieces = [_with_item(parts[0], item)]
        for number in range(1, len(parts), 2):
            item = parts[number]
            pieces.append(_with_item(parts[number + 1], item))
        if text:
            yield b"".join(pieces)


def _with_item(rows: bytes, item: bytes) -> bytes:
    """Rows with a last field; blank lines stay blank."""
    field = b"," + item
    with_field = rows.replace(b"\n", field + b"\n") + (field if rows and not rows.endswith(b"\n") else b"")
    if with_field.startswith(field):  # the end of the line that named the item
        with_field = with_field[len(field) :]
    blank = b"\n" + field + b"\n"
    # Neighbors share a newline, so that one pass leaves every second of them.
    while blank in with_field:
        with_field = with_field.replace(blank, b"\n\n")
    return with_field
