"""Decoder rows of a user with and without each rating.

With the design matrix D (n, p), the precision P, the weight w of a rating and A = P + w D'D,

    theta = A^-1 D't      theta without j = theta - A^-1 d_j (t_j - w d_j' theta) / (1 - w d_j' A^-1 d_j)

by the formula of Sherman and Morrison (1950).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from autorec_cli.csr import Array
from autorec_cli.inference.reasons.hidden_ratings import HiddenRatings, Rows
from autorec_cli.inference.ridge import (
    BIAS_DAMPING,
    MeanUser,
    linear_targets,
    mean_user,
    ridge_responses,
    row_precision,
    scoring_gram,
    scoring_precision,
    with_bias,
)

if TYPE_CHECKING:
    from autorec_cli.inference.model import Model


def decoder_rows(model: Model) -> Rows:
    """Decoder rows for a linear or sigmoid output; see `ridge.solve_decoder_row`."""
    mean, precision = mean_user(model), mean_precision(model)

    def rows(hidden: HiddenRatings) -> tuple[Array, Array]:
        codes = model.codes[hidden.items].astype(np.float64)
        targets = linear_targets(model, _targets(hidden)) - (codes @ mean.row + mean.bias)[:, None]
        return moved_from_mean(mean, ridge_without_each(with_bias(codes - mean.code), targets, precision, 1.0))

    return rows


def scoring_rows(model: Model) -> Rows:
    """Decoder rows of the ranking objective; see `ridge.solve_scoring_row`."""
    settings = model.settings
    precision = scoring_precision(scoring_gram(model), settings.missing_weight, settings.regularization)

    def rows(hidden: HiddenRatings) -> tuple[Array, Array]:
        design = with_bias(model.codes[hidden.items].astype(np.float64))
        solutions = ridge_without_each(design, _targets(hidden), precision, 1 - settings.missing_weight)
        return solutions[:, :-1], solutions[:, -1]

    return rows


def mean_precision(model: Model) -> Array:
    """Penalty of differences from the mean user, (k + 1,)."""
    return row_precision(model.codes.shape[1], model.settings.regularization, BIAS_DAMPING)


def moved_from_mean(mean: MeanUser, solutions: Array) -> tuple[Array, Array]:
    """Rows and shifts of users from differences to the mean user.

    `solutions` (m, k + 1) are the differences.
    """
    rows, biases = solutions[:, :-1], solutions[:, -1]
    # The solutions are for centered codes; their center moves into the shift.
    return mean.row + rows, mean.bias + biases - rows @ mean.code


def _targets(hidden: HiddenRatings) -> Array:
    """Targets of each solution, (n, n + 1).

    They are (n, 1) if they are the same for all.
    """
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
    # The target of the hidden rating itself, in the solution without it.
    hidden = targets[:, 0] if targets.shape[1] == 1 else np.diagonal(targets[:, 1:])
    errors = hidden - weight * np.einsum("np,np->n", design, solutions[1:])
    solutions[1:] -= (responses * (errors / (1 - leverages))).T
    return solutions
