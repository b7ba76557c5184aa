"""Everything random in training: initial weights, the order of examples, and which cells dropout hides.

All processes of a run draw the same numbers from generators of one seed: initial weights for columns of others too,
which they drop. For dropout a number is drawn for each row, none for a cell.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from scipy import sparse

from autorec_cli.config import TrainSettings
from autorec_cli.csr import Array
from autorec_cli.network.autoencoder import Network, new_network
from autorec_cli.network.encoder_input import typical_norm
from autorec_cli.training.examples import Task

KEYS = 1 << 32
GOLDEN = np.uint32(0x9E3779B1)


def initial_network(task: Task, settings: TrainSettings, generator: torch.Generator) -> Network:
    """The network that training on `task` starts from."""
    means = _column_means(task, settings.missing_weight)
    norm = task.input_norm or typical_norm(task.examples, settings.implicit, task.share.process_group)
    return new_network(settings, means, norm, _target_range(task), generator, task.share)


def shuffled_rows(n_rows: int, batch_size: int, generator: torch.Generator) -> Iterator[Array]:
    """The numbers of all rows once, in random order, `batch_size` at a time."""
    order = torch.randperm(n_rows, generator=generator).numpy()
    for start in range(0, n_rows, batch_size):
        yield order[start : start + batch_size]


def kept(batch: sparse.csr_array, columns: Array, dropout: float, generator: torch.Generator) -> Array | None:
    """What each cell of a batch's input is multiplied by: 0 for a share of `dropout`, more than 1 for the others.

    Srivastava et al. (JMLR 2014), in the form that needs nothing at prediction time. A key is drawn for each row, and
    whether a cell is hidden is a hash of that and of its column: it is the same whatever other cells this process has.

    Args:
        batch: Some examples, CSR (B, P).
        columns: (P,) uint32, what the columns are called in all processes.
        dropout: The share, from 0 to less than 1.
        generator: The source of the keys.

    Returns:
        (nnz,) float32; None without dropout.
    """
    if not dropout:
        return None
    keys = torch.randint(KEYS, (batch.shape[0],), generator=generator).numpy().astype(np.uint32)
    numbers = np.repeat(keys, np.diff(batch.indptr)) + columns[batch.indices] * GOLDEN
    kept: Array = (_mixed(numbers) >= np.uint32(dropout * KEYS)) / np.float32(1 - dropout)
    return kept


def _mixed(numbers: Array) -> Array:
    """`numbers` (n,) uint32, overwritten by what looks random: the last step of MurmurHash3 (Appleby, 2011)."""
    numbers ^= numbers >> np.uint32(16)
    numbers *= np.uint32(0x85EBCA6B)
    numbers ^= numbers >> np.uint32(13)
    numbers *= np.uint32(0xC2B2AE35)
    numbers ^= numbers >> np.uint32(16)
    return numbers


def _column_means(task: Task, missing_weight: float) -> Array:
    """(P,) mean of each column, cells without a rating 0 with this weight, damped by five cells of mean value."""
    examples = task.examples
    total = np.bincount(examples.indices, weights=examples.data, minlength=examples.shape[1])
    counts = np.bincount(examples.indices, minlength=examples.shape[1])
    counts = counts + missing_weight * (examples.shape[0] - counts)
    sums = task.share.process_group.sum(np.array([total.sum(), counts.sum()]))
    means: Array = (total + 5 * (sums[0] / sums[1])) / (counts + 5)
    return means


def _target_range(task: Task) -> tuple[float, float]:
    values = task.examples.data
    ends = (-values.min(), values.max()) if len(values) else (-np.inf, -np.inf)
    low, high = task.share.process_group.max(np.array(ends)) * (-1, 1)
    return (float(low), float(high)) if high > low else (float(low) - 1, float(high) + 1)
