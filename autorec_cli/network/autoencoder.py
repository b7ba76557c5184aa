"""AutoRec network: an autoencoder over partially observed rows.

Sedhain et al., WWW 2015. Shapes, in all of `network`: N examples (rows), P columns, B examples in a batch, k units in
the last hidden layer.

    z = x V + mu       h = g(z)      first hidden layer; deeper ones repeat it with dense weights
    x_hat = f(h W' + b)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from autorec_cli.config import Hyperparameters
from autorec_cli.csr import Array
from autorec_cli.network.ordinal import Levels, Offsets
from autorec_cli.runtime.partition import COLUMNS_PER_BLOCK, Partition
from autorec_cli.runtime.process_group import ProcessGroup

TILE = 64
"""Columns that the compiled engine keeps together; the last tile is padded with zeros."""
ROWS_PER_PIECE = 1 << 14
"""Rows of V and W that are taken out of their tiles at a time for a checkpoint."""

Elementwise = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Thresholds:
    """Thresholds between rating levels; see `ordinal`.

    Attributes:
        weight: C (J, k).
        bias: c (J,).
        levels: The levels, in the unit of the examples.
    """

    weight: Tensor
    bias: Tensor
    levels: Levels

    def of(self, codes: Tensor) -> Tensor:
        """Thresholds (B, J) of examples with these codes (B, k)."""
        return torch.addmm(self.bias, codes, self.weight.T)

    def to(self, device: torch.device) -> Thresholds:
        """Copy the thresholds to `device`."""
        return replace(self, weight=self.weight.to(device, copy=True), bias=self.bias.to(device, copy=True))


ACTIVATIONS: Mapping[str, tuple[Elementwise, Elementwise]] = {
    "identity": (lambda z: z, torch.ones_like),
    "sigmoid": (torch.sigmoid, lambda h: h * (1 - h)),
    "tanh": (torch.tanh, lambda h: 1 - h * h),
    "relu": (torch.relu, lambda h: (h > 0).to(h.dtype)),
    "elu": (torch.nn.functional.elu, lambda h: torch.where(h > 0, torch.ones_like(h), h + 1)),
}
"""Name -> (the function, its derivative written in terms of its output)."""


@dataclass(frozen=True)
class Network:
    """Parameters and activation functions.

    Attributes:
        encoder_weights: The first is V, (P, k1) or, with the implicit channel, (2P, k1); then (k1, k2), ...
        encoder_biases: mu (k1,), (k2,), ...
        decoder_weight: W (P, k).
        decoder_bias: b (P,).
        hidden_activation: g, a key of ACTIVATIONS.
        output_activation: f, "identity", "sigmoid" or "ordinal".
        output_range: Range of a sigmoid output, in the unit of the examples.
        thresholds: Of an ordinal output; None for the others.
    """

    encoder_weights: tuple[Tensor, ...]
    encoder_biases: tuple[Tensor, ...]
    decoder_weight: Tensor
    decoder_bias: Tensor
    hidden_activation: str
    output_activation: str
    output_range: tuple[float, float]
    thresholds: Thresholds | None = None

    def parameters(self) -> list[Tensor]:
        """List all parameters in a fixed order.

        Encoder weights, decoder weight, encoder biases, decoder bias, then those of the thresholds.
        """
        free = [*self.encoder_biases, self.decoder_bias, *self._of_thresholds()]
        return [*self.encoder_weights, self.decoder_weight, *free]

    def penalized(self) -> list[Tensor]:
        """Parameters with a penalty, as in the paper: V, W."""
        return [self.encoder_weights[0], self.decoder_weight]

    def free(self) -> list[Tensor]:
        """Parameters without a penalty: biases, dense layers and thresholds."""
        return [*self.encoder_weights[1:], *self.encoder_biases, self.decoder_bias, *self._of_thresholds()]

    def _of_thresholds(self) -> list[Tensor]:
        return [] if self.thresholds is None else [self.thresholds.weight, self.thresholds.bias]

    def output(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Output f(z) and its derivative f'(z); an ordinal output is computed by `ordinal_output`."""
        if self.output_activation == "identity":
            return z, torch.ones_like(z)
        low, high = self.output_range
        s = torch.sigmoid(z)
        return low + (high - low) * s, (high - low) * s * (1 - s)

    def deeper(self, first: Tensor) -> list[Tensor]:
        """Compute all hidden layers, (B, k_layer) each, from the first."""
        function, _ = ACTIVATIONS[self.hidden_activation]
        hidden = [first]
        for weight, bias in zip(self.encoder_weights[1:], self.encoder_biases[1:], strict=True):
            hidden.append(function(hidden[-1] @ weight + bias))
        return hidden

    def back_to_first(self, hidden: list[Tensor], upstream: Tensor) -> tuple[list[Tensor], list[Tensor], Tensor]:
        """Back-propagate through the hidden layers.

        Args:
            hidden: Outputs of all layers, from `deeper`.
            upstream: d loss / d hidden[-1], (B, k).

        Returns:
            Gradients of `encoder_weights[1:]`, gradients of all `encoder_biases`, and d loss / d z of the first layer,
            (B, k1).
        """
        _, derivative = ACTIVATIONS[self.hidden_activation]
        weights: list[Tensor] = []
        # Derivatives are written in terms of outputs, so no z has to be kept.
        slope = upstream * derivative(hidden[-1])
        biases = [slope.sum(0)]
        for layer in range(len(hidden) - 1, 0, -1):
            weights.insert(0, hidden[layer - 1].T @ slope)
            slope = (slope @ self.encoder_weights[layer].T) * derivative(hidden[layer - 1])
            biases.insert(0, slope.sum(0))
        return weights, biases, slope

    def to(self, device: torch.device) -> Network:
        """Copy the network and its parameters to `device`."""
        return replace(
            self,
            encoder_weights=tuple(weight.to(device, copy=True) for weight in self.encoder_weights),
            encoder_biases=tuple(bias.to(device, copy=True) for bias in self.encoder_biases),
            decoder_weight=self.decoder_weight.to(device, copy=True),
            decoder_bias=self.decoder_bias.to(device, copy=True),
            thresholds=None if self.thresholds is None else self.thresholds.to(device),
        )

    def copy(self) -> Network:
        """Copy the network and its parameters."""
        return self.to(self.decoder_bias.device)


