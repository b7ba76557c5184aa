"""Target users of recommendations."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from autorec_cli.csr import Array
from autorec_cli.data.builder.csr_builder import read_user_items
from autorec_cli.data.readers.options import ReadOptions
from autorec_cli.errors import UsageError, counted
from autorec_cli.inference.catalog import UNKNOWN, positions
from autorec_cli.inference.scorer import History, Scorer


@dataclass(frozen=True)
class Shard:
    """One of `of` equal shards of the users, from 1."""

    number: int
    of: int


def parse_shard(text: str) -> Shard:
    """Parse `3/16`.

    Raises:
        UsageError: it is not of that form, or there is no such shard.
    """
    # [0-9] and not \d, which takes digits of all scripts.
    found = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise UsageError(f"--shard must be the number of a shard and their count, such as 3/16, not {text[:40]!r}")
    return Shard(int(found[1]), int(found[2]))


@dataclass(frozen=True)
class TargetUsers:
    """Users who get recommendations, in their order.

    Attributes:
        user_ids: Their ids.
        index: (n,) argument of each user for `score_at` and `seen_at`.
        unknown: (n,) bool, users without any known rating: the popularity baseline ranks for them.
        score_at: index (B,) -> (B, n_items) scores, not clipped.
        seen_at: index (B,) -> (row, item_index) of their rated items.
        rate_at: index (n,) and item_index (n,) -> (n,) predicted ratings, by the part of the model that predicts them.
        warnings: Sentences about ignored ratings.
    """

    user_ids: Sequence[str]
    index: Array
    unknown: Array
    score_at: Callable[[Array], Array]
    seen_at: Callable[[Array], tuple[Array, Array]]
    rate_at: Callable[[Array, Array], Array]
    warnings: Sequence[str] = ()

    def score(self, block: slice) -> Array:
        """Score all items for a block of the users."""
        return self.score_at(self.index[block])

    def seen(self, block: slice) -> tuple[Array, Array]:
        """Find the rated items of a block of the users.

        Rows, counted from 0 in the block, and item_index.
        """
        return self.seen_at(self.index[block])

    def rate(self, positions: Array, items: Array) -> Array:
        """Predict the ratings of items (n,) by the users at some positions (n,), none of them unknown."""
        return self.rate_at(self.index[positions], items)

    def only(self, kept: Array) -> TargetUsers:
        """Keep the users at some positions (n_kept,)."""
        user_ids = [self.user_ids[position] for position in kept.tolist()]
        return replace(self, user_ids=user_ids, index=self.index[kept], unknown=self.unknown[kept])

    def first(self, n: int) -> TargetUsers:
        """Keep the first `n` users."""
        return self.only(np.arange(min(n, len(self.index))))

    def shard(self, shard: Shard) -> TargetUsers:
        """Keep the users of `shard`.

        All shards, concatenated, are all users.
        """
        # Integer arithmetic: shards that run on different machines must meet exactly.
        first, last = ((shard.number - 1 + end) * len(self.index) // shard.of for end in (0, 1))
        return self.only(np.arange(first, last))


def known_users(model: Scorer, user_ids: Sequence[str | int] | None) -> TargetUsers:
    """Users of the model, by id and each once.

    All of them if `user_ids` is None.
    """
    catalog = model.catalog
    # dict.fromkeys keeps the order: output follows the order of --users.
    wanted = catalog.user_ids if user_ids is None else list(dict.fromkeys(map(str, user_ids)))
    index = np.arange(catalog.n_users) if user_ids is None else positions(catalog.user_ids, wanted)

    def seen_at(index: Array) -> tuple[Array, Array]:
        known = np.flatnonzero(index != UNKNOWN)
        rows, items = catalog.seen.of(index[known])
        return known[rows], items

    return TargetUsers(wanted, index, index == UNKNOWN, model.user_scorer(), seen_at, model.predict_pairs)


def folded_users(model: Scorer, history: Any, options: ReadOptions | None) -> TargetUsers:  # noqa: ANN401
    """Users of a file or frame, folded into the model.

    Raises:
        InputDataError: the ratings cannot be used.
    """
    user_ids, item_ids, user_items = read_user_items(history, options)
    item_index = positions(model.catalog.item_ids, item_ids)
    histories: list[History] = []
    # Unknown items are dropped here once; `_history_warnings` counts them.
    for start, end in zip(user_items.indptr[:-1], user_items.indptr[1:], strict=True):
        items, ratings = item_index[user_items.indices[start:end]], user_items.data[start:end]
        histories.append((items[items != UNKNOWN], ratings[items != UNKNOWN]))
    score = model.history_scorer()
    rate = score if model.rater is None or model.rater is model.ranker else model.rater.history_scorer()

    def rate_at(index: Array, items: Array) -> Array:
        users, rows = np.unique(index, return_inverse=True)
        predicted: Array = rate([histories[number] for number in users])[rows, items]
        return predicted

    return TargetUsers(
        user_ids,
        np.arange(len(user_ids)),
        unknown=np.array([len(items) == 0 for items, _ in histories], dtype=bool),
        score_at=lambda index: score([histories[number] for number in index]),
        seen_at=lambda index: _cells([histories[number][0] for number in index]),
        rate_at=rate_at,
        warnings=_history_warnings(model, user_items.data, item_index, _name_of(history)),
    )


def _name_of(history: Any) -> str:  # noqa: ANN401
    if not isinstance(history, str | Path):
        return "the history"
    return "stdin" if str(history) == "-" else str(history)


def _history_warnings(model: Scorer, ratings: Array, item_index: Array, source: str) -> list[str]:
    low, high = model.catalog.rating_scale
    n_outside, n_unknown = int(((ratings < low) | (ratings > high)).sum()), int((item_index == UNKNOWN).sum())
    warnings = []
    if n_outside:
        warnings.append(f"{counted(n_outside, 'rating')} of {source} outside the model's scale, {low:g} to {high:g}")
    if n_unknown:
        n_items = counted(len(item_index), "item")
        warnings.append(f"ignored {n_unknown:,} of {n_items} of {source} that the model does not know")
    return warnings


def _cells(items_of_rows: Sequence[Array]) -> tuple[Array, Array]:
    lengths = [len(items) for items in items_of_rows]
    return np.repeat(np.arange(len(lengths)), lengths), np.concatenate([*items_of_rows, np.empty(0, dtype=np.int32)])
