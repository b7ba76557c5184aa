"""Damped means: the rating that a pair gets from its user and its item alone.

    prediction(u, i) = mean + user_bias[u] + item_bias[i]
    item_bias[i] = sum over ratings of i of (r - mean) / (n_i + damping)
    user_bias[u] = sum over ratings of u of (r - mean - item_bias) / (n_u + damping)

Damping pulls the bias of whoever has few ratings towards 0 (Funk 2006; Koren, Bell and Volinsky 2009). A side without
ratings has bias 0, so the same formula predicts cold pairs from whatever side is known.

Where several processes hold some users each, what is summed over users is added up over them, and the other way round:
`whole` names the side, "user" or "item", of which each of them holds everyone.
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
    """A mean and the deviations from it.

    Attributes:
        mean: The mean rating.
        user_bias: (n_users,) float64.
        item_bias: (n_items,) float64.
    """

    mean: float
    user_bias: Array
    item_bias: Array

    def predict(self, user_index: Array, item_index: Array) -> Array:
        """The unclipped prediction of each pair, float64, in the shape of the indices broadcast together."""
        values: Array = self.mean + self.user_bias[user_index] + self.item_bias[item_index]
        return values


def no_means(n_users: int, n_items: int, mean: float = 0.0) -> DampedMeans:
    """`mean` for everyone; 0 changes nothing."""
    return DampedMeans(mean, np.zeros(n_users), np.zeros(n_items))


def mean_scores(
    user_items: sparse.csr_array,
    missing_value: float,
    n_users: int | None = None,
    *,
    whole: str = "item",
    world: ProcessGroup = SINGLE_PROCESS,
) -> DampedMeans:
    """The mean rating of each item over all users, those without a rating counted as `missing_value`.

    It ranks items by popularity and liking together, for users of whom nothing is known; an item without ratings has
    `missing_value`.

    Args:
        user_items: CSR, n_users x n_items.
        missing_value: The rating that a cell without one is taken for.
        n_users: Users of all processes, if there are several.
        whole: See the top of this module.
        world: The processes.
    """
    n_own, n_items = user_items.shape
    total = np.bincount(user_items.indices, weights=user_items.data - missing_value, minlength=n_items)
    if whole == "item":
        total = world.sum(total)
    return DampedMeans(missing_value, np.zeros(n_own), total / (n_users or n_own))


def damped_means(
    user_items: sparse.csr_array,
    *,
    users: bool = True,
    items: bool = True,
    item_damping: float = ITEM_DAMPING,
    user_damping: float = USER_DAMPING,
    whole: str = "item",
    world: ProcessGroup = SINGLE_PROCESS,
) -> DampedMeans:
    """Fit the formula at the top of this module to the stored cells of `user_items`.

    Args:
        user_items: CSR, n_users x n_items; stored zeros are ratings.
        users: Whether users have a bias; if not it is 0.
        items: Whether items have a bias; if not it is 0.
        item_damping: Pretended ratings without deviation, for each item.
        user_damping: The same for each user.
        whole: See the top of this module.
        world: The processes.
    """
    n_users, n_items = user_items.shape
    means = no_means(n_users, n_items)
    total, count = world.sum(np.array([np.sum(user_items.data, dtype=np.float64), user_items.nnz]))
    if count == 0:
        return means
    rows, columns = row_indices(user_items), user_items.indices
    mean = float(total / count)
    deviation = user_items.data.astype(np.float64) - mean
    item_bias, user_bias = means.item_bias, means.user_bias
    if items:
        item_bias = _damped(deviation, columns, n_items, item_damping, world if whole == "item" else SINGLE_PROCESS)
        deviation -= item_bias[columns]
    if users:
        user_bias = _damped(deviation, rows, n_users, user_damping, world if whole == "user" else SINGLE_PROCESS)
    return DampedMeans(mean, user_bias, item_bias)


def centering_means(
    user_items: sparse.csr_array, center: str, whole: str = "item", world: ProcessGroup = SINGLE_PROCESS
) -> DampedMeans:
    """What `--center` subtracts: "none", "global", "item", "user" or "both"."""
    if center == "none":
        return no_means(*user_items.shape)
    users, items = center in ("user", "both"), center in ("item", "both")
    return damped_means(user_items, users=users, items=items, whole=whole, world=world)


def _damped(deviation: Array, owner: Array, n_owners: int, damping: float, world: ProcessGroup) -> Array:
    total = world.sum(np.bincount(owner, weights=deviation, minlength=n_owners))
    count = world.sum(np.bincount(owner, minlength=n_owners)) + damping
    bias: Array = np.divide(total, count, out=np.zeros(n_owners), where=count > 0)
    return bias
