"""Reader of items: ids, titles and any other columns."""

from __future__ import annotations

import itertools
import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence

import polars as pl

from autorec_cli.data.item_columns import LIST_SEPARATOR, RESERVED, TITLE, is_kept, kept, typed
from autorec_cli.data.readers.columns.contents import is_number
from autorec_cli.data.readers.columns.names import COLUMN_NAMES
from autorec_cli.data.readers.options import BLANKS, ReadOptions
from autorec_cli.data.readers.source_names import expand_sources
from autorec_cli.data.readers.sources import FILE_KINDS, OpenSource, open_source, read_whole
from autorec_cli.data.readers.tables.column_types import check_types, id_of, is_readable, is_usable
from autorec_cli.data.readers.tables.json_lines import is_json, objects_in
from autorec_cli.data.readers.tables.parquet import damage_named, scan_file
from autorec_cli.data.readers.text.blocks import to_utf_8
from autorec_cli.data.readers.text.detection import CANDIDATES, sample_text, without_separator_line
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


def read_items(name: str, encoding: str = "utf-8") -> tuple[pl.DataFrame, str]:
    """Read the items in file `name`, and their encoding.

    Text that is not UTF-8 is read as Windows-1252, or Latin-1, unless `encoding` is another one.

    Returns:
        A frame of `id` (String) and of the other columns, one row per id, the first of several; and the encoding. The
        title is called `title`, columns without a name `column_3` and so on. Columns without values are left out.

    Raises:
        InputDataError: the file is missing, empty or has fewer than two columns.
    """
    names = expand_sources([name])
    if len(names) != 1:
        raise UsageError(f"--items {name} matches {len(names)} files; name one")
    with open_source(names[0], tuple(FILE_KINDS)) as source:
        if source.file is not None:
            return _items_in(source), FILE_KINDS[source.magic].lower()
        data, used = decode(read_whole(source), encoding, source.name)
        shown = source.name
    return (_json_items if is_json(shown, data) else _text_items)(data, shown), used


def _text_items(data: bytes, name: str) -> pl.DataFrame:
    """Items in delimited text."""
    data, options = without_separator_line(data, ReadOptions())
    # Blanks are parts of titles.
    text_format, sample = sample_text(data, options, name, [c for c in CANDIDATES if c != BLANKS])
    rows = _records(data, text_format)
    later = list(itertools.islice(records(sample, text_format), 1, 100))
    id_column, title_column, is_header = _columns(rows[0].fields, name)
    last = max(id_column, title_column or 0)
    # An unknown name is a header all the same if all ids below it are numbers.
    if not is_header:
        ids = [record.fields[id_column] for record in later]
        is_header = bool(ids) and not is_number(rows[0].fields[id_column]) and all(map(is_number, ids))
    kept_rows = rows[1:] if is_header else rows
    short = [row.line for row in kept_rows if len(row.fields) <= last]
    _warn(name, short, "left out, as the id or the title is missing")
    quotes = "read as it is: a quote is not closed or stands in a field"
    _warn(name, [row.line for row in kept_rows if row.problem], quotes)
    swallowed = [row.line for row in kept_rows if any(_looks_like_rows(field, text_format) for field in row.fields)]
    _warn(name, swallowed, "one field that spans lines like rows; is a quote missing?")
    whole = [row.fields for row in kept_rows if len(row.fields) > last]
    header = rows[0].fields if is_header else [""] * max(map(len, whole), default=last + 1)
    columns = [[row[index] if index < len(row) else None for row in whole] for index in range(len(header))]
    return _from_texts(header, columns, id_column, title_column, name)


def _warn(name: str, lines: Sequence[int], problem: str) -> None:
    if lines:
        more = f", and {counted(len(lines) - 1, 'more row')}" if len(lines) > 1 else ""
        LOG.warning("%s, line %d: %s%s", name, lines[0], problem, more)


def _looks_like_rows(field: str, text_format: TextFormat) -> bool:
    newline = text_format.newline.decode()
    return newline in field and all(text_format.delimiter in line for line in field.split(newline)[1:])


def _records(data: bytes, text_format: TextFormat) -> list[Record]:
    r"""Rows whose quoted fields double quotes, or write \".

    Files of Book-Crossing have the latter. The reading with fewer misplaced quotes and uneven rows wins.
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


def _json_items(data: bytes, name: str) -> pl.DataFrame:
    """Items in JSON lines."""
    rows = objects_in(data, name)
    header = list(dict.fromkeys(key for row in rows for key in row))
    id_column, title_column, _ = _columns(header, name)
    columns = [[_json_text(row.get(key)) for row in rows] for key in header]
    return _from_texts(header, columns, id_column, title_column, name)


def _json_text(value: object) -> str | None:
    """Text of a JSON value; None for an object.

    Its numbers are texts already.
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return LIST_SEPARATOR.join(filter(None, map(_json_text, value)))
    return str(value) if isinstance(value, str) else None


