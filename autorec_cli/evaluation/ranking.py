"""Ranking metrics: top-k recommendations compared with relevant held-out ratings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from autorec_cli.csr import Array, row_indices
from autorec_cli.evaluation.metrics import (
    RANKING_METRICS,
    TOP_K_METRICS,
    Estimate,
    coverage,
    diversity,
    gini,
    mean_over_pairs,
    mean_popularity,
    novelty,
    times_recommended,
    unique_items,
)
from autorec_cli.inference.ranking.top_k import NO_ITEM, TopItems, rank_items
from autorec_cli.inference.scorer import UserScorer

DEFAULT_K = 10
"""Recommendations per user."""


@dataclass(frozen=True)
class RankingProtocol:
    """Number of recommendations and threshold of relevance.

    Attributes:
        k: Recommendations per user.
        relevant_from: Lowest held-out rating that is relevant.
        max_users: Largest number of users to measure; None measures all.
    """

    k: int
    relevant_from: float
    max_users: int | None = None

    @classmethod
    def for_scale(
        cls,
        rating_scale: tuple[float, float],
        k: int = DEFAULT_K,
        relevant_from: float | None = None,
        max_users: int | None = None,
    ) -> RankingProtocol:
        """Protocol with the threshold of `default_relevance` unless another is given."""
        return cls(k, default_relevance(rating_scale) if relevant_from is None else relevant_from, max_users)

    def sample(self, held_out: sparse.csr_array) -> Array | None:
        """Draw the users to measure; None to measure all.

        Equal ratings give an equal sample.
        """
        users = users_with_relevant(held_out, self)
        if self.max_users is None or len(users) <= self.max_users:
            return None
        drawn: Array = np.sort(np.random.default_rng(0).choice(users, self.max_users, replace=False))
        return drawn


def default_relevance(rating_scale: tuple[float, float]) -> float:
    """Threshold three quarters up the rating scale.

    4 on a scale from 1 to 5.
    """
    low, high = rating_scale
    return low + 0.75 * (high - low)


def popularity_scorer(item_counts: Array) -> UserScorer:
    """Scores of the popularity baseline: each item's number of ratings."""
    popularity = item_counts.astype(np.float32)
    return lambda user_index: np.tile(popularity, (len(user_index), 1))


@dataclass(frozen=True)
class UserRankings:
    """Ranking metrics of each user, and counts of recommended items.

    Attributes:
        k: Recommendations per user.
        n_relevant: (n_users,) relevant held-out ratings; users with none get no recommendations.
        values: Each of RANKING_METRICS, and "diversity" if item vectors were given, (n_users,); 0 without
            recommendations.
        times: (n_items,) users to whom the item is recommended.
        item_counts: (n_items,) training ratings.
    """

    k: int
    n_relevant: Array
    values: Mapping[str, Array]
    times: Array
    item_counts: Array

    def mean_of(self, name: str) -> Estimate:
        """Mean of one of `values` over users with recommendations."""
        # One "pair" per user who has something to find: the mean over pairs is then the mean over users.
        return mean_over_pairs(self.values[name], (self.n_relevant > 0).astype(np.float64))

    def metrics(self) -> dict[str, Any]:
        """Mean of each metric `@k` over users with recommendations.

        `n_users` is their number. Without any the result is empty.
        """
        measured = self.n_relevant > 0
        n_users = int(measured.sum())
        if n_users == 0:
            return {}
        means: dict[str, Any] = {name: float(value[measured].sum() / n_users) for name, value in self.values.items()}
        means |= {
            "coverage": coverage(self.times),
            "unique_items": unique_items(self.times),
            "gini": gini(self.times),
            "mean_popularity": mean_popularity(self.times, self.item_counts),
            "novelty": novelty(self.times, self.item_counts, len(self.n_relevant)),
        }
        return {**{f"{name}@{self.k}": means[name] for name in TOP_K_METRICS if name in means}, "n_users": n_users}


@dataclass(frozen=True)
class RankingTask:
    """Held-out ratings to be found by recommendations.

    Attributes:
        held_out: Ratings, CSR n_users x n_items.
        seen: In the same shape, items that are not recommended.
        item_counts: (n_items,) earlier ratings of each item; items without are not recommended.
        protocol: Recommendations per user and relevance.
    """

    held_out: sparse.csr_array
    seen: sparse.csr_array
    item_counts: Array
    protocol: RankingProtocol

    def rank(self, score: UserScorer, users: Array) -> Iterator[TopItems]:
        """Rank items for some users (n,) by their scores; see `rank_items`."""
        seen = self.seen[users]

        def seen_of(block: slice) -> tuple[Array, Array]:
            rows = seen[block]
            return row_indices(rows), rows.indices

        candidates, k = self.item_counts > 0, self.protocol.k
        return rank_items(len(users), lambda block: score(users[block]), seen_of, candidates, k)


