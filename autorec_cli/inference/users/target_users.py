"""Target users of recommendations."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from autorec_cli.csr import Array
from autorec_cli.data.readers.options import ReadOptions
from autorec_cli.errors import UsageError
from autorec_cli.inference.catalog import UNKNOWN, positions
from autorec_cli.inference.scorer import History, HistoryScorer, Scorer


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
        ratings_at: index (B,) -> their ratings, which explain their scores; None if they were not read.
    """

    user_ids: Sequence[str]
    index: Array
    unknown: Array
    score_at: Callable[[Array], Array]
    seen_at: Callable[[Array], tuple[Array, Array]]
    rate_at: Callable[[Array, Array], Array]
    warnings: Sequence[str] = ()
    ratings_at: Callable[[Array], Sequence[History]] | None = None

    def score(self, block: slice) -> Array:
        """Score all items for a block of the users."""
        return self.score_at(self.index[block])

    def seen(self, block: slice) -> tuple[Array, Array]:
        """Find the rated items of a block of the users.

        Rows, counted from 0 in the block, and item_index.
        """
        return self.seen_at(self.index[block])

    def rate(self, positions: Array, items: Array) -> Array:
        """Predict the rating of each item by a user.

        `positions` (n,) are those of users who are not unknown, `items` (n,) item_index.
        """
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


def folded_users(
    model: Scorer,
    history: Any,  # noqa: ANN401
    options: ReadOptions | None,
    dataset: Any = None,  # noqa: ANN401
) -> TargetUsers:
    """Users of a file or frame, folded into the model; see `read_histories`.

    Raises:
        InputDataError: the ratings cannot be used.
        ArtifactError: `dataset` is not the model's.
    """
    from autorec_cli.inference.users.histories import read_histories  # and all readers of ratings

    histories = read_histories(model, history, options, dataset)
    score, rate = history_scorers(model)

    def rate_at(index: Array, items: Array) -> Array:
        users, rows = np.unique(index, return_inverse=True)
        predicted: Array = rate([histories.ratings[number] for number in users])[rows, items]
        return predicted

    return TargetUsers(
        histories.user_ids,
        np.arange(len(histories.user_ids)),
        unknown=np.array([len(items) == 0 for items, _ in histories.ratings], dtype=bool),
        score_at=lambda index: score([histories.ratings[number] for number in index]),
        seen_at=lambda index: _cells([histories.seen[number] for number in index]),
        rate_at=rate_at,
        warnings=histories.warnings,
        ratings_at=lambda index: [histories.ratings[number] for number in index],
    )


def history_scorers(model: Scorer) -> tuple[HistoryScorer, HistoryScorer]:
    """Scorers of histories by the parts that rank and rate."""
    score = model.history_scorer()
    return score, score if model.rater is None or model.rater is model.ranker else model.rater.history_scorer()


def _cells(items_of_rows: Sequence[Array]) -> tuple[Array, Array]:
    lengths = [len(items) for items in items_of_rows]
    return np.repeat(np.arange(len(lengths)), lengths), np.concatenate([*items_of_rows, np.empty(0, dtype=np.int32)])
