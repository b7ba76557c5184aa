"""Ridge regressions: decoder rows of users, with codes fixed.

Shapes: n ratings of a user, k units in the last hidden layer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from autorec_cli.csr import Array
from autorec_cli.network.activations import sigmoid
from autorec_cli.network.ordinal import Levels

if TYPE_CHECKING:
    from autorec_cli.inference.model import Model

BIAS_DAMPING = 5.0
"""Pseudo-count of ratings without residual that shrinks the decoder bias of a new user."""
LEAST_RIDGE = 1e-6
"""Least penalty; without one, a user with fewer ratings than units would have no unique solution."""
MAX_NEWTON_STEPS = 20
ENOUGH = 1e-5
"""Change of all outputs, in the network's unit, at which Newton's method has converged."""
LEAST_CURVATURE = 1e-3
"""Least curvature of a rating's loss that a Newton step counts with; beyond the outer levels it vanishes."""


def with_bias(codes: Array) -> Array:
    """Design matrix (n, k + 1), last a column of ones."""
    return np.hstack([codes, np.ones((len(codes), 1))])


def row_precision(n_units: int, regularization: float, bias_damping: float) -> Array:
    """Penalty of each unit and of the bias, (k + 1,)."""
    return np.append(np.full(n_units, max(regularization / 2, LEAST_RIDGE)), bias_damping)


class MeanUser(NamedTuple):
    """Mean trained user, which new decoder rows shrink toward.

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


def solve_decoder_row(codes: Array, targets: Array, regularization: float, bias_damping: float) -> tuple[Array, float]:
    """Solve for one new decoder row and bias, codes fixed.

    Minimizes |codes w + b - targets|^2 + regularization/2 |w|^2 + bias_damping b^2 over w and b.

    Args:
        codes: (n, k) codes of the observed rows.
        targets: (n,) values, in the network's unit.
        regularization: lambda in the paper's units.
        bias_damping: Pseudo-count of targets of 0, as in `data.bias`; above 0.

    Returns:
        w (k,) and b.
    """
    precision = row_precision(codes.shape[1], regularization, bias_damping)
    solution = _weighted_ridge(with_bias(codes), targets, np.ones(len(codes)), precision)
    return solution[:-1], float(solution[-1])


def linear_targets(model: Model, targets: Array) -> Array:
    """Targets inside the output activation, where rows are linear."""
    if model.settings.output_activation != "sigmoid":
        return targets
    low, high = model.output_range
    # The logit of 0 and of 1 is infinite.
    height = np.clip((targets - low) / (high - low), 0.01, 0.99)
    logits: Array = np.log(height / (1 - height))
    return logits


def _weighted_ridge(design: Array, targets: Array, weights: Array, precision: Array) -> Array:
    """Solve a weighted ridge regression in the smaller dimension.

    Minimizes sum(weights * (design x - targets)^2) + sum(precision * x^2) over x.
    """
    n, k = design.shape
    if n < k:
        dual = np.linalg.solve((design / precision) @ design.T + np.diag(1 / weights), targets)
        found: Array = (design.T @ dual) / precision
        return found
    solution: Array = np.linalg.solve(
        (design.T * weights) @ design + np.diag(precision), design.T @ (weights * targets)
    )
    return solution


def ridge_responses(design: Array, precision: Array, weights: Array) -> Array:
    """Responses of ridge solutions to targets, (p, n).

    They are (P + D' diag(weights) D)^-1 D' of the design matrix D (n, p), computed in the smaller dimension.
    `precision` is (p, p), or its diagonal (p,); `weights` (n,) are from 0.
    """
    n, p = design.shape
    if n < p and precision.ndim == 1:
        scaled = design / precision
        # P^-1 D' (I + W D P^-1 D')^-1, as weights can be 0 and have no inverse.
        dual: Array = np.linalg.solve(np.eye(n) + (scaled @ design.T) * weights, scaled).T
        return dual
    full = np.diag(precision) if precision.ndim == 1 else precision
    primal: Array = np.linalg.solve(full + (design.T * weights) @ design, design.T)
    return primal


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
    """Solve for one decoder row and bias of an ordinal output.

    Minimizes the loss of `network.ordinal` at z = start + codes w + b, plus regularization/2 |w|^2 + bias_damping b^2,
    over w and b: a convex problem, solved by Newton's method, each step of which is a weighted ridge regression.

    Args:
        codes: (n, k) codes of the observed rows.
        targets: Their ratings.
        regularization: lambda in the paper's units.
        bias_damping: As in `solve_decoder_row`.

    Returns:
        w (k,) and b.
    """
    design, precision = with_bias(codes), row_precision(codes.shape[1], regularization, bias_damping)

    def objective(solution: Array) -> float:
        return _ordinal_loss(targets, design @ solution) + float(precision @ solution**2)

    solution = np.zeros(len(precision))
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
    return solution[:-1], float(solution[-1])


def _ordinal_loss(targets: OrdinalTargets, outputs: Array) -> float:
    """Loss of `network.ordinal`, summed over the ratings."""
    levels = targets.levels
    z = levels.slope * ((targets.start + outputs)[:, None] - targets.thresholds)
    is_above = targets.ratings[:, None] > np.array(levels.midpoints)
    return float(2 / levels.slope * (np.logaddexp(0, np.where(is_above, -z, z)) @ np.array(levels.gaps)).sum())


def expected_and_curvature(targets: OrdinalTargets, outputs: Array) -> tuple[Array, Array]:
    """Expected ratings, and their derivative by z, (n,) each.

    The derivative is half the curvature of the loss.
    """
    levels = targets.levels
    exceeded = sigmoid(levels.slope * ((targets.start + outputs)[:, None] - targets.thresholds))
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
    rows = with_bias(codes)
    # The Gram matrix counts rated items too, at the weight of unrated ones; the rest of their weight is added here.
    system = scoring_precision(gram, missing_weight, regularization) + (1 - missing_weight) * (rows.T @ rows)
    solution = np.linalg.solve(system, rows.T @ targets)
    return solution[:-1], float(solution[-1])


def scoring_precision(gram: Array, missing_weight: float, regularization: float) -> Array:
    """Penalty of a scoring row by unrated items and by size.

    (k+1, k+1); arguments as in `solve_scoring_row`.
    """
    ridge = row_precision(len(gram) - 1, regularization, LEAST_RIDGE)  # the bias has no penalty
    precision: Array = missing_weight * gram + np.diag(ridge)
    return precision


def scoring_gram(model: Model) -> Array:
    """Gram matrix of `solve_scoring_row`, (k+1, k+1)."""
    fitted = model.codes[model.catalog.item_counts > 0]
    rows = with_bias(fitted)
    gram: Array = rows.T @ rows
    return gram
