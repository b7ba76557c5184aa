"""Top-k lists, block by block: which items may be listed for whom, and in which order.

Memory is bounded by one block of scores whatever the number of users, and the first block's lists can leave before the
last is scored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from autorec_cli.baselines import Array
from autorec_cli.scoring import top_k

SCORES_AT_ONCE = 1 << 22
"""Users x items of a block: 16 MiB of float32 scores."""

NO_ITEM = -1

ScoreBlock = Callable[[slice], Array]
SeenBlock = Callable[[slice], tuple[Array, Array]]


@dataclass(frozen=True)
class ListBlock:
    """The lists of some consecutive users.

    Attributes:
        users: Which of the users asked for.
        ranked: (B, k) item_index, best first, NO_ITEM where a list is short.
        scores: (B, k) float32, what the items were ranked by.
    """

    users: slice
    ranked: Array
    scores: Array


def ranked_lists(
    n_users: int, score: ScoreBlock, seen: SeenBlock | None, listable: Array, k: int
) -> Iterator[ListBlock]:
    """Rank the items of `n_users` users.

    Args:
        n_users: How many users there are.
        score: Slice of users -> (B, n_items) float32 scores, which may be overwritten.
        seen: Slice of users -> (row, item_index) of what is not to be listed again; rows count from 0 in the slice.
            None lists everything.
        listable: (n_items,) bool, items that may be listed at all.
        k: Length of a list, at least 1.

    Yields:
        Blocks of lists, in the order of the users. Items of equal score are in the order of their index.
    """
    users_at_once = max(1, SCORES_AT_ONCE // len(listable))
    all_listable = bool(listable.all())
    for start in range(0, n_users, users_at_once):
        users = slice(start, min(start + users_at_once, n_users))
        scores = score(users)
        if not all_listable:
            scores[:, ~listable] = -np.inf
        if seen is not None:
            scores[seen(users)] = -np.inf
        ranked = top_k(scores, k)
        best = np.take_along_axis(scores, ranked, axis=1)
        yield ListBlock(users, np.where(np.isneginf(best), NO_ITEM, ranked), best)
