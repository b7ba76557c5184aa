"""What a network is shown of its examples: their ratings, which cells are rated, and how strongly.

A rating is 0 where it equals what centring expects, so that a network which sees ratings only cannot tell such a cell
from an empty one. With the implicit channel it sees both: the columns double, the second half says what is rated. That
is the implicit feedback of SVD++ (Koren, KDD 2008), worth more than any other setting (docs/notes/defaults.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from autorec_cli.csr import Array, row_indices
from autorec_cli.runtime.process_group import SINGLE_PROCESS, ProcessGroup

RATED = np.float32(2.5)
"""What the implicit channel shows in a rated cell, in the unit of the examples."""

Rows = slice | Array
"""Some examples: a slice, or their numbers."""


@dataclass(frozen=True)
class Inputs:
    """The rows that an encoder is given for the examples.

    Attributes:
        examples: CSR (N, P) float32.
        implicit: Whether a second half of columns says which cells are rated.
        scale: (N,) float32 what each row is multiplied by; None for 1.
    """

    examples: sparse.csr_array
    implicit: bool
    scale: Array | None

    @property
    def shape(self) -> tuple[int, int]:
        """N, and P columns or twice as many."""
        n_rows, n_columns = self.examples.shape
        return n_rows, n_columns * (2 if self.implicit else 1)

    def __getitem__(self, rows: Rows) -> sparse.csr_array:
        """CSR of the inputs of some examples, see `of`."""
        return self.of(self.examples[rows], rows)

    def of(self, batch: sparse.csr_array, rows: Rows, kept: Array | None = None) -> sparse.csr_array:
        """The inputs of a batch.

        Args:
            batch: `examples[rows]`, which the caller has already, with sorted indices.
            rows: Which examples these are.
            kept: (nnz,) what each rated cell is multiplied by besides, in both halves; None for 1.

        Returns:
            CSR float32 of as many rows with sorted indices; without the implicit channel in the pattern of `batch`.
        """
        counts = np.diff(batch.indptr)
        factor = None if self.scale is None else np.repeat(self.scale[rows], counts)
        if kept is not None:
            factor = kept if factor is None else factor * kept
        values = batch.data if factor is None else (batch.data * factor).astype(np.float32, copy=False)
        if not self.implicit:
            return sparse.csr_array((values, batch.indices, batch.indptr), shape=batch.shape)
        n_rows, n_columns = batch.shape
        # A row of n cells becomes one of 2n: its ratings, then as many marks in the second half of the columns.
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
    """What a network is shown of `examples` (N, P), and the Euclidean norm of each row of it if that is the same.

    Args:
        examples: CSR float32.
        implicit: See `Inputs`.
        normalize: Whether all rows are scaled to the norm of a typical one; rows of zeros stay as they are.
        process_group: The processes that hold the other columns of the examples.
    """
    if not normalize:
        return Inputs(examples, implicit, None), None
    norms = np.sqrt(_squared_norms(examples, implicit, process_group))
    norm = typical_norm(examples, implicit, process_group)
    scale = np.divide(norm, norms, out=np.ones(len(norms)), where=norms > 0).astype(np.float32)
    return Inputs(examples, implicit, scale), norm


def typical_norm(examples: sparse.csr_array, implicit: bool, process_group: ProcessGroup = SINGLE_PROCESS) -> float:
    """Euclidean norm of the unscaled input of an average example: sqrt(sum of all squares / N)."""
    return float(np.sqrt(_squared_norms(examples, implicit, process_group).sum() / examples.shape[0])) or 1.0


def shown_cells(
    columns: Array, values: Array, n_columns: int, implicit: bool, norm: float | None
) -> tuple[Array, Array]:
    """The input of one example, as the rows of the first encoder weight to add up and what each counts.

    Args:
        columns: (n,) the rated columns of n_columns.
        values: (n,) what is in them, in the network's unit.
        n_columns: P.
        implicit: See `Inputs`.
        norm: What `make_inputs` gave.
    """
    if implicit:
        columns = np.concatenate([columns, columns + n_columns])
        values = np.concatenate([values, np.full(len(values), RATED)])
    if norm is not None:
        values = values * (norm / (float(np.linalg.norm(values)) or 1.0))
    return columns, values


def _squared_norms(examples: sparse.csr_array, implicit: bool, process_group: ProcessGroup) -> Array:
    """(N,) float64."""
    squares = np.square(examples.data, dtype=np.float64)
    if implicit:
        squares += float(RATED) ** 2
    return process_group.sum(np.bincount(row_indices(examples), weights=squares, minlength=examples.shape[0]))
