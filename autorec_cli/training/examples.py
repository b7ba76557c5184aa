"""Ratings as the network sees them: centred, scaled, and turned the way the variant wants.

Where several processes hold some of the columns each, all that is said of an example as a whole, such as its norm, is
said of its cells in all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from autorec_cli.config import TrainSettings
from autorec_cli.csr import Array, row_indices
from autorec_cli.data.bias import DampedMeans, centering_means, damped_means, mean_scores, no_means
from autorec_cli.network.encoder_input import Inputs, make_inputs
from autorec_cli.runtime.partition import Share, whole


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
        n_ratings: How many there are in all processes.
        share: The columns of the examples that this process holds.
    """

    examples: sparse.csr_array
    inputs: Inputs
    input_norm: float | None
    ratings: sparse.csr_array
    centering: DampedMeans
    baseline: DampedMeans
    unit: float
    rating_scale: tuple[float, float]
    n_ratings: int
    share: Share

    def counts(self, variant: str) -> tuple[Array, Array]:
        """Ratings of each user and each item, (n_users,) and (n_items,), in all processes; of its own columns only."""
        users = np.diff(self.ratings.indptr)
        items = np.bincount(self.ratings.indices, minlength=self.ratings.shape[1])
        if variant == "item":  # of its users this process has all ratings
            return users, self.share.process_group.sum(items).astype(np.int64)
        return self.share.process_group.sum(users).astype(np.int64), items


def make_task(
    ratings: sparse.csr_array, rating_scale: tuple[float, float], settings: TrainSettings, share: Share | None = None
) -> Task:
    """Centre and scale `ratings` (n_users x n_items) and turn them the way the variant wants.

    Args:
        ratings: Of the users, or in the user variant of the items, in `share`.
        rating_scale: Where predictions are clipped.
        settings: Of the training.
        share: The columns that this process holds; all if None.
    """
    share = share or whole(ratings.shape[0 if settings.variant == "item" else 1])
    process_group = share.process_group
    low, high = rating_scale
    unit = (high - low) / 4 if high > low else 1.0
    if settings.missing_value is None:
        centering = centering_means(ratings, settings.center, settings.variant, process_group)
        baseline = damped_means(ratings, whole=settings.variant, world=process_group)
    else:  # measured from there, cells without a rating are 0
        centering = no_means(ratings.shape[0], ratings.shape[1], settings.missing_value)
        n_users = share.n_columns if settings.variant == "item" else ratings.shape[0]
        baseline = mean_scores(ratings, settings.missing_value, n_users, whole=settings.variant, world=process_group)
    offset = centering.predict(row_indices(ratings), ratings.indices)
    values = ((ratings.data - offset) / unit).astype(np.float32)
    examples = sparse.csr_array((values, ratings.indices, ratings.indptr), shape=ratings.shape)
    if settings.variant == "item":
        examples = examples.T.tocsr()
    inputs, input_norm = make_inputs(examples, settings.implicit, settings.normalize, process_group)
    n_ratings = int(process_group.sum(ratings.nnz))
    return Task(examples, inputs, input_norm, ratings, centering, baseline, unit, rating_scale, n_ratings, share)
