"""Top-k lists, block by block: which items may be listed for whom, and in which order.

Memory is bounded by a block of scores for each thread and one more, whatever the number of users, and the first lists
can leave before the last block is scored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import numpy as np

from autorec_cli.csr import Array
from autorec_cli.runtime.threads import in_order, n_threads

SCORES_AT_ONCE = 1 << 22
"""Users x items of a block: 16 MiB of float32 scores."""

MIN_GROUPS = 512
"""Groups of columns whose maxima narrow a row down; more of them cost more, fewer narrow it down less."""

NO_ITEM = -1

ScoreBlock = Callable[[slice], Array]
SeenBlock = Callable[[slice], tuple[Array, Array]]


@dataclass(frozen=True)
class ListBlock:
    """The lists of some consecutive users.

    Attributes:
        users: Which of the users asked for.
        ranked: (B, k) item_index, best first, NO_ITEM where a list is short.
        scores: (B, k) float32, what the items were ranked by; -inf where a list is short.
    """

    users: slice
    ranked: Array
    scores: Array


@contextmanager
def ranked_lists(
    n_users: int, score: ScoreBlock, seen: SeenBlock | None, listable: Array, k: int
) -> Iterator[Iterator[ListBlock]]:
    """Rank the items of `n_users` users, on several threads while the block runs.

    Args:
        n_users: How many users there are.
        score: Slice of users -> (B, n_items) float32 scores, which may be overwritten; called by several threads.
        seen: Slice of users -> (row, item_index) of what is not to be listed again; rows count from 0 in the slice.
            None lists everything. Called by several threads too.
        listable: (n_items,) bool, items that may be listed at all.
        k: Length of a list, at least 1.

    Yields:
        An iterator over blocks of lists, in the order of the users. Items of equal score are in the order of
        their index.
    """
    unlisted = np.flatnonzero(~listable)

    def rank(users: slice) -> ListBlock:
        scores = score(users)
        scores[:, unlisted] = -np.inf
        if seen is not None:
            scores[seen(users)] = -np.inf
        return ListBlock(users, *top_k(scores, k))

    users_at_once = max(1, SCORES_AT_ONCE // len(listable))
    blocks = [slice(start, min(start + users_at_once, n_users)) for start in range(0, n_users, users_at_once)]
    products = _one_thread_a_product() if len(blocks) > 1 and n_threads() > 1 else None
    if products is None:
        yield map(rank, blocks)
    else:
        with products, in_order(rank, blocks) as ranked:
            yield ranked


def _one_thread_a_product() -> AbstractContextManager[object] | None:
    """Keeps each matrix product on one thread until it is left; None where threadpoolctl is not installed.

    Blocks on threads of their own are a fifth faster than products that share out their work, and more where another
    program is busy: shares of one product wait for each other.
    """
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        return None
    limits: AbstractContextManager[object] = threadpool_limits(1, "blas")
    return limits


def top_k(scores: Array, k: int) -> tuple[Array, Array]:
    """The columns of the `k` highest scores in each row, best first; equal scores in column order.

    Args:
        scores: (B, n) floating point; -inf marks what may not be listed.
        k: Length of a list, at least 1.

    Returns:
        The columns (B, min(k, n)) int64 and their scores; NO_ITEM and -inf where a row has fewer finite scores.
    """
    n_rows, n = scores.shape
    k = min(k, n)
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
    """(B, 1) finite values that all of a row's `k` highest finite scores reach, and few others.

    That is the k-th highest of the maxima of groups of columns: k groups have a member that reaches it. Maxima of
    groups take one pass that the processor can vectorize, where selecting among all columns takes many.
    """
    n_rows, n = scores.shape
    n_groups = min(n, max(MIN_GROUPS, 8 * k))
    end = n - n % n_groups
    maxima = scores[:, :end].reshape(n_rows, -1, n_groups).max(axis=1)  # column j is in group j % n_groups
    np.maximum(maxima[:, : n - end], scores[:, end:], out=maxima[:, : n - end])
    kth = np.partition(maxima, n_groups - k, axis=1)[:, n_groups - k]
    floor: Array = np.maximum(kth, np.finfo(scores.dtype).min)[:, None]
    return floor
