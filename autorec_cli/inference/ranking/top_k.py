"""Top-k items of many users, block by block.

Memory is bounded by one block of scores per thread, whatever the number of users, and the first rows leave before the
last block is scored. Between two batches no thread is left, so a caller may stop reading at any time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from autorec_cli.csr import Array
from autorec_cli.inference.scoring import SCORES_AT_ONCE
from autorec_cli.runtime.threads import MAX_THREADS, in_order, n_threads, one_thread_per_product

BLOCKS_AT_ONCE = 16
"""Blocks whose top-k items are kept until all of them are ranked."""

MIN_GROUPS = 512
"""Groups of columns whose maxima narrow a row down; more of them cost more, fewer narrow it down less."""

NO_ITEM = -1

ScoreBlock = Callable[[slice], Array]
"""Users -> (B, n_items) float32 scores, which may be overwritten; called by several threads."""

SeenBlock = Callable[[slice], tuple[Array, Array]]
"""Users -> (row, item_index) of their rated items, rows counted from 0; called by several threads."""

Select = Callable[[Array, int], tuple[Array, Array]]
"""Scores (B, n) and k -> columns and their scores, as `top_k`; called by several threads."""


@dataclass(frozen=True)
class TopItems:
    """Top-k items of some consecutive users.

    Attributes:
        users: Their positions.
        items: (B, k) item_index, best first; NO_ITEM where a user has fewer than k.
        scores: (B, k) float32; -inf there.
    """

    users: slice
    items: Array
    scores: Array


NO_USERS = TopItems(slice(0, 0), np.empty((0, 1), dtype=np.int64), np.empty((0, 1), dtype=np.float32))


def rank_items(
    n_users: int,
    score: ScoreBlock,
    seen: SeenBlock | None,
    candidates: Array,
    k: int,
    select: Select | None = None,
) -> Iterator[TopItems]:
    """Rank the items of `n_users` users.

    Args:
        n_users: Number of users.
        score: Scores of a block of users.
        seen: Items that are not recommended; None recommends rated items too.
        candidates: (n_items,) bool, items that may be recommended at all.
        k: Recommendations per user, at least 1.
        select: Chooses items by scores, which it may overwrite; None for `top_k`.

    Yields:
        Blocks in the order of the users. Items of equal score are in the order of their index.
    """
    excluded = np.flatnonzero(~candidates)

    def rank(users: slice) -> TopItems:
        scores = score(users)
        # In place, as every copy of a block is 32 MiB per thread.
        scores[:, excluded] = -np.inf
        if seen is not None:
            scores[seen(users)] = -np.inf
        return TopItems(users, *(select or top_k)(scores, k))

    users_at_once = _users_at_once(n_users, len(candidates))
    blocks = [slice(start, min(start + users_at_once, n_users)) for start in range(0, n_users, users_at_once)]
    # Batches, so that no thread runs while the caller holds the iterator, which it may never finish.
    for start in range(0, len(blocks), BLOCKS_AT_ONCE):
        yield from _rank_blocks(rank, blocks[start : start + BLOCKS_AT_ONCE])


def _users_at_once(n_users: int, n_items: int) -> int:
    """Number of users of a block."""
    # Few users of a large catalog or many of a small one: the memory is the same.
    n_blocks = -(-n_users // max(1, SCORES_AT_ONCE // n_items))
    # Equal shares for any number of threads, so that none waits long for another.
    if n_blocks > 1:
        n_blocks = -(-n_blocks // MAX_THREADS) * MAX_THREADS
    return -(-n_users // max(n_blocks, 1)) or 1


def _rank_blocks(rank: Callable[[slice], TopItems], blocks: list[slice]) -> Iterable[TopItems]:
    """Rank all `blocks`.

    On several threads if matrix products can be kept to one thread each, else one by one.
    """
    # Only then: products that split their work would compete with each other.
    limits = one_thread_per_product() if len(blocks) > 1 and n_threads() > 1 else None
    if limits is None:
        return map(rank, blocks)
    with limits, in_order(rank, blocks) as ranked:
        return list(ranked)


def top_k(scores: Array, k: int) -> tuple[Array, Array]:
    """Columns of the `k` highest scores in each row.

    Best first; equal scores in column order.

    Args:
        scores: (B, n) floating point; -inf marks excluded items.
        k: Columns per row, at least 1.

    Returns:
        The columns (B, min(k, n)) int64 and their scores; NO_ITEM and -inf where a row has fewer finite scores.
    """
    n_rows, n = scores.shape
    k = min(k, n)
    # Only the few scores above the bound are sorted.
    # Flat positions are in row order already, which spares a sort by row.
    flat = np.flatnonzero(scores >= _floor(scores, k))
    rows, columns = np.divmod(flat, n)
    values = scores[rows, columns]
    order = np.lexsort((-values, rows))  # keeps the column order of equal scores
    rank = np.arange(len(flat)) - np.searchsorted(rows, rows)
    order, rank, rows = order[rank < k], rank[rank < k], rows[rank < k]
    ranked = np.full((n_rows, k), NO_ITEM)
    best = np.full((n_rows, k), -np.inf, dtype=scores.dtype)
    ranked[rows, rank], best[rows, rank] = columns[order], values[order]
    return ranked, best


def _floor(scores: Array, k: int) -> Array:
    """Lower bounds (B, 1) of each row's `k` highest scores.

    They are finite, and few other scores reach them.
    """
    # The k-th highest of the maxima of groups of columns: k groups have a member that reaches it. Group maxima take one
    # vectorized pass; selecting among all columns takes many.
    n_rows, n = scores.shape
    n_groups = min(n, max(MIN_GROUPS, 8 * k))
    end = n - n % n_groups
    maxima = scores[:, :end].reshape(n_rows, end // n_groups, n_groups).max(axis=1)  # column j is in group j % n_groups
    # The last columns that fill no whole round of groups join the first groups.
    np.maximum(maxima[:, : n - end], scores[:, end:], out=maxima[:, : n - end])
    kth = np.partition(maxima, n_groups - k, axis=1)[:, n_groups - k]
    # Above -inf, or rows with fewer than k candidates would rank all excluded items.
    floor: Array = np.maximum(kth, np.finfo(scores.dtype).min)[:, None]
    return floor
