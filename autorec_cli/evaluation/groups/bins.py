"""Bins of held-out ratings, and metrics of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from autorec_cli.csr import Array
from autorec_cli.evaluation.metrics import Estimate, UserErrors, mean_over_pairs, rmse

MOST_VALUES = 12
"""Distinct values that each get a bin of their own."""


@dataclass(frozen=True)
class Bins:
    """Bins of pairs or of users.

    Attributes:
        labels: Name of each bin.
        index: (n,) bin of each pair.
    """

    labels: Sequence[str]
    index: Array

    def members(self) -> list[Array]:
        """Positions of the pairs of each bin."""
        return [np.flatnonzero(self.index == number) for number in range(len(self.labels))]


def bins_by_count(counts: Array, n_bins: int) -> Bins:
    """Bin counts into ranges with about as many members each.

    Equal numbers are in one bin, so there may be fewer bins.

    Args:
        counts: (n,) int, not empty.
        n_bins: Largest number of bins.
    """
    # The lowest count of each bin; repeated ones are of bins that would be empty.
    edges = np.unique(np.quantile(counts, np.linspace(0, 1, n_bins + 1)[:-1], method="lower"))
    index = np.searchsorted(edges, counts, side="right") - 1
    ends = np.append(edges[1:] - 1, counts.max())
    labels = [
        f"{low:,}" if low == high else f"{low:,}–{high:,}"
        for low, high in zip(edges.tolist(), ends.tolist(), strict=True)
    ]
    return Bins(labels, index)


def bins_by_value(values: Array, n_bins: int, scale: tuple[float, float]) -> Bins:
    """Bin ratings by value, or into ranges of equal width.

    Args:
        values: (n,) ratings or predictions, not empty.
        n_bins: Number of ranges.
        scale: Lowest and highest value; values outside are in the first or the last range.
    """
    distinct = np.unique(values)
    if len(distinct) <= MOST_VALUES:
        return Bins([f"{value:g}" for value in distinct.tolist()], np.searchsorted(distinct, values))
    low, high = scale
    edges = np.linspace(low, high, n_bins + 1)
    index = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, n_bins - 1)
    dash = " to " if low < 0 else "–"  # a dash beside a minus is hard to read
    return Bins([f"{start:.3g}{dash}{end:.3g}" for start, end in pairwise(edges.tolist())], index)


def binned_rmse(errors: Array, user_index: Array, bins: Bins) -> list[Estimate]:
    """RMSE of each bin; NaN for one without pairs.

    Args:
        errors: (n_pairs,) errors of predicted ratings.
        user_index: (n_pairs,) users, who are the sampling units of the intervals.
        bins: Of the pairs.
    """
    n_users = int(user_index.max(initial=-1)) + 1
    return [rmse(UserErrors.of(errors[pairs], user_index[pairs], n_users)) for pairs in bins.members()]


def binned_mean(values: Array, user_index: Array, bins: Bins) -> list[Estimate]:
    """Mean of each bin; arguments as in `binned_rmse`."""
    n_users = int(user_index.max(initial=-1)) + 1
    return [
        mean_over_pairs(
            np.bincount(user_index[pairs], weights=values[pairs], minlength=n_users),
            np.bincount(user_index[pairs], minlength=n_users),
        )
        for pairs in bins.members()
    ]
