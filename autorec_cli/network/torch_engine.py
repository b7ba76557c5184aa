"""PyTorch engine, for CUDA and for CPUs without numba.

It computes on observed cells only. With X the B x P batch in CSR (`nnz` observed cells), `*` elementwise:

    Z = X V + mu             h = g(Z)                   sparse x dense
    E = 2 (f(z) - X) f'(z)   on the pattern of X only   sampled dense-dense product
    dW = E' h   db = column sums of E   dh = E W   dZ = dh * g'   dV = X' dZ   dmu = column sums of dZ

With a mean row c, W is stored relative to it, so that the penalty shrinks rows toward c instead of zero:

    x_hat = f(h (W + 1 c')' + b)      dh += s c'     dc = h' s     s = row sums of E

Where columns are partitioned across processes, X V, E W and dc are summed over all; the rest is local.

Work is 10 nnz k floating-point operations a pass, memory O(nnz + P k), where a dense step needs 10 N P k and B P.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from autorec_cli.csr import Array, transposed
from autorec_cli.network.adam import BETA1, BETA2, EPSILON, AdamState, read_adam, write_adam
from autorec_cli.network.autoencoder import ACTIVATIONS, SQUARED_ERROR, Loss, Network, mean_row, missing_gradients
from autorec_cli.network.encoder_input import Inputs
from autorec_cli.runtime.process_group import SINGLE_PROCESS, ProcessGroup
from autorec_cli.storage.safetensors_writer import Pieces

warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state")

PRODUCT_COLUMNS = 64
"""Columns of the dense factor multiplied at once; with a few thousand rows they stay in a core's L2 cache."""


@dataclass(frozen=True)
class DeviceBatch:
    """Examples of a step on the device, in both orders.

    Attributes:
        rows: Targets, CSR (B, P).
        columns: Pattern of the transpose of `rows`, CSR (P, B).
        column_order: (nnz,) position in `rows` of each cell of `columns`.
        input_rows: Encoder inputs, CSR of B rows.
        input_columns: Transpose of `input_rows`, CSR.
    """

    rows: Tensor
    columns: Tensor
    column_order: Tensor
    input_rows: Tensor
    input_columns: Tensor


@dataclass(frozen=True)
class Step:
    """Squared error and gradients of a batch.

    Attributes:
        squared_error: Sum over the observed cells of (f - x)^2, before the update, a 0-d tensor.
        gradients: Gradients of the loss without its penalty, in the order of `AdamState`.
    """

    squared_error: Tensor
    gradients: list[Tensor]


class TorchEngine:
    """Engine of PyTorch operations; see `engine.Engine`."""

    def __init__(
        self,
        network: Network,
        device: torch.device,
        rows_at_once: int,
        loss: Loss = SQUARED_ERROR,
        process_group: ProcessGroup = SINGLE_PROCESS,
    ) -> None:
        self._network = network.copy().to(device)
        self._mean = mean_row(self._network.decoder_weight, process_group) if loss.decoder_mean else None
        if self._mean is not None:
            self._network.decoder_weight.sub_(self._mean)
        self._device = device
        self._rows_at_once = rows_at_once
        self._missing_weight = loss.missing_weight
        self._process_group = process_group
        # Two groups, because only V and W have a penalty; its gradient is their `weight_decay`.
        free = [*self._network.free(), *([] if self._mean is None else [self._mean])]
        groups = [{"params": self._network.penalized()}, {"params": free}]
        self._optimizer = torch.optim.Adam(groups, betas=(BETA1, BETA2), eps=EPSILON, fused=True)

    def step(self, examples: sparse.csr_array, inputs: sparse.csr_array, rate: float, decay: float) -> Tensor:
        """See `engine.Engine`."""
        batch = make_batch(examples, self._device, inputs)
        result = step(self._network, batch, self._missing_weight, self._process_group, self._mean)
        for parameter, gradient in zip(self._parameters(), result.gradients, strict=True):
            parameter.grad = gradient
        # Set anew each step: the rate follows a schedule and the penalty the size of the batch.
        penalized, free = self._optimizer.param_groups
        penalized["lr"] = free["lr"] = rate
        penalized["weight_decay"] = decay
        self._optimizer.step()
        # A float32 sum over an epoch would lose the digits that later steps add.
        return result.squared_error.double()

    def predict(self, inputs: Inputs, cells: sparse.csr_array) -> Array:
        """See `engine.Engine`."""
        outputs = [np.empty(0, dtype=np.float32)]
        for start in range(0, inputs.shape[0], self._rows_at_once):
            rows = slice(start, start + self._rows_at_once)
            hidden = encode(self._network, to_rows(inputs[rows], self._device), self._process_group)[-1]
            z = _sampled_product(self._network, to_rows(cells[rows], self._device), hidden, self._mean)
            outputs.append(self._network.output(z)[0].cpu().numpy())
        return np.concatenate(outputs)

    def network(self) -> Network:
        """See `engine.Engine`."""
        # W leaves the engine as a plain matrix: outside, nobody knows of the mean row.
        network = self._network.copy().to(torch.device("cpu"))
        if self._mean is not None:
            network.decoder_weight.add_(self._mean.cpu())
        return network

    def _parameters(self) -> list[Tensor]:
        """Parameters in the order of `AdamState`."""
        return [*self._network.parameters(), *([] if self._mean is None else [self._mean])]

    def state(self) -> AdamState:
        """See `engine.Engine`."""
        parameters = self._parameters()
        n_steps, means, squares = read_adam(self._optimizer, parameters)
        return AdamState(n_steps, *([_on_cpu(tensor) for tensor in group] for group in (parameters, means, squares)))

    def restore(self, state: AdamState) -> None:
        """See `engine.Engine`."""
        parameters = self._parameters()
        for parameter, value in zip(parameters, state.parameters, strict=True):
            parameter.copy_(torch.from_numpy(value.whole()))
        means, squares = (
            (torch.from_numpy(tensor.whole()) for tensor in group) for group in (state.means, state.squares)
        )
        write_adam(self._optimizer, parameters, state.n_steps, means, squares)

    def close(self, wait: bool = True) -> None:
        """See `engine.Engine`; there are no threads."""

    def is_finite(self) -> bool:
        """See `engine.Engine`."""
        return all(bool(parameter.isfinite().all()) for parameter in self._parameters())


