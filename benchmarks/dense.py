"""The dense mini-batch step that public AutoRec code takes, written as well as PyTorch allows: the reference for speed.

The batch is a dense (B, P) matrix and every product a GEMM; gradients are written out by hand, as in the sparse step,
so that autograd's overhead is not what is compared. Buffers are allocated once.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from autorec_cli.baselines import Array
from autorec_cli.dataset import row_indices
from autorec_cli.model import ACTIVATIONS, Network


class DenseEngine:
    """One hidden layer and identity output, behind the methods of `autorec_cli.engine.Engine` that an epoch needs."""

    def __init__(self, network: Network, device: torch.device, rows_at_once: int) -> None:
        self._parameters = network.copy().to(device)
        self._values = torch.empty(rows_at_once, network.decoder_weight.shape[0])
        self._mask = torch.empty_like(self._values)
        groups = [{"params": self._parameters.penalized()}, {"params": self._parameters.free()}]
        self._optimizer = torch.optim.Adam(groups, fused=True)

    def step(self, examples: sparse.csr_array, inputs: Array, rate: float, decay: float) -> Tensor:
        """One step of Adam; returns the squared error over the observed cells before it."""
        if inputs is not examples.data:
            raise ValueError("the dense step has no inputs of their own")
        squared_error, gradients = self._gradients(*self._densified(examples))
        for parameter, gradient in zip(self._parameters.parameters(), gradients, strict=True):
            parameter.grad = gradient
        penalized, free = self._optimizer.param_groups
        penalized["lr"] = free["lr"] = rate
        penalized["weight_decay"] = decay
        self._optimizer.step()
        return squared_error.double()

    def predict(self, examples: sparse.csr_array, cells: sparse.csr_array) -> Array:
        """The outputs for rows of `examples` in the pattern of `cells`."""
        parts = []
        for start in range(0, examples.shape[0], len(self._values)):
            rows = slice(start, start + len(self._values))
            values, _ = self._densified(examples[rows])
            output = torch.addmm(self._parameters.decoder_bias, self._hidden(values), self._parameters.decoder_weight.T)
            parts.append(output.numpy()[row_indices(cells[rows]), cells[rows].indices])
        return np.concatenate(parts)

    def network(self) -> Network:
        """A copy of the network."""
        return self._parameters.copy()

    def is_finite(self) -> bool:
        """Whether all parameters are finite."""
        return all(bool(parameter.isfinite().all()) for parameter in self._parameters.parameters())

    def _densified(self, examples: sparse.csr_array) -> tuple[Tensor, Tensor]:
        """Values and mask of the observed cells, each (B, P) float32."""
        cells = torch.from_numpy(row_indices(examples).astype(np.int64) * examples.shape[1] + examples.indices)
        n_rows = examples.shape[0]
        self._values[:n_rows].zero_().view(-1)[cells] = torch.from_numpy(examples.data)
        self._mask[:n_rows].zero_().view(-1)[cells] = 1.0
        return self._values[:n_rows], self._mask[:n_rows]

    def _hidden(self, values: Tensor) -> Tensor:
        function, _ = ACTIVATIONS[self._parameters.hidden_activation]
        return function(torch.addmm(self._parameters.encoder_biases[0], values, self._parameters.encoder_weights[0]))

    def _gradients(self, values: Tensor, mask: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The squared error and its gradients in the order of `Network.parameters`."""
        network = self._parameters
        _, derivative = ACTIVATIONS[network.hidden_activation]
        hidden = self._hidden(values)
        residual = torch.addmm(network.decoder_bias, hidden, network.decoder_weight.T)
        residual.sub_(values).mul_(mask)
        squared_error = torch.dot(residual.view(-1), residual.view(-1))
        error = residual.mul_(2)
        decoder_weight = error.T @ hidden
        decoder_bias = error.sum(0)
        upstream = (error @ network.decoder_weight).mul_(derivative(hidden))
        return squared_error, [values.T @ upstream, decoder_weight, upstream.sum(0), decoder_bias]
