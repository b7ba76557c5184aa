"""How good top-k lists are: the list of each user against those held-out ratings that are relevant."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from autorec_cli.csr import Array, row_indices
from autorec_cli.evaluation.metrics import RANKING_METRICS, coverage, mean_popularity, times_listed
from autorec_cli.inference.top_k import NO_ITEM, ListBlock, ranked_lists
from autorec_cli.runtime.process_group import SINGLE_PROCESS, ProcessGroup

UserScorer = Callable[[Array], Array]
"""user_index (B,) -> (B, n_items) scores, which may be overwritten."""


@dataclass(frozen=True)
class RankingProtocol:
    """How lists are judged.

    Attributes:
        k: Length of a list.
        relevant_from: Held-out ratings from here on are relevant.
    """

    k: int
    relevant_from: float


def default_relevance(rating_scale: tuple[float, float]) -> float:
    """Three quarters up the rating scale: 4 on a scale from 1 to 5."""
    low, high = rating_scale
    return low + 0.75 * (high - low)


def judge(
    score: UserScorer,
    held_out: sparse.csr_array,
    seen: sparse.csr_array,
    item_counts: Array,
    protocol: RankingProtocol,
    world: ProcessGroup = SINGLE_PROCESS,
) -> dict[str, Any]:
    """Give each user with a relevant held-out rating a list, and measure the lists.

    Args:
        score: What orders the items.
        held_out: Ratings, CSR n_users x n_items.
        seen: In the same shape, what is never listed.
        item_counts: (n_items,) earlier ratings of each item; those without are never listed.
        protocol: How long the lists are and which ratings are relevant.
        world: The processes that share out these users; all give the same arguments and get the same result.

    Returns:
        Each metric `@k`, the mean over users; `coverage@k`, `mean_popularity@k` and `n_users` (how many lists were
        judged). Empty if no user has a relevant rating.
    """
    relevant = _relevant(held_out, protocol.relevant_from)
    n_relevant = np.diff(relevant.indptr)
    judged = np.flatnonzero(n_relevant)
    if len(judged) == 0:
        return {}
    own = np.array_split(judged, world.size)[world.rank]
    ranked = _ranked(score, own, seen, item_counts > 0, protocol.k)
    hits = _hits(ranked, relevant[own])
    sums = world.sum([formula(hits, n_relevant[own]).sum() for formula in RANKING_METRICS.values()])
    means = dict(zip(RANKING_METRICS, (sums / len(judged)).tolist(), strict=True))
    times = times_listed(ranked, len(item_counts), world)
    means |= {"coverage": coverage(times), "mean_popularity": mean_popularity(times, item_counts)}
    return {**{f"{name}@{protocol.k}": value for name, value in means.items()}, "n_users": len(judged)}


@dataclass(frozen=True)
class Listed:
    """What can be said of the lists of some users, (n_users, k) arrays, best first.

    Attributes:
        items: item_index; NO_ITEM where a list is short.
        scores: float32, what the items were ranked by; -inf where a list is short.
        hits: uint8, 1 where the item is relevant.
        n_relevant: (n_users,) relevant items of each user.
    """

    items: Array
    scores: Array
    hits: Array
    n_relevant: Array


def list_items(
    score: UserScorer,
    held_out: sparse.csr_array,
    seen: sparse.csr_array,
    item_counts: Array,
    protocol: RankingProtocol,
) -> Listed:
    """Give every user a list, of items that may be no more than some of all; arguments as of `judge`."""
    n_users, n_items = held_out.shape
    items = np.full((n_users, protocol.k), NO_ITEM)
    scores = np.full(items.shape, -np.inf, dtype=np.float32)
    relevant = _relevant(held_out, protocol.relevant_from)
    if n_items:
        with _blocks(score, np.arange(n_users), seen, item_counts > 0, protocol.k) as blocks:
            for block in blocks:
                length = block.ranked.shape[1]
                items[block.users, :length], scores[block.users, :length] = block.ranked, block.scores
    hits = _hits(items, relevant) if relevant.nnz else np.zeros(items.shape, dtype=bool)
    return Listed(items, scores, hits.astype(np.uint8), np.diff(relevant.indptr))


def _relevant(held_out: sparse.csr_array, relevant_from: float) -> sparse.csr_array:
    """The pattern of the relevant cells, all of value True."""
    keep = held_out.data >= relevant_from
    rows, columns = row_indices(held_out)[keep], held_out.indices[keep]
    return sparse.csr_array((np.ones(len(rows), dtype=bool), (rows, columns)), shape=held_out.shape)


def _ranked(score: UserScorer, user_index: Array, seen: sparse.csr_array, listable: Array, k: int) -> Array:
    """(len(user_index), k) item_index of the lists of `user_index`, best first, NO_ITEM where a list is short."""
    nothing = np.empty((0, min(k, len(listable))), dtype=np.int64)
    with _blocks(score, user_index, seen, listable, k) as blocks:
        return np.concatenate([nothing, *(block.ranked for block in blocks)])


def _blocks(
    score: UserScorer, user_index: Array, seen: sparse.csr_array, listable: Array, k: int
) -> AbstractContextManager[Iterator[ListBlock]]:
    seen = seen[user_index]

    def seen_of(users: slice) -> tuple[Array, Array]:
        block = seen[users]
        return row_indices(block), block.indices

    return ranked_lists(len(user_index), lambda users: score(user_index[users]), seen_of, listable, k)


def _hits(ranked: Array, relevant: sparse.csr_array) -> Array:
    """(n_users, k) bool: whether each listed item is relevant to its user."""
    n_items = relevant.shape[1]
    relevant_keys = row_indices(relevant).astype(np.int64) * n_items + relevant.indices
    listed_keys = np.arange(len(ranked), dtype=np.int64)[:, None] * n_items + ranked
    return np.isin(np.where(ranked >= 0, listed_keys, -1), relevant_keys)
