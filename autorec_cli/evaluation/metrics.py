"""Metrics of predicted ratings and of top-k recommendations.

A rating metric takes the errors of each user, a ranking metric the hits of each user. Both are sums over users, so
measurements of several processes on different users can be added.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from autorec_cli.csr import Array

Z_95 = NormalDist().inv_cdf(0.975)  # standard errors on either side of a 95% interval

USERS_AT_ONCE = 4096

LEAST_PAIRS = 30
"""Fewest ratings on which two models, or epochs, can be compared."""


@dataclass(frozen=True)
class Estimate:
    """Value with the half width of its 95% confidence interval.

    The half width is NaN if there is only one user or split.
    """

    value: float
    margin: float

    def columns(self, name: str) -> dict[str, float]:
        """Value `name`, and its interval, `name_low` and `name_high`."""
        return {name: self.value, f"{name}_low": self.value - self.margin, f"{name}_high": self.value + self.margin}


# --- predicted ratings


@dataclass(frozen=True)
class UserErrors:
    """Errors of predicted ratings, summed for each user.

    Attributes:
        n_pairs: (n_users,) predicted ratings.
        n_cold: (n_users,) those of cold pairs.
        absolute: (n_users,) sum of |e|.
        squared: (n_users,) sum of e^2.
    """

    n_pairs: Array
    n_cold: Array
    absolute: Array
    squared: Array

    @classmethod
    def of(cls, errors: Array, user_index: Array, n_users: int, cold: Array | None = None) -> UserErrors:
        """Sum the errors of (n_pairs,) predictions over users."""

        def total(values: Array | None) -> Array:
            return np.bincount(user_index, weights=values, minlength=n_users)

        n_cold = np.zeros(n_users) if cold is None else total(cold)
        return cls(total(None), n_cold, total(np.abs(errors)), total(np.square(errors)))


def rmse(errors: UserErrors) -> Estimate:
    """Root mean squared error: sqrt(sum e^2 / n).

    The interval is that of the mean squared error, carried through the root by the delta method.
    """
    mean = mean_over_pairs(errors.squared, errors.n_pairs)
    # The derivative of the root, 1 / (2 root), is infinite at 0.
    if mean.value == 0:
        return Estimate(0.0, 0.0)
    root = float(np.sqrt(mean.value))
    return Estimate(root, mean.margin / (2 * root))


def mae(errors: UserErrors) -> Estimate:
    """Mean absolute error: sum |e| / n."""
    return mean_over_pairs(errors.absolute, errors.n_pairs)


RATING_METRICS: Mapping[str, Callable[[UserErrors], Estimate]] = {"rmse": rmse, "mae": mae}


def mean_over_pairs(sums: Array, n_pairs: Array) -> Estimate:
    """Mean over pairs, with users as the sampling units.

    Errors of one user's ratings are correlated, so pairs are not an independent sample. With s_u the sum and n_u the
    number of pairs of user u, the variance of the ratio m = sum s_u / sum n_u over U users is
    U/(U-1) * sum (s_u - m n_u)^2 / (sum n_u)^2 (Cochran, Sampling Techniques, 1977, section 2.11).

    Args:
        sums: (n_users,) s_u.
        n_pairs: (n_users,) n_u; users without pairs do not count.
    """
    measured = n_pairs > 0
    sums, n_pairs = sums[measured], n_pairs[measured]
    n_users, total = len(sums), n_pairs.sum()
    if n_users == 0:
        return Estimate(float("nan"), float("nan"))
    mean = float(sums.sum() / total)
    if n_users == 1:
        return Estimate(mean, float("nan"))
    variance = n_users / (n_users - 1) * float(np.square(sums - mean * n_pairs).sum()) / float(total) ** 2
    return Estimate(mean, Z_95 * float(np.sqrt(variance)))


def is_clearly_better(errors: UserErrors, baseline: UserErrors) -> bool:
    """Check that squared errors are smaller than a baseline's beyond chance.

    The interval is that of the difference on the same pairs, which is much narrower than those of both. A single user
    has none; then the means decide.
    """
    difference = mean_over_pairs(errors.squared - baseline.squared, errors.n_pairs)
    return bool(difference.value + np.nan_to_num(difference.margin) < 0)


def mean_over_splits(values: Sequence[float]) -> Estimate:
    """Mean over splits, with splits as the sampling units.

    With s the standard deviation of the n values, the margin is t s / sqrt(n), where t is the 97.5% point of Student's
    distribution with n - 1 degrees of freedom.
    """
    from scipy.special import stdtrit

    n_splits, mean = len(values), float(np.mean(values))
    if n_splits < 2:
        return Estimate(mean, float("nan"))
    return Estimate(mean, float(stdtrit(n_splits - 1, 0.975)) * float(np.std(values, ddof=1)) / n_splits**0.5)


# --- top-k recommendations


def ndcg(hits: Array, n_relevant: Array) -> Array:
    """Normalized discounted cumulative gain per user.

    DCG = sum of hits / log2(rank + 1), divided by that of the best order (Jarvelin and Kekalainen 2002).

    Args:
        hits: (n_users, k) bool, relevance of the item at each rank, best rank first.
        n_relevant: (n_users,) relevant items of each user, at least 1.
    """
    k = hits.shape[1]
    # Ranks from 1: the first item has log2(2) = 1.
    discount = 1 / np.log2(np.arange(2, k + 2))
    # The best order of a user with few relevant items has all of them first, then nothing.
    ideal = np.cumsum(discount)[np.minimum(n_relevant, k) - 1]
    values: Array = hits @ discount / ideal
    return values


def recall(hits: Array, n_relevant: Array) -> Array:
    """Fraction of each user's relevant items that are recommended.

    Hits / n_relevant. Arguments as in `ndcg`.
    """
    values: Array = hits.sum(axis=1) / n_relevant
    return values


RANKING_METRICS: Mapping[str, Callable[[Array, Array], Array]] = {"ndcg": ndcg, "recall": recall}


TOP_K_METRICS = (
    *RANKING_METRICS,
    "coverage",
    "unique_items",
    "gini",
    "mean_popularity",
    "novelty",
    "diversity",
)
"""All metrics of top-k recommendations; `@k` is added to their names."""


def times_recommended(ranked: Array, n_items: int) -> Array:
    """Number of users to whom each item is recommended, (n_items,).

    Args:
        ranked: (n_users, k) item_index, -1 where a user has fewer than k.
        n_items: Number of items.
    """
    # bincount refuses negative numbers, which mark missing items.
    return np.bincount(ranked[ranked >= 0], minlength=n_items)


def coverage(times: Array) -> float:
    """Fraction of all items that are recommended at least once.

    `times` as in `times_recommended`.
    """
    return float(np.count_nonzero(times) / len(times))


def unique_items(times: Array) -> int:
    """Number of items that are recommended at least once.

    `times` as in `times_recommended`.
    """
    return int(np.count_nonzero(times))


def lorenz_curve(times: Array) -> Array:
    """Cumulative share of the least recommended items (Lorenz 1905).

    Args:
        times: (n_items,) as in `times_recommended`.

    Returns:
        (n_items + 1,) from 0 to 1: value i is the share of the i least recommended items. NaN without recommendations.
    """
    total = times.sum()
    shares = np.cumsum(np.sort(times)) / total if total else np.full(len(times), np.nan)
    return np.concatenate([[0.0], shares])


def gini(times: Array) -> float:
    """Inequality of recommendations: 0 all equal, 1 always the same item.

    With x the n items' `times`, ascending: sum over j of (2j - n - 1) x_j / ((n - 1) sum x) (Shani and Gunawardana,
    Evaluating Recommendation Systems, 2011, section 8.3.3). It is twice the area between the diagonal and
    `lorenz_curve`, times n / (n - 1). NaN without recommendations.
    """
    n, total = len(times), times.sum()
    if not total or n < 2:
        return float("nan")
    return float((2 * np.arange(1, n + 1) - n - 1) @ np.sort(times) / ((n - 1) * total))


def mean_popularity(times: Array, item_counts: Array) -> float:
    """Mean number of training ratings of a recommended item.

    NaN without recommendations.
    """
    if not times.any():
        return float("nan")
    return float(times @ item_counts / times.sum())


def novelty(times: Array, item_counts: Array, n_users: int) -> float:
    """Mean self-information of a recommended item, in bits.

    -log2(n_i / n_users) for an item that n_i users have rated: how unlikely it is that a random user knows it (Zhou et
    al., PNAS 2010). An item without ratings counts as one with a single rating. NaN without recommendations.
    """
    if not times.any():
        return float("nan")
    information = np.log2(n_users / np.maximum(item_counts, 1))
    return float(times @ information / times.sum())


def diversity(ranked: Array, item_vectors: Array) -> Array:
    """Intra-list diversity per user: mean dissimilarity of recommended pairs.

    Smyth and McClave (ICCBR 2001). 0 for a user with fewer than two recommendations.

    Args:
        ranked: (n_users, k) item_index, -1 where a user has fewer than k.
        item_vectors: (n_items, d) of length 1 or 0, whose inner products are similarities.

    Returns:
        (n_users,).
    """
    values = np.zeros(len(ranked))
    # In blocks, as the sum of its items' vectors is as long as a user's scores.
    for start in range(0, len(ranked), USERS_AT_ONCE):
        block = slice(start, start + USERS_AT_ONCE)
        values[block] = _diversity(ranked[block], item_vectors)
    return values


def _diversity(ranked: Array, item_vectors: Array) -> Array:
    is_item = ranked >= 0
    n = is_item.sum(axis=1)
    total, squares = np.zeros((len(ranked), item_vectors.shape[1])), np.zeros(len(ranked))
    for items, kept in zip(ranked.T, is_item.T, strict=True):
        vectors = item_vectors[items] * kept[:, None]
        total += vectors
        squares += np.square(vectors).sum(axis=1)
    # |sum of v|^2 has each pair twice, and the square of each vector.
    similarities = np.square(total).sum(axis=1) - squares
    values: Array = np.where(n > 1, 1 - similarities / np.maximum(n * (n - 1), 1), 0.0)
    return values
