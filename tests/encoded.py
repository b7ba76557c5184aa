"""Ratings as a SQL engine encodes them, by the contract of docs/scaling.md."""

import polars as pl

RATINGS = pl.DataFrame(
    {"user": [0, 0, 1, 2, 2, 2], "item": [0, 1, 0, 2, 0, 1], "rating": [4.0, 3.0, 0.0, 5.0, 2.0, 1.0]},
    schema={"user": pl.Int64, "item": pl.Int32, "rating": pl.Float32},
)
USERS = pl.DataFrame({"index": [0, 1, 2], "id": ["b", "007", "a"], "n_ratings": [2, 1, 3]})
ITEMS = pl.DataFrame({"index": [0, 1, 2], "id": ["x", "y", "z"], "n_ratings": [3, 2, 1]})
CUTS = {"part-2": (0, 3), "part-1": (3, 4), "part-10": (4, 6), "empty": (0, 0)}
"""Partitions whose names are in another order than their users."""


def written(folder, ratings=RATINGS, users=USERS, items=ITEMS, left_out=()):
    (folder / "ratings").mkdir(parents=True)
    (folder / "ratings" / "_SUCCESS").write_text("")
    users.write_parquet(folder / "users.parquet")
    items.write_parquet(folder / "items.parquet")
    for name, (first, last) in CUTS.items():
        if name not in left_out:
            ratings[first:last].write_parquet(folder / "ratings" / f"{name}.parquet")
    return folder
