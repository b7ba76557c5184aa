"""Users and items that a model knows.

Ids, columns of the items, rated items, numbers of ratings and the rating scale.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from autorec_cli.csr import Array
from autorec_cli.errors import InputDataError, decimals_of, quoted

if TYPE_CHECKING:  # slow to import
    import polars as pl

UNKNOWN = -1
"""Index of an id that the catalog does not have."""


@dataclass(frozen=True)
class SeenItems:
    """Items that each user has rated, in any split.

    Attributes:
        indptr: (n_users + 1,) int64.
        indices: (n_ratings,) int32 item_index, ascending within a user.
    """

    indptr: Array
    indices: Array

    def of(self, user_index: Array) -> tuple[Array, Array]:
        """Rated items of the users at `user_index` (B,).

        Positions in `user_index`, and item_index.
        """
        starts = self.indptr[user_index]
        counts = self.indptr[user_index + 1] - starts
        # Without a Python loop over users: a block may have thousands.
        rows = np.repeat(np.arange(len(counts)), counts)
        before = np.cumsum(counts) - counts
        # A cell is as far from its user's first one there as here.
        return rows, self.indices[np.arange(len(rows)) + (starts - before)[rows]]


@dataclass(frozen=True)
class Catalog:
    """Users and items of a model's dataset.

    Attributes:
        user_ids, item_ids: As in the source, by index.
        items: Columns of the items by item_index, such as title and genre, in the types of `data.item_columns`; without
            columns if there are none.
        user_counts, item_counts: (n_users,) and (n_items,) ratings that the model was fitted on; 0 is cold.
        seen: All ratings of the dataset, held-out ones too; `recommend` excludes these items.
        rating_scale: Lowest and highest rating; predictions are clipped to it.
    """

    user_ids: Sequence[str]
    item_ids: Sequence[str]
    items: pl.DataFrame
    user_counts: Array
    item_counts: Array
    seen: SeenItems
    rating_scale: tuple[float, float]

    def __repr__(self) -> str:
        low, high = self.rating_scale
        return f"Catalog({self.n_users:,} users, {self.n_items:,} items, ratings {low:g} to {high:g})"

    @property
    def n_users(self) -> int:
        """Number of users, cold ones included."""
        return len(self.user_ids)

    @property
    def n_items(self) -> int:
        """Number of items, cold ones included."""
        return len(self.item_ids)

    @property
    def titles(self) -> list[str] | None:
        """Titles by item_index, "" where there is none; None without titles."""
        return self.items["title"].fill_null("").to_list() if "title" in self.items.columns else None

    @property
    def decimals(self) -> int:
        """Decimals of predictions.

        Four, or more where the rating scale is narrower than 1.
        """
        low, high = self.rating_scale
        return decimals_of(high - low)

    def describe(self) -> dict[str, Any]:
        """Sizes and rating scale as JSON types."""
        return {
            "n_users": self.n_users,
            "n_items": self.n_items,
            "n_cold_users": int((self.user_counts == 0).sum()),
            "n_cold_items": int((self.item_counts == 0).sum()),
            "has_titles": "title" in self.items.columns,
            "item_columns": self.items.columns,
            "rating_scale": list(self.rating_scale),
        }


def item_names(catalog: Catalog) -> tuple[pl.Series, pl.Series]:
    """Ids and titles by item_index; null without titles."""
    import polars as pl

    titles: Sequence[str | None] = catalog.titles or [None] * catalog.n_items
    return pl.Series("item_id", catalog.item_ids, dtype=pl.String), pl.Series("title", titles, dtype=pl.String)


def index_of(ids: Iterable[str]) -> dict[str, int]:
    """Position of each id."""
    return {identifier: position for position, identifier in enumerate(ids)}


def positions_in(index: Mapping[str, int], wanted: Iterable[str]) -> Array:
    """Index of each wanted id, (n_wanted,) int64; UNKNOWN without one."""
    return np.array([index.get(identifier, UNKNOWN) for identifier in wanted], dtype=np.int64)


def positions(known: Iterable[str], wanted: Iterable[str]) -> Array:
    """Index in `known` of each wanted id; see `positions_in`."""
    return positions_in(index_of(known), wanted)


def did_you_mean(known: Iterable[str], wanted: str) -> str:
    """Question that names an id like `wanted`.

    Like ids differ by case and leading zeros only. Empty without one.
    """
    like = _plain(wanted)
    meant = next((identifier for identifier in known if _plain(identifier) == like), None)
    return "" if meant is None else f"; did you mean {quoted(meant)}?"


def _plain(identifier: str) -> str:
    return re.sub(r"(?<!\d)0+(?=\d)", "", identifier.strip().casefold())


def rated_positions(known: Sequence[str], is_rated: Array, wanted: Iterable[str | int], noun: str) -> Array:
    """Index of each wanted user or item, once, by id.

    Args:
        known: Ids of users or items.
        is_rated: (n,) bool, those with training ratings.
        wanted: Some of the ids.
        noun: "user" or "item".

    Raises:
        InputDataError: one is unknown or has no training rating.
    """
    named = list(dict.fromkeys(map(str, wanted)))
    index = positions(known, named)
    for identifier, position in zip(named, index.tolist(), strict=True):
        if position == UNKNOWN:
            meant = did_you_mean(known, identifier)
            raise InputDataError(f"the model does not know {noun} {quoted(identifier)}{meant}")
        if not is_rated[position]:
            raise InputDataError(f"{noun} {quoted(identifier)} has no training rating, so nothing is known of it")
    return index
