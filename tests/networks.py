"""Random networks and examples, and the plain dense step in float64 that every engine must agree with."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import sparse

from autorec_cli.csr import row_indices
from autorec_cli.network import engine as engines
from autorec_cli.network.autoencoder import Network
from autorec_cli.network.ordinal import Levels, Offsets, Thresholds
from autorec_cli.network.pytorch.engine import FUNCTIONS

COMPILED = "compiled"
numba_is_here = pytest.mark.skipif(engines.CompiledEngine is None, reason="needs the extra 'fast' (numba)")
NAMES = [pytest.param(COMPILED, marks=numba_is_here), "torch"]
"""The engines."""


LEVELS = Levels((-1.0, 0.0, 1.0, 2.0, 4.0), 1.3)
"""Of random networks with an ordinal output."""


def ordinal_examples(examples, rng):
    """The pattern of `examples` with random levels less random centers, and these centers."""
    rows, columns = (rng.normal(0, 0.3, size) for size in examples.shape)
    centers = rows[row_indices(examples)] + columns[examples.indices]
    values = rng.choice(LEVELS.values, examples.nnz) - centers
    return sparse.csr_array((values, examples.indices, examples.indptr), shape=examples.shape), Offsets(rows, columns)


def random_network(sizes, hidden_activation, output_activation, rng, deviation=0.5, n_inputs=None):
    """Network of float64 tensors."""

    def tensor(*shape):
        return torch.from_numpy(rng.normal(0, deviation, shape))

    return Network(
        encoder_weights=tuple(
            tensor(n_inputs if n_inputs and i == 0 else sizes[i], sizes[i + 1]) for i in range(len(sizes) - 1)
        ),
        encoder_biases=tuple(tensor(size) for size in sizes[1:]),
        decoder_weight=tensor(sizes[0], sizes[-1]),
        decoder_bias=tensor(sizes[0]),
        hidden_activation=hidden_activation,
        output_activation=output_activation,
        output_range=(-1.0, 4.0),
        thresholds=Thresholds(tensor(4, sizes[-1]), tensor(4) + torch.arange(4) - 0.5, LEVELS)
        if output_activation == "ordinal"
        else None,
    )


def random_examples(n_rows, n_columns, density, rng, ratings=range(-2, 5)):
    observed = rng.random((n_rows, n_columns)) < density
    rows, columns = np.nonzero(observed)
    values = rng.choice(ratings, len(rows)).astype(np.float64)  # zeros are ratings too
    examples = sparse.csr_array((values, (rows, columns)), shape=observed.shape)
    return examples, observed


def dense_step(network, dense, observed, missing_weight=0.0, inputs=None, mean=None, offsets=None):
    """Squared error over observed cells; gradients, by autograd, of it and of the weighted squares of other outputs.

    Of an ordinal output, the gradients are those of the cross-entropies of its levels, with `offsets` for the centers.

    With a `mean` row the network's decoder weight is what differs from it, and the last gradient is its own.
    """
    means = [] if mean is None else [mean.clone().requires_grad_()]
    parameters = [parameter.clone().requires_grad_() for parameter in network.parameters()]
    depth, thresholds = len(network.encoder_weights), network.thresholds
    of_thresholds = [] if thresholds is None else [parameters.pop() for _ in range(2)][::-1]
    weights, decoder_weight = parameters[:depth], parameters[depth]
    biases, decoder_bias = parameters[depth + 1 : -1], parameters[-1]
    hidden = dense if inputs is None else inputs
    for weight, bias in zip(weights, biases, strict=True):
        hidden = FUNCTIONS[network.hidden_activation](hidden @ weight + bias)
    z = hidden @ sum(means, decoder_weight).T + decoder_bias
    if thresholds is not None:
        weight, bias = of_thresholds
        centers = torch.from_numpy(offsets.rows)[:, None] + torch.from_numpy(offsets.columns)
        limits = (hidden @ weight.T + bias)[:, None]
        exceeded = torch.sigmoid(LEVELS.slope * ((z + centers)[..., None] - limits))[observed]
        ratings, gaps = (dense + centers)[observed][:, None], torch.tensor(LEVELS.gaps, dtype=z.dtype)
        is_above = (ratings > torch.tensor(LEVELS.midpoints)).to(z.dtype)
        entropy = torch.nn.functional.binary_cross_entropy(exceeded, is_above, reduction="none")
        squared_error = ((LEVELS.values[0] + exceeded @ gaps - ratings[:, 0]) ** 2).sum()
        loss = 2 / LEVELS.slope * (entropy @ gaps).sum()
        return squared_error.detach(), torch.autograd.grad(
            loss, [*weights, decoder_weight, *biases, decoder_bias, *of_thresholds, *means], materialize_grads=True
        )
    output, _ = network.output(z, torch.sigmoid)
    loss = ((output - dense)[observed] ** 2).sum()
    missing = missing_weight * (output[~observed] ** 2).sum()
    return loss.detach(), torch.autograd.grad(loss + missing, [*parameters, *means])


def in_float32(network):
    """The network that an engine is given."""
    return network.map(lambda tensor: tensor.float().numpy())
