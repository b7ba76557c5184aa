"""Top-k items with at most some items of each group.

A group may be the films of one genre.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from autorec_cli.csr import Array
from autorec_cli.inference.ranking.top_k import NO_ITEM, top_k

FREE = -1
"""Group of an item that is not limited."""


@dataclass(frozen=True)
class Limit:
    """Largest number of items of each group in a user's recommendations.

    Attributes:
        n: The number, from 1.
        groups: (n_items,) int64, the group of each item, from 0; or FREE.
    """

    n: int
    groups: Array

    def counts(self, listed: Array) -> Array:
        """Number of items of each group in each list.

        Lists of items are (B, k), the numbers (B, n_groups + 1), the last of them FREE.
        """
        width = int(self.groups.max(initial=FREE)) + 2
        rows, places = np.nonzero(listed != NO_ITEM)
        # FREE is -1, which the remainder turns into the last column.
        columns = self.groups[listed[rows, places]] % width
        return np.bincount(rows * width + columns, minlength=len(listed) * width).reshape(-1, width)

    def admits(self, items: Array, counts: Array) -> Array:
        """Mark those of `items` (B,) that fit into lists, (B,) bool."""
        groups = self.groups[items]
        admitted: Array = (groups == FREE) | (counts[np.arange(len(items)), groups] < self.n)
        return admitted

    def exhausted(self, listed: Array) -> Array:
        """Mark items of full groups, (B, n_items) bool."""
        is_full = self.counts(listed) >= self.n  # by list and group
        is_full[:, FREE] = False
        marked: Array = is_full[:, self.groups]
        return marked


def limited_top_k(scores: Array, k: int, limits: Sequence[Limit]) -> tuple[Array, Array]:
    """Columns of the `k` highest scores that the limits admit.

    They are taken from the best down, row by row.

    Args:
        scores: (B, n) floating point, which is overwritten; -inf marks excluded items.
        k: Columns per row, at least 1.
        limits: All of them hold.

    Returns:
        As `top_k`.
    """
    n_rows, n = scores.shape
    ranked = np.full((n_rows, min(k, n)), NO_ITEM)
    best = np.full(ranked.shape, -np.inf, dtype=scores.dtype)
    rows = np.arange(n_rows)
    # Each round takes at least one more item for every row, since items that no longer fit have left before it.
    while len(rows):
        found, values = top_k(scores, k)
        listed, kept = ranked[rows], best[rows]
        _take(found, values, listed, kept, limits)
        ranked[rows], best[rows] = listed, kept
        unfilled = (listed[:, -1] == NO_ITEM) & (found[:, -1] != NO_ITEM)
        # Only rows that are short and have candidates left go on.
        rows, scores = rows[unfilled], scores[unfilled]
        np.put_along_axis(scores, found[unfilled], -np.inf, axis=1)
        for limit in limits:
            scores[limit.exhausted(listed[unfilled])] = -np.inf
    return ranked, best


def _take(found: Array, values: Array, listed: Array, kept: Array, limits: Sequence[Limit]) -> None:
    """Append items to lists where the limits admit them.

    All are (B, k); items are taken best first. `listed` and `kept`, their scores, are changed in place.
    """
    n_listed, counts = (listed != NO_ITEM).sum(axis=1), [limit.counts(listed) for limit in limits]
    for items, scores in zip(found.T, values.T, strict=True):
        fits = (items != NO_ITEM) & (n_listed < listed.shape[1])
        for limit, of_groups in zip(limits, counts, strict=True):
            fits &= limit.admits(items, of_groups)
        rows = np.flatnonzero(fits)
        listed[rows, n_listed[rows]], kept[rows, n_listed[rows]] = items[rows], scores[rows]
        n_listed[rows] += 1
        for limit, of_groups in zip(limits, counts, strict=True):
            of_groups[rows, limit.groups[items[rows]]] += 1
