"""Reader of one column about users or items, from a file."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from autorec_cli.data.item_columns import is_kept, kept
from autorec_cli.data.readers.columns.names import role_and_tier
from autorec_cli.data.readers.items import decode
from autorec_cli.data.readers.options import BLANKS, ReadOptions
from autorec_cli.data.readers.source_names import expand_sources
from autorec_cli.data.readers.sources import FILE_KINDS, open_source, read_whole
from autorec_cli.data.readers.tables.column_types import id_of
from autorec_cli.data.readers.tables.parquet import damage_named, scan_file
from autorec_cli.data.readers.text.detection import CANDIDATES, sample_text
from autorec_cli.data.readers.text.exact_csv import records
from autorec_cli.errors import InputDataError, UsageError, quoted


def read_attribute(name: str, column: str) -> tuple[str, pl.DataFrame]:
    """Read ids of users or items, and a column about them.

    Args:
        name: Text with a header row and any delimiter, in an encoding as of `read_items`, or Parquet. A column whose
            name is known, such as user_id or movieId, has the ids.
        column: Name of the column.

    Returns:
        "users" or "items", and a frame of `id` (String) and `value`, one row per id, the first of several.

    Raises:
        UsageError: there is no such column, or its values are of a type that no column of items has.
        InputDataError: the file is missing or damaged, or it has no ids.
    """
    names = expand_sources([name])
    if len(names) != 1:
        raise UsageError(f"{name} matches {len(names)} files; name one")
    with open_source(names[0], tuple(FILE_KINDS)) as source:
        if source.file is None:
            side, frame = _in_text(decode(read_whole(source), "utf-8", name)[0], name, column)
        else:
            with damage_named(source):
                lazy = scan_file(source)
                types = lazy.collect_schema()
                side, id_name = _id_column(types.names(), name, column)
                if not is_kept(types[column]):
                    raise UsageError(f"{name}: the values of {quoted(column)} are of type {types[column]}, no groups")
                frame = lazy.select(id_of(id_name, types[id_name]).alias("id"), pl.col(column).alias("value")).collect()
                frame = frame.with_columns(kept(frame["value"]))
    frame = frame.with_columns(pl.col("id").cast(pl.String))
    return side, frame.drop_nulls("id").unique("id", keep="first", maintain_order=True)


def _in_text(data: bytes, name: str, column: str) -> tuple[str, pl.DataFrame]:
    # Blanks are parts of names and titles here.
    text_format, _ = sample_text(data, ReadOptions(), name, [c for c in CANDIDATES if c != BLANKS])
    header, *rows = [record.fields for record in records(data, text_format)]
    side, id_name = _id_column(header, name, column)
    places = header.index(id_name), header.index(column)
    pairs = [[row[place] for place in places] for row in rows if len(row) > max(places)]
    return side, pl.DataFrame(pairs, schema={"id": pl.String, "value": pl.String}, orient="row")


def _id_column(header: Sequence[str], name: str, column: str) -> tuple[str, str]:
    """Side and name of the column of ids, beside `column`."""
    if column not in header:
        raise UsageError(f"{name} has no column {quoted(column)}; it has {', '.join(map(quoted, header[:20]))}")
    roles = {text: role_and_tier(text) for text in header if text != column}
    known = [(role[1], text, role[0]) for text, role in roles.items() if role and role[0] in ("user", "item")]
    if not known:
        raise InputDataError(f"{name} has no column of ids, such as user_id or item_id, in its first row")
    _, id_name, role = min(known)
    return f"{role}s", id_name
