"""Decoder rows of a user with all ratings, and without each: the item variant with codes fixed.

With the design matrix D (n, p), the precision P, the weight w of a rating and A = P + w D'D,

    theta = A^-1 D't      theta without j = theta - A^-1 d_j (t_j - w d_j' theta) / (1 - w d_j' A^-1 d_j)

by the formula of Sherman and Morrison (1950).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from autorec_cli.csr import Array
from autorec_cli.inference.fold_in import BIAS_DAMPING, MeanUser, mean_user, scoring_gram
from autorec_cli.inference.reasons.hidden_ratings import HiddenRatings, Rows

if TYPE_CHECKING:
    from autorec_cli.inference.model import Model


def decoder_rows(model: Model) -> Rows:
    """Decoder rows for a linear or sigmoid output; see `fold_in.solve_decoder_row`."""
    mean, precision = mean_user(model), row_precision(model)
    low, high = model.output_range

    def rows(hidden: HiddenRatings) -> tuple[Array, Array]:
        codes = model.codes[hidden.items].astype(np.float64)
        targets = _targets(hidden)
        if model.settings.output_activation == "sigmoid":
            height = np.clip((targets - low) / (high - low), 0.01, 0.99)
            targets = np.log(height / (1 - height))
        targets = targets - (codes @ mean.row + mean.bias)[:, None]
        return moved_from_mean(mean, ridge_without_each(with_bias(codes - mean.code), targets, precision, 1.0))

    return rows


def scoring_rows(model: Model) -> Rows:
    """Decoder rows of the ranking objective; see `fold_in.solve_scoring_row`."""
    settings, gram = model.settings, scoring_gram(model)
    ridge = np.full(len(gram), max(settings.regularization / 2, 1e-6))
    ridge[-1] = 1e-6  # the bias has no penalty
    precision = settings.missing_weight * gram + np.diag(ridge)

    def rows(hidden: HiddenRatings) -> tuple[Array, Array]:
        design = with_bias(model.codes[hidden.items].astype(np.float64))
        solutions = ridge_without_each(design, _targets(hidden), precision, 1 - settings.missing_weight)
        return solutions[:, :-1], solutions[:, -1]

    return rows


def row_precision(model: Model) -> Array:
    """Penalty of each unit of a decoder row and of its bias, (k + 1,)."""
    return np.append(np.full(model.codes.shape[1], max(model.settings.regularization / 2, 1e-6)), BIAS_DAMPING)


def with_bias(codes: Array) -> Array:
    """Design matrix (n, k + 1) with a last column of ones."""
    return np.hstack([codes, np.ones((len(codes), 1))])


def moved_from_mean(mean: MeanUser, solutions: Array) -> tuple[Array, Array]:
    """Rows and shifts of users whose solutions (m, k + 1) are differences from the mean user."""
    rows, biases = solutions[:, :-1], solutions[:, -1]
    return mean.row + rows, mean.bias + biases - rows @ mean.code


def _targets(hidden: HiddenRatings) -> Array:
    """Targets of each solution, (n, n + 1); (n, 1) if they are the same for all."""
    shifts = hidden.shifts if hidden.shifts.any() else hidden.shifts[:1]
    targets: Array = hidden.values[:, None] - shifts
    return targets


def ridge_without_each(design: Array, targets: Array, precision: Array, weight: float) -> Array:
    """Ridge solutions with all observations, then without each.

    Minimizes weight * |design theta|^2 - 2 targets' design theta + theta' precision theta.

    Args:
        design: (n, p).
        targets: (n, n + 1), those of each solution, or (n, 1) for all.
        precision: (p, p), or its diagonal (p,).
        weight: Of an observation.

    Returns:
        (n + 1, p).
    """
    n, p = design.shape
    responses = ridge_responses(design, precision, np.full(n, weight))
    solutions = np.empty((n + 1, p))
    solutions[:] = (responses @ targets).T
    leverages = weight * np.einsum("np,pn->n", design, responses)
    hidden = targets[:, 0] if targets.shape[1] == 1 else np.diagonal(targets[:, 1:])
    errors = hidden - weight * np.einsum("np,np->n", design, solutions[1:])
    solutions[1:] -= (responses * (errors / (1 - leverages))).T
    return solutions


def ridge_responses(design: Array, precision: Array, weights: Array) -> Array:
    """(P + D' diag(weights) D)^-1 D' of the design matrix D (n, p), in the smaller dimension: (p, n).

    `precision` as of `ridge_without_each`; weights (n,) from 0.
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
