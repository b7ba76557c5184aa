"""Ratings as a SQL engine encodes them, by the contract of docs/scaling.md."""

from itertools import pairwise

import numpy as np
import polars as pl

from autorec_cli.csr import add_splits, row_indices

RATINGS = pl.DataFrame(
    {"user": [0, 0, 1, 2, 2, 2], "item": [0, 1, 0, 2, 0, 1], "rating": [4.0, 3.0, 0.0, 5.0, 2.0, 1.0]},
    schema={"user": pl.Int64, "item": pl.Int32, "rating": pl.Float32},
)
USERS = pl.DataFrame({"index": [0, 1, 2], "id": ["b", "007", "a"], "n_ratings": [2, 1, 3]})
ITEMS = pl.DataFrame({"index": [0, 1, 2], "id": ["x", "y", "z"], "n_ratings": [3, 2, 1]})
CUTS = {"part-2": (0, 3), "part-1": (3, 4), "part-10": (4, 6), "empty": (0, 0)}
"""Partitions whose names are in another order than their users."""


def encoded(folder, dataset, n_partitions=6):
    """Write all ratings of a dataset to `folder`, users cut in two between partitions."""
    rated = add_splits(add_splits(dataset.train, dataset.valid), dataset.test)
    columns = {"user": row_indices(rated), "item": rated.indices, "rating": rated.data}
    (folder / "ratings").mkdir(parents=True)
    ratings = pl.DataFrame(columns).cast({"user": pl.Int64, "item": pl.Int32, "rating": pl.Float32})
    cuts = np.linspace(0, rated.nnz, n_partitions + 1).astype(int)
    for number, (first, last) in enumerate(pairwise(cuts)):
        ratings[first:last].write_parquet(folder / "ratings" / f"part-{number}.parquet")
    for side, index in (("user", columns["user"]), ("item", columns["item"])):
        ids = getattr(dataset, f"{side}s")["id"]
        table = {"index": range(len(ids)), "id": ids, "n_ratings": np.bincount(index, minlength=len(ids))}
        pl.DataFrame(table).write_parquet(folder / f"{side}s.parquet")
    return folder


def written(folder, ratings=RATINGS, users=USERS, items=ITEMS, left_out=()):
    (folder / "ratings").mkdir(parents=True)
    (folder / "ratings" / "_SUCCESS").write_text("")
    users.write_parquet(folder / "users.parquet")
    items.write_parquet(folder / "items.parquet")
    for name, (first, last) in CUTS.items():
        if name not in left_out:
            ratings[first:last].write_parquet(folder / "ratings" / f"{name}.parquet")
    return folder


def changed(table, **columns):
    return table.with_columns(**{name: pl.Series(values, dtype=table[name].dtype) for name, values in columns.items()})


WRONG = {
    "unsorted": ({"ratings": changed(RATINGS, user=[0, 1, 0, 2, 2, 2])}, "part-2.parquet, row 3: the user comes after"),
    "negative": ({"ratings": changed(RATINGS, item=[0, 1, 0, 2, -1, 1])}, "part-10.parquet, row 1: the item is not"),
    "too large": ({"ratings": changed(RATINGS, user=[0, 0, 1, 2, 2, 3])}, "row 2: the user is not one of the 3"),
    "null": ({"ratings": changed(RATINGS, rating=[4, 3, 0, None, 2, 1])}, "part-1.parquet, row 1: a value is null"),
    "no number": ({"ratings": changed(RATINGS, rating=[4, 3, 0, 5, 2, np.nan])}, "the rating is not a number"),
    "type": ({"ratings": RATINGS.cast({"item": pl.Int64})}, "the column item must be Int32, not Int64"),
    "no column": ({"ratings": RATINGS.drop("rating")}, "no column rating"),
    "twice": ({"ratings": changed(RATINGS, item=[0, 1, 0, 1, 0, 1]), "items": changed(ITEMS[:2], n_ratings=[3, 3])},
              "come in"),
    "first missing": ({"left_out": ["part-2"]}, "user 0 has 0 ratings, and 2 by users.parquet"),
    "part missing": ({"left_out": ["part-1"]}, "user 2 has 2 ratings, and 3 by users.parquet"),
    "other items": ({"items": changed(ITEMS, n_ratings=[3, 1, 2])}, "item 1 has 2 ratings, and 1 by items.parquet"),
    "user without": ({"users": pl.concat([USERS, pl.DataFrame({"index": [3], "id": ["d"], "n_ratings": [0]})])},
                     "user 3 has 0 ratings"),
    "id twice": ({"users": changed(USERS, id=["b", "a", "a"])}, "the id 'a' is there twice"),
    "gap": ({"users": changed(USERS, index=[0, 1, 3])}, "count from 0"),
    "empty id": ({"items": changed(ITEMS, id=["x", "", "y"])}, "items.parquet: an id is empty"),
    "no id": ({"users": changed(USERS, id=["b", None, "a"])}, "no value be null"),
    "nothing": ({"ratings": RATINGS[:0], "users": USERS[:0], "items": ITEMS[:0]}, "users.parquet has no rows"),
    "no items": ({"items": ITEMS[:0]}, "items.parquet has no rows"),
    "count too large": ({"users": USERS.with_columns(n_ratings=pl.Series([2, 1, 2**64 - 1], dtype=pl.UInt64))},
                        "be null or too large"),
    "index too large": ({"items": ITEMS.with_columns(index=pl.Series([0, 1, 2**100], dtype=pl.Int128))},
                        "be null or too large"),
    "user far too large": ({"ratings": changed(RATINGS, user=[0, 0, 1, 2, 2, 2**63 - 1])},
                           "row 2: the user is not one of the 3"),
    "id column": ({"items": ITEMS.rename({"id": "item"})}, "needs the columns index, id and n_ratings"),
    "id type": ({"items": ITEMS.with_columns(id=pl.Series([1, 2, 3]))}, "id a string"),
}  # fmt: skip
"""Broken contracts: what `written` gets, and what the message says."""
