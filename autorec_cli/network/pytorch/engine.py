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

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from autorec_cli.csr import Array
from autorec_cli.network.adam import AdamState
from autorec_cli.network.autoencoder import SQUARED_ERROR, Loss, Network, mean_row
from autorec_cli.network.dropout import Dropout
from autorec_cli.network.encoder_input import Batch, Cells, Inputs, RowSelection
from autorec_cli.network.memory_estimate import Need, batch_bytes, ratings_stay
from autorec_cli.network.missing_cells import missing_gradients
from autorec_cli.network.ordinal import Levels
from autorec_cli.network.pytorch.adam import TorchAdam
from autorec_cli.network.pytorch.examples import DeviceExamples, free_bytes
from autorec_cli.network.pytorch.sparse_tensors import (
    DeviceMatrix,
    product,
    row_of_cell,
    row_sums,
    send,
    to_both_orders,
    to_csr,
    with_values,
)
from autorec_cli.runtime.memory import CELL
from autorec_cli.runtime.process_group import SINGLE_PROCESS, ProcessGroup
from autorec_cli.storage.safetensors_writer import Pieces

FUNCTIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "identity": lambda z: z,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "elu": torch.nn.functional.elu,
}
"""Names and functions of tensors, as `activations.ACTIVATIONS`."""


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
        network: Network[Array],
        device: str,
        rows_at_once: int,
        loss: Loss = SQUARED_ERROR,
        process_group: ProcessGroup = SINGLE_PROCESS,
    ) -> None:
        self._device = torch.device(device)
        self._network = network.map(self._copied)
        self._mean: Tensor | None = None
        if loss.decoder_mean:
            self._mean = self._copied(mean_row(network.decoder_weight, process_group))
            self._network.decoder_weight.sub_(self._mean)
        self._rows_at_once = rows_at_once
        self._missing_weight = loss.missing_weight
        self._process_group = process_group
        self._offsets = loss.offsets
        self._column_offsets = None if loss.offsets is None else self._copied(loss.offsets.columns)
        self._examples: DeviceExamples | None = None
        self._optimizer = TorchAdam(self._parameters())
        self.is_threaded = self._device.type == "cpu" and torch.get_num_threads() > 1

    def _copied(self, array: Array) -> Tensor:
        return torch.from_numpy(array).to(self._device, copy=True)

    def batch(self, inputs: Inputs, rows: Array, dropout: Dropout | None) -> Batch:
        """See `engine.Engine`."""
        if self._device.type == "cpu":
            return inputs.batch(rows, dropout)
        return self._device_examples(inputs).batch(rows, dropout)

    def step(self, batch: Batch, rate: float, decay: float) -> Tensor:
        """See `engine.Engine`."""
        targets, shown = to_device(batch.targets, batch.inputs, self._device)
        centers = None if batch.rows is None else self._centers(targets.rows, batch.rows)
        result = step(self._network, targets, shown, self._missing_weight, self._process_group, self._mean, centers)
        # Only V and W have a penalty.
        penalized = {id(weight) for weight in self._network.penalized()}
        decays = [decay if id(parameter) in penalized else 0.0 for parameter in self._parameters()]
        self._optimizer.step(result.gradients, rate, decays)
        # A float32 sum over an epoch would lose the digits that later steps add.
        return result.squared_error.double()

    def predict(self, inputs: Inputs, cells: sparse.csr_array) -> Array:
        """See `engine.Engine`."""
        outputs = [np.empty(0, dtype=np.float32)]
        for start in range(0, inputs.shape[0], self._rows_at_once):
            rows = slice(start, start + self._rows_at_once)
            hidden = encode(self._network, self._input_rows(inputs, rows), self._process_group)[-1]
            pattern = to_csr(cells[rows], self._device)
            z = _sampled_product(self._network, pattern, hidden, self._mean)
            centers = self._centers(pattern, np.arange(inputs.shape[0])[rows])
            outputs.append(_outputs(self._network, pattern, hidden, z, centers)[0].cpu().numpy())
        return np.concatenate(outputs)

    def codes(self, inputs: Inputs, rows: Array | None = None) -> Array:
        """See `engine.Engine`."""
        rows = np.arange(inputs.shape[0]) if rows is None else rows
        blocks = [rows[start : start + self._rows_at_once] for start in range(0, len(rows), self._rows_at_once)]
        encoded = (encode(self._network, self._input_rows(inputs, block), self._process_group) for block in blocks)
        return torch.cat([hidden[-1].cpu() for hidden in encoded]).numpy()

    def _centers(self, pattern: Tensor, rows: Array) -> Tensor | None:
        """Center of each cell, (nnz,), for an ordinal output.

        `pattern` is CSR (B, P), the cells of the examples at `rows`.
        """
        if self._offsets is None or self._column_offsets is None:
            return None
        of_rows = send(self._offsets.rows[rows], self._device)
        return of_rows[row_of_cell(pattern)] + self._column_offsets[pattern.col_indices()]

    def _input_rows(self, inputs: Inputs, rows: RowSelection) -> Tensor:
        if self._device.type == "cpu":
            return to_csr(inputs[rows], self._device)
        return self._device_examples(inputs).by_row(np.arange(inputs.shape[0])[rows])[1]

    def _device_examples(self, inputs: Inputs) -> DeviceExamples:
        """Examples on the device, copied once.

        They are streamed batch by batch if they do not fit.
        """
        if self._examples is None or self._examples.inputs is not inputs:
            self._examples = None  # its memory counts as free
            resident = ratings_stay(self._need(inputs), free_bytes(self._device))
            self._examples = DeviceExamples(inputs, self._device, resident)
        return self._examples

    def _need(self, inputs: Inputs) -> Need:
        """Memory that training will take, as `training_need` estimates it, besides the parameters."""
        n_cells = inputs.examples.nnz * min(1.0, self._rows_at_once / max(1, inputs.shape[0]))
        hidden = sum(len(bias) for bias in self._network.encoder_biases)
        # Gradients, and Adam's two moments.
        rest = 3 * sum(parameter.nbytes for parameter in self._parameters())
        if self._missing_weight:
            rest += 2 * self._network.decoder_weight.nbytes
        batch = batch_bytes(n_cells, self._rows_at_once, hidden, inputs.implicit, self._offsets is not None)
        return Need(0, rest + batch, CELL * inputs.examples.nnz)

    def network(self) -> Network[Array]:
        """See `engine.Engine`."""
        network = self._network.map(_copied)
        self._add_mean(network.decoder_weight)
        return network

    def decoder(self) -> tuple[Array, Array]:
        """See `engine.Engine`."""
        weight = _copied(self._network.decoder_weight)
        self._add_mean(weight)
        return weight, _copied(self._network.decoder_bias)

    def _add_mean(self, weight: Array) -> None:
        if self._mean is not None:  # callers know nothing of the mean row
            np.add(weight, self._mean.cpu().numpy(), out=weight)

    def _parameters(self) -> list[Tensor]:
        """Parameters in the order of `AdamState`."""
        return [*self._network.parameters(), *([] if self._mean is None else [self._mean])]

    def state(self) -> AdamState:
        """See `engine.Engine`."""
        groups = (self._optimizer.parameters, self._optimizer.means, self._optimizer.squares)
        return AdamState(self._optimizer.n_steps, *([_on_cpu(tensor) for tensor in group] for group in groups))

    def restore(self, state: AdamState) -> None:
        """See `engine.Engine`."""
        for parameter, value in zip(self._parameters(), state.parameters, strict=True):
            parameter.copy_(torch.from_numpy(value.whole()))
        means, squares = (
            (torch.from_numpy(tensor.whole()) for tensor in group) for group in (state.means, state.squares)
        )
        self._optimizer.restore(state.n_steps, means, squares)

    def close(self, wait: bool = True) -> None:
        """See `engine.Engine`; there are no threads."""

    def is_finite(self) -> bool:
        """See `engine.Engine`."""
        return all(bool(parameter.isfinite().all()) for parameter in self._parameters())


