"""Reader of titles: an id and a title per row."""

from __future__ import annotations

import itertools
import logging
import re
from collections import Counter
from collections.abc import Sequence

import polars as pl

from autorec_cli.data.readers.column_types import check_types, id_of, is_readable, is_usable
from autorec_cli.data.readers.columns.contents import is_number
from autorec_cli.data.readers.columns.names import COLUMN_NAMES
from autorec_cli.data.readers.json_lines import is_json, objects_in
from autorec_cli.data.readers.options import BLANKS, ReadOptions
from autorec_cli.data.readers.parquet import damage_named, scan_file
from autorec_cli.data.readers.source_names import expand_sources
from autorec_cli.data.readers.sources import FILE_KINDS, OpenSource, open_source, read_whole
from autorec_cli.data.readers.text.blocks import to_utf_8
from autorec_cli.data.readers.text.detection import CANDIDATES, sample_text
from autorec_cli.data.readers.text.exact_csv import Record, TextFormat, records
from autorec_cli.errors import InputDataError, UsageError, counted, shortened

ID_NAMES = ("id", *COLUMN_NAMES["item"])
TITLE_NAMES = (
    "title",
    "name",
    "itemtitle",
    "itemname",
    "movietitle",
    "producttitle",
    "productname",
    "booktitle",
    "trackname",
    "song",
)
ESCAPED_QUOTE = b'\\"'
ESCAPES = re.compile(rb'\\[\\"]')
DOUBLED = {b"\\\\": b"\\", ESCAPED_QUOTE: b'""'}
LOG = logging.getLogger(__name__)
FALLBACKS = ("cp1252", "latin-1")  # latin-1 reads any bytes


def read_titles(name: str, encoding: str = "utf-8") -> tuple[pl.DataFrame, str]:
    """Read the titles in file `name`, and their encoding.

    Text that is not UTF-8 is read as Windows-1252, or Latin-1, unless `encoding` is another one.

    Returns:
        A frame of `id` and `title` (String), one row per id, the first of several; and the encoding.

    Raises:
        InputDataError: the file is missing, empty or has fewer than two columns.
    """
    names = expand_sources([name])
    if len(names) != 1:
        raise UsageError(f"--titles {name} matches {len(names)} files; name one")
    with open_source(names[0], tuple(FILE_KINDS)) as source:
        if source.file is not None:
            return _titles_in(source), FILE_KINDS[source.magic].lower()
        data, used = _decode(read_whole(source), encoding, source.name)
        shown = source.name
    if is_json(shown, data):
        return _json_titles(data, shown), used
    return _text_titles(data, shown), used


def _text_titles(data: bytes, name: str) -> pl.DataFrame:
    """Titles in delimited text."""
    text_format, sample = sample_text(data, ReadOptions(), name, [c for c in CANDIDATES if c != BLANKS])
    rows = _records(data, text_format)
    later = list(itertools.islice(records(sample, text_format), 1, 100))
    id_column, title_column, is_header = _columns(rows[0].fields, name)
    last = max(id_column, title_column)
    if not is_header:
        ids = [record.fields[id_column] for record in later]
        is_header = bool(ids) and not is_number(rows[0].fields[id_column]) and all(map(is_number, ids))
    kept = rows[1:] if is_header else rows
    short = [row.line for row in kept if len(row.fields) <= last]
    _warn(name, short, "left out, as the title is missing")
    _warn(name, [row.line for row in kept if row.problem], "read as it is: a quote is not closed or stands in a field")
    swallowed = [row.line for row in kept if any(_looks_like_rows(field, text_format) for field in row.fields)]
    _warn(name, swallowed, "one field that spans lines like rows; is a quote missing?")
    pairs = [(row.fields[id_column], row.fields[title_column]) for row in kept if len(row.fields) > last]
    return _unique(pl.DataFrame(pairs, schema={"id": pl.String, "title": pl.String}, orient="row"))


def _warn(name: str, lines: Sequence[int], problem: str) -> None:
    if lines:
        more = f", and {counted(len(lines) - 1, 'more row')}" if len(lines) > 1 else ""
        LOG.warning("%s, line %d: %s%s", name, lines[0], problem, more)


def _looks_like_rows(field: str, text_format: TextFormat) -> bool:
    newline = text_format.newline.decode()
    return newline in field and all(text_format.delimiter in line for line in field.split(newline)[1:])


