"""Checks of the meaning of a dataset.

They are of types, shapes, ranges, order and uniqueness. A checksum says that a file is what was written, and not that a
dataset was written.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl
    from scipy import sparse

SPLITS = ("train", "valid", "test")


def shape_in(document: Mapping[str, Any]) -> tuple[int, int]:
    """Read (n_users, n_items) of a document.

    Raises:
        ValueError: they are no counts.
    """
    n_users, n_items = document["n_users"], document["n_items"]
    for size in (n_users, n_items):
        if type(size) is not int or not 0 < size < 2**31:
            raise ValueError("n_users or n_items is no number from 1")
    return n_users, n_items


def scale_in(document: Mapping[str, Any]) -> tuple[float, float]:
    """Read the rating scale of a document.

    Raises:
        ValueError: it is no range of finite numbers.
    """
    low, high = map(float, document["rating_scale"])
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"rating_scale is {low:g} to {high:g}")
    return low, high


def check_ratings(matrix: sparse.csr_array, shape: tuple[int, int], scale: tuple[float, float], name: str) -> None:
    """Check the ratings of a split.

    Raises:
        ValueError: they are not of this shape, columns are not in order, a rating is no number, or one of the training
            set, which the scale was taken from, is outside of it.
    """
    import numpy as np

    from autorec_cli.csr import check_rows

    if matrix.shape != shape:
        raise ValueError(f"{name} is of {matrix.shape[0]:,} x {matrix.shape[1]:,}, not {shape[0]:,} x {shape[1]:,}")
    check_rows(matrix.indptr, matrix.indices, shape[1], name)
    if matrix.nnz:
        largest = float(np.finfo("f4").max)
        low, high = map(np.float32, scale if name == "train" else (-largest, largest))
        lowest, highest = matrix.data.min(), matrix.data.max()
        if not (low <= lowest and highest <= high):  # NaN is no rating either
            raise ValueError(f"ratings of {name} are {lowest:g} to {highest:g}, outside {low:g} to {high:g}")


def check_table(table: pl.DataFrame, name: str) -> None:
    """Check the columns, the index and the ids of a table.

    Raises:
        ValueError: they are not those of users or items.
    """
    import polars as pl

    from autorec_cli.data.item_columns import RESERVED, TITLE, TYPES

    own = {"index": pl.UInt32, "id": pl.String, "n_ratings": pl.UInt32, "n_train_ratings": pl.UInt32}
    others = {column: dtype for column, dtype in table.schema.items() if own.get(column) != dtype}
    # A dataset that a program made may have ids only.
    is_right = "id" in table.columns and (name == "items" or not others) and not {"", *RESERVED} & set(others)
    if not is_right or others.get(TITLE, pl.String) != pl.String or not set(others.values()) <= set(TYPES.values()):
        raise ValueError(f"{name} has the columns {table.schema}")
    if "index" in table.columns and not (table["index"] == pl.Series(range(table.height), dtype=pl.UInt32)).all():
        raise ValueError(f"the index of {name} does not count from 0")
    if table["id"].null_count() or table["id"].n_unique() != table.height:
        raise ValueError(f"an id of {name} is missing or there twice")