def _copied(tensor: Tensor) -> Array:
    return tensor.to("cpu", copy=True).numpy()


def _on_cpu(tensor: Tensor) -> Pieces:
    """Wrap `tensor`, copied from its device when read."""
    return Pieces(np.dtype(np.float32), tuple(tensor.shape), lambda: iter((tensor.contiguous().cpu().numpy(),)))


def to_device(examples: Cells, inputs: Cells, device: torch.device) -> tuple[DeviceMatrix, DeviceMatrix]:
    """Copy `examples` and their `inputs` to `device`.

    A `DeviceMatrix` is there already.
    """
    if isinstance(inputs, DeviceMatrix):
        assert isinstance(examples, DeviceMatrix)
        return examples, inputs
    assert isinstance(examples, sparse.csr_array)
    assert isinstance(inputs, sparse.csr_array)
    targets = to_both_orders(examples, device)
    if inputs.shape != examples.shape:
        return targets, to_both_orders(inputs, device)
    return targets, targets.with_values(torch.from_numpy(inputs.data).to(device))  # in the same pattern


def encode(network: Network[Tensor], rows: Tensor, process_group: ProcessGroup = SINGLE_PROCESS) -> list[Tensor]:
    """Compute all hidden layers (B, k_layer) from CSR inputs."""
    function = FUNCTIONS[network.hidden_activation]
    z = process_group.all_reduce(product(rows, network.encoder_weights[0]))
    return network.deeper(function(z + network.encoder_biases[0]), function)


