"""Fold-in: vectors of new users from their ratings.

Shapes: n ratings of a user, k units in the last hidden layer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from autorec_cli.csr import Array
from autorec_cli.data.bias import DampedMeans
from autorec_cli.inference.scorer import History
from autorec_cli.inference.scoring import UserVectors
from autorec_cli.network.encoder_input import input_cells
from autorec_cli.network.ordinal import Levels, expit

if TYPE_CHECKING:
    from autorec_cli.inference.model import Model

BIAS_DAMPING = 5.0
"""Pseudo-count of ratings without residual that shrinks the decoder bias of a new user."""
ACTIVATIONS: Mapping[str, Callable[[Array], Array]] = {
    "identity": lambda z: z,
    "sigmoid": expit,
    "tanh": np.tanh,
    "relu": lambda z: np.maximum(z, 0),
    "elu": lambda z: np.where(z > 0, z, np.expm1(np.minimum(z, 0))),
}
"""Hidden activations, as in `network.autoencoder`, which needs torch."""


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

MAX_NEWTON_STEPS = 20
ENOUGH = 1e-5
"""Change of all outputs, in the network's unit, at which Newton's method has converged."""
LEAST_CURVATURE = 1e-3
"""Least curvature of a rating's loss that a Newton step counts with; beyond the outer levels it vanishes."""


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


def solve_decoder_row(
    codes: Array, targets: Array, regularization: float, bias_damping: float = 0.0
) -> tuple[Array, float]:
    """Solve for one new decoder row and bias, codes fixed.

    Minimizes |codes w + b - targets|^2 + regularization/2 |w|^2 + bias_damping b^2 over w and b. Solved in whichever is
    smaller, the number of targets n or of units k.

    Args:
        codes: (n, k) codes of the observed rows.
        targets: (n,) values, in the network's unit.
        regularization: lambda in the paper's units.
        bias_damping: Pseudo-count of targets of 0, as in `data.bias`; 0 leaves the bias free, as in training.

    Returns:
        w (k,) and b.
    """
    n, k = codes.shape
    code_sum, target_sum = codes.sum(0), float(targets.sum())
    # With b = (target_sum - code_sum w) / (n + damping) inserted, w is a ridge solution on rows less this fraction of
    # their sum; without damping it is 1/n, which is centering.
    fraction = (1 - np.sqrt(bias_damping / (n + bias_damping))) / n
    centered, residual = codes - fraction * code_sum, targets - fraction * target_sum
    ridge = max(regularization / 2, 1e-6)  # without a penalty the system may be singular
    if n < k:
        row = centered.T @ np.linalg.solve(centered @ centered.T + ridge * np.eye(n), residual)
    else:
        row = np.linalg.solve(centered.T @ centered + ridge * np.eye(k), centered.T @ residual)
    return row, (target_sum - float(code_sum @ row)) / (n + bias_damping)


class OrdinalTargets(NamedTuple):
    """Ratings of one user to fit an ordinal output to.

    Attributes:
        ratings: (n,) in the network's unit.
        start: z + o of the mean user, (n,).
        thresholds: Of each item, (n, J).
        levels: The rating levels.
    """

    ratings: Array
    start: Array
    thresholds: Array
    levels: Levels


def solve_ordinal_row(
    codes: Array, targets: OrdinalTargets, regularization: float, bias_damping: float
) -> tuple[Array, float]:
    """Solve for one new decoder row and bias of an ordinal output, codes fixed.

    Minimizes the loss of `network.ordinal` at z = start + codes w + b, plus regularization/2 |w|^2 + bias_damping b^2,
    over w and b: a convex problem, solved by Newton's method, each step of which is a weighted ridge regression.

    Args:
        codes: (n, k) codes of the observed rows.
        targets: Their ratings.
        regularization: lambda in the paper's units.
        bias_damping: As in `solve_decoder_row`; above 0.

    Returns:
        w (k,) and b.
    """
    n, k = codes.shape
    design = np.hstack([codes, np.ones((n, 1))])
    precision = np.append(np.full(k, max(regularization / 2, 1e-6)), bias_damping)

    def objective(solution: Array) -> float:
        return _ordinal_loss(targets, design @ solution) + float(precision @ solution**2)

    solution = np.zeros(k + 1)
    loss = objective(solution)
    for _ in range(MAX_NEWTON_STEPS):
        outputs = design @ solution
        expected, curvature = expected_and_curvature(targets, outputs)
        weights = np.maximum(curvature, LEAST_CURVATURE)
        working = outputs + (targets.ratings - expected) / weights
        step = _weighted_ridge(design, working, weights, precision) - solution
        # The curvature changes on the way: a full step may overshoot.
        while (lower := objective(solution + step)) > loss and np.abs(design @ step).max() >= ENOUGH:
            step /= 2
        solution, loss = solution + step, lower
        if np.abs(design @ step).max() < ENOUGH:
            break
    return solution[:k], float(solution[k])


def _weighted_ridge(design: Array, targets: Array, weights: Array, precision: Array) -> Array:
    """Minimize sum(weights * (design x - targets)^2) + sum(precision * x^2), in the smaller dimension."""
    n, k = design.shape
    if n < k:
        dual = np.linalg.solve((design / precision) @ design.T + np.diag(1 / weights), targets)
        found: Array = (design.T @ dual) / precision
        return found
    solution: Array = np.linalg.solve(
        (design.T * weights) @ design + np.diag(precision), design.T @ (weights * targets)
    )
    return solution


