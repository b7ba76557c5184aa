"""Damped user and item means, the bias baseline.

    prediction(u, i) = mean + user_bias[u] + item_bias[i]

Biases are random effects: rating = mean + user_bias + item_bias + noise, each normal with a variance of its own
(Searle, Casella and McCulloch, Variance Components, 1992). Given the ratings, the expectation of a bias is a damped
mean of what the other side leaves,

    item_bias[i] = sum over ratings of i of (r - mean - user_bias) / (n_i + noise variance / variance of items)

and the same for users. Biases and variances are estimated in turn until the variances change by less than a thousandth
(expectation maximization, in its mean-field form): the data decide how far a bias that rests on few ratings shrinks
toward 0. A side without ratings has bias 0, so the same formula predicts cold pairs from the side that is known.

If the ratings are partitioned by user across processes, sums over users are added up over all processes; if by item,
sums over items are. `whole` names the side, "user" or "item", that every process holds completely.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from autorec_cli.csr import Array
from autorec_cli.runtime.process_group import SINGLE_PROCESS, ProcessGroup

if TYPE_CHECKING:  # takes a while to import, and a model is used without it
    from scipy import sparse

MAX_ITERATIONS = 100
TOLERANCE = 1e-3
"""Relative change of the variances below which the iteration ends."""
LEAST_VARIANCE = 1e-6
"""Lower bound of each variance, as a fraction of the variance of the ratings, so that nothing is divided by 0."""


@dataclass(frozen=True)
class DampedMeans:
    """Mean rating with user and item biases.

    Attributes:
        mean: The mean rating.
        user_bias: (n_users,) float64.
        item_bias: (n_items,) float64.
        user_damping: Pseudo-count of ratings without deviation that shrinks the bias of a user, for new users.
    """

    mean: float
    user_bias: Array
    item_bias: Array
    user_damping: float = 0.0

    def predict(self, user_index: Array, item_index: Array) -> Array:
        """Predict pairs, not clipped.

        Returns:
            float64, in the shape of the indices broadcast together.
        """
        values: Array = self.mean + self.user_bias[user_index] + self.item_bias[item_index]
        return values


def no_means(n_users: int, n_items: int, mean: float = 0.0) -> DampedMeans:
    """Predict `mean` for every pair."""
    return DampedMeans(mean, np.zeros(n_users), np.zeros(n_items))


def item_means(user_items: sparse.csr_array) -> DampedMeans:
    """Mean rating of each item, not damped.

    Items without ratings have the mean of all.
    """
    counts = np.bincount(user_items.indices, minlength=user_items.shape[1])
    mean = float(user_items.data.mean(dtype=np.float64)) if user_items.nnz else 0.0
    sums = np.bincount(user_items.indices, weights=user_items.data - mean, minlength=user_items.shape[1])
    return DampedMeans(mean, np.zeros(user_items.shape[0]), sums / np.maximum(counts, 1))


def mean_scores(
    user_items: sparse.csr_array,
    missing_value: float,
    n_users: int | None = None,
    *,
    whole: str = "item",
    process_group: ProcessGroup = SINGLE_PROCESS,
) -> DampedMeans:
    """Item means over all users, unrated cells included.

    They rank items by popularity and liking at once, which is all that there is to go by for a cold user.

    Args:
        user_items: CSR, n_users x n_items.
        missing_value: Value imputed for unrated cells; an item without ratings has this mean.
        n_users: Number of users in all processes; None for one process.
        whole: See the top of this module.
        process_group: The processes.
    """
    n_own, n_items = user_items.shape
    total = np.bincount(user_items.indices, weights=user_items.data - missing_value, minlength=n_items)
    if whole == "item":
        total = process_group.sum(total)
    return DampedMeans(missing_value, np.zeros(n_own), total / (n_users or n_own))


def damped_means(
    user_items: sparse.csr_array,
    *,
    users: bool = True,
    items: bool = True,
    whole: str = "item",
    process_group: ProcessGroup = SINGLE_PROCESS,
) -> DampedMeans:
    """Fit damped means to the stored cells of `user_items`.

    Args:
        user_items: CSR, n_users x n_items; stored zeros are ratings.
        users: Fit user biases; otherwise they are 0.
        items: Fit item biases; otherwise they are 0.
        whole: See the top of this module.
        process_group: The processes.
    """
    from scipy import sparse

    n_users, n_items = user_items.shape
    total, n_ratings = process_group.sum(np.array([np.sum(user_items.data, dtype=np.float64), user_items.nnz])).tolist()
    mean = total / n_ratings if n_ratings else 0.0
    deviations = user_items.data.astype(np.float64) - mean
    squares = float(process_group.sum(deviations @ deviations))
    if squares == 0 or not (users or items):
        return no_means(n_users, n_items, mean)
    # A process holds every user or item of the side `whole`, each with some of its ratings; of the other side it holds
    # a part, each with all of its ratings.
    groups = {"user": SINGLE_PROCESS, "item": SINGLE_PROCESS, whole: process_group}
    cells = sparse.csr_array((deviations, user_items.indices, user_items.indptr), shape=user_items.shape)
    counts = np.diff(user_items.indptr), np.bincount(user_items.indices, minlength=n_items)
    user = _Effects(counts[0], cells.sum(1), groups["user"], groups["item"])
    item = _Effects(counts[1], cells.sum(0), groups["item"], groups["user"])
    cells.data[:] = 1  # from here on, products with the cells add up the biases of the other side
    variance = squares / n_ratings
    # To start with, half of it is noise; a side that is not fitted has variance 0 and stays as it is.
    noise, user.variance, item.variance = variance / 2, variance / 4 * users, variance / 4 * items
    for _ in range(MAX_ITERATIONS):
        before = np.array([noise, user.variance, item.variance])
        if items:
            item.update(cells.T @ user.bias, noise, variance)
        if users:
            user.update(cells @ item.bias, noise, variance)
        # Over all ratings, the sum of user bias times item bias.
        common = float(process_group.sum(user.bias @ (cells @ item.bias)))
        noise = (squares + user.squared_error() + item.squared_error() + 2 * common) / n_ratings
        noise = max(noise, LEAST_VARIANCE * variance)
        if (np.abs(np.array([noise, user.variance, item.variance]) - before) <= TOLERANCE * before).all():
            break
    return DampedMeans(mean, user.bias, item.bias, noise / user.variance if users else 0.0)


class _Effects:
    """Biases of all users, or of all items, as normal random effects.

    Args:
        counts: (n,) ratings of each in this process.
        sums: (n,) sum of their deviations from the mean rating.
        of_each: Processes that share the ratings of one user or item.
        of_all: Processes that share the users, or the items.
    """

    def __init__(self, counts: Array, sums: Array, of_each: ProcessGroup, of_all: ProcessGroup) -> None:
        self._counts, self._sums = of_each.sum(counts.astype(np.float64)), of_each.sum(sums)
        self._of_each, self._of_all = of_each, of_all
        self._n_rated = float(of_all.sum(float(np.count_nonzero(self._counts))))
        self.bias = np.zeros(len(counts))
        self._uncertainty = np.zeros(len(counts))
        self.variance = 0.0

    def update(self, others: Array, noise: float, total_variance: float) -> None:
        """Estimate the biases given the other side's, then their variance.

        Args:
            others: (n,) sum of the other side's biases over the ratings of each.
            noise: Variance of a rating that biases do not explain.
            total_variance: Variance of the ratings.
        """
        # Mean and variance of a normal given its ratings; precisions add up.
        self._uncertainty = 1 / (self._counts / noise + 1 / self.variance)
        self.bias = (self._sums - self._of_each.sum(others)) * self._uncertainty / noise
        # Those without ratings say nothing about the variance.
        squares = np.where(self._counts > 0, self.bias**2 + self._uncertainty, 0).sum()
        self.variance = max(float(self._of_all.sum(squares)) / self._n_rated, LEAST_VARIANCE * total_variance)

    def squared_error(self) -> float:
        """Expected change of the squared error by these biases alone."""
        expected = self._counts * (self.bias**2 + self._uncertainty) - 2 * self._sums * self.bias
        return float(self._of_all.sum(expected.sum()))


def centering_means(
    user_items: sparse.csr_array, center: str, whole: str = "item", process_group: ProcessGroup = SINGLE_PROCESS
) -> DampedMeans:
    """Fit the means that centering subtracts.

    `center` is "none", "global", "item", "user" or "both".
    """
    if center == "none":
        return no_means(*user_items.shape)
    users, items = center in ("user", "both"), center in ("item", "both")
    return damped_means(user_items, users=users, items=items, whole=whole, process_group=process_group)
