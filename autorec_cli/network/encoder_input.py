"""Encoder inputs: ratings, implicit channel and normalization.

A centered rating is 0 where it equals its mean, so that a network which sees only ratings cannot tell it from an
unrated cell. The implicit channel doubles the columns; the second half is a rated/unrated mask. It is the implicit
feedback of SVD++ (Koren, KDD 2008), and improves accuracy more than any other option (docs/notes/defaults.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from autorec_cli.csr import Array, row_indices
from autorec_cli.runtime.process_group import SINGLE_PROCESS, ProcessGroup

if TYPE_CHECKING:
    from scipy import sparse

    from autorec_cli.network.dropout import Dropout

RATED = np.float32(2.5)
"""Value of a rated cell in the implicit channel, in the unit of the examples.

Large datasets prefer 2 and small ones 3 (docs/notes/defaults.md)."""

RowSelection = slice | Array
"""Rows of the examples, as a slice or indices."""


class Cells(Protocol):
    """Sparse matrix: CSR, or an engine's own."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(B, n)."""


class Batch(NamedTuple):
    """Targets and encoder inputs of some examples, both (B, n).

    Attributes:
        targets: Targets.
        inputs: Encoder inputs.
        rows: (B,) the examples; only an ordinal output needs them.
    """

    targets: Cells
    inputs: Cells
    rows: Array | None = None


@dataclass(frozen=True)
class Inputs:
    """Encoder inputs of all examples.

    Attributes:
        examples: CSR (N, P) float32.
        implicit: Append the implicit channel.
        scale: (N,) float32 factor of each row; None for 1.
    """

    examples: sparse.csr_array
    implicit: bool
    scale: Array | None

    @property
    def shape(self) -> tuple[int, int]:
        """(N, P), or (N, 2P) with the implicit channel."""
        n_rows, n_columns = self.examples.shape
        return n_rows, n_columns * (2 if self.implicit else 1)

    def __getitem__(self, rows: RowSelection) -> sparse.csr_array:
        """Make the inputs of some examples, CSR; see `of`."""
        return self.of(self.examples[rows], rows)

    def batch(self, rows: Array, dropout: Dropout | None) -> Batch:
        """Make the batch of the examples at `rows`, (B,)."""
        targets = self.examples[rows]
        return Batch(targets, self.of(targets, rows, None if dropout is None else dropout.factors(targets)), rows)

    def of(self, batch: sparse.csr_array, rows: RowSelection, factors: Array | None = None) -> sparse.csr_array:
        """Make the inputs of a batch.

        Args:
            batch: `examples[rows]`, with sorted indices.
            rows: The examples of the batch.
            factors: (nnz,) factor of each rated cell in both halves, for dropout; None for 1.

        Returns:
            CSR float32 with sorted indices; without the implicit channel, in the pattern of `batch`.
        """
        from scipy import sparse

        counts = np.diff(batch.indptr)
        factor = None if self.scale is None else np.repeat(self.scale[rows], counts)
        if factors is not None:
            factor = factors if factor is None else factor * factors
        # Computed per batch: the scaled inputs of all examples would double the memory.
        values = batch.data if factor is None else (batch.data * factor).astype(np.float32, copy=False)
        if not self.implicit:
            return sparse.csr_array((values, batch.indices, batch.indptr), shape=batch.shape)
        n_rows, n_columns = batch.shape
        # A row of n cells becomes one of 2n: its ratings, then the mask in the second half of the columns.
        first = np.arange(batch.nnz) + np.repeat(batch.indptr[:-1], counts)
        second = first + np.repeat(counts, counts)
        data = np.empty(2 * batch.nnz, dtype=np.float32)
        indices = np.empty(2 * batch.nnz, dtype=batch.indices.dtype)
        data[first], data[second] = values, RATED if factor is None else RATED * factor
        indices[first], indices[second] = batch.indices, batch.indices + n_columns
        return sparse.csr_array((data, indices, 2 * batch.indptr), shape=(n_rows, 2 * n_columns))


def make_inputs(
    examples: sparse.csr_array, implicit: bool, normalize: bool, process_group: ProcessGroup = SINGLE_PROCESS
) -> tuple[Inputs, float | None]:
    """Make the inputs of `examples` (N, P).

    Args:
        examples: CSR float32.
        implicit: See `Inputs`.
        normalize: Scale all rows to the norm of a typical one; rows of zeros stay zero.
        process_group: Processes that hold the other columns of the examples.

    Returns:
        Inputs, and the norm that rows are scaled to; None without normalization.
    """
    if not normalize:
        return Inputs(examples, implicit, None), None
    norms = np.sqrt(_squared_norms(examples, implicit, process_group))
    norm = typical_norm(examples, implicit, process_group)
    # Rows of zeros have no direction to scale; they stay zero instead of becoming NaN.
    scale = np.divide(norm, norms, out=np.ones(len(norms)), where=norms > 0).astype(np.float32)
    return Inputs(examples, implicit, scale), norm


def typical_norm(examples: sparse.csr_array, implicit: bool, process_group: ProcessGroup = SINGLE_PROCESS) -> float:
    """Root mean square norm of the unscaled inputs.

    sqrt(sum of all squares / N)
    """
    # 1 if every rating equals its mean, as nothing can be scaled by 0.
    return float(np.sqrt(_squared_norms(examples, implicit, process_group).sum() / examples.shape[0])) or 1.0


def input_cells(
    columns: Array, values: Array, n_columns: int, implicit: bool, norm: float | None
) -> tuple[Array, Array]:
    """Make the input of one example.

    Args:
        columns: (n,) rated columns.
        values: (n,) their centered ratings, in the network's unit.
        n_columns: P.
        implicit: See `Inputs`.
        norm: Norm that `make_inputs` returned.

    Returns:
        Rows of the first encoder weight, and the factor of each.
    """
    if implicit:
        columns = np.concatenate([columns, columns + n_columns])
        values = np.concatenate([values, np.full(len(values), RATED)])
    if norm is not None:  # zeros stay zeros, as in `make_inputs`
        values = values * (norm / (float(np.linalg.norm(values)) or 1.0))
    return columns, values


def _squared_norms(examples: sparse.csr_array, implicit: bool, process_group: ProcessGroup) -> Array:
    """Squared norm of each row, (N,) float64."""
    # float64, and summed over processes before the root: norms must not depend on the partition.
    squares = np.square(examples.data, dtype=np.float64)
    if implicit:
        squares += float(RATED) ** 2
    return process_group.sum(np.bincount(row_indices(examples), weights=squares, minlength=examples.shape[0]))
