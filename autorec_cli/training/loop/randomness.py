"""Random draws of training: initial weights, the order of examples, and dropout.

All processes draw the same numbers from generators of one seed, initial weights for the columns of others included.
Dropout draws one number per row and none per cell, so that a process need not know the cells of others.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from autorec_cli.config import Hyperparameters
from autorec_cli.csr import Array
from autorec_cli.network.autoencoder import Network, new_network
from autorec_cli.network.dropout import KEYS, Dropout
from autorec_cli.network.encoder_input import typical_norm
from autorec_cli.training.loop.examples import Examples

DAMPING = 5
"""Cells of mean value that are added to every column for its initial bias."""


def initial_network(examples: Examples, settings: Hyperparameters, generator: np.random.Generator) -> Network[Array]:
    """Randomly initialized network for these examples."""
    process_group = examples.partition.process_group
    means = _column_means(examples, settings.missing_weight)
    norm = examples.input_norm or typical_norm(examples.matrix, settings.implicit, process_group)
    levels = examples.levels() if settings.output_activation == "ordinal" else None
    return new_network(settings, means, norm, _target_range(examples), generator, examples.partition, levels)


def shuffled_rows(n_rows: int, batch_size: int, generator: np.random.Generator) -> Iterator[Array]:
    """Row indices of an epoch's batches, each row once, in random order."""
    # One draw for all processes: they must take the same steps.
    order = generator.permutation(n_rows)
    for start in range(0, n_rows, batch_size):
        yield order[start : start + batch_size]


def draw_dropout(n_rows: int, columns: Array, probability: float, generator: np.random.Generator) -> Dropout | None:
    """Draw the dropout of a batch; None without any.

    Args:
        n_rows: B, examples of the batch.
        columns: (P,) uint32, global indices of the columns.
        probability: In [0, 1).
        generator: Source of the keys.
    """
    if not probability:
        return None
    return Dropout(probability, generator.integers(KEYS, size=n_rows, dtype=np.uint32), columns)


def _column_means(examples: Examples, missing_weight: float) -> Array:
    """Damped mean (P,) of each column.

    An unrated cell is a 0 of weight `missing_weight`.
    """
    matrix = examples.matrix
    total = np.bincount(matrix.indices, weights=matrix.data, minlength=matrix.shape[1])
    counts = np.bincount(matrix.indices, minlength=matrix.shape[1])
    counts = counts + missing_weight * (matrix.shape[0] - counts)
    # Damped toward the mean of all columns, those of other processes too.
    sums = examples.partition.process_group.sum(np.array([total.sum(), counts.sum()]))
    means: Array = (total + DAMPING * (sums[0] / sums[1])) / (counts + DAMPING)
    return means


def _target_range(examples: Examples) -> tuple[float, float]:
    """Lowest and highest target of all processes, at least a little apart."""
    values = examples.matrix.data
    # Negated, so that one maximum over the processes finds both ends.
    ends = (-values.min(), values.max()) if len(values) else (-np.inf, -np.inf)  # never the maximum
    low, high = examples.partition.process_group.max(np.array(ends)) * (-1, 1)
    return (float(low), float(high)) if high > low else (float(low) - 1, float(high) + 1)
