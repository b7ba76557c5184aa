"""Batches of the compiled engine, made without Python's lock.

The step of the batch before runs at the same time and needs the lock. Batches are the same to the bit as
`encoder_input` and `dropout`, which are in numpy and for all engines.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from autorec_cli.csr import Array
from autorec_cli.network.compiled.batch_kernels import gather, select_rows, show_cells, transpose
from autorec_cli.network.compiled.tiles import Floats, Indexes, block_pointers
from autorec_cli.network.dropout import Dropout
from autorec_cli.network.encoder_input import Batch, Inputs

_NO_KEYS = np.empty(0, dtype=np.uint32)


class Transposed(NamedTuple):
    """Pattern in column order.

    Attributes:
        indptr: (n + 1,).
        indices: (nnz,) int32, row of each cell.
        order: (nnz,) int32, its position in row order.
    """

    indptr: Indexes
    indices: Indexes
    order: Indexes


@dataclass(frozen=True)
class Pattern:
    """Pattern of a sparse matrix (B, n), and its other orders.

    The other orders are computed on first use, once for all matrices that share the pattern.

    Attributes:
        indptr, indices: As of a CSR matrix with sorted indices.
        n_columns: n.
    """

    indptr: NDArray[Any]
    indices: Indexes
    n_columns: int

    @cached_property
    def pointers(self) -> NDArray[np.int64]:
        """First cell of each row in each block of columns."""
        return block_pointers(self.indptr, self.indices, self.n_columns)

    @cached_property
    def transposed(self) -> Transposed:
        """The same cells in column order."""
        n_cells = len(self.indices)
        indptr = np.zeros(self.n_columns + 1, dtype=self.indptr.dtype)
        indices, order = (np.empty(n_cells, dtype=np.int32) for _ in range(2))
        transpose(self.indptr, self.indices, indptr, indices, order)
        return Transposed(indptr, indices, order)


@dataclass(frozen=True)
class ObservedCells:
    """Sparse matrix of an engine.

    Attributes:
        pattern: Its cells.
        values: (nnz,) their values.
    """

    pattern: Pattern
    values: Floats

    @property
    def shape(self) -> tuple[int, int]:
        """(B, n)."""
        return len(self.pattern.indptr) - 1, self.pattern.n_columns

    @cached_property
    def by_column(self) -> Floats:
        """Values in column order."""
        values = np.empty_like(self.values)
        gather(self.values, self.pattern.transposed.order, values)
        return values


def observed(matrix: sparse.csr_array, like: ObservedCells | None = None) -> ObservedCells:
    """Cells of a CSR matrix with sorted indices.

    They share the pattern of `like` if that has the same shape; see `Engine.step`.
    """
    if like is not None and like.shape == matrix.shape:
        return ObservedCells(like.pattern, matrix.data)
    return ObservedCells(Pattern(matrix.indptr, matrix.indices, matrix.shape[1]), matrix.data)


def make_batch(inputs: Inputs, rows: Array, dropout: Dropout | None) -> Batch:
    """Make the batch of the examples at `rows` (B,).

    It is that of `Inputs.batch`, with all that a step needs of it.
    """
    targets = _selected(inputs.examples, rows)
    shown = _inputs(targets, inputs, rows, dropout)
    # Cached here, on the thread that prepares batches: the step would wait for them.
    _ = targets.pattern.pointers, targets.pattern.transposed, shown.pattern.pointers, shown.by_column
    return Batch(targets, shown, rows)


def encoder_inputs(inputs: Inputs, rows: Array) -> ObservedCells:
    """Encoder inputs of the examples at `rows` (B,), for a product."""
    shown = _inputs(_selected(inputs.examples, rows), inputs, rows, None)
    _ = shown.pattern.pointers  # cached for the product, as in `make_batch`
    return shown


def _selected(examples: sparse.csr_array, rows: Array) -> ObservedCells:
    """Cells of the examples at `rows`."""
    indptr = np.zeros(len(rows) + 1, dtype=examples.indptr.dtype)
    np.cumsum(np.diff(examples.indptr)[rows], out=indptr[1:])
    indices = np.empty(int(indptr[-1]), dtype=examples.indices.dtype)
    values = np.empty(len(indices), dtype=np.float32)
    select_rows(examples.indptr, examples.indices, examples.data, rows, indptr, indices, values)
    return ObservedCells(Pattern(indptr, indices, examples.shape[1]), values)


def _inputs(targets: ObservedCells, inputs: Inputs, rows: Array, dropout: Dropout | None) -> ObservedCells:
    """Encoder inputs of a batch."""
    pattern, (n_rows, n_columns) = targets.pattern, targets.shape
    scale = np.ones(n_rows, dtype=np.float32) if inputs.scale is None else inputs.scale[rows]
    hidden = (_NO_KEYS, _NO_KEYS, np.uint32(0), np.float32(1))
    if dropout is not None:
        hidden = (dropout.keys, dropout.columns, np.uint32(dropout.limit), dropout.kept)
    copies = 2 if inputs.implicit else 1
    values = np.empty(copies * len(targets.values), dtype=np.float32)
    indices = np.empty(len(values) if inputs.implicit else 0, dtype=pattern.indices.dtype)
    show_cells(pattern.indptr, pattern.indices, targets.values, n_columns, scale, *hidden, indices, values)
    if inputs.implicit:
        # Each row is followed by its mask, so that it begins twice as far in.
        pattern = Pattern(2 * pattern.indptr, indices, 2 * n_columns)
    return ObservedCells(pattern, values)
