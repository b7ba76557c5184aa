"""Decoder rows of an ordinal output, with and without each rating.

The fit without a rating is found by Newton's method from the fit with it, for all ratings at once: with D the design
matrix, W the curvature of each rating's loss in the fit with all, A = P + D'WD and X = A^-1 D', every solution is X c
for some c (n,), and a step with the curvature of the other ratings needs products with X and D X only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from autorec_cli.csr import Array
from autorec_cli.inference.reasons.decoder_rows import mean_precision, moved_from_mean
from autorec_cli.inference.reasons.hidden_ratings import HiddenRatings, Rows
from autorec_cli.inference.ridge import (
    BIAS_DAMPING,
    ENOUGH,
    LEAST_CURVATURE,
    MAX_NEWTON_STEPS,
    OrdinalTargets,
    expected_and_curvature,
    mean_user,
    ridge_responses,
    solve_ordinal_row,
    with_bias,
)

if TYPE_CHECKING:
    from autorec_cli.inference.model import Model

CELLS_AT_ONCE = 1 << 21
"""Ratings x hidden ratings of a block, which bounds the memory of a user with very many."""


def ordinal_rows(model: Model) -> Rows:
    """Decoder rows of an ordinal output; see `ridge.solve_ordinal_row`."""
    mean, precision, thresholds = mean_user(model), mean_precision(model), model.thresholds
    regularization = model.settings.regularization
    assert thresholds is not None

    def rows(hidden: HiddenRatings) -> tuple[Array, Array]:
        codes = model.codes[hidden.items].astype(np.float64)
        design, n = with_bias(codes - mean.code), len(codes)
        # An ordinal output adds the centers to what it compares with the thresholds, so the ratings stay whole.
        start, ratings = codes @ mean.row + mean.bias + hidden.offsets, hidden.values + hidden.offsets
        targets = OrdinalTargets(ratings, start, thresholds.of(codes), thresholds.levels)
        solutions = np.zeros((n + 1, design.shape[1]))
        solutions[0] = _solve(design, _shifted(targets, hidden.shifts[0]), regularization)
        fit = _fit(design, targets, hidden.shifts, solutions[0], precision)
        at_once = max(1, CELLS_AT_ONCE // n)
        for first in range(0, n, at_once):
            hides = np.arange(first, min(first + at_once, n))
            solutions[1 + hides], has_converged = _without(fit, hides)
            # Rarely, where a single rating carries most of the curvature.
            for hide in hides[~has_converged]:
                others = np.delete(np.arange(n), hide)
                kept = OrdinalTargets(ratings[others], start[others], targets.thresholds[others], targets.levels)
                solutions[1 + hide] = _solve(design[others], _shifted(kept, hidden.shifts[1 + hide]), regularization)
        return moved_from_mean(mean, solutions)

    return rows


class _Fit(NamedTuple):
    """Fit of n ratings with p coefficients, to start from.

    Attributes:
        design: D (n, p).
        targets: The ratings.
        shifts: (n + 1,) added to all outputs: with all ratings, then without each.
        weights: W (n,).
        responses: X (p, n).
        products: D X (n, n), or None for many ratings, where it would be large and slow.
        coefficients: c (n,) of the solution X c.
    """

    design: Array
    targets: OrdinalTargets
    shifts: Array
    weights: Array
    responses: Array
    products: Array | None
    coefficients: Array

    def outputs_of(self, coefficients: Array) -> Array:
        """Outputs D X c, (n, m)."""
        if self.products is None:
            outputs: Array = self.design @ (self.responses @ coefficients)
            return outputs
        return self.products @ coefficients

    def rows_of_products(self, rows: Array) -> Array:
        """Rows of D X, (m, n)."""
        own: Array = self.design[rows] @ self.responses if self.products is None else self.products[rows]
        return own


def _fit(design: Array, targets: OrdinalTargets, shifts: Array, solution: Array, precision: Array) -> _Fit:
    outputs = design @ solution
    expected, curvature = expected_and_curvature(_shifted(targets, shifts[0]), outputs)
    weights = np.maximum(curvature, LEAST_CURVATURE)
    responses = ridge_responses(design, precision, weights)
    products = design @ responses if len(design) < 2 * design.shape[1] else None
    # The gradient is 0 here: P theta = -D'(expected - ratings), so theta = X (W outputs - expected + ratings).
    coefficients = weights * outputs - expected + targets.ratings
    return _Fit(design, targets, shifts, weights, responses, products, coefficients)


def _without(fit: _Fit, hides: Array) -> tuple[Array, Array]:
    """Solutions without each of the ratings at `hides` (m,).

    Returns:
        (m, p), and (m,) bool, False where Newton's method has not converged.
    """
    diagonal = hides, np.arange(len(hides))
    own, weights = fit.rows_of_products(hides), fit.weights[:, None]
    # Of Sherman and Morrison (1950): the curvature of the hidden rating is taken off A.
    removed = fit.weights[hides] / (1 - fit.weights[hides] * own[diagonal[::-1]])
    coefficients = np.repeat(fit.coefficients[:, None], len(hides), axis=1)
    outputs = fit.outputs_of(coefficients)
    moved = np.full(len(hides), np.inf)
    for _ in range(MAX_NEWTON_STEPS):
        located = fit.targets.start[:, None] + outputs + fit.shifts[1 + hides]
        residuals = fit.targets.levels.expected(located, fit.targets.thresholds[:, None, :])
        residuals -= fit.targets.ratings[:, None]
        residuals[diagonal] = 0
        step = coefficients - (weights * outputs - residuals)
        step[diagonal] += removed * np.einsum("mn,nm->m", own, step)
        coefficients -= step
        after = fit.outputs_of(coefficients)
        moved, outputs = np.abs(after - outputs).max(axis=0), after
        if (moved < ENOUGH).all():
            break
    return (fit.responses @ coefficients).T, moved < ENOUGH


def _solve(design: Array, targets: OrdinalTargets, regularization: float) -> Array:
    row, bias = solve_ordinal_row(design[:, :-1], targets, regularization, BIAS_DAMPING)
    return np.append(row, bias)


def _shifted(targets: OrdinalTargets, shift: float) -> OrdinalTargets:
    return targets._replace(start=targets.start + shift)
