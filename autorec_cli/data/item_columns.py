"""Columns of items, such as title, genre and price."""

from __future__ import annotations

from typing import cast

import polars as pl

from autorec_cli.data.readers.tables.column_types import DataType, is_readable

TITLE = "title"
OWN = ("index", "id", "n_ratings", "n_train_ratings")
"""Columns of the table of items in every dataset."""
RESERVED = (*OWN, "item_id")
"""Names that a column of a file of items cannot have; `item_id` is the id in `recommend --where`."""
TYPES = {"text": pl.String, "integer": pl.Int64, "number": pl.Float64, "boolean": pl.Boolean}
"""Types by their names in a model file."""

LARGEST = 3e38
"""Largest number that is kept; model files hold no larger ones."""
INTEGER = r"^-?(0|[1-9][0-9]{0,17})$"
"""Whole numbers that Int64 holds; with a leading zero it is a code."""
NUMBER = r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$"
LIST_SEPARATOR = "|"


def item_columns(items: pl.DataFrame) -> pl.DataFrame:
    """Columns of a dataset's items that came from their file."""
    return items.select(pl.exclude(OWN))


def typed(texts: pl.Series) -> pl.Series:
    """Column of integers, numbers or booleans, if all texts are."""
    texts = texts.replace("", None)
    known = texts.drop_nulls()
    if known.str.contains(INTEGER).all():
        return texts.cast(pl.Int64)
    if known.str.contains(NUMBER).all():
        return _finite(texts.cast(pl.Float64))
    lower = texts.str.to_lowercase()
    if lower.drop_nulls().is_in(["true", "false"]).all():
        return lower == "true"
    return texts


def is_kept(dtype: DataType) -> bool:
    """True if columns of this type become one of `TYPES`."""
    return is_readable(_inner(dtype))


def _inner(dtype: DataType) -> DataType:
    """Type of the values of a list, or the type itself."""
    return cast("DataType", dtype.inner) if isinstance(dtype, pl.List | pl.Array) else dtype


def kept(column: pl.Series) -> pl.Series:
    """Column of a type in `TYPES`.

    Dates become ISO 8601; the values of a list are joined by "|".
    """
    dtype = column.dtype
    if isinstance(dtype, pl.List | pl.Array):
        lists = column.cast(pl.List(_inner(dtype))).cast(pl.List(pl.String))
        return lists.list.join(LIST_SEPARATOR, ignore_nulls=True).replace("", None)
    if dtype == pl.Boolean:
        return column
    if dtype.is_integer():
        whole = column.cast(pl.Int64, strict=False)
        return whole if whole.null_count() == column.null_count() else _finite(column.cast(pl.Float64))
    if dtype.is_numeric():
        return _finite(column.cast(pl.Float64))
    if dtype == pl.Datetime:
        return column.dt.strftime("%Y-%m-%dT%H:%M:%S")
    return column.cast(pl.String).replace("", None)


def _finite(numbers: pl.Series) -> pl.Series:
    return numbers.set(~(numbers.abs() <= LARGEST), None)
