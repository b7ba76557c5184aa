"""Formulas: what an error, a list and a set of lists are worth.

A metric of ratings takes the errors of all pairs and the user of each; a metric of lists takes, for each user, which of
the k ranks are hits and how many relevant items there were. Where several processes measure, each has users of its own,
and sums are over all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from autorec_cli.csr import Array
from autorec_cli.runtime.process_group import SINGLE_PROCESS, ProcessGroup

Z_95 = NormalDist().inv_cdf(0.975)

LEAST_PAIRS = 30
"""Fewer ratings than these say nothing of which model, or epoch, is better."""


@dataclass(frozen=True)
class Estimate:
    """A value and the half width of its 95% confidence interval (NaN where one user, or split, is all there is)."""

    value: float
    margin: float


def rmse(errors: Array, user_index: Array, world: ProcessGroup = SINGLE_PROCESS) -> Estimate:
    """Root of the mean squared error over pairs: sqrt(sum e^2 / n).

    The interval is the one of the mean squared error, carried through the root by the delta method.
    """
    mean = mean_over_pairs(np.square(errors), user_index, world)
    root = float(np.sqrt(mean.value))
    return Estimate(root, mean.margin / (2 * root) if root > 0 else 0.0)


def mae(errors: Array, user_index: Array, world: ProcessGroup = SINGLE_PROCESS) -> Estimate:
    """Mean absolute error over pairs: sum |e| / n."""
    return mean_over_pairs(np.abs(errors), user_index, world)


RATING_METRICS: Mapping[str, Callable[[Array, Array, ProcessGroup], Estimate]] = {"rmse": rmse, "mae": mae}


def mean_over_pairs(values: Array, user_index: Array, world: ProcessGroup = SINGLE_PROCESS) -> Estimate:
    """The mean of one value a pair, with users as the units that were sampled; no two processes have pairs of one user.

    Ratings of one user err together, so pairs are no independent sample. With s_u the sum and n_u the number of pairs
    of user u, the variance of the ratio m = sum s_u / sum n_u over U users is
    U/(U-1) * sum (s_u - m n_u)^2 / (sum n_u)^2 (Cochran, Sampling Techniques, 1977, section 2.11).
    """
    _, owner = np.unique(user_index, return_inverse=True)
    total, count = np.bincount(owner, weights=values), np.bincount(owner)
    n_pairs, n_users, of_all = world.sum([len(values), len(total), np.sum(values, dtype=np.float64)]).tolist()
    mean = of_all / n_pairs
    if n_users < 2:
        return Estimate(mean, float("nan"))
    variance = n_users / (n_users - 1) * float(world.sum(np.square(total - mean * count).sum())) / n_pairs**2
    return Estimate(mean, Z_95 * float(np.sqrt(variance)))


def mean_over_splits(values: Sequence[float]) -> Estimate:
    """The mean of one value a split, with splits as the units that were sampled.

    With s the standard deviation of the n values, the margin is t s / sqrt(n), t the 97.5% point of Student's
    distribution with n - 1 degrees of freedom.
    """
    from scipy.special import stdtrit

    n_splits, mean = len(values), float(np.mean(values))
    if n_splits < 2:
        return Estimate(mean, float("nan"))
    return Estimate(mean, float(stdtrit(n_splits - 1, 0.975)) * float(np.std(values, ddof=1)) / n_splits**0.5)


def ndcg(hits: Array, n_relevant: Array) -> Array:
    """Normalized discounted cumulative gain of each list, gain 1, discount log2 (Jarvelin and Kekalainen 2002).

    Args:
        hits: (n_users, k) bool, whether the item at each rank is relevant, best rank first.
        n_relevant: (n_users,) relevant items of each user, at least 1.
    """
    k = hits.shape[1]
    discount = 1 / np.log2(np.arange(2, k + 2))
    ideal = np.cumsum(discount)[np.minimum(n_relevant, k) - 1]
    values: Array = hits @ discount / ideal
    return values


def recall(hits: Array, n_relevant: Array) -> Array:
    """The share of each user's relevant items that is in the list: hits / n_relevant."""
    values: Array = hits.sum(axis=1) / n_relevant
    return values


RANKING_METRICS: Mapping[str, Callable[[Array, Array], Array]] = {"ndcg": ndcg, "recall": recall}


LIST_METRICS = (*RANKING_METRICS, "coverage", "mean_popularity")
"""All that is measured of lists; `@k` is added to their names."""


def times_listed(ranked: Array, n_items: int, world: ProcessGroup = SINGLE_PROCESS) -> Array:
    """In how many lists each item is, (n_items,); `ranked` holds item_index, -1 where a list is short."""
    return world.sum(np.bincount(ranked[ranked >= 0], minlength=n_items))


def coverage(times: Array) -> float:
    """The share of all items that is in at least one list; `times` as `times_listed` gives it."""
    return float(np.count_nonzero(times) / len(times))


def mean_popularity(times: Array, item_counts: Array) -> float:
    """The mean number of training ratings of a listed item; `times` as `times_listed` gives it."""
    return float(times @ item_counts / times.sum()) if times.any() else float("nan")