def _on_cpu(tensor: Tensor) -> Pieces:
    """Wrap `tensor`, copied from its device when read."""
    return Pieces(np.dtype(np.float32), tuple(tensor.shape), lambda: iter((tensor.contiguous().cpu().numpy(),)))


def make_batch(examples: sparse.csr_array, device: torch.device, inputs: sparse.csr_array | None = None) -> DeviceBatch:
    """Copy `examples` and their `inputs`, the same if None, to `device` for a step."""
    inputs = examples if inputs is None else inputs
    rows, columns, order = _both_ways(examples, device)
    if inputs.shape == examples.shape:  # and so in the same pattern
        values = torch.from_numpy(inputs.data).to(device)
        return DeviceBatch(rows, columns, order, _with_values(rows, values), _with_values(columns, values[order]))
    input_rows, input_columns, _ = _both_ways(inputs, device)
    return DeviceBatch(rows, columns, order, input_rows, input_columns)


def _both_ways(matrix: sparse.csr_array, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Convert `matrix` to CSR tensors, by row and by column.

    Returns:
        The matrix, its transpose, and the position in the matrix of each cell of the transpose.
    """
    columns, positions = transposed(matrix)
    order = torch.from_numpy(positions.astype(np.int64)).to(device)
    rows = to_rows(matrix, device)
    values = rows.values()[order]
    return rows, _csr(columns.indptr, columns.indices, values, matrix.shape[::-1], device), order


def encode(network: Network, rows: Tensor, process_group: ProcessGroup = SINGLE_PROCESS) -> list[Tensor]:
    """Compute all hidden layers (B, k_layer) from CSR inputs."""
    function, _ = ACTIVATIONS[network.hidden_activation]
    z = process_group.all_reduce(_product(rows, network.encoder_weights[0]))
    return network.deeper(function(z + network.encoder_biases[0]))


def step(
    network: Network,
    batch: DeviceBatch,
    missing_weight: float = 0.0,
    process_group: ProcessGroup = SINGLE_PROCESS,
    mean: Tensor | None = None,
) -> Step:
    """Compute the squared error and the gradients of the loss.

    The loss is the squared error over observed cells plus `missing_weight` times the sum of squared outputs of all
    other cells (identity output).

    Returns:
        Gradients in the order of `AdamState`: encoder weights, decoder weight, encoder biases, decoder bias, and `mean`
        (k,), the row c, if there is one.
    """
    hidden = encode(network, batch.input_rows, process_group)
    # Only at observed cells: the dense B x P product is what this engine avoids.
    predictions, slope = network.output(_sampled_product(network, batch.rows, hidden[-1], mean))
    residual = predictions - batch.rows.values()
    # `missing_gradients` counts every cell as unrated, so the observed ones are subtracted here.
    error = 2 * (residual - missing_weight * predictions) * slope
    error_columns = _with_values(batch.columns, error[batch.column_order])
    decoder_weight = _product(error_columns, hidden[-1])
    decoder_bias = torch.zeros_like(network.decoder_bias).index_add_(0, batch.rows.col_indices(), error)
    upstream = _product(_with_values(batch.rows, error), network.decoder_weight)
    mean_gradient = []
    if mean is not None:
        sums = torch.zeros(len(upstream), dtype=error.dtype, device=error.device)
        sums.index_add_(0, _row_of_cell(batch.rows), error)
        upstream += torch.outer(sums, mean)
        mean_gradient = [process_group.all_reduce(hidden[-1].T @ sums)]
    if missing_weight:
        missing = missing_gradients(hidden[-1], network.decoder_weight, network.decoder_bias, missing_weight)
        upstream += missing.hidden
        decoder_weight += missing.decoder_weight
        decoder_bias += missing.decoder_bias
    # Each process has the part of dh that its own columns cause; deeper layers need the sum.
    weights, biases, slope_of_first = network.back_to_first(hidden, process_group.all_reduce(upstream))
    gradients = [_product(batch.input_columns, slope_of_first), *weights, decoder_weight, *biases, decoder_bias]
    return Step(torch.dot(residual, residual), [*gradients, *mean_gradient])


def codes(
    network: Network,
    inputs: Inputs,
    rows_at_once: int,
    rows: Array | None = None,
    process_group: ProcessGroup = SINGLE_PROCESS,
) -> Tensor:
    """Compute the codes (last hidden layer) of examples, (B, k).

    Of the examples at `rows`; all if None.
    """
    return torch.cat(list(code_blocks(network, inputs, rows_at_once, rows, process_group)))


def code_blocks(
    network: Network,
    inputs: Inputs,
    rows_at_once: int,
    rows: Array | None = None,
    process_group: ProcessGroup = SINGLE_PROCESS,
) -> Iterator[Tensor]:
    """Yield the rows of `codes`, `rows_at_once` at a time."""
    # Blocks of rows bound the memory of hidden layers and of the copied inputs.
    device = network.decoder_weight.device
    rows = np.arange(inputs.shape[0]) if rows is None else rows
    for start in range(0, len(rows), rows_at_once):
        yield encode(network, to_rows(inputs[rows[start : start + rows_at_once]], device), process_group)[-1]


def _sampled_product(network: Network, rows: Tensor, hidden: Tensor, mean: Tensor | None) -> Tensor:
    """Compute the decoder's z at observed cells.

    z = H (W + 1 c')' + b, (nnz,).

    Their pattern `rows` is CSR (B, P), `hidden` are the codes H (B, k) and `mean` is c (k,).
    """
    # beta 0: only the pattern of `rows` counts, not its values.
    z: Tensor = torch.sparse.sampled_addmm(rows, hidden, network.decoder_weight.T, beta=0.0).values()
    z = z + network.decoder_bias[rows.col_indices()]
    return z if mean is None else z + (hidden @ mean)[_row_of_cell(rows)]


def _row_of_cell(rows: Tensor) -> Tensor:
    """Row of each cell of a CSR matrix, (nnz,)."""
    return torch.repeat_interleave(rows.crow_indices().diff())


def to_rows(examples: sparse.csr_array, device: torch.device) -> Tensor:
    """Copy `examples` to `device` as a CSR tensor."""
    return _csr(examples.indptr, examples.indices, torch.from_numpy(examples.data), examples.shape, device)


def _csr(indptr: Array, indices: Array, values: Tensor, shape: tuple[int, ...], device: torch.device) -> Tensor:
    return torch.sparse_csr_tensor(
        # Torch wants both index arrays of one type; int32 halves the traffic.
        torch.from_numpy(indptr.astype(np.int32, copy=False)).to(device),
        torch.from_numpy(indices.astype(np.int32, copy=False)).to(device),
        values.to(device),
        size=shape,
        check_invariants=False,
    )


def _product(matrix: Tensor, dense: Tensor) -> Tensor:
    """Multiply CSR (m, n) by dense (n, k)."""
    # The same as `torch.sparse.mm`, but on tiles of columns two to three times as fast on a CPU.
    product = dense.new_empty(matrix.shape[0], dense.shape[1])
    for start in range(0, dense.shape[1], PRODUCT_COLUMNS):
        tile = slice(start, start + PRODUCT_COLUMNS)
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
    """Replace the values of a CSR tensor."""
    return torch.sparse_csr_tensor(
        pattern.crow_indices(), pattern.col_indices(), values, size=pattern.shape, check_invariants=False
    )
