"""Fold-in of a user with and without each rating.

Equal to `fold_in` of n + 1 histories, in far less time. In the user variant, hiding a rating takes one row of the first
weight off the first layer's sum, before the sum is scaled to the norm of the input; in the item variant it changes the
solution of the user's decoder row by a matrix of rank 1 (`decoder_rows`). The user's bias, which is subtracted from all
ratings, changes with each hidden rating too.

Shapes: n ratings of a user, k units in the last hidden layer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from autorec_cli.csr import Array
from autorec_cli.data.bias import DampedMeans
from autorec_cli.inference.reasons.decoder_rows import decoder_rows, scoring_rows
from autorec_cli.inference.reasons.hidden_ratings import HiddenRatings, Rows, without_each
from autorec_cli.inference.reasons.ordinal_rows import ordinal_rows
from autorec_cli.inference.scorer import History
from autorec_cli.inference.scoring import UserVectors
from autorec_cli.network.activations import ACTIVATIONS
from autorec_cli.network.encoder_input import RATED

if TYPE_CHECKING:
    from autorec_cli.inference.model import Model

LeaveOneOut = Callable[[History], UserVectors]
"""n ratings of a user -> vectors of n + 1 users; all items must have training ratings."""


def leave_one_out(model: Model) -> LeaveOneOut:
    """Make a function that folds in with and without each rating."""
    rows_of = _rows_of(model)
    center, k = model.settings.center, model.codes.shape[1]

    def fold(history: History) -> UserVectors:
        items, ratings = history[0], history[1].astype(np.float64)
        n = len(items)
        if n == 0:
            nothing = np.zeros(1, dtype=np.float32)
            return UserVectors(np.zeros((1, k), dtype=np.float32), nothing, nothing, nothing, np.ones(1, dtype=bool))
        centering = _biases(model.centering, items, ratings) if center in ("user", "both") else np.zeros(n + 1)
        baseline = _biases(model.baseline, items, ratings) if model.predicts_ratings else np.zeros(n + 1)
        offsets = model.centering.mean + model.centering.item_bias[items]
        vectors, shift = rows_of(
            HiddenRatings(items, (ratings - offsets) / model.unit, offsets / model.unit, centering / model.unit)
        )
        # Without the only rating, a user is cold.
        cold = np.arange(n + 1) > (0 if n == 1 else n)
        return UserVectors(vectors.astype(np.float32), shift.astype(np.float32), centering, baseline, cold)

    return fold


def _biases(means: DampedMeans, items: Array, ratings: Array) -> Array:
    """User bias with all ratings, then without each, (n + 1,).

    See `fold_in.user_bias`.
    """
    sums = without_each(ratings - means.mean - means.item_bias[items])
    counts = without_each(np.ones(len(items))) + means.user_damping
    biases: Array = np.divide(sums, counts, out=np.zeros_like(sums), where=counts > 0)
    if len(items) == 1:
        biases[1] = 0  # and not a rounding error
    return biases


def _rows_of(model: Model) -> Rows:
    if model.settings.variant == "user":
        return _codes(model)
    if not model.predicts_ratings:
        return scoring_rows(model)
    return decoder_rows(model) if model.thresholds is None else ordinal_rows(model)


def _codes(model: Model) -> Rows:
    """Codes of a user, by the encoder."""
    activation = ACTIVATIONS[model.settings.hidden_activation]
    first, n_items = model.encoder_weights[0], model.catalog.n_items

    def rows(hidden: HiddenRatings) -> tuple[Array, Array]:
        weights = first[hidden.items]
        sums = without_each(hidden.values[:, None].astype(np.float32) * weights)
        if hidden.shifts.any():
            # The user's bias is subtracted from every rating, so it multiplies the sum of their rows.
            sums -= hidden.shifts[:, None].astype(np.float32) * without_each(weights)
        if model.settings.implicit:
            sums += without_each(RATED * first[n_items + hidden.items])
        if model.input_norm is not None:
            sums *= _scales(hidden, model.settings.implicit, model.input_norm)[:, None]
        sums += model.encoder_biases[0]
        codes = activation(sums)
        for weight, bias in zip(model.encoder_weights[1:], model.encoder_biases[1:], strict=True):
            codes = activation(codes @ weight + bias)
        return codes, np.zeros(len(codes))

    return rows


def _scales(hidden: HiddenRatings, implicit: bool, norm: float) -> Array:
    """Factor that scales each input to the norm.

    (n + 1,) float32; see `encoder_input.input_cells`.
    """
    counts, values = without_each(np.ones(len(hidden.values))), without_each(hidden.values)
    # Sums of (value - shift)^2, multiplied out: the shift differs from solution to solution.
    squares = without_each(hidden.values**2) - 2 * hidden.shifts * values + counts * hidden.shifts**2
    # What cancels is 0, not the rounding error that is left.
    squares[squares <= 1e-12 * (hidden.values @ hidden.values)] = 0
    if implicit:
        squares += counts * float(RATED) ** 2
    norms = np.where(squares > 0, np.sqrt(squares), 1)
    scales: Array = (norm / norms).astype(np.float32)
    return scales
