"""Filters of users and items: exclusion, and minimum ratings (k-core)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from autorec_cli.data.builder.buffers import count_values
from autorec_cli.data.builder.csr_builder import RatingsMatrix
from autorec_cli.data.readers.options import one_id_per_line
from autorec_cli.errors import InputDataError

LARGEST_RATING = 3.4e37
"""A tenth of the largest float32: differences and means of larger ratings overflow."""


def leave_out(ratings: RatingsMatrix, user_ids: Sequence[str]) -> RatingsMatrix:
    """Leave out users, and items that nobody else has rated.

    Raises:
        InputDataError: nothing is left, or the ids are lines of a table.
    """
    users = ~ratings.user_ids.is_in(pl.Series(user_ids, dtype=pl.String).implode()).to_numpy()
    if users.all():
        # A file of users to erase must not fail in silence.
        if advice := one_id_per_line(user_ids):
            raise InputDataError(f"no user of --exclude-users is in the ratings{advice}")
        return ratings
    n_before = int(ratings.matrix.nnz)
    in_users = np.repeat(users, np.diff(ratings.matrix.indptr))
    items = count_values(ratings.matrix.indices[in_users], ratings.matrix.shape[1]) > 0
    if not items.any():
        raise InputDataError("no rating is left with --exclude-users; it names every user")
    left = _select(ratings, users, items)
    return replace(left, n_excluded=n_before - int(left.matrix.nnz))


def keep_frequent(ratings: RatingsMatrix, min_user_ratings: int = 1, min_item_ratings: int = 1) -> RatingsMatrix:
    """Drop users and items with too few ratings (k-core).

    Dropping a user takes ratings from items, which may then have too few, so this repeats until nothing changes.

    Raises:
        InputDataError: nothing is left.
    """
    if min_user_ratings <= 1 and min_item_ratings <= 1:
        return ratings
    n_before = int(ratings.matrix.nnz)
    while ratings.matrix.nnz:
        n_items = ratings.matrix.shape[1]
        user_counts = np.diff(ratings.matrix.indptr)
        item_counts = count_values(ratings.matrix.indices, n_items)
        users, items = user_counts >= max(min_user_ratings, 1), item_counts >= max(min_item_ratings, 1)
        if users.all() and items.all():
            return replace(ratings, n_dropped=n_before - ratings.matrix.nnz)
        ratings = _select(ratings, users, items)
    raise InputDataError(
        f"no rating is left with --min-user-ratings {min_user_ratings} and --min-item-ratings {min_item_ratings}; "
        "use smaller numbers"
    )


def _n_before(keep: NDArray[np.bool_], indptr: NDArray[Any]) -> NDArray[Any]:
    """Number of kept cells before each row, (n_rows + 1,)."""
    # A running count, since reduceat gives a wrong count for rows without cells.
    before = np.zeros(len(keep) + 1, dtype=indptr.dtype)
    np.cumsum(keep, out=before[1:])
    pointers: NDArray[Any] = before[indptr]
    return pointers


def _select(ratings: RatingsMatrix, users: NDArray[np.bool_], items: NDArray[np.bool_]) -> RatingsMatrix:
    """Select users and items, reindexed in the same order."""
    from scipy import sparse

    matrix = ratings.matrix
    # Selected by hand: scipy's fancy indexing would not say which timestamps to keep.
    keep = np.repeat(users, np.diff(matrix.indptr)) & items[matrix.indices]
    counts = np.diff(_n_before(keep, matrix.indptr))
    indptr = np.concatenate([[0], np.cumsum(counts[users])]).astype(matrix.indptr.dtype)
    new_index = (np.cumsum(items) - 1).astype(matrix.indices.dtype)
    shape = (int(users.sum()), int(items.sum()))
    selected = sparse.csr_array((matrix.data[keep], new_index[matrix.indices[keep]], indptr), shape=shape)
    selected.has_canonical_format = True
    return replace(
        ratings,
        matrix=selected,
        user_ids=ratings.user_ids.filter(pl.Series(users)),
        item_ids=ratings.item_ids.filter(pl.Series(items)),
        timestamps=None if ratings.timestamps is None else ratings.timestamps[keep],
        is_test=None if ratings.is_test is None else ratings.is_test[keep],
    )


def check_usable(shape: tuple[int, int], low: float, high: float) -> None:
    """Check that ratings can be learned from.

    They are of `shape` (n_users, n_items), and from `low` to `high`.

    Raises:
        InputDataError: there is only one user or item, or ratings are too large.
    """
    for count, what in zip(shape, ("user", "item"), strict=True):
        if count < 2:
            raise InputDataError(f"there is only one {what}; a recommender needs at least two")
    if max(-low, high) > LARGEST_RATING:
        raise InputDataError(
            f"ratings range from {low:g} to {high:g}, too far to compute with; leave out rows whose "
            "rating stands for none, or use a smaller scale"
        )
