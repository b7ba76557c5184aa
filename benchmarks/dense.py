"""The dense mini-batch step that public AutoRec code takes, written as well as PyTorch allows: the reference for speed.

The batch is a dense (B, P) matrix and every product a GEMM; gradients are written out by hand, as in the sparse step,
so that autograd's overhead is not what is compared. Buffers are allocated once.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from autorec_cli.csr import Array
from autorec_cli.network.activations import DERIVATIVES
from autorec_cli.network.adam import AdamState
from autorec_cli.network.autoencoder import SQUARED_ERROR, Loss, Network, mean_row
from autorec_cli.network.dropout import Dropout
from autorec_cli.network.encoder_input import Batch, Inputs
from autorec_cli.network.pytorch.adam import TorchAdam
from autorec_cli.network.pytorch.engine import FUNCTIONS
from autorec_cli.network.pytorch.examples import DeviceExamples
from autorec_cli.network.pytorch.sparse_tensors import row_of_cell, to_csr
from autorec_cli.runtime.process_group import SINGLE_PROCESS
from autorec_cli.storage.safetensors_writer import in_one

Matrix = sparse.csr_array | Tensor
"""Sparse matrix: scipy's, or a CSR tensor on the device."""


class DenseEngine:
    """One hidden layer and identity output, behind the methods of `network.engine.Engine` that an epoch needs."""

    def __init__(
        self, network: Network[Array], device: str, rows_at_once: int, loss: Loss = SQUARED_ERROR, *_: object
    ) -> None:
        self._device = torch.device(device)
        self._parameters = network.map(self._copied)
        self._mean: Tensor | None = None
        if loss.decoder_mean:
            self._mean = self._copied(mean_row(network.decoder_weight, SINGLE_PROCESS))
            self._parameters.decoder_weight.sub_(self._mean)
        self._examples: DeviceExamples | None = None
        self._values = torch.empty(rows_at_once, network.decoder_weight.shape[0], device=device)
        self._mask = torch.empty_like(self._values)
        self._shown = torch.empty(rows_at_once, network.encoder_weights[0].shape[0], device=device)
        self._optimizer = TorchAdam(self._all())
        self.is_threaded = False

    def _copied(self, array: Array) -> Tensor:
        return torch.from_numpy(array).to(self._device, copy=True)

    def batch(self, inputs: Inputs, rows: Array, dropout: Dropout | None) -> Batch:
        """The batch of the examples at `rows`; on a GPU, from ratings that stay there."""
        if self._device.type == "cpu":
            return inputs.batch(rows, dropout)
        if self._examples is None:
            self._examples = DeviceExamples(inputs, self._device, resident=True)
        return Batch(*self._examples.by_row(rows, dropout))

    def step(self, batch: Batch, rate: float, decay: float) -> Tensor:
        """One step of Adam; returns the squared error over the observed cells before it."""
        examples, inputs, _ = batch
        values, mask = _fill(self._values, examples), _fill(self._mask, examples, 1.0)
        same = not isinstance(inputs, Tensor) and inputs.data is examples.data
        shown = values if same else _fill(self._shown, inputs)
        squared_error, gradients = self._gradients(values, mask, shown)
        penalized = {id(weight) for weight in self._parameters.penalized()}
        self._optimizer.step(gradients, rate, [decay if id(part) in penalized else 0.0 for part in self._all()])
        return squared_error.double()

    def predict(self, inputs: Inputs, cells: sparse.csr_array) -> Array:
        """The outputs for all rows of `inputs` in the pattern of `cells`."""
        parts = [np.empty(0, dtype=np.float32)]
        for start in range(0, inputs.shape[0], len(self._values)):
            rows = np.arange(start, min(start + len(self._values), inputs.shape[0]))
            shown, pattern = self.batch(inputs, rows, None).inputs, to_csr(cells[rows], self._device)
            outputs = self._outputs(self._hidden(_fill(self._shown, shown)))
            parts.append(outputs[row_of_cell(pattern), pattern.col_indices()].cpu().numpy())
        return np.concatenate(parts)

    def network(self) -> Network[Array]:
        """A copy of the network."""
        network = self._parameters.map(lambda parameter: parameter.to("cpu", copy=True).numpy())
        if self._mean is not None:
            np.add(network.decoder_weight, self._mean.cpu().numpy(), out=network.decoder_weight)
        return network

    def _all(self) -> list[Tensor]:
        return [*self._parameters.parameters(), *([] if self._mean is None else [self._mean])]

    def state(self) -> AdamState:
        """The parameters and the optimizer's state; written at the end of a fit."""
        groups = (self._optimizer.parameters, self._optimizer.means, self._optimizer.squares)
        return AdamState(self._optimizer.n_steps, *([in_one(part.cpu().numpy()) for part in group] for group in groups))

    def close(self, wait: bool = True) -> None:
        """Nothing: there are no threads."""

    def is_finite(self) -> bool:
        """True if all parameters are finite."""
        return all(bool(parameter.isfinite().all()) for parameter in self._all())

    def _hidden(self, shown: Tensor) -> Tensor:
        function = FUNCTIONS[self._parameters.hidden_activation]
        return function(torch.addmm(self._parameters.encoder_biases[0], shown, self._parameters.encoder_weights[0]))

    def _outputs(self, hidden: Tensor) -> Tensor:
        outputs = torch.addmm(self._parameters.decoder_bias, hidden, self._parameters.decoder_weight.T)
        return outputs if self._mean is None else outputs.add_((hidden @ self._mean)[:, None])

    def _gradients(self, values: Tensor, mask: Tensor, shown: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The squared error and its gradients in the order of `AdamState`."""
        network = self._parameters
        derivative = DERIVATIVES[network.hidden_activation]
        hidden = self._hidden(shown)
        residual = self._outputs(hidden)
        residual.sub_(values).mul_(mask)
        squared_error = torch.dot(residual.view(-1), residual.view(-1))
        error = residual.mul_(2)
        decoder_weight = error.T @ hidden
        decoder_bias = error.sum(0)
        upstream = error @ network.decoder_weight
        mean = []
        if self._mean is not None:
            sums = error.sum(1)
            upstream.addr_(sums, self._mean)
            mean = [sums @ hidden]
        upstream.mul_(derivative(hidden))
        return squared_error, [shown.T @ upstream, decoder_weight, upstream.sum(0), decoder_bias, *mean]


def _fill(buffer: Tensor, matrix: Matrix, value: float | None = None) -> Tensor:
    """`matrix` (B, P) as a dense one in the first rows of `buffer`; with `value` in the place of its cells."""
    rows = matrix if isinstance(matrix, Tensor) else to_csr(matrix, buffer.device)
    cells = row_of_cell(rows).long() * matrix.shape[1] + rows.col_indices()
    filled = buffer[: matrix.shape[0]].zero_()
    filled.view(-1)[cells] = rows.values() if value is None else value
    return filled
