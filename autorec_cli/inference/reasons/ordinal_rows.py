"""Decoder rows of an ordinal output: with all ratings of a user, and without each.

The fit without a rating is found by Newton's method from the fit with it, for all ratings at once: with D the design
matrix, W the curvature of each rating's loss in the fit with all, A = P + D'WD and X = A^-1 D', every solution is X c
for some c (n,), and a step with the curvature of the other ratings needs products with X and D X only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from autorec_cli.csr import Array
from autorec_cli.inference.fold_in import (
    BIAS_DAMPING,
    ENOUGH,
    LEAST_CURVATURE,
    MAX_NEWTON_STEPS,
    OrdinalTargets,
    expected_and_curvature,
    mean_user,
    solve_ordinal_row,
)
from autorec_cli.inference.reasons.decoder_rows import moved_from_mean, ridge_responses, row_precision, with_bias
from autorec_cli.inference.reasons.hidden_ratings import HiddenRatings, Rows

if TYPE_CHECKING:
    from autorec_cli.inference.model import Model

CELLS_AT_ONCE = 1 << 21
"""Ratings x hidden ratings of a block, which bounds the memory of a user with very many."""


def ordinal_rows(model: Model) -> Rows:
    """Decoder rows of an ordinal output; see `fold_in.solve_ordinal_row`."""
    mean, precision, thresholds = mean_user(model), row_precision(model), model.thresholds
    assert thresholds is not None

    def rows(hidden: HiddenRatings) -> tuple[Array, Array]:
        codes = model.codes[hidden.items].astype(np.float64)
        n, design = len(codes), with_bias(codes - mean.code)
        # Ratings less nothing: an ordinal output adds the centers to what it compares with the thresholds.
        targets = OrdinalTargets(
            hidden.values + hidden.offsets,
            codes @ mean.row + mean.bias + hidden.offsets,
            thresholds.of(codes),
            thresholds.levels,
        )
        solutions = np.empty((n + 1, design.shape[1]))
        solutions[0] = _solve(design, _shifted(targets, hidden.shifts[0]), model.settings.regularization)
        at_once = max(1, CELLS_AT_ONCE // n)
        for start in range(0, n if n > 1 else 0, at_once):
            hides = np.arange(start, min(start + at_once, n))
            solutions[1 + hides] = _without(
                design, targets, _Fit(solutions[0], hidden.shifts, precision, model.settings.regularization), hides
            )
        if n == 1:
            solutions[1] = 0
        return moved_from_mean(mean, solutions)

    return rows


class _Fit:
    """Fit with all ratings, to start from."""

    def __init__(self, solution: Array, shifts: Array, precision: Array, regularization: float) -> None:
        self.solution, self.shifts, self.precision, self.regularization = solution, shifts, precision, regularization


def _without(design: Array, targets: OrdinalTargets, fit: _Fit, hides: Array) -> Array:
    """Solutions without each of the ratings at `hides` (m,): (m, p)."""
    columns = np.arange(len(hides))
    _, curvature = expected_and_curvature(_shifted(targets, fit.shifts[0]), design @ fit.solution)
    weights = np.maximum(curvature, LEAST_CURVATURE)[:, None]
    responses = ridge_responses(design, fit.precision, weights[:, 0])
    products = design @ responses if len(design) < 2 * design.shape[1] else None

    def outputs_of(coefficients: Array) -> Array:
        outputs: Array = design @ (responses @ coefficients) if products is None else products @ coefficients
        return outputs

    leverages = np.einsum("mp,pm->m", design[hides], responses[:, hides])
    removed = weights[hides, 0] / (1 - weights[hides, 0] * leverages)
    # Coefficients of the fit with all: its gradient is 0, so the penalty equals the weighted residuals.
    expected, _ = expected_and_curvature(_shifted(targets, fit.shifts[0]), design @ fit.solution)
    start = weights[:, 0] * (design @ fit.solution) - (expected - targets.ratings)
    coefficients = np.repeat(start[:, None], len(hides), axis=1)
    outputs = outputs_of(coefficients)
    moved = np.full(len(hides), np.inf)
    for _ in range(MAX_NEWTON_STEPS):
        located = outputs + fit.shifts[1 + hides]
        residuals = _expected(targets, located) - targets.ratings[:, None]
        residuals[hides, columns] = 0
        step = coefficients - (weights * outputs - residuals)
        step[hides, columns] += removed * outputs_of(step)[hides, columns]
        coefficients -= step
        after = outputs_of(coefficients)
        moved, outputs = np.abs(after - outputs).max(axis=0), after
        if (moved < ENOUGH).all():
            break
    solutions: Array = (responses @ coefficients).T
    # Rarely, where a single rating carries most of the curvature.
    for column in np.flatnonzero(~(moved < ENOUGH)):
        kept = np.arange(len(design)) != hides[column]
        others = OrdinalTargets(targets.ratings[kept], targets.start[kept], targets.thresholds[kept], targets.levels)
        solutions[column] = _solve(design[kept], _shifted(others, fit.shifts[1 + hides[column]]), fit.regularization)
    return solutions


def _solve(design: Array, targets: OrdinalTargets, regularization: float) -> Array:
    row, bias = solve_ordinal_row(design[:, :-1], targets, regularization, BIAS_DAMPING)
    return np.append(row, bias)


def _shifted(targets: OrdinalTargets, shift: float) -> OrdinalTargets:
    return targets._replace(start=targets.start + shift)


def _expected(targets: OrdinalTargets, outputs: Array) -> Array:
    """Expected ratings of outputs (n, m): (n, m)."""
    return targets.levels.expected(targets.start[:, None] + outputs, targets.thresholds[:, None, :])