@dataclass(frozen=True)
class Loss:
    """Terms of the loss besides the observed squared error.

    Attributes:
        missing_weight: Weight of the squared output of an unrated cell, relative to 1 for a rated one.
        decoder_mean: Shrink the rows of W toward a learned mean instead of zero; requires `missing_weight` 0. The
            thresholds of an ordinal output have such means, so that it needs no other.
        offsets: Centers that were subtracted from the targets; an ordinal output needs them.
    """

    missing_weight: float = 0.0
    decoder_mean: bool = False
    offsets: Offsets | None = None


SQUARED_ERROR = Loss()


@dataclass(frozen=True)
class MissingGradients:
    """Gradients of the loss on unrated cells.

    The loss is w times the sum of (h W' + b)^2 over all cells of a batch.

    Attributes:
        hidden: (B, k).
        decoder_weight: (P, k).
        decoder_bias: (P,).
    """

    hidden: Tensor
    decoder_weight: Tensor
    decoder_bias: Tensor


def missing_gradients(hidden: Tensor, weight: Tensor, bias: Tensor, missing_weight: float) -> MissingGradients:
    """Compute gradients as if all cells were unrated.

    An unrated cell is a weak observation of 0. The sum over all B x P cells is a quadratic form in k x k matrices, as
    in implicit ALS (Hu, Koren and Volinsky, ICDM 2008): with a column of ones appended to h and b to W it is the trace
    of (h'h)(W'W), so nothing of size B x P is allocated, unless B is below 2k/3. The caller subtracts the
    observed cells.

    Args:
        hidden: h, the codes (B, k).
        weight: W (P, k).
        bias: b (P,).
        missing_weight: w.
    """
    ones = hidden.sum(0)
    twice = 2 * missing_weight
    if 3 * len(hidden) < 2 * hidden.shape[1]:
        # Fewer operations for a small batch, and its outputs are smaller than W: 6BPk against 4Pk^2.
        outputs = torch.addmm(bias, hidden, weight.T)
        return MissingGradients(
            hidden=(outputs @ weight).mul_(twice),
            decoder_weight=(outputs.T @ hidden).mul_(twice),
            decoder_bias=outputs.sum(0).mul_(twice),
        )
    return MissingGradients(
        hidden=torch.addmm(weight.T @ bias, hidden, weight.T @ weight).mul_(twice),
        decoder_weight=torch.outer(bias, ones).addmm_(weight, hidden.T @ hidden).mul_(twice),
        decoder_bias=(weight @ ones + bias * hidden.shape[0]).mul_(twice),
    )


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


