"""One training step that touches observed cells only: nothing of size batch x P is ever made.

With X the B x P batch in CSR (`nnz` observed cells), `*` elementwise:

    Z = X V + mu             h = g(Z)                   sparse x dense
    E = 2 (f(z) - X) f'(z)   on the pattern of X only   sampled dense-dense product
    dW = E' h   db = column sums of E   dh = E W   dZ = dh * g'   dV = X' dZ   dmu = column sums of dZ

Work is 10 nnz k multiply-adds a pass, memory O(nnz + P k), where a dense step needs 10 N P k and B P.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from autorec_cli.baselines import Array
from autorec_cli.model import ACTIVATIONS, Network

warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state")

CELLS_AT_ONCE = 1 << 15
"""Cells whose two k-vectors are gathered at once when predictions of single cells are wanted."""


TILE_COLUMNS = 64
"""Columns of the dense factor multiplied at once: so many of a few thousand rows stay in a core's L2 cache."""


@dataclass(frozen=True)
class Batch:
    """Some rows of the examples, and the same cells in column order.

    Attributes:
        rows: CSR, B x P.
        columns: CSR of the transpose, P x B.
        column_order: (nnz,) position in `rows` of each cell of `columns`.
    """

    rows: Tensor
    columns: Tensor
    column_order: Tensor

    @property
    def n_rows(self) -> int:
        """B, the examples in the batch."""
        return int(self.rows.shape[0])


@dataclass(frozen=True)
class Step:
    """What one pass over a batch gives.

    Attributes:
        squared_error: Sum over the observed cells of (f - x)^2, before the update, a 0-d tensor.
        gradients: Of the squared error alone, in the order of `Network.parameters`.
    """

    squared_error: Tensor
    gradients: list[Tensor]


def make_batch(examples: sparse.csr_array, device: torch.device) -> Batch:
    """Lay the rows of `examples` out for a step on `device`."""
    n_rows, n_columns = examples.shape
    # The transpose of a matrix that holds 0, 1, 2, ... says where each cell of the transpose comes from.
    positions = sparse.csr_array(
        (np.arange(examples.nnz, dtype=np.int32), examples.indices, examples.indptr), shape=examples.shape
    ).T.tocsr()
    order = torch.from_numpy(positions.data.astype(np.int64)).to(device)
    rows = _csr(examples.indptr, examples.indices, torch.from_numpy(examples.data), examples.shape, device)
    columns = _csr(positions.indptr, positions.indices, rows.values()[order], (n_columns, n_rows), device)
    return Batch(rows, columns, order)


def shuffled_batches(
    examples: sparse.csr_array, batch_size: int, generator: torch.Generator, device: torch.device
) -> Iterator[Batch]:
    """All rows of `examples` once, in random order, `batch_size` at a time."""
    order = torch.randperm(examples.shape[0], generator=generator).numpy()
    for start in range(0, len(order), batch_size):
        yield make_batch(examples[order[start : start + batch_size]], device)


def encode(network: Network, rows: Tensor) -> list[Tensor]:
    """The outputs of every hidden layer for the CSR rows `rows` (B, P): a list of (B, k_layer)."""
    function, _ = ACTIVATIONS[network.hidden_activation]
    hidden = [function(_product(rows, network.encoder_weights[0]) + network.encoder_biases[0])]
    for weight, bias in zip(network.encoder_weights[1:], network.encoder_biases[1:], strict=True):
        hidden.append(function(hidden[-1] @ weight + bias))
    return hidden


def step(network: Network, batch: Batch) -> Step:
    """The squared error over the observed cells of `batch` and its gradients.

    Returns:
        Gradients in the order of `Network.parameters`: encoder weights, decoder weight, encoder biases, decoder bias.
    """
    hidden = encode(network, batch.rows)
    targets = batch.rows.values()
    column_of_cell = batch.rows.col_indices()
    z = torch.sparse.sampled_addmm(batch.rows, hidden[-1], network.decoder_weight.T, beta=0.0).values()
    predictions, slope = network.output(z + network.decoder_bias[column_of_cell])
    residual = predictions - targets
    error = 2 * residual * slope
    error_rows = _with_values(batch.rows, error)
    error_columns = _with_values(batch.columns, error[batch.column_order])
    decoder_weight = _product(error_columns, hidden[-1])
    decoder_bias = torch.zeros_like(network.decoder_bias).index_add_(0, column_of_cell, error)
    encoder_weights, encoder_biases = _backward(network, batch, hidden, _product(error_rows, network.decoder_weight))
    gradients = [*encoder_weights, decoder_weight, *encoder_biases, decoder_bias]
    return Step(torch.dot(residual, residual), gradients)


