"""Reader of JSON lines: one object per line.

polars reads good blocks. A block with anything unusual is read again line by line in Python, which knows the line of
every row and the type of every value.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
import polars as pl

from autorec_cli.data.readers.columns.contents import is_plain_number
from autorec_cli.data.readers.columns.search import find_columns
from autorec_cli.data.readers.layout import Layout
from autorec_cli.data.readers.options import ROLES, ReadOptions, name_or_number
from autorec_cli.data.readers.rows import PROBLEM, RatingRows, check_rows, no_rows
from autorec_cli.data.readers.sources import OpenSource
from autorec_cli.data.readers.text.blocks import check_utf_8, cut_blocks, parsed_blocks
from autorec_cli.data.readers.text.exact_csv import TextFormat
from autorec_cli.errors import InputDataError, quoted, shortened

LINES = TextFormat("::")  # newlines end lines, whatever quotes say
SAMPLE_BYTES = 64 << 10
ENDINGS = (".jsonl", ".ndjson")
# A brace before a key, a closing one, or the end of what was read.
OBJECT = re.compile(rb"""[\s\x1e]*\{\s*(?:["']|\}|\Z)""")
"""Also of a JSON sequence, and what Python prints, which are refused as no JSON lines."""
ARRAY = re.compile(rb"\s*\[\s*[\{\[]")
NO_ID = r"^(?:[\[{]|true$|false$)"
"""Text to which polars turns values that are no ids; a text may look like them, too."""
WORDS = {bool: "a boolean", list: "an array", dict: "an object"}


def is_json(name: str, head: bytes) -> bool:
    """True for text that is JSON.

    Its name says so, or it begins with an object or an array of them.
    """
    if name.lower().removesuffix(".gz").removesuffix(".zst").endswith(ENDINGS):
        return True
    return OBJECT.match(head) is not None or ARRAY.match(head) is not None


@contextmanager
def read_json_lines(
    source: OpenSource, options: ReadOptions, _like: Layout | None = None
) -> Iterator[tuple[Layout, Iterator[RatingRows]]]:
    """Layout of JSON lines in UTF-8, and their rows block by block.

    Threads end with the context.

    Raises:
        InputDataError: the layout is not clear, or a row is bad.
    """
    name = source.name
    blocks = cut_blocks(b"", source.chunks or iter(()), LINES, name)
    first = next(blocks, b"")
    layout, types = detect_json_lines(first, options, name)

    with parsed_blocks(
        chain([first], blocks),
        lambda block: parse_lines(block, layout, types),
        lambda block, line: examine_lines(block, line, layout, name, options.skip_bad_rows),
    ) as rows:
        yield layout, rows


def detect_json_lines(block: bytes, options: ReadOptions, name: str) -> tuple[Layout, dict[str, pl.DataType]]:
    """Detect the layout of JSON lines by their first lines.

    Returns:
        The layout, with all keys of these lines as its header, and the expected type by role.

    Raises:
        InputDataError: the text is one JSON array, or the columns cannot be determined.
    """
    if ARRAY.match(block):
        raise InputDataError(f"{name} is one JSON array; write JSON lines, for example with jq -c '.[]'")
    check_utf_8(block, 1, LINES, name)
    rows = list(_sampled(block))
    header = list(dict.fromkeys(key for row in rows for key in row))
    if not header:
        raise InputDataError(
            f"{name}, line 1: not a JSON object; JSON lines are one object per line, with its texts in double quotes"
        )
    asked: dict[str, Any] = {role: name_or_number(header, text) for role, text in options.columns.items()}
    nested = {key for key in header if _is_nested([row[key] for row in rows if key in row])}
    # Nested values count as blank, so they get a role only by --columns or by name, and are refused below.
    texts = [[_text(row.get(key)) for key in header] for row in rows]
    columns = find_columns(header, texts, replace(options, columns=asked, has_header=None), name)
    for role, index in columns.by_role().items():
        if header[index] in nested:
            raise InputDataError(
                f"{name}: column {shortened(header[index])} ({role}) holds arrays or objects, which cannot be "
                f"{_noun(role)}; choose another one with --columns {role}="
            )
    types = {
        role: _type_of(role, [row.get(header[index]) for row in rows]) for role, index in columns.by_role().items()
    }
    number_ids = frozenset(role for role in ("user", "item") if types[role] == pl.Int64)
    return Layout(None, header, columns, len(header), number_ids, kind="jsonl"), types


def _is_nested(values: Sequence[object]) -> bool:
    """True if most values are arrays or objects.

    The others may be bad rows.
    """
    return 2 * sum(isinstance(value, list | dict) for value in values) > len(values)


def _sampled(block: bytes) -> Iterator[dict[str, Any]]:
    """Objects in the first lines of a block, without bad lines."""
    # Whole lines of the sample, else the first line, however long it is.
    end = block.rfind(b"\n", 0, SAMPLE_BYTES) + 1 or block.find(b"\n") + 1 or len(block)
    for line in block[:end].split(b"\n"):
        row, _ = _object(line)
        if row is not None:
            yield row


def objects_in(data: bytes, name: str) -> list[dict[str, Any]]:
    """All objects of JSON lines.

    Raises:
        InputDataError: a line is none.
    """
    rows = []
    for number, line in enumerate(data.split(b"\n"), 1):
        row, problem = _object(line) if line.strip() else ({}, None)
        if problem is not None:
            raise InputDataError(f"{name}, line {number}: {problem}")
        rows += [row] if row else []
    return rows


class _Number(str):
    """Text of a JSON number, whole ones without a point."""


def _float(text: str) -> _Number:
    # 7.0 and 7 are one id.
    value = float(text)
    return _Number(str(int(value)) if value.is_integer() else text)


def _object(line: bytes) -> tuple[dict[str, Any] | None, str | None]:
    """Object on a line, with numbers as `_Number`.

    None if there is none, and the problem.
    """
    try:
        # `parse_constant` is for NaN and Infinity, which JSON does not have: nothing, as null.
        found = json.loads(line, parse_int=_Number, parse_float=_float, parse_constant=lambda _: None)
    except (ValueError, RecursionError, OverflowError):
        return None, f"{quoted(line.decode('utf-8', 'replace').strip())} is not JSON"
    if not isinstance(found, dict):
        return None, f"{quoted(line.decode('utf-8', 'replace').strip())} is not a JSON object"
    return found, None


def _text(value: object) -> str:
    if isinstance(value, bool):
        return _shown(value)
    return value if isinstance(value, str) else ""


def _type_of(role: str, values: Sequence[object]) -> pl.DataType:
    """Type that polars can read nearly all of `values` as."""
    are_numbers = all(isinstance(value, _Number) for value in values if value is not None)
    if are_numbers and role == "rating":
        return pl.Float64()
    if are_numbers and all(is_plain_number(value) for value in values if isinstance(value, str)):
        return pl.Int64()
    return pl.String()


def parse_lines(block: bytes, layout: Layout, types: Mapping[str, pl.DataType]) -> RatingRows | None:
    """Rows of `block`, or None unless all are good."""
    assert layout.header is not None
    if not block.strip():
        return replace(no_rows(layout), n_lines=block.count(b"\n"))
    names = {layout.header[index]: role for role, index in layout.columns.by_role().items()}
    try:
        frame = pl.read_ndjson(block, schema={name: types[role] for name, role in names.items()}).rename(names)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return None
    id_texts = [frame[role] for role in ("user", "item") if types[role] == pl.String]
    if any(texts.str.contains(NO_ID).any() for texts in id_texts):
        return None
    try:
        rows = check_rows(frame, np.arange(frame.height), layout, "", skip_bad_rows=False)
    except InputDataError:
        return None
    return replace(rows, n_lines=block.count(b"\n"))


def examine_lines(block: bytes, first_line: int, layout: Layout, name: str, skip_bad_rows: bool) -> RatingRows:
    """Rows of a block with possible bad lines.

    Raises:
        InputDataError: a line is bad; the message names line, key and value.
    """
    assert layout.header is not None
    check_utf_8(block, first_line, LINES, name)
    names = {role: layout.header[index] for role, index in layout.columns.by_role().items()}
    columns: dict[str, list[str | None]] = {role: [] for role in (*names, PROBLEM)}
    lines = []
    for number, line in enumerate(block.split(b"\n"), first_line):
        if not line.strip():
            continue
        row, problem = _object(line)
        values = {role: (row or {}).get(key) for role, key in names.items()}
        for role in ROLES:
            if role in values and isinstance(values[role], bool | list | dict):
                problem = problem or f"column {shortened(names[role])}: {_shown(values[role])} cannot be {_noun(role)}"
                values[role] = None
        for role, value in values.items():
            columns[role].append(None if value is None else str(value))
        columns[PROBLEM].append(problem)
        lines.append(number)
    frame = pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String))
    rows = check_rows(frame, np.array(lines, dtype=np.int64), layout, f"{name}, line", skip_bad_rows)
    return replace(rows, n_lines=block.count(b"\n"))


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else WORDS[type(value)]


def _noun(role: str) -> str:
    return "an id" if role in ("user", "item") else f"a {role}"