def step(
    network: Network[Tensor],
    examples: DeviceMatrix,
    inputs: DeviceMatrix,
    missing_weight: float = 0.0,
    process_group: ProcessGroup = SINGLE_PROCESS,
    mean: Tensor | None = None,
    centers: Tensor | None = None,
) -> Step:
    """Compute the squared error and the gradients of the loss.

    The loss is the squared error over observed cells plus `missing_weight` times the sum of squared outputs of all
    other cells (identity output); or that of an ordinal output, which needs the `centers` (nnz,) of the cells.

    Returns:
        Gradients in the order of `AdamState`: encoder weights, decoder weight, encoder biases, decoder bias, those of
        the thresholds, and `mean` (k,), the row c, if there is one.
    """
    hidden = encode(network, inputs.rows, process_group)
    # Only at observed cells: the dense B x P product is what this engine avoids.
    z = _sampled_product(network, examples.rows, hidden[-1], mean)
    predictions, slope, of_thresholds = _outputs(network, examples.rows, hidden[-1], z, centers, examples.rows.values())
    residual = predictions - examples.rows.values()
    # `missing_gradients` counts every cell as unrated, so the observed ones are subtracted here.
    error = examples.with_values(2 * (residual - missing_weight * predictions) * slope)
    decoder_weight = product(error.columns, hidden[-1])
    decoder_bias = row_sums(error.columns)
    upstream = product(error.rows, network.decoder_weight)
    mean_gradient = []
    if mean is not None:
        sums = row_sums(error.rows)
        upstream += torch.outer(sums, mean)
        mean_gradient = [process_group.all_reduce(hidden[-1].T @ sums)]
    threshold_gradients = []
    if of_thresholds is not None and network.thresholds is not None:
        upstream += of_thresholds @ network.thresholds.weight
        threshold_gradients = [
            process_group.all_reduce(of_thresholds.T @ hidden[-1]),
            process_group.all_reduce(of_thresholds.sum(0)),
        ]
    if missing_weight:
        of_codes, of_weight = _missing_gradients(network, hidden[-1], missing_weight)
        upstream += of_codes[:, :-1]
        decoder_weight += of_weight[:, :-1]
        decoder_bias += of_weight[:, -1]
    # Each process has the part of dh that its own columns cause; deeper layers need the sum.
    weights, biases, slope_of_first = network.back_to_first(hidden, process_group.all_reduce(upstream))
    gradients = [product(inputs.columns, slope_of_first), *weights, decoder_weight, *biases, decoder_bias]
    return Step(torch.dot(residual, residual), [*gradients, *threshold_gradients, *mean_gradient])