def mean_row(weight: Tensor, process_group: ProcessGroup) -> Tensor:
    """Mean (k,) of the rows of `weight` (P, k) over all processes."""
    total = process_group.sum([*weight.sum(0, dtype=torch.float64).tolist(), len(weight)])
    return torch.from_numpy(total[:-1] / total[-1]).to(weight)


# Factors on Glorot's bounds: 1 / slope at 0, and for tanh and relu those of torch.nn.init.calculate_gain.
GAINS = {"identity": 1.0, "sigmoid": 4.0, "tanh": 5 / 3, "relu": 2**0.5, "elu": 1.0}
ENCODER_SPREAD = 0.3
DECODER_DEVIATION = 0.001


def new_network(
    settings: Hyperparameters,
    column_means: Array,
    input_norm: float,
    output_range: tuple[float, float],
    generator: torch.Generator,
    partition: Partition,
    levels: Levels | None = None,
) -> Network:
    """Initialize a network at random.

    V is normal, scaled so that z of a typical example has a standard deviation of ENCODER_SPREAD, well inside the
    steep part of a sigmoid. Dense layers are uniform within Glorot and Bengio's bounds (AISTATS 2010, eq. 16) times a
    gain, without which the deep form does not learn: a sigmoid has slope 1/4. The decoder starts near zero and its
    bias at the column means, which are the first predictions.

    Args:
        settings: Hyperparameters.
        column_means: (P,) mean of each column of this process, in the examples' unit.
        input_norm: Euclidean norm of a typical input.
        output_range: See `Network`.
        generator: Source of the random weights.
        partition: Columns of this process; their weights do not depend on the world size.
        levels: Rating levels of an ordinal output, whose thresholds start between them; None for another output.
    """
    n_columns, own = partition.n_columns, partition.columns.astype(np.int64)
    sizes = (n_columns * settings.n_channels, *settings.hidden_sizes)
    if settings.output_activation == "sigmoid":
        low, high = output_range
        # The logit of 0 and of 1 is infinite.
        level = np.clip((column_means - low) / (high - low), 0.01, 0.99)
        column_means = np.log(level / (1 - level))
    inputs = np.concatenate([own + half * n_columns for half in range(settings.n_channels)])
    first = _normal(inputs, sizes[0], sizes[1], ENCODER_SPREAD / input_norm, generator)
    gain = GAINS[settings.hidden_activation]
    deeper = [_glorot(sizes[i], sizes[i + 1], gain, generator) for i in range(1, len(sizes) - 1)]
    return Network(
        encoder_weights=(first, *deeper),
        encoder_biases=tuple(torch.zeros(size, device=generator.device) for size in sizes[1:]),
        decoder_weight=_normal(own, n_columns, sizes[-1], DECODER_DEVIATION, generator),
        decoder_bias=torch.from_numpy(column_means.astype(np.float32)),
        hidden_activation=settings.hidden_activation,
        output_activation=settings.output_activation,
        output_range=output_range,
        thresholds=None if levels is None else _between(levels, sizes[-1], generator.device),
    )


def _between(levels: Levels, n_units: int, device: torch.device) -> Thresholds:
    """Thresholds in the middle between levels, the same for all examples."""
    bias = torch.tensor(levels.midpoints, dtype=torch.float32, device=device)
    return Thresholds(torch.zeros(len(bias), n_units, device=device), bias, levels)


def _normal(rows: Array, n_in: int, n_out: int, deviation: float, generator: torch.Generator) -> Tensor:
    """Draw some rows of a normal matrix (n_in, n_out).

    `rows` are ascending.
    """
    # Every process draws all blocks and keeps its rows: weights then do not depend on the world size, and no process
    # holds the whole matrix. Torch draws 16 numbers at a time, so these blocks equal a single draw.
    own = torch.empty(len(rows), n_out, device=generator.device)
    n_blocks = max(1, n_in // COLUMNS_PER_BLOCK)
    for start, stop in pairwise([*range(0, n_blocks * COLUMNS_PER_BLOCK, COLUMNS_PER_BLOCK), n_in]):
        block = torch.empty(stop - start, n_out, device=generator.device).normal_(0.0, deviation, generator=generator)
        first, last = np.searchsorted(rows, [start, stop])
        own[first:last] = block[torch.from_numpy(rows[first:last] - start)]
    return own


def _glorot(n_in: int, n_out: int, gain: float, generator: torch.Generator) -> Tensor:
    bound = gain * (6.0 / (n_in + n_out)) ** 0.5
    return torch.empty(n_in, n_out, device=generator.device).uniform_(-bound, bound, generator=generator)
