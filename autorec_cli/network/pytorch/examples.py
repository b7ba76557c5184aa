"""Examples for a GPU, and the batches made of them.

Ratings stay there, or are streamed from pinned memory. Only what differs between steps is copied: the chosen rows, and
their ratings if these do not fit on the device. Transposes, implicit channel, normalization and dropout are computed
there, to the same bits as by `encoder_input`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from autorec_cli.csr import Array
from autorec_cli.network.dropout import Dropout
from autorec_cli.network.encoder_input import RATED, Batch, Inputs
from autorec_cli.network.pytorch.sparse_tensors import DeviceMatrix, csr_tensor, send, with_values


def free_bytes(device: torch.device) -> int:
    """Free bytes of a GPU; 0 for the CPU.

    Those that torch keeps for later count as free.
    """
    if device.type == "cpu":
        return 0
    # From the driver: torch only knows what this process has taken.
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + unused


class _Cells(NamedTuple):
    """Rated cells of some examples, on the device.

    Attributes:
        indptr: (B + 1,) int32.
        rows: (nnz,) int32, row of each cell.
        columns: (nnz,) int32.
        values: (nnz,) float32.
    """

    indptr: Tensor
    rows: Tensor
    columns: Tensor
    values: Tensor


class DeviceExamples:
    """Encoder inputs of all examples, for batches on `device`.

    Attributes:
        inputs: The same on the host.
    """

    def __init__(self, inputs: Inputs, device: torch.device, resident: bool) -> None:
        self.inputs = inputs
        self._device = device
        self._indptr = inputs.examples.indptr.astype(np.int64)
        self._scale = None if inputs.scale is None else torch.from_numpy(inputs.scale).to(device)
        self._global_columns: Tensor | None = None
        self._resident: tuple[Tensor, Tensor] | None = None
        if resident:
            # Not pinned: torch would keep as much of the host's memory for good.
            indices = torch.from_numpy(inputs.examples.indices.astype(np.int32, copy=False)).to(device)
            self._resident = indices, torch.from_numpy(inputs.examples.data).to(device)

    def batch(self, rows: Array, dropout: Dropout | None) -> Batch:
        """Make the batch of the examples at `rows`, (B,)."""
        cells = self._cells(rows)
        targets = self._in_both_orders(cells)
        values, mask = self._input_values(cells, rows, dropout)
        if not self.inputs.implicit:
            return Batch(targets, targets.with_values(values), rows)
        return Batch(targets, _with_mask(targets, cells, values, mask), rows)

    def by_row(self, rows: Array, dropout: Dropout | None = None) -> tuple[Tensor, Tensor]:
        """Make targets and encoder inputs of some examples, as CSR tensors."""
        cells = self._cells(rows)
        values, mask = self._input_values(cells, rows, dropout)
        targets = csr_tensor(cells.indptr, cells.columns, cells.values, (len(rows), self._n_columns))
        if not self.inputs.implicit:
            return targets, with_values(targets, values)
        return targets, _mask_appended(cells, values, mask, self._n_columns)

    @property
    def _n_columns(self) -> int:
        return int(self.inputs.examples.shape[1])

    def _cells(self, rows: Array) -> _Cells:
        """Gather the cells of `rows` on the device, or copy them there."""
        starts, ends = self._indptr[rows], self._indptr[rows + 1]
        bounds = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(ends - starts)])
        n_cells = int(bounds[-1])
        indptr = send(bounds.astype(np.int32), self._device)
        # Sizes come from the host, so that nothing waits for the GPU to tell them.
        owners = torch.repeat_interleave(indptr.diff(), output_size=n_cells)
        if self._resident is None:
            batch = self.inputs.examples[rows]
            columns = send(batch.indices.astype(np.int32, copy=False), self._device)
            return _Cells(indptr, owners, columns, send(batch.data, self._device))
        # A cell is as far from its row's start in the batch as in all ratings.
        offsets = send(starts - bounds[:-1], self._device)
        positions = torch.arange(n_cells, device=self._device) + offsets[owners]
        columns, values = (part[positions] for part in self._resident)
        return _Cells(indptr, owners, columns, values)

    def _in_both_orders(self, cells: _Cells) -> DeviceMatrix:
        shape = len(cells.indptr) - 1, self._n_columns
        # Stable: within a column, cells stay in the order of their rows.
        by_column, order = torch.sort(cells.columns, stable=True)
        bounds = torch.arange(shape[1] + 1, dtype=torch.int32, device=self._device)
        indptr = torch.searchsorted(by_column, bounds, out_int32=True)
        return DeviceMatrix(
            rows=csr_tensor(cells.indptr, cells.columns, cells.values, shape),
            columns=csr_tensor(indptr, cells.rows[order], cells.values[order], shape[::-1]),
            order=order,
        )

    def _input_values(self, cells: _Cells, rows: Array, dropout: Dropout | None) -> tuple[Tensor, Tensor]:
        """Input of each cell, and of the mask there; see `Inputs.of`."""
        factor = torch.ones_like(cells.values)
        if self._scale is not None:
            factor = self._scale[send(rows, self._device)][cells.rows]
        if dropout is not None:
            keys = send(dropout.keys.astype(np.int64), self._device)
            factor = factor * dropout.device_factors(keys[cells.rows], self._global_indices(dropout)[cells.columns])
        return cells.values * factor, factor * float(RATED)

    def _global_indices(self, dropout: Dropout) -> Tensor:
        """Global index of each column, (P,) int64."""
        if self._global_columns is None:  # the same for all batches
            self._global_columns = torch.from_numpy(dropout.columns.astype(np.int64)).to(self._device)
        return self._global_columns


def _with_mask(targets: DeviceMatrix, cells: _Cells, values: Tensor, mask: Tensor) -> DeviceMatrix:
    """Inputs with the implicit channel, in both orders."""
    n_columns, order = targets.shape[1], targets.order
    columns = targets.columns
    indptr, n_cells = columns.crow_indices(), len(values)
    first, second = _doubled(cells)
    # Both halves of the columns have one pattern, so that nothing is sorted again.
    by_column = csr_tensor(
        torch.cat([indptr, indptr[1:] + n_cells]),
        columns.col_indices().repeat(2),
        torch.cat([values[order], mask[order]]),
        (2 * n_columns, targets.shape[0]),
    )
    rows = _mask_appended(cells, values, mask, n_columns)
    return DeviceMatrix(rows, by_column, torch.cat([first[order], second[order]]))


def _mask_appended(cells: _Cells, values: Tensor, mask: Tensor, n_columns: int) -> Tensor:
    """Ratings of each row, then its mask, CSR (B, 2P).

    The mask is in the second half of the columns.
    """
    first, second = _doubled(cells)
    columns = torch.empty(2 * len(values), dtype=torch.int32, device=values.device)
    inputs = torch.empty(2 * len(values), dtype=values.dtype, device=values.device)
    columns[first], columns[second] = cells.columns, cells.columns + n_columns
    inputs[first], inputs[second] = values, mask
    return csr_tensor(2 * cells.indptr, columns, inputs, (len(cells.indptr) - 1, 2 * n_columns))


def _doubled(cells: _Cells) -> tuple[Tensor, Tensor]:
    """Position of each cell, and of its mask.

    A row of n cells has become one of 2n.
    """
    # The rows before it have doubled too, so a cell moves by its row's start, and its mask by n more.
    starts = cells.indptr[:-1]
    first = torch.arange(len(cells.values), device=starts.device) + starts[cells.rows]
    return first, first + cells.indptr.diff()[cells.rows]