def _from_texts(
    header: Sequence[str], columns: Sequence[Sequence[str | None]], id_column: int, title_column: int | None, name: str
) -> pl.DataFrame:
    """Items whose columns are texts."""
    texts = [pl.Series(column, dtype=pl.String) for column in columns]
    others = {
        index: texts[index].replace("", None) if index == title_column else typed(texts[index])
        for index in range(len(header))
        if index != id_column
    }
    return _named(texts[id_column], others, _names(header, id_column, title_column, name))


def _names(header: Sequence[str], id_column: int, title_column: int | None, name: str) -> dict[int, str]:
    """Names of the columns that are kept, by position; the title first."""
    names: dict[int, str] = {} if title_column is None else {title_column: TITLE}
    left_out = []
    for index, text in enumerate(header):
        plain = text.strip() or f"column_{index + 1}"
        if index in (id_column, title_column):
            continue
        if plain in RESERVED or plain in names.values():
            left_out.append(shortened(plain))
        else:
            names[index] = plain
    if left_out:
        LOG.warning("%s: left out %s, as another column has this name; rename it", name, ", ".join(left_out))
    return names


def _named(ids: pl.Series, columns: Mapping[int, pl.Series], names: Mapping[int, str]) -> pl.DataFrame:
    """Frame of ids and columns.

    Of rows with the same id it has the first. Columns without values are left out.
    """
    frame = pl.DataFrame([ids.alias("id"), *(columns[index].alias(name) for index, name in names.items())])
    frame = frame.drop_nulls("id").unique("id", keep="first", maintain_order=True)
    return frame.select("id", *(name for name in frame.columns[1:] if frame[name].null_count() < frame.height))


def _items_in(source: OpenSource) -> pl.DataFrame:
    """Items in a Parquet or Arrow file.

    Raises:
        InputDataError: it is damaged, or the id is of an unusable type.
    """
    with damage_named(source):
        frame = scan_file(source)
        types = frame.collect_schema()
        usable = [name for name, dtype in types.items() if is_usable("item", dtype) or is_kept(dtype)]
        items = frame.select(usable).collect()
    return typed_items(items, source.name)


def frame_items(frame: pl.DataFrame) -> pl.DataFrame:
    """Items in a frame that a program made.

    They are as `read_items` returns them, but of rows with the same id the last.

    Raises:
        InputDataError: it has no column of ids, or one of an unusable type.
    """
    if not _columns(frame.columns, "the frame")[2]:
        raise InputDataError("items need a column of ids, such as item_id, and another one")
    return typed_items(frame.reverse(), "items")  # the first of equal ids is kept


def typed_items(frame: pl.DataFrame, name: str) -> pl.DataFrame:
    """Items in a frame, as `read_items` returns them.

    Raises:
        InputDataError: there are fewer than two columns, or the id or the title is of an unusable type.
    """
    header = frame.columns
    id_column, title_column, _ = _columns(header, name)
    check_types({"item": header[id_column]}, frame, frame.schema, name)
    if title_column is not None and not is_readable(frame.dtypes[title_column]):
        kind = frame.dtypes[title_column]
        raise InputDataError(f"{name}: column {shortened(header[title_column])} (title) is of type {kind}, not text")
    ids = frame.select(id_of(header[id_column], frame.dtypes[id_column]).cast(pl.String)).to_series()
    names = {
        index: text
        for index, text in _names(header, id_column, title_column, name).items()
        if is_kept(frame.dtypes[index])
    }
    columns = {index: kept(frame.to_series(index)) for index in names}
    if title_column is not None:
        columns[title_column] = columns[title_column].cast(pl.String)
    return _named(ids, columns, names)


def decode(data: bytes, encoding: str, name: str) -> tuple[bytes, str]:
    """Decode `data` to UTF-8, and name its encoding.

    That is a legacy one if `data` are not UTF-8.
    """
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


def _columns(first: Sequence[str], name: str) -> tuple[int, int | None, bool]:
    """Columns of id and title, None without one; True for a header.

    Without a known name of ids they are the first two.
    """
    if len(first) < 2:
        raise InputDataError(
            f"{name} has one column in its first row; a file of items needs an id and a title, or another column"
        )
    # Compared as names of columns are in `columns.names`.
    plain = ["".join(filter(str.isalnum, text.lower())) for text in first]
    ids = [plain.index(text) for text in ID_NAMES if text in plain]
    titles = [plain.index(text) for text in TITLE_NAMES if text in plain]
    if not ids:
        return 0, 1, False
    return ids[0], next((index for index in titles if index != ids[0]), None), True


def columns_of(item_ids: pl.Series, items: pl.DataFrame) -> pl.DataFrame:
    """Columns of `items` in the order of `item_ids`, null if missing."""
    return item_ids.to_frame("id").join(items, on="id", how="left", maintain_order="left").drop("id")