def _records(data: bytes, text_format: TextFormat) -> list[Record]:
    r"""Rows with quotes doubled in quoted fields, or written \", as in the files of Book-Crossing.

    The reading with fewer misplaced quotes and uneven rows wins.
    """
    rows = list(records(data, text_format))
    if not text_format.quoted or ESCAPED_QUOTE not in data:
        return rows
    escaped = list(records(ESCAPES.sub(lambda found: DOUBLED[found[0]], data), text_format))
    return min(rows, escaped, key=_n_uneven)


def _n_uneven(rows: Sequence[Record]) -> int:
    """Number of rows with misplaced quotes, or of another width than most."""
    width = Counter(len(row.fields) for row in rows).most_common(1)[0][0]
    return sum(row.problem is not None or len(row.fields) != width for row in rows)


def _json_titles(data: bytes, name: str) -> pl.DataFrame:
    """Titles in JSON lines."""
    rows = objects_in(data, name)
    header = list(dict.fromkeys(key for row in rows for key in row))
    id_column, title_column, _ = _columns(header, name)
    pairs = [[row.get(header[index]) for index in (id_column, title_column)] for row in rows]
    texts = [[value if isinstance(value, str) else None for value in pair] for pair in pairs]
    return _unique(pl.DataFrame(texts, schema={"id": pl.String, "title": pl.String}, orient="row"))


def _titles_in(source: OpenSource) -> pl.DataFrame:
    """Titles in a Parquet or Arrow file.

    Raises:
        InputDataError: it is damaged, or a column is of an unusable type.
    """
    with damage_named(source):
        frame = scan_file(source)
        types = frame.collect_schema()
        readable = [name for name, dtype in types.items() if is_usable("item", dtype)]
        id_column, title_column, _ = _columns(readable, source.name)
        titles = frame.select(readable[id_column], readable[title_column]).collect()
    return typed_titles(titles, source.name)


def typed_titles(frame: pl.DataFrame, name: str) -> pl.DataFrame:
    """Titles in a frame of two columns, ids and titles, as `read_titles` returns them.

    Raises:
        InputDataError: a column is of an unusable type.
    """
    id_name, title_name = frame.columns
    check_types({"item": id_name}, frame, frame.schema, name)
    if not is_readable(frame.schema[title_name]):
        kind = frame.schema[title_name]
        raise InputDataError(f"{name}: column {shortened(title_name)} (title) is of type {kind}, not text")
    title = pl.col(title_name).cast(pl.String, strict=False)
    return _unique(frame.select(id_of(id_name, frame.schema[id_name]).alias("id"), title.alias("title")))


def _decode(data: bytes, encoding: str, name: str) -> tuple[bytes, str]:
    """Decode `data` to UTF-8, and name its encoding."""
    options = ReadOptions(encoding=encoding)
    if options.is_utf_8:
        try:
            text = b"".join(to_utf_8(iter([data]), options, name))
            text.decode()
            return text, "utf-8"
        except UnicodeDecodeError:
            pass
        for fallback in FALLBACKS:
            try:
                return data.decode(fallback).encode(), fallback
            except UnicodeDecodeError:
                continue
    return b"".join(to_utf_8(iter([data]), options, name)), encoding


def _columns(first: Sequence[str], name: str) -> tuple[int, int, bool]:
    """Columns of id and title; True for a header.

    Without known names they are the first two.
    """
    if len(first) < 2:
        raise InputDataError(f"{name} has one column; a file of titles needs an id and a title")
    plain = ["".join(filter(str.isalnum, text.lower())) for text in first]
    ids = [plain.index(text) for text in ID_NAMES if text in plain]
    titles = [plain.index(text) for text in TITLE_NAMES if text in plain]
    if ids and titles and ids[0] != titles[0]:
        return ids[0], titles[0], True
    return 0, 1, False


def _unique(titles: pl.DataFrame) -> pl.DataFrame:
    texts = titles.select(pl.all().cast(pl.String))
    return texts.drop_nulls("id").unique("id", keep="first", maintain_order=True)


def titles_of(item_ids: pl.Series, titles: pl.DataFrame) -> pl.Series:
    """Titles in the order of `item_ids`, null if missing."""
    joined = item_ids.to_frame("id").join(titles, on="id", how="left", maintain_order="left")
    return joined["title"].replace("", None)