def _backward(
    network: Network, batch: Batch, hidden: list[Tensor], upstream: Tensor
) -> tuple[list[Tensor], list[Tensor]]:
    """Gradients of the encoder's weights and biases from `upstream` = d loss / d hidden[-1] (B, k)."""
    _, derivative = ACTIVATIONS[network.hidden_activation]
    weights: list[Tensor] = []
    biases: list[Tensor] = []
    for layer in reversed(range(len(hidden))):
        upstream = upstream * derivative(hidden[layer])
        biases.insert(0, upstream.sum(0))
        if layer == 0:
            weights.insert(0, _product(batch.columns, upstream))
        else:
            weights.insert(0, hidden[layer - 1].T @ upstream)
            upstream = upstream @ network.encoder_weights[layer].T
    return weights, biases


def codes(network: Network, examples: sparse.csr_array, batch_size: int) -> Tensor:
    """The last hidden layer of every example, (N, k), computed `batch_size` rows at a time."""
    device = network.decoder_weight.device
    blocks = [
        encode(network, to_rows(examples[start : start + batch_size], device))[-1]
        for start in range(0, examples.shape[0], batch_size)
    ]
    return torch.cat(blocks)


def predict_cells(network: Network, hidden: Tensor, row_index: Tensor, column_index: Tensor) -> Tensor:
    """f(h W' + b) at single cells, (n_cells,), from the codes `hidden` (N, k)."""
    parts = []
    for start in range(0, len(row_index), CELLS_AT_ONCE):
        rows, columns = row_index[start : start + CELLS_AT_ONCE], column_index[start : start + CELLS_AT_ONCE]
        z = (hidden[rows] * network.decoder_weight[columns]).sum(1) + network.decoder_bias[columns]
        parts.append(network.output(z)[0])
    return torch.cat(parts) if parts else hidden.new_empty(0)


def to_rows(examples: sparse.csr_array, device: torch.device) -> Tensor:
    """`examples` as a CSR tensor on `device`."""
    return _csr(examples.indptr, examples.indices, torch.from_numpy(examples.data), examples.shape, device)


def _csr(indptr: Array, indices: Array, values: Tensor, shape: tuple[int, ...], device: torch.device) -> Tensor:
    return torch.sparse_csr_tensor(
        torch.from_numpy(indptr.astype(np.int32, copy=False)).to(device),
        torch.from_numpy(indices.astype(np.int32, copy=False)).to(device),
        values.to(device),
        size=shape,
        check_invariants=False,
    )


def _product(matrix: Tensor, dense: Tensor) -> Tensor:
    """The product of a CSR matrix (m, n) and a dense one (n, k), as (m, k).

    `embedding_bag` with a weight a cell is the same sum as `torch.sparse.mm`; in tiles of columns it is two to three
    times as fast on a CPU.
    """
    product = dense.new_empty(matrix.shape[0], dense.shape[1])
    for start in range(0, dense.shape[1], TILE_COLUMNS):
        tile = slice(start, start + TILE_COLUMNS)
        product[:, tile] = torch.nn.functional.embedding_bag(
            matrix.col_indices(),
            dense[:, tile].contiguous(),
            matrix.crow_indices(),
            mode="sum",
            per_sample_weights=matrix.values(),
            include_last_offset=True,
        )
    return product


def _with_values(pattern: Tensor, values: Tensor) -> Tensor:
    """A CSR tensor with the cells of `pattern` and other values in them."""
    return torch.sparse_csr_tensor(
        pattern.crow_indices(), pattern.col_indices(), values, size=pattern.shape, check_invariants=False
    )
