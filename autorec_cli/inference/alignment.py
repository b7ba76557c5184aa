"""Alignment of a model with another dataset, by id.

Ratings come and go every night, and with them the positions of users and items. An aligned model predicts the same for
the same ids; new users and items are cold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from autorec_cli.csr import Array, row_indices
from autorec_cli.data.bias import DampedMeans
from autorec_cli.inference.catalog import UNKNOWN, Catalog, SeenItems, positions

if TYPE_CHECKING:
    from scipy import sparse

    from autorec_cli.inference.model import Model


def aligned_model(
    model: Model, user_ids: Sequence[str], item_ids: Sequence[str], item_columns: pl.DataFrame | None = None
) -> Model:
    """Model with the given users and items, in their order.

    `item_columns` replace the columns of its items. Users and items that it does not know have zeros everywhere and no
    ratings, so the baseline predicts for them; those that are not given are dropped.
    """
    users, items = positions(model.catalog.user_ids, user_ids), positions(model.catalog.item_ids, item_ids)
    encoded, decoded = (items, users) if model.settings.variant == "item" else (users, items)

    def aligned(means: DampedMeans) -> DampedMeans:
        return replace(means, user_bias=_take(means.user_bias, users), item_bias=_take(means.item_bias, items))

    return replace(
        model,
        encoder_weights=(_take(model.encoder_weights[0], input_rows(model, decoded)), *model.encoder_weights[1:]),
        codes=_take(model.codes, encoded),
        decoder_weight=_take(model.decoder_weight, decoded),
        decoder_bias=_take(model.decoder_bias, decoded),
        centering=aligned(model.centering),
        baseline=aligned(model.baseline),
        catalog=replace(
            model.catalog,
            user_ids=list(user_ids),
            item_ids=list(item_ids),
            items=_take_items(model.catalog.items, items) if item_columns is None else item_columns,
            user_counts=_take(model.catalog.user_counts, users),
            item_counts=_take(model.catalog.item_counts, items),
            seen=_align_seen(model.catalog, users, items),
        ),
    )


def input_rows(model: Model, columns: Array) -> Array:
    """Rows of the first encoder weight for some columns (n,).

    (n,), or (2n,) with the implicit channel.
    """
    if not model.settings.implicit:
        return columns
    # UNKNOWN plus an offset would be somebody else's row.
    second = np.where(columns == UNKNOWN, UNKNOWN, columns + len(model.decoder_bias))
    return np.concatenate([columns, second])


def unseen(ratings: sparse.csr_array, seen: SeenItems) -> sparse.csr_array:
    """Cells of `ratings` (n_users x n_items) not in `seen`."""
    from scipy import sparse

    n_users, n_items = ratings.shape
    rows, columns = row_indices(ratings), ratings.indices
    seen_rows = np.repeat(np.arange(n_users, dtype=np.int64), np.diff(seen.indptr))
    # One 64-bit number per cell: two index arrays cannot be compared as pairs.
    new = ~np.isin(rows.astype(np.int64) * n_items + columns, seen_rows * n_items + seen.indices)
    return sparse.csr_array((ratings.data[new], (rows[new], columns[new])), shape=ratings.shape)


def _take(array: Array, index: Array) -> Array:
    """Rows of `array` at `index`; zeros for UNKNOWN."""
    taken = np.zeros((len(index), *array.shape[1:]), dtype=array.dtype)
    known = index != UNKNOWN
    taken[known] = array[index[known]]
    return taken


def _take_items(columns: pl.DataFrame, index: Array) -> pl.DataFrame:
    """Rows at `index`; nulls for UNKNOWN."""
    places = pl.Series(index, dtype=pl.Int64)
    return columns.select(pl.all().gather(places.set(places == UNKNOWN, None)))


def _align_seen(catalog: Catalog, users: Array, items: Array) -> SeenItems:
    # Inverse of `items`, so that each user's list is one lookup.
    new_index = np.full(catalog.n_items, UNKNOWN, dtype=np.int64)
    new_index[items[items != UNKNOWN]] = np.flatnonzero(items != UNKNOWN)
    indptr, indices = catalog.seen.indptr, catalog.seen.indices
    seen = (indices[indptr[user] : indptr[user + 1]] if user != UNKNOWN else indices[:0] for user in users)
    # New indices are in another order, and `SeenItems` promises ascending ones.
    rows = [np.sort(new_index[row]) for row in seen]
    kept = [row[row != UNKNOWN] for row in rows]
    indptr = np.cumsum([0, *(len(row) for row in kept)], dtype=np.int64)
    return SeenItems(indptr, np.concatenate([new_index[:0], *kept]).astype(np.int32))
