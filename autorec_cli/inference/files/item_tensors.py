"""Columns of items, other than titles, as tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from autorec_cli.csr import Array
from autorec_cli.data.item_columns import RESERVED, TITLE, TYPES
from autorec_cli.inference.files.texts import pack_texts, unpack_texts

Shapes = dict[str, tuple[str, tuple[int | None, ...]]]
"""Type and shape of each tensor; None for a size that only the data has."""

# The file format has no booleans (`safetensors_writer.TYPE_NAMES`).
STORED = {"integer": pl.Int64, "number": pl.Float64, "boolean": pl.UInt8}


def pack_items(items: pl.DataFrame) -> tuple[list[dict[str, str]], dict[str, Array]]:
    """Split columns of items into their description and tensors."""
    columns: list[dict[str, str]] = []
    tensors: dict[str, Array] = {}
    names = {dtype: name for name, dtype in TYPES.items()}
    for column in (column for column in items.iter_columns() if column.name != TITLE):
        kind, before = names[type(column.dtype)], f"items.{len(columns)}"
        columns.append({"name": column.name, "type": kind})
        if kind == "text":  # an empty one stands for none
            tensors[f"{before}.bytes"], tensors[f"{before}.ends"] = pack_texts(column.fill_null("").to_list())
        else:
            tensors[f"{before}.values"] = column.cast(STORED[kind]).fill_null(0).to_numpy()
            tensors[f"{before}.known"] = column.is_not_null().to_numpy().astype(np.uint8)
    return columns, tensors


def unpack_items(
    columns: Sequence[Mapping[str, str]], tensors: Mapping[str, Array], titles: Sequence[str] | None
) -> pl.DataFrame:
    """Join columns that `pack_items` split, and titles."""
    unpacked = [] if titles is None else [pl.Series(TITLE, titles, dtype=pl.String).replace("", None)]
    for number, column in enumerate(columns):
        before, name = f"items.{number}", column["name"]
        if column["type"] == "text":
            texts = unpack_texts(tensors[f"{before}.bytes"], tensors[f"{before}.ends"])
            unpacked.append(pl.Series(name, texts, dtype=pl.String).replace("", None))
        else:
            values = pl.Series(name, tensors[f"{before}.values"]).cast(TYPES[column["type"]])
            unpacked.append(values.set(pl.Series(tensors[f"{before}.known"] == 0), None))
    return pl.DataFrame(unpacked)


def item_shapes(columns: object, n_items: int) -> Shapes:
    """Type and shape of each tensor of `pack_items`.

    Raises:
        ValueError: they are no such columns.
    """
    if not isinstance(columns, list) or not all(isinstance(column, dict) for column in columns):
        raise ValueError("item_columns are no columns")
    shapes: Shapes = {}
    for number, (name, kind) in enumerate((column.get("name"), column.get("type")) for column in columns):
        if not isinstance(name, str) or not name or name in (*RESERVED, TITLE) or kind not in (*TYPES,):
            raise ValueError("a column of items has no name or type")
        if kind == "text":
            shapes[f"items.{number}.bytes"], shapes[f"items.{number}.ends"] = ("uint8", (None,)), ("int64", (n_items,))
        else:
            shapes[f"items.{number}.values"] = (STORED[kind].__name__.lower(), (n_items,))
            shapes[f"items.{number}.known"] = ("uint8", (n_items,))
    if len({column["name"] for column in columns}) < len(columns):
        raise ValueError("two columns of items have one name")
    return shapes