def _ordinal_loss(targets: OrdinalTargets, outputs: Array) -> float:
    """Loss of `network.ordinal`, summed over the ratings."""
    levels = targets.levels
    z = levels.slope * ((targets.start + outputs)[:, None] - targets.thresholds)
    is_above = targets.ratings[:, None] > np.array(levels.midpoints)
    return float(2 / levels.slope * (np.logaddexp(0, np.where(is_above, -z, z)) @ np.array(levels.gaps)).sum())


def expected_and_curvature(targets: OrdinalTargets, outputs: Array) -> tuple[Array, Array]:
    """Expected ratings, and their derivative by z, half the curvature of the loss; (n,) each."""
    levels = targets.levels
    exceeded = expit(levels.slope * ((targets.start + outputs)[:, None] - targets.thresholds))
    gaps = np.array(levels.gaps)
    return levels.values[0] + exceeded @ gaps, levels.slope * ((exceeded * (1 - exceeded)) @ gaps)


def solve_scoring_row(
    codes: Array, targets: Array, gram: Array, missing_weight: float, regularization: float
) -> tuple[Array, float]:
    """Solve for one new scoring row and bias, codes fixed.

    Unrated cells are weak observations of 0.

    Minimizes |codes w + b - targets|^2 + missing_weight * (sum over the other rows of (h w + b)^2)
    + regularization/2 |w|^2 over w and b: what training minimizes, for one column (Hu, Koren and Volinsky, ICDM 2008,
    eq. 4).

    Args:
        codes: (n, k) codes of the observed rows.
        targets: (n,) values, in the network's unit.
        gram: (k+1, k+1) product of the codes of all rows, with a column of ones, and their transpose.
        missing_weight: Weight of an unrated cell.
        regularization: lambda in the paper's units.

    Returns:
        w (k,) and b.
    """
    n, k = codes.shape
    rows = np.hstack([codes, np.ones((n, 1))])
    # Never 0, or a user with fewer ratings than units would have no unique solution.
    ridge = np.full(k + 1, max(regularization / 2, 1e-6))
    ridge[k] = 1e-6  # the bias has no penalty
    # The Gram matrix counts rated items too, at the weight of unrated ones; the rest of their weight is added here.
    system = missing_weight * gram + (1 - missing_weight) * (rows.T @ rows) + np.diag(ridge)
    solution = np.linalg.solve(system, rows.T @ targets)
    return solution[:k], float(solution[k])


def user_bias(means: DampedMeans, items: Array, ratings: Array) -> float:
    """Damped mean of a user's deviations, as in `data.bias`."""
    return float((ratings - means.mean - means.item_bias[items]).sum() / (len(items) + means.user_damping))


def _fold_of(model: Model) -> Fold:
    if model.settings.variant == "user":
        return _user_variant_fold(model)
    return _item_variant_fold(model) if model.predicts_ratings else _item_variant_scoring_fold(model)


def scoring_gram(model: Model) -> Array:
    """Gram matrix of `solve_scoring_row`, (k+1, k+1)."""
    fitted = model.codes[model.catalog.item_counts > 0]
    rows = np.hstack([fitted, np.ones((len(fitted), 1))])
    gram: Array = rows.T @ rows
    return gram


class MeanUser(NamedTuple):
    """Mean of the trained users, which new decoder rows shrink toward.

    Attributes:
        row: Mean decoder row (k,).
        bias: Mean decoder bias.
        code: Mean code of the items (k,), which is left out of codes: they are similar, and a row along it would move
            all items, which is left to the damped bias.
    """

    row: Array
    bias: float
    code: Array


def mean_user(model: Model) -> MeanUser:
    """Mean user of an item-variant model that predicts ratings."""
    trained, fitted = model.catalog.user_counts > 0, model.catalog.item_counts > 0
    mean_code = model.codes[fitted].sum(0, dtype=np.float64) / max(1, int(fitted.sum()))
    return MeanUser(model.decoder_weight[trained].mean(0), float(model.decoder_bias[trained].mean()), mean_code)


def _item_variant_scoring_fold(model: Model) -> Fold:
    # Made once for all users: per user only the rated rows are added.
    settings, gram = model.settings, scoring_gram(model)

    def fold(rated: Rated) -> tuple[Array, float]:
        codes = model.codes[rated.items].astype(np.float64)
        return solve_scoring_row(codes, rated.targets, gram, settings.missing_weight, settings.regularization)

    return fold


def _item_variant_fold(model: Model) -> Fold:
    mean_row, mean_bias, mean_code = mean_user(model)
    low, high = model.output_range

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
        if model.settings.output_activation == "sigmoid":
            # The row is linear inside the sigmoid; the logit of 0 and of 1 is infinite.
            height = np.clip((targets - low) / (high - low), 0.01, 0.99)
            targets = np.log(height / (1 - height))
        # Fitted to what the mean row leaves: the penalty then pulls toward the mean user, not toward zero.
        unexplained = targets - codes @ mean_row - mean_bias
        row, bias = solve_decoder_row(codes - mean_code, unexplained, model.settings.regularization, BIAS_DAMPING)
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
