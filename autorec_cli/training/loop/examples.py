"""Ratings as training examples: centered, scaled, and transposed for the item variant.

Where columns are partitioned across processes, statistics of a whole example, such as its norm, are summed over all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from autorec_cli.config import Hyperparameters
from autorec_cli.csr import Array, moments_of, power_sums, row_indices
from autorec_cli.data.bias import DampedMeans, centering_means, damped_means, mean_scores, no_means
from autorec_cli.defaults import MAX_LEVELS
from autorec_cli.errors import UsageError
from autorec_cli.network.encoder_input import Inputs, make_inputs
from autorec_cli.network.ordinal import Levels, Offsets, levels_of
from autorec_cli.runtime.partition import Partition, single_partition
from autorec_cli.runtime.process_group import ProcessGroup

TARGET_NORM = 3.75
"""Root mean square target of the ranking objective: that of MovieLens 1M, measured from 0."""


@dataclass(frozen=True)
class Examples:
    """Training examples of one process.

    Attributes:
        matrix: CSR (N, P) float32: items x users for the item variant, users x items for the user variant; each
            cell is (rating - centering) / unit.
        inputs: Encoder inputs made from them.
        input_norm: Euclidean norm of every row of `inputs`; None if they are not scaled.
        ratings: The same ratings as given, CSR n_users x n_items.
        centering: Means that were subtracted, in rating units.
        baseline: Predictor of cold pairs: user and item damped means of `ratings`, or `bias.mean_scores` for the
            ranking objective.
        unit: Rating units per unit of `matrix`; see `_unit`.
        rating_scale: Range that predictions are clipped to.
        n_ratings: Ratings in all processes.
        partition: Columns of this process.
    """

    matrix: sparse.csr_array
    inputs: Inputs
    input_norm: float | None
    ratings: sparse.csr_array
    centering: DampedMeans
    baseline: DampedMeans
    unit: float
    rating_scale: tuple[float, float]
    n_ratings: int
    partition: Partition

    def offsets(self, variant: str) -> Offsets:
        """Centers of examples and columns, in the unit of the matrix."""
        of_users, of_items = self.centering.user_bias, self.centering.item_bias
        rows, columns = (of_items, of_users) if variant == "item" else (of_users, of_items)
        mean = self.centering.mean
        return Offsets(((rows + mean) / self.unit).astype(np.float32), (columns / self.unit).astype(np.float32))

    def levels(self) -> Levels:
        """Levels of all processes' ratings, in the unit of the matrix.

        Raises:
            UsageError: there are too many for an ordinal output.
        """
        process_group, ratings = self.partition.process_group, self.ratings.data
        found = process_group.distinct(ratings, MAX_LEVELS)
        if len(found) > MAX_LEVELS:
            raise UsageError(
                f"--output-activation ordinal needs at most {MAX_LEVELS} different ratings, and there are more; leave "
                "it out, or --warm-start from a model that has it"
            )
        _, deviation = moments_of(self.n_ratings, *process_group.sum(power_sums(ratings)).tolist())
        return levels_of(found, self.unit, deviation)

    def counts(self, variant: str) -> tuple[Array, Array]:
        """Ratings per user (n_users,) and per item (n_items,).

        Columns are those of this process only.
        """
        process_group = self.partition.process_group
        users = np.diff(self.ratings.indptr)
        items = np.bincount(self.ratings.indices, minlength=self.ratings.shape[1])
        if variant == "item":  # users are columns, and all their ratings are here
            return users, process_group.sum(items).astype(np.int64)
        return process_group.sum(users).astype(np.int64), items


def make_examples(
    ratings: sparse.csr_array,
    rating_scale: tuple[float, float],
    settings: Hyperparameters,
    partition: Partition | None = None,
) -> Examples:
    """Center, scale and orient ratings.

    Args:
        ratings: CSR n_users x n_items, with the users, or in the user variant the items, of `partition` only.
        rating_scale: Lowest and highest rating.
        settings: Hyperparameters.
        partition: Columns of this process; all if None.
    """
    partition = partition or single_partition(ratings.shape[0 if settings.variant == "item" else 1])
    process_group = partition.process_group
    unit = _unit(ratings, rating_scale, settings, process_group)
    centering, baseline = _means(ratings, settings, partition)
    offset = centering.predict(row_indices(ratings), ratings.indices)
    # Offsets are float64; rounded once, at the end.
    values = ((ratings.data - offset) / unit).astype(np.float32)
    matrix = sparse.csr_array((values, ratings.indices, ratings.indptr), shape=ratings.shape)
    if settings.variant == "item":
        # tocsr sorts the indices, which the engines rely on.
        matrix = matrix.T.tocsr()
    inputs, input_norm = make_inputs(matrix, settings.implicit, settings.normalize, process_group)
    n_ratings = int(process_group.sum(ratings.nnz))
    return Examples(
        matrix, inputs, input_norm, ratings, centering, baseline, unit, rating_scale, n_ratings, partition
    )  # fmt: skip


def _unit(
    ratings: sparse.csr_array, rating_scale: tuple[float, float], settings: Hyperparameters, process_group: ProcessGroup
) -> float:
    """Rating units per unit of the examples.

    With it, losses and penalties mean the same on every scale. For the rating objective a quarter of the rating scale:
    1 to 5 stays as in the paper. For the ranking objective what makes the root mean square of the targets
    `TARGET_NORM`.
    """
    if settings.missing_value is None:
        low, high = rating_scale
        return (high - low) / 4 if high > low else 1.0
    total, squares, n_ratings = process_group.sum([*power_sums(ratings.data), ratings.nnz]).tolist()
    # The mean of (rating - missing value)^2, multiplied out: sums are all that processes exchange.
    mean_square = (squares - 2 * settings.missing_value * total) / max(n_ratings, 1) + settings.missing_value**2
    return math.sqrt(mean_square) / TARGET_NORM if mean_square > 0 else 1.0


def _means(
    ratings: sparse.csr_array, settings: Hyperparameters, partition: Partition
) -> tuple[DampedMeans, DampedMeans]:
    """Means to subtract from the ratings, and means that predict cold pairs."""
    variant, process_group = settings.variant, partition.process_group
    if settings.missing_value is None:
        baseline = damped_means(ratings, whole=variant, process_group=process_group)
        if settings.center == "both":
            return baseline, baseline
        return centering_means(ratings, settings.center, variant, process_group), baseline
    # Measured from the missing value, unrated cells are 0.
    n_users = partition.n_columns if variant == "item" else ratings.shape[0]
    centering = no_means(ratings.shape[0], ratings.shape[1], settings.missing_value)
    return centering, mean_scores(ratings, settings.missing_value, n_users, whole=variant, process_group=process_group)
