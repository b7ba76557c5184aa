"""CSR functions that keep stored zeros.

A rating of 0 is a rating like any other.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from scipy import sparse

Array = np.ndarray[Any, np.dtype[Any]]
"""Array of any shape and type; docstrings give both."""


def csr_of(data: Array, indices: Array, indptr: Array, shape: tuple[int, int]) -> sparse.csr_array:
    """Make a CSR matrix of arrays that are not copied.

    They are sorted and without duplicates.
    """
    from scipy import sparse

    matrix = sparse.csr_array(shape, dtype=data.dtype)
    # scipy's constructor would copy an array that is the smaller half of a larger one, and check all indices.
    matrix.data, matrix.indices, matrix.indptr = data, indices, indptr
    matrix.has_canonical_format = True
    return matrix


def add_splits(first: sparse.csr_array, second: sparse.csr_array) -> sparse.csr_array:
    """Unite two disjoint splits of one dataset."""
    # Adding them with `+` would drop cells whose rating is 0.
    from scipy import sparse

    rows = np.concatenate([row_indices(first), row_indices(second)])
    columns = np.concatenate([first.indices, second.indices])
    values = np.concatenate([first.data, second.data])
    union = sparse.csr_array((values, (rows, columns)), shape=first.shape)
    union.sort_indices()
    return union


def row_indices(matrix: sparse.csr_array) -> np.ndarray[Any, np.dtype[np.int32]]:
    """Row of every stored cell, (nnz,) int32, in storage order."""
    return np.repeat(np.arange(matrix.shape[0], dtype=np.int32), np.diff(matrix.indptr))


def power_sums(ratings: Array) -> Array:
    """Sum of the ratings (n,) and of their squares, (2,) float64."""
    values = ratings.astype(np.float64)
    return np.array([values.sum(), values @ values])


def moments_of(n_ratings: int, total: float, squares: float) -> tuple[float, float]:
    """Mean and standard deviation, from `power_sums`; zeros without ratings."""
    if not n_ratings:
        return 0.0, 0.0
    mean = total / n_ratings
    variance = squares / n_ratings - mean**2
    # Rounding leaves a little of equal ratings.
    return mean, math.sqrt(variance) if variance > 1e-12 * squares / n_ratings else 0.0


def distinct_values(values: Array, most: int) -> Array:
    """Distinct values, ascending float32.

    Of more than `most`, the least `most` + 1.
    """
    found: list[float] = []
    # Each pass drops one value: a sort of all ratings would take longer, and memory.
    while len(values) and len(found) <= most:
        found.append(values.min())
        values = values[values > found[-1]]
    return np.array(found, dtype=np.float32)


def row_sums(indptr: Array, values: Array) -> Array:
    """Sum of each row of a CSR matrix with `values` (nnz,) float32."""
    # Differences of running sums, as reduceat is wrong for rows without cells.
    sums = np.concatenate([np.zeros(1), np.cumsum(values, dtype=np.float64)])
    return np.diff(sums[indptr]).astype(np.float32)


def row_pointers(lengths: Iterable[Array]) -> Iterator[Array]:
    """Row pointers (int64) of a CSR matrix, from blocks of row lengths."""
    end = 0
    yield np.zeros(1, dtype=np.int64)
    for block in lengths:
        ends = end + np.cumsum(block, dtype=np.int64)
        end = int(ends[-1]) if len(ends) else end
        yield ends


def transposed(examples: sparse.csr_array) -> tuple[sparse.csr_array, Array]:
    """Transpose the pattern of a matrix.

    Returns:
        The transpose, whose data are the position in `examples` of each cell, and these, (nnz,).
    """
    from scipy import sparse

    # Transposing a matrix that holds 0, 1, 2, ... gives the position of each cell.
    positions = np.arange(examples.nnz, dtype=np.int32)
    columns = sparse.csr_array((positions, examples.indices, examples.indptr), shape=examples.shape).T.tocsr()
    return columns, columns.data


CELLS_PER_CHECK = 1 << 20  # bounds the memory of masks and positions


def check_rows(indptr: Array, indices: Array, n_columns: int, name: str) -> None:
    """Check the pattern of a CSR matrix called `name` in messages.

    Raises:
        ValueError: its rows overlap, or the columns of a row are out of range, unsorted or there twice.
    """
    n_cells = len(indices)
    if len(indptr) == 0 or indptr[0] != 0 or indptr[-1] != n_cells or (indptr[1:] < indptr[:-1]).any():
        raise ValueError(f"the rows of {name} do not follow each other")
    for start in range(0, n_cells, CELLS_PER_CHECK):
        block = indices[start : start + CELLS_PER_CHECK + 1]  # and the first one of the next block
        if block.min() < 0 or block.max() >= n_columns:
            raise ValueError(f"a column of {name} is not from 0 to {n_columns - 1:,}")
        # Only where a row begins may a column be lower than the one before.
        falls = start + 1 + np.flatnonzero(block[1:] <= block[:-1])
        if (indptr[np.searchsorted(indptr, falls)] != falls).any():
            raise ValueError(f"the columns of a row of {name} are not in order or are there twice")