def _missing_gradients(network: Network[Tensor], hidden: Tensor, missing_weight: float) -> tuple[Tensor, Tensor]:
    """Compute gradients as if all cells were unrated.

    They are those by the codes and W, with a column appended to each.
    """
    codes = torch.cat([hidden, torch.ones_like(hidden[:, :1])], 1)
    weight = torch.cat([network.decoder_weight, network.decoder_bias[:, None]], 1)
    return missing_gradients(codes, weight, missing_weight)


def _outputs(
    network: Network[Tensor],
    pattern: Tensor,
    hidden: Tensor,
    z: Tensor,
    centers: Tensor | None,
    targets: Tensor | None = None,
) -> tuple[Tensor, Tensor | float, Tensor | None]:
    """Outputs at the cells of `pattern`, and their gradients.

    The gradients are the derivative by z, and with an ordinal output and targets that of each example's thresholds.
    """
    if network.thresholds is None:
        return *network.output(z, torch.sigmoid), None
    assert centers is not None

    def sums(values: Tensor) -> Tensor:
        return row_sums(with_values(pattern, values))

    thresholds = network.thresholds
    rows = row_of_cell(pattern)
    outputs, gradient = ordinal_outputs(z, centers, thresholds.of(hidden), rows, thresholds.levels, targets, sums)
    return outputs, 1.0, gradient  # the loss is such that the derivative is that of an identity


class OrdinalOutputs(NamedTuple):
    """Outputs of an ordinal network at observed cells.

    Attributes:
        outputs: x_hat (n,).
        thresholds: Gradient of the loss by the thresholds of each example, (B, J); None without targets.
    """

    outputs: Tensor
    thresholds: Tensor | None


def ordinal_outputs(
    z: Tensor,
    offsets: Tensor,
    thresholds: Tensor,
    rows: Tensor,
    levels: Levels,
    targets: Tensor | None = None,
    row_sums: Callable[[Tensor], Tensor] | None = None,
) -> OrdinalOutputs:
    """Compute outputs and, with targets, gradients of an ordinal output; see `ordinal`.

    Args:
        z: H W' + b at the cells, (n,).
        offsets: o of each cell, (n,).
        thresholds: Of each example, (B, J).
        rows: Example of each cell, (n,).
        levels: The rating levels.
        targets: Centered ratings (n,).
        row_sums: Sums values (n,) over the cells of each example, (B,).
    """
    location = z + offsets
    outputs = levels.values[0] - offsets
    ratings = None if targets is None else targets + offsets
    gradients = []
    # One threshold at a time: all of them at once would take J times the memory of the cells.
    for number, (gap, midpoint) in enumerate(zip(levels.gaps, levels.midpoints, strict=True)):
        exceeded = torch.sigmoid_((location - thresholds[:, number][rows]).mul_(levels.slope))
        outputs = outputs.add_(exceeded, alpha=gap)
        if ratings is not None and row_sums is not None:
            gradients.append(row_sums(exceeded.sub_((ratings > midpoint).to(exceeded))).mul_(-2 * gap))
    return OrdinalOutputs(outputs, torch.stack(gradients, dim=1) if gradients else None)


def _sampled_product(network: Network[Tensor], rows: Tensor, hidden: Tensor, mean: Tensor | None) -> Tensor:
    """Compute the decoder's z at observed cells.

    z = H (W + 1 c')' + b, (nnz,).

    Their pattern `rows` is CSR (B, P), `hidden` are the codes H (B, k) and `mean` is c (k,).
    """
    # beta 0: only the pattern of `rows` counts, not its values.
    z: Tensor = torch.sparse.sampled_addmm(rows, hidden, network.decoder_weight.T, beta=0.0).values()
    z = z + network.decoder_bias[rows.col_indices()]
    return z if mean is None else z + (hidden @ mean)[row_of_cell(rows)]
