"""The dense mini-batch step that public AutoRec code takes, written as well as PyTorch allows: the reference for speed.

The batch is a dense (B, P) matrix and every product a GEMM; gradients are written out by hand, as in the sparse step,
so that autograd's overhead is not what is compared. Buffers are allocated once.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from scipy import sparse
from torch import Tensor

from autorec_cli.model import ACTIVATIONS, Network
from autorec_cli.sparse import Step


def dense_batches(
    examples: sparse.csr_array, batch_size: int, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """All rows once in random order: (values, mask of observed cells), each (B, P) float32."""
    order = torch.randperm(examples.shape[0], generator=generator).numpy()
    values = torch.empty(batch_size, examples.shape[1])
    mask = torch.empty_like(values)
    for start in range(0, len(order), batch_size):
        rows = examples[order[start : start + batch_size]]
        owner = torch.repeat_interleave(torch.from_numpy(rows.indptr).diff())
        cells = owner * examples.shape[1] + torch.from_numpy(rows.indices)
        n_rows = rows.shape[0]
        values.zero_().view(-1)[cells] = torch.from_numpy(rows.data)
        mask.zero_().view(-1)[cells] = 1.0
        yield values[:n_rows], mask[:n_rows]


def dense_step(network: Network, values: Tensor, mask: Tensor) -> Step:
    """The same squared error and gradients as `autorec_cli.sparse.step`, for one hidden layer and identity output."""
    function, derivative = ACTIVATIONS[network.hidden_activation]
    hidden = function(torch.addmm(network.encoder_biases[0], values, network.encoder_weights[0]))
    residual = torch.addmm(network.decoder_bias, hidden, network.decoder_weight.T)
    residual.sub_(values).mul_(mask)
    squared_error = torch.dot(residual.view(-1), residual.view(-1))
    error = residual.mul_(2)
    decoder_weight = error.T @ hidden
    decoder_bias = error.sum(0)
    upstream = (error @ network.decoder_weight).mul_(derivative(hidden))
    return Step(squared_error, [values.T @ upstream, decoder_weight, upstream.sum(0), decoder_bias])