def measure_rankings(score: UserScorer, task: RankingTask, item_vectors: Array | None = None) -> UserRankings:
    """Measure recommendations to users with relevant held-out ratings.

    Args:
        score: Scores of all items for a block of users.
        task: What is recommended, and to whom.
        item_vectors: (n_items, d) of length 1, whose inner products are similarities; None measures no diversity.
    """
    ranked = rank_users(score, task, users_with_relevant(task.held_out, task.protocol))
    return measure_ranked(ranked, task, item_vectors)


def users_with_relevant(held_out: sparse.csr_array, protocol: RankingProtocol) -> Array:
    """user_index of users with relevant held-out ratings, ascending.

    Others cannot have a hit: ranking for them would cost time and say nothing.
    """
    return np.flatnonzero(np.diff(_relevant(held_out, protocol.relevant_from).indptr))


def rank_users(score: UserScorer, task: RankingTask, users: Array) -> Array:
    """Rank items for some users (n,).

    Returns:
        (n, k) item_index; NO_ITEM where a user has fewer.
    """
    blocks = [block.items for block in task.rank(score, users)]
    # Without users there are no blocks to tell the length.
    return np.concatenate(blocks) if blocks else np.empty((0, 1), dtype=np.int64)


def measure_ranked(ranked: Array, task: RankingTask, item_vectors: Array | None = None) -> UserRankings:
    """Measure given recommendations.

    `ranked` is (n, k) item_index of the n users with relevant held-out ratings, in their order; NO_ITEM where a user
    has fewer than k. Other arguments as in `measure_rankings`.
    """
    n_users, n_items = task.held_out.shape
    relevant = _relevant(task.held_out, task.protocol.relevant_from)
    n_relevant = np.diff(relevant.indptr)
    users = np.flatnonzero(n_relevant)
    hits = _hits(ranked, relevant[users])
    found = {name: formula(hits, n_relevant[users]) for name, formula in RANKING_METRICS.items()}
    if item_vectors is not None:
        found["diversity"] = diversity(ranked, item_vectors)
    # Zeros for all other users, so that measurements of several processes can be added.
    values = {name: np.zeros(n_users) for name in found}
    for name, of_users in found.items():
        values[name][users] = of_users
    return UserRankings(task.protocol.k, n_relevant, values, times_recommended(ranked, n_items), task.item_counts)


@dataclass(frozen=True)
class RankedHits:
    """Top-k items of users with their relevance.

    Arrays are (n_users, k), best first.

    Attributes:
        items: item_index; NO_ITEM where a user has fewer than k.
        scores: float32; -inf there.
        hits: uint8, 1 if the item is relevant.
        n_relevant: (n_users,) relevant items of each user.
    """

    items: Array
    scores: Array
    hits: Array
    n_relevant: Array


def rank_all_users(score: UserScorer, task: RankingTask) -> RankedHits:
    """Recommend to every user, perhaps from only some items."""
    n_users, n_items = task.held_out.shape
    items = np.full((n_users, task.protocol.k), NO_ITEM)
    scores = np.full(items.shape, -np.inf, dtype=np.float32)
    relevant = _relevant(task.held_out, task.protocol.relevant_from)
    if n_items:
        for block in task.rank(score, np.arange(n_users)):
            # Fewer than k where this process has fewer than k items.
            length = block.items.shape[1]
            items[block.users, :length], scores[block.users, :length] = block.items, block.scores
    hits = _hits(items, relevant) if relevant.nnz else np.zeros(items.shape, dtype=bool)
    return RankedHits(items, scores, hits.astype(np.uint8), np.diff(relevant.indptr))


def _relevant(held_out: sparse.csr_array, relevant_from: float) -> sparse.csr_array:
    """Pattern of the relevant cells, all True."""
    keep = held_out.data >= relevant_from
    rows, columns = row_indices(held_out)[keep], held_out.indices[keep]
    return sparse.csr_array((np.ones(len(rows), dtype=bool), (rows, columns)), shape=held_out.shape)


def _hits(ranked: Array, relevant: sparse.csr_array) -> Array:
    """Relevance of each recommended item to its user.

    (n_users, k) bool.
    """
    # A (user, item) pair as one number: isin on these is a single sort.
    n_items = relevant.shape[1]
    relevant_keys = row_indices(relevant).astype(np.int64) * n_items + relevant.indices
    recommended_keys = np.arange(len(ranked), dtype=np.int64)[:, None] * n_items + ranked
    # With NO_ITEM a key would be that of another user's item.
    return np.isin(np.where(ranked >= 0, recommended_keys, -1), relevant_keys)
