"""Fold-in: vectors of new users from their ratings.

Shapes: n ratings of a user, k units in the last hidden layer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from autorec_cli.csr import Array
from autorec_cli.data.bias import DampedMeans
from autorec_cli.inference.ridge import (
    BIAS_DAMPING,
    OrdinalTargets,
    linear_targets,
    mean_user,
    scoring_gram,
    solve_decoder_row,
    solve_ordinal_row,
    solve_scoring_row,
)
from autorec_cli.inference.scorer import History
from autorec_cli.inference.scoring import UserVectors
from autorec_cli.network.activations import ACTIVATIONS
from autorec_cli.network.encoder_input import input_cells

if TYPE_CHECKING:
    from autorec_cli.inference.model import Model


class Rated(NamedTuple):
    """Rated items of a new user.

    Attributes:
        items: item_index (n,).
        targets: Centered ratings (n,), in the network's unit.
        centers: What was subtracted from each, (n,), in the same unit.
    """

    items: Array
    targets: Array
    centers: Array


Fold = Callable[[Rated], tuple[Array, float]]
"""Rated items -> the user's vector (k,) and shift."""


def fold_in(model: Model, histories: Sequence[History]) -> UserVectors:
    """Vectors of new users, from their ratings.

    Items without training ratings are ignored; a user with only such items is cold.

    In the user variant a history goes through the encoder, as in training. In the item variant the user's decoder row
    is the mean row of the trained users plus the ridge solution for the residual, with the codes fixed
    (`solve_decoder_row`, or `solve_ordinal_row` for an ordinal output); for the ranking objective it is the ridge
    solution over all items, as in training (`solve_scoring_row`).

    Without the mean row, users with few ratings would get their mean for every item: on ML-100K, with users left out of
    training, the RMSE from 1 rating is 1.04 with it and 1.55 without; from 50 ratings, 0.925 and 0.945. A row along the
    mean of the codes would move the predictions of all items, so that is left to the damped bias: 1.007 instead of
    1.125 from 1 rating, 0.944 instead of 0.973 from 5 (bias baseline: 1.010 and 0.954).
    """
    return folder(model)(histories)


def folder(model: Model) -> Callable[[Sequence[History]], UserVectors]:
    """Make a function that folds users into `model`; see `fold_in`."""
    fold = _fold_of(model)
    k, catalog, center = model.codes.shape[1], model.catalog, model.settings.center

    def fold_users(histories: Sequence[History]) -> UserVectors:
        n = len(histories)
        folded = UserVectors(
            vectors=np.zeros((n, k), dtype=np.float32),
            shift=np.zeros(n, dtype=np.float32),
            centering_bias=np.zeros(n),
            baseline_bias=np.zeros(n),
            cold=np.ones(n, dtype=bool),
        )
        for row, (item_index, ratings) in enumerate(histories):
            # Codes of items without training ratings are random: they would only add noise.
            known = catalog.item_counts[item_index] > 0
            items, values = item_index[known], ratings[known].astype(np.float64)
            if len(items) == 0:
                continue
            folded.cold[row] = False
            if model.predicts_ratings:
                folded.baseline_bias[row] = user_bias(model.baseline, items, values)
            if center in ("user", "both"):
                folded.centering_bias[row] = user_bias(model.centering, items, values)
            offset = model.centering.mean + model.centering.item_bias[items] + folded.centering_bias[row]
            rated = Rated(items, (values - offset) / model.unit, offset / model.unit)
            folded.vectors[row], folded.shift[row] = fold(rated)
        return folded

    return fold_users


def user_bias(means: DampedMeans, items: Array, ratings: Array) -> float:
    """Damped mean of a user's deviations, as in `data.bias`."""
    return float((ratings - means.mean - means.item_bias[items]).sum() / (len(items) + means.user_damping))


def _fold_of(model: Model) -> Fold:
    if model.settings.variant == "user":
        return _user_variant_fold(model)
    return _item_variant_fold(model) if model.predicts_ratings else _item_variant_scoring_fold(model)


def _item_variant_scoring_fold(model: Model) -> Fold:
    # Made once for all users: per user only the rated rows are added.
    settings, gram = model.settings, scoring_gram(model)

    def fold(rated: Rated) -> tuple[Array, float]:
        codes = model.codes[rated.items].astype(np.float64)
        return solve_scoring_row(codes, rated.targets, gram, settings.missing_weight, settings.regularization)

    return fold


def _item_variant_fold(model: Model) -> Fold:
    mean_row, mean_bias, mean_code = mean_user(model)

    def fold(rated: Rated) -> tuple[Array, float]:
        targets, codes = rated.targets, model.codes[rated.items].astype(np.float64)
        if model.thresholds is not None:
            start = codes @ mean_row + mean_bias + rated.centers
            thresholds = model.thresholds.of(codes)
            row, bias = solve_ordinal_row(
                codes - mean_code,
                OrdinalTargets(targets + rated.centers, start, thresholds, model.thresholds.levels),
                model.settings.regularization,
                BIAS_DAMPING,
            )
            return mean_row + row, mean_bias + bias - float(mean_code @ row)
        # Fitted to what the mean row leaves: the penalty then pulls toward the mean user, not toward zero.
        unexplained = linear_targets(model, targets) - codes @ mean_row - mean_bias
        row, bias = solve_decoder_row(codes - mean_code, unexplained, model.settings.regularization, BIAS_DAMPING)
        # Solved for centered codes: their center moves into the bias.
        return mean_row + row, mean_bias + bias - float(mean_code @ row)

    return fold


def _user_variant_fold(model: Model) -> Fold:
    activation = ACTIVATIONS[model.settings.hidden_activation]

    def fold(rated: Rated) -> tuple[Array, float]:
        rows, values = input_cells(
            rated.items, rated.targets, model.catalog.n_items, model.settings.implicit, model.input_norm
        )
        hidden = activation(values.astype(np.float32) @ model.encoder_weights[0][rows] + model.encoder_biases[0])
        for weight, bias in zip(model.encoder_weights[1:], model.encoder_biases[1:], strict=True):
            hidden = activation(hidden @ weight + bias)
        return hidden, 0.0

    return fold
