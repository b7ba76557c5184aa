"""Scores of all items for blocks of users, in numpy.

Every prediction is an inner product of a user vector and an item vector plus what each side adds:

    prediction(u, i) = f(user_vector . item_vector + user_shift + item_shift) * output_unit + centering(u, i)

where an ordinal f depends on the centering and on the thresholds of the encoded side, too (`network.ordinal`).

In the item variant, item vectors are the codes and user vectors are decoder rows; in the user variant it is the other
way round. Shapes: B users, k units in the last hidden layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from autorec_cli.csr import Array
from autorec_cli.inference.catalog import UNKNOWN
from autorec_cli.network.activations import sigmoid

if TYPE_CHECKING:
    from autorec_cli.inference.model import Model

SCORES_AT_ONCE = 1 << 23
"""Users x items of a block: 32 MiB of float32 scores."""


@dataclass(frozen=True)
class UserVectors:
    """Users ready to be scored against all items.

    Attributes:
        vectors: (B, k) float32.
        shift: (B,) added inside f.
        centering_bias: (B,) added outside f, in rating units.
        baseline_bias: (B,) user biases of the damped-mean baseline.
        cold: (B,) bool, users without ratings; the baseline predicts for them.
    """

    vectors: Array
    shift: Array
    centering_bias: Array
    baseline_bias: Array
    cold: Array


def trained_users(model: Model, user_index: Array) -> UserVectors:
    """Vectors of trained users (B,).

    An UNKNOWN user is cold and has no bias.
    """
    item_variant = model.settings.variant == "item"
    vectors = model.decoder_weight if item_variant else model.codes
    n, unknown = len(user_index), user_index == UNKNOWN
    # UNKNOWN is -1, which would index the last user; `cold` masks what is taken here.
    user_index = np.maximum(user_index, 0)
    return UserVectors(
        vectors=vectors[user_index],
        shift=model.decoder_bias[user_index] if item_variant else np.zeros(n, dtype=np.float32),
        centering_bias=model.centering.user_bias[user_index],
        baseline_bias=np.where(unknown, 0.0, model.baseline.user_bias[user_index]),
        cold=unknown | (model.catalog.user_counts[user_index] == 0),
    )


def item_vectors(model: Model) -> Array:
    """Vectors of all items with their shifts, (k + 2, n_items) float32.

    Inner products with `user_vectors` are the argument of f; if f is the identity, the scores of warm users and items.
    """
    # Shifts and biases are two more units of the vectors, so that a block of users costs one matrix product.
    k, linear = model.codes.shape[1], is_linear(model)
    items = np.empty((k + 2, model.catalog.n_items), dtype=np.float32)
    if model.settings.variant == "item":
        items[:k], items[k + 1] = model.codes.T, 0
    else:
        items[:k], items[k + 1] = model.decoder_weight.T, _scale(model) * model.decoder_shift
    items[k] = 1
    if linear:  # otherwise centering is added outside f
        items[k + 1] += model.centering.item_bias.astype(np.float32)
    return items


def user_vectors(model: Model, users: UserVectors) -> Array:
    """Vectors of B users with their shifts, (B, k + 2) float32."""
    k, scale = model.codes.shape[1], _scale(model)
    vectors = np.empty((len(users.shift), k + 2), dtype=np.float32)
    vectors[:, :k], vectors[:, k], vectors[:, k + 1] = scale * users.vectors, scale * users.shift, 1
    if model.settings.linear_units:
        vectors[:, :k] -= scale * model.code_at_zero
    if is_linear(model):
        vectors[:, k] += _offset(model, users)
    return vectors


def is_linear(model: Model) -> bool:
    """True if f is the identity."""
    return model.settings.output_activation == "identity"


def _scale(model: Model) -> np.float32:
    return np.float32(model.output_unit if is_linear(model) else 1.0)


def _offset(model: Model, users: UserVectors) -> Array:
    """Centering of B users, (B,)."""
    offset: Array = (model.centering.mean + users.centering_bias).astype(np.float32)
    return offset


class ItemScorer(Protocol):
    """Scores of items for B users."""

    def __call__(self, users: UserVectors, chosen: Array | None = None) -> Array:
        """Score all items, or those of item_index `chosen` (n,).

        (B, n_items) or (B, n) float32, not clipped.
        """


def item_scorer(model: Model) -> ItemScorer:
    """Make a function that scores items for B users."""
    item_variant, thresholds, linear = model.settings.variant == "item", model.thresholds, is_linear(model)
    of_items = thresholds.of(model.codes) if thresholds and item_variant else None
    centering_bias = model.centering.item_bias.astype(np.float32)
    items, everything = item_vectors(model), slice(None)
    is_cold = model.catalog.item_counts == 0

    def score(users: UserVectors, chosen: Array | None = None) -> Array:
        of: Array | slice = everything if chosen is None else chosen
        offset, scores = _offset(model, users), user_vectors(model, users) @ items[:, of]
        if not linear:
            # In place: a block of scores is the largest array there is.
            if thresholds:
                centers = (offset[:, None] + centering_bias[of]) / np.float32(model.unit)
                scores += centers
                # (B, 1, J) or (n_items, J): thresholds belong to the encoded side.
                of_cells = thresholds.of(users.vectors)[:, None] if of_items is None else of_items[of]
                scores = thresholds.levels.expected(scores, of_cells)
                scores -= centers
            else:
                scores = output(model, scores)
            scores *= np.float32(model.output_unit)
            scores += offset[:, None]
            scores += centering_bias[of]
        # No rating has trained the vector of a cold user or item.
        by_baseline = model.baseline.mean + users.baseline_bias[:, None]
        item_bias, cold_items = model.baseline.item_bias[of], np.flatnonzero(is_cold[of])
        scores[users.cold] = by_baseline[users.cold] + item_bias
        scores[:, cold_items] = by_baseline + item_bias[cold_items]
        return scores

    return score


def output(model: Model, z: Array) -> Array:
    """Apply the output activation f to `z`, in place."""
    if model.settings.output_activation == "sigmoid":
        low, high = model.output_range
        sigmoid(z, out=z)
        z *= high - low
        z += low
    return z
