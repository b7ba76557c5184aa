"""Damped user and item means, the bias baseline.

    prediction(u, i) = mean + user_bias[u] + item_bias[i]
    item_bias[i] = sum over ratings of i of (r - mean) / (n_i + damping)
    user_bias[u] = sum over ratings of u of (r - mean - item_bias) / (n_u + damping)

Damping shrinks biases that rest on few ratings toward 0 (Funk 2006; Koren, Bell and Volinsky 2009). A side without
ratings has bias 0, so the same formula predicts cold pairs from the side that is known.

If the ratings are partitioned by user across processes, sums over users are added up over all processes; if by item,
sums over items are. `whole` names the side, "user" or "item", that every process holds completely.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from autorec_cli.csr import Array, row_indices
from autorec_cli.runtime.process_group import SINGLE_PROCESS, ProcessGroup

ITEM_DAMPING = 5.0
USER_DAMPING = 5.0


@dataclass(frozen=True)
class DampedMeans:
    """Mean rating with user and item biases.

    Attributes:
        mean: The mean rating.
        user_bias: (n_users,) float64.
        item_bias: (n_items,) float64.
    """

    mean: float
    user_bias: Array
    item_bias: Array

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
    item_damping: float = ITEM_DAMPING,
    user_damping: float = USER_DAMPING,
    whole: str = "item",
    process_group: ProcessGroup = SINGLE_PROCESS,
) -> DampedMeans:
    """Fit damped means to the stored cells of `user_items`.

    Args:
        user_items: CSR, n_users x n_items; stored zeros are ratings.
        users: Fit user biases; otherwise they are 0.
        items: Fit item biases; otherwise they are 0.
        item_damping: Pseudo-count of ratings without deviation, added for each item.
        user_damping: The same for each user.
        whole: See the top of this module.
        process_group: The processes.
    """
    n_users, n_items = user_items.shape
    means = no_means(n_users, n_items)
    total, count = process_group.sum(np.array([np.sum(user_items.data, dtype=np.float64), user_items.nnz]))
    if count == 0:
        return means
    rows, columns = row_indices(user_items), user_items.indices
    mean = float(total / count)
    deviation = user_items.data.astype(np.float64) - mean
    item_bias, user_bias = means.item_bias, means.user_bias
    # Every process has some ratings of each user or item of the side `whole`, but all ratings of its others.
    summing = {"user": SINGLE_PROCESS, "item": SINGLE_PROCESS, whole: process_group}
    if items:
        item_bias = _damped(deviation, columns, n_items, item_damping, summing["item"])
        deviation -= item_bias[columns]
    if users:
        user_bias = _damped(deviation, rows, n_users, user_damping, summing["user"])
    return DampedMeans(mean, user_bias, item_bias)


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


def _damped(deviation: Array, owner: Array, n_owners: int, damping: float, process_group: ProcessGroup) -> Array:
    total = process_group.sum(np.bincount(owner, weights=deviation, minlength=n_owners))
    count = process_group.sum(np.bincount(owner, minlength=n_owners)) + damping
    # Without damping, whoever has no ratings would be 0 / 0.
    bias: Array = np.divide(total, count, out=np.zeros(n_owners), where=count > 0)
    return bias
