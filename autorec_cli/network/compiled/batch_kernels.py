"""CPU kernels for making batches, compiled by numba; see `kernels`.

They compute what `encoder_input`, `dropout` and `csr` compute with numpy and scipy, which hold Python's lock while the
threads of a step need it for a moment.
"""

from __future__ import annotations

import numpy as np

from autorec_cli.network.compiled.kernels import compiled
from autorec_cli.network.dropout import FIRST, GOLDEN, SECOND
from autorec_cli.network.encoder_input import RATED


@compiled
def select_rows(indptr, indices, values, rows, selected, new_indices, new_values):
    """Copy the cells of `rows` to their places in a batch.

    The cells of its row r go to selected[r] up to selected[r + 1].
    """
    for number in range(len(rows)):
        source, target = indptr[rows[number]], selected[number]
        for i in range(selected[number + 1] - target):
            new_indices[target + i] = indices[source + i]
            new_values[target + i] = values[source + i]


@compiled
def show_cells(indptr, indices, values, n_columns, scale, keys, columns, limit, kept, new_indices, shown):
    """Compute `Inputs.of` and `Dropout.factors`.

    Without dropout `keys` is empty, without the implicit channel `new_indices`; with it, a row's mask follows its
    ratings.
    """
    u32 = np.uint32  # numba would go on in 64 bits, where numpy does not
    for row in range(len(indptr) - 1):
        start, n_cells = indptr[row], indptr[row + 1] - indptr[row]
        cells, rated = indices[start : start + n_cells], values[start : start + n_cells]
        begin = 2 * start if len(new_indices) else start
        ratings, mask = shown[begin : begin + n_cells], shown[begin + n_cells : begin + 2 * n_cells]
        # Short loops, which become vector instructions.
        for i in range(n_cells):
            ratings[i] = scale[row]
        if len(keys):
            # The hash of `Dropout.factors`, bit for bit: every engine drops the same cells.
            key = keys[row]
            for i in range(n_cells):
                number = u32(key + u32(columns[cells[i]] * u32(GOLDEN)))
                number = u32((number ^ (number >> u32(16))) * u32(FIRST))
                number = u32((number ^ (number >> u32(13))) * u32(SECOND))
                number = u32(number ^ (number >> u32(16)))
                ratings[i] *= kept if number >= limit else np.float32(0)
        if len(new_indices):
            of_ratings, of_mask = (
                new_indices[begin : begin + n_cells],
                new_indices[begin + n_cells : begin + 2 * n_cells],
            )
            # `ratings` still are bare factors, which both halves share.
            for i in range(n_cells):
                mask[i] = RATED * ratings[i]
                of_ratings[i], of_mask[i] = cells[i], cells[i] + n_columns
        for i in range(n_cells):
            ratings[i] *= rated[i]


@compiled
def transpose(indptr, indices, column_pointers, rows, order):
    """Sort cells by column, and those of a column by row.

    `column_pointers` (n + 1,) are zeros at first.
    """
    # A counting sort. Counts are stored one place on, so that their sums are where columns begin.
    for cell in range(len(indices)):
        column_pointers[indices[cell] + 1] += 1
    for column in range(1, len(column_pointers)):
        column_pointers[column] += column_pointers[column - 1]
    for row in range(len(indptr) - 1):
        for cell in range(indptr[row], indptr[row + 1]):
            # The pointer of a column is the next free place in it.
            position = column_pointers[indices[cell]]
            rows[position], order[position] = row, cell
            column_pointers[indices[cell]] += 1
    # Each is now where the next column begins.
    for column in range(len(column_pointers) - 1, 0, -1):
        column_pointers[column] = column_pointers[column - 1]
    column_pointers[0] = 0


@compiled
def gather(values, order, gathered):
    """Put `values` in another order."""
    for i in range(len(order)):
        gathered[i] = values[order[i]]
