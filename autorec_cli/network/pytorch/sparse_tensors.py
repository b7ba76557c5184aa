"""Sparse matrices as CSR tensors: copies to a device, transposes, and products."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from autorec_cli.csr import Array, transposed

warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state")

PRODUCT_COLUMNS = 64
"""Columns of the dense factor multiplied at once on a CPU; with a few thousand rows they stay in a core's L2 cache."""

GPU_PRODUCT = "embedding_bag"
"""Product on a GPU: "embedding_bag" adds in a fixed order, so that runs repeat to the byte; "sparse" is cuSPARSE's
`CSR_ALG2`, which does not. `benchmarks/gpu.sh` measures both; no GPU has been there to choose by speed."""


@dataclass(frozen=True)
class DeviceMatrix:
    """Sparse matrix on a device, in both orders.

    Attributes:
        rows: CSR (B, n).
        columns: The transpose, CSR (n, B).
        order: (nnz,) position in `rows` of each cell of `columns`.
    """

    rows: Tensor
    columns: Tensor
    order: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """(B, n)."""
        return tuple(self.rows.shape)

    def with_values(self, values: Tensor) -> DeviceMatrix:
        """Replace the values, (nnz,) in the order of `rows`."""
        return DeviceMatrix(
            with_values(self.rows, values), with_values(self.columns, values[self.order]), self.order
        )  # fmt: skip


def send(array: Array, device: torch.device) -> Tensor:
    """Copy `array` to `device`, without waiting for a GPU."""
    tensor = torch.from_numpy(array)
    # Only from pinned memory a copy is queued like a kernel; any other would wait for all work before it.
    return tensor.to(device) if device.type == "cpu" else tensor.pin_memory().to(device, non_blocking=True)


def to_csr(matrix: sparse.csr_array, device: torch.device) -> Tensor:
    """Copy `matrix` to `device` as a CSR tensor."""
    # Torch wants both index arrays of one type; int32 halves the traffic.
    indptr, indices = (part.astype(np.int32, copy=False) for part in (matrix.indptr, matrix.indices))
    return csr_tensor(send(indptr, device), send(indices, device), send(matrix.data, device), matrix.shape)


def to_both_orders(matrix: sparse.csr_array, device: torch.device) -> DeviceMatrix:
    """Copy `matrix` to `device`, transposed by the CPU."""
    columns, positions = transposed(matrix)
    order, rows = send(positions.astype(np.int64), device), to_csr(matrix, device)
    indptr, indices = (send(part.astype(np.int32, copy=False), device) for part in (columns.indptr, columns.indices))
    values = rows.values()[order]
    return DeviceMatrix(rows, csr_tensor(indptr, indices, values, matrix.shape[::-1]), order)


def csr_tensor(indptr: Tensor, indices: Tensor, values: Tensor, shape: tuple[int, ...]) -> Tensor:
    """CSR tensor on the device of its parts, unchecked."""
    return torch.sparse_csr_tensor(indptr, indices, values, size=shape, device=values.device, check_invariants=False)


def with_values(pattern: Tensor, values: Tensor) -> Tensor:
    """Replace the values of a CSR tensor."""
    return csr_tensor(pattern.crow_indices(), pattern.col_indices(), values, tuple(pattern.shape))


def row_of_cell(rows: Tensor) -> Tensor:
    """Row of each cell of a CSR tensor, (nnz,)."""
    # The size is known here; torch would have to ask the GPU for it.
    return torch.repeat_interleave(rows.crow_indices().diff(), output_size=len(rows.values()))


def product(matrix: Tensor, dense: Tensor) -> Tensor:
    """Multiply CSR (m, n) by dense (n, k)."""
    if matrix.device.type == "cpu":
        return _tiled_product(matrix, dense)
    return matrix @ dense if GPU_PRODUCT == "sparse" else bag_product(matrix, dense)


def row_sums(matrix: Tensor) -> Tensor:
    """Sum of each row of a CSR tensor (m, n), (m,)."""
    # Not `index_add_`, which adds in a random order on a GPU; "unsafe" only leaves out a check that would wait for it.
    return torch.segment_reduce(matrix.values(), "sum", offsets=matrix.crow_indices(), unsafe=True, initial=0)


def _tiled_product(matrix: Tensor, dense: Tensor) -> Tensor:
    # The same as `torch.sparse.mm`, but two to three times as fast on a CPU.
    result = dense.new_empty(matrix.shape[0], dense.shape[1])
    for start in range(0, dense.shape[1], PRODUCT_COLUMNS):
        tile = slice(start, start + PRODUCT_COLUMNS)
        result[:, tile] = bag_product(matrix, dense[:, tile])
    return result


def bag_product(matrix: Tensor, dense: Tensor) -> Tensor:
    """Multiply CSR (m, n) by dense (n, k) as embedding bags."""
    return torch.nn.functional.embedding_bag(
        matrix.col_indices(),
        dense.contiguous(),
        matrix.crow_indices(),
        mode="sum",
        per_sample_weights=matrix.values(),
        include_last_offset=True,
    )
