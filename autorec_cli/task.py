"""Ratings as the network sees them: centred, scaled, and turned the way the variant wants."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from autorec_cli.baselines import DampedMeans, centering_means, damped_means, mean_scores, no_means
from autorec_cli.config import TrainSettings
from autorec_cli.dataset import row_indices
from autorec_cli.inputs import Inputs, make_inputs


@dataclass(frozen=True)
class Task:
    """What a network is fitted to.

    Attributes:
        examples: CSR (N, P) float32: items x users for the item variant, users x items for the user variant; each
            cell is (rating - centering) / unit.
        inputs: What the network is shown of them.
        input_norm: Euclidean norm of every row of `inputs`; None if they are not scaled.
        ratings: The same ratings as given, CSR n_users x n_items.
        centering: What was subtracted, in rating units.
        baseline: What predicts cold pairs: user and item damped means of `ratings`, or, for the ranking objective,
            `baselines.mean_scores`.
        unit: A quarter of the rating scale's width: 1 for ratings from 1 to 5.
        rating_scale: Where predictions are clipped.
    """

    examples: sparse.csr_array
    inputs: Inputs
    input_norm: float | None
    ratings: sparse.csr_array
    centering: DampedMeans
    baseline: DampedMeans
    unit: float
    rating_scale: tuple[float, float]


def make_task(ratings: sparse.csr_array, rating_scale: tuple[float, float], settings: TrainSettings) -> Task:
    """Centre and scale `ratings` (n_users x n_items) and turn them the way the variant wants."""
    low, high = rating_scale
    unit = (high - low) / 4 if high > low else 1.0
    if settings.missing_value is None:
        centering, baseline = centering_means(ratings, settings.center), damped_means(ratings)
    else:  # measured from there, cells without a rating are 0
        centering = no_means(ratings.shape[0], ratings.shape[1], settings.missing_value)
        baseline = mean_scores(ratings, settings.missing_value)
    offset = centering.predict(row_indices(ratings), ratings.indices)
    values = ((ratings.data - offset) / unit).astype(np.float32)
    examples = sparse.csr_array((values, ratings.indices, ratings.indptr), shape=ratings.shape)
    if settings.variant == "item":
        examples = examples.T.tocsr()
    inputs, input_norm = make_inputs(examples, settings.implicit, settings.normalize)
    return Task(examples, inputs, input_norm, ratings, centering, baseline, unit, rating_scale)
