"""AutoRec network: an autoencoder over partially observed rows.

Sedhain et al., WWW 2015. Shapes, in all of `network`: N examples (rows), P columns, B examples in a batch, k units in
the last hidden layer.

    z = x V + mu       h = g(z)      first hidden layer; deeper ones repeat it with dense weights
    x_hat = f(h W' + b)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np

from autorec_cli.config import Hyperparameters
from autorec_cli.csr import Array
from autorec_cli.network.activations import DERIVATIVES
from autorec_cli.network.ordinal import Levels, Offsets, Thresholds, Values
from autorec_cli.runtime.partition import COLUMNS_PER_BLOCK, Partition
from autorec_cli.runtime.process_group import ProcessGroup

if TYPE_CHECKING:
    from torch import Tensor

TILE = 64
"""Columns that the compiled engine keeps together; the last tile is padded with zeros."""
ROWS_PER_PIECE = 1 << 14
"""Rows of V and W that are taken out of their tiles at a time for a checkpoint."""

Others = TypeVar("Others", Array, "Tensor")


@dataclass(frozen=True)
class Network(Generic[Values]):
    """Parameters and activation functions.

    Attributes:
        encoder_weights: The first is V, (P, k1) or, with the implicit channel, (2P, k1); then (k1, k2), ...
        encoder_biases: mu (k1,), (k2,), ...
        decoder_weight: W (P, k).
        decoder_bias: b (P,).
        hidden_activation: g, a key of `activations.ACTIVATIONS`.
        output_activation: f, "identity", "sigmoid" or "ordinal".
        output_range: Range of a sigmoid output, in the unit of the examples.
        thresholds: Of an ordinal output; None for the others.
    """

    encoder_weights: tuple[Values, ...]
    encoder_biases: tuple[Values, ...]
    decoder_weight: Values
    decoder_bias: Values
    hidden_activation: str
    output_activation: str
    output_range: tuple[float, float]
    thresholds: Thresholds[Values] | None = None

    def parameters(self) -> list[Values]:
        """List all parameters in a fixed order.

        Encoder weights, decoder weight, encoder biases, decoder bias, then those of the thresholds.
        """
        return list(chain(self.encoder_weights, (self.decoder_weight,), self._biases()))

    def penalized(self) -> list[Values]:
        """Parameters with a penalty, as in the paper: V, W."""
        return [self.encoder_weights[0], self.decoder_weight]

    def free(self) -> list[Values]:
        """Parameters without a penalty: biases, dense layers and thresholds."""
        return list(chain(self.encoder_weights[1:], self._biases()))

    def _biases(self) -> list[Values]:
        of_thresholds = () if self.thresholds is None else (self.thresholds.weight, self.thresholds.bias)
        return list(chain(self.encoder_biases, (self.decoder_bias,), of_thresholds))

    def output(self, z: Values, sigmoid: Callable[[Values], Values]) -> tuple[Values, Values | float]:
        """Output f(z) and its derivative f'(z).

        An ordinal output is computed by the engines instead.
        """
        if self.output_activation == "identity":
            return z, 1.0
        low, high = self.output_range
        s = sigmoid(z)
        return low + (high - low) * s, (high - low) * s * (1 - s)

    def deeper(self, first: Values, function: Callable[[Values], Values]) -> list[Values]:
        """Compute all hidden layers, (B, k_layer) each, from the first.

        `function` is g, for arrays or tensors.
        """
        hidden = [first]
        for weight, bias in zip(self.encoder_weights[1:], self.encoder_biases[1:], strict=True):
            hidden.append(function(hidden[-1] @ weight + bias))
        return hidden

    def back_to_first(self, hidden: list[Values], upstream: Values) -> tuple[list[Values], list[Values], Values]:
        """Back-propagate through the hidden layers.

        Args:
            hidden: Outputs of all layers, from `deeper`.
            upstream: d loss / d hidden[-1], (B, k).

        Returns:
            Gradients of `encoder_weights[1:]`, gradients of all `encoder_biases`, and d loss / d z of the first layer,
            (B, k1).
        """
        derivative = DERIVATIVES[self.hidden_activation]
        weights: list[Values] = []
        # Derivatives are written in terms of outputs, so no z has to be kept.
        slope = upstream * derivative(hidden[-1])
        biases = [slope.sum(0)]
        for layer in range(len(hidden) - 1, 0, -1):
            weights.insert(0, hidden[layer - 1].T @ slope)
            slope = (slope @ self.encoder_weights[layer].T) * derivative(hidden[layer - 1])
            biases.insert(0, slope.sum(0))
        return weights, biases, slope

    def map(self, function: Callable[[Values], Others]) -> Network[Others]:
        """Replace every parameter by `function` of it."""
        thresholds: Thresholds[Others] | None = None
        if self.thresholds is not None:
            weight, bias = function(self.thresholds.weight), function(self.thresholds.bias)
            thresholds = Thresholds(weight, bias, self.thresholds.levels)
        return Network(
            encoder_weights=tuple(function(weight) for weight in self.encoder_weights),
            encoder_biases=tuple(function(bias) for bias in self.encoder_biases),
            decoder_weight=function(self.decoder_weight),
            decoder_bias=function(self.decoder_bias),
            hidden_activation=self.hidden_activation,
            output_activation=self.output_activation,
            output_range=self.output_range,
            thresholds=thresholds,
        )


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


def mean_row(weight: Array, process_group: ProcessGroup) -> Array:
    """Mean (k,) of the rows of `weight` (P, k) over all processes."""
    total = process_group.sum([*weight.sum(0, dtype=np.float64).tolist(), len(weight)])
    mean: Array = (total[:-1] / total[-1]).astype(weight.dtype)
    return mean


# Factors on Glorot's bounds: 1 / slope at 0, and for tanh and relu those of torch.nn.init.calculate_gain.
GAINS = {"identity": 1.0, "sigmoid": 4.0, "tanh": 5 / 3, "relu": 2**0.5, "elu": 1.0}
ENCODER_SPREAD = 0.3  # standard deviation of z, see `new_network`
DECODER_DEVIATION = 0.001  # so small that the first predictions are the bias


def new_network(
    settings: Hyperparameters,
    column_means: Array,
    input_norm: float,
    output_range: tuple[float, float],
    generator: np.random.Generator,
    partition: Partition,
    levels: Levels | None = None,
) -> Network[Array]:
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
    # Rows of V: those of the ratings, then those of the mask, as `Inputs` has the columns.
    inputs = np.concatenate([own + half * n_columns for half in range(settings.n_channels)])
    first = _normal(inputs, sizes[0], sizes[1], ENCODER_SPREAD / input_norm, generator)
    gain = GAINS[settings.hidden_activation]
    deeper = [_glorot(sizes[i], sizes[i + 1], gain, generator) for i in range(1, len(sizes) - 1)]
    return Network(
        encoder_weights=(first, *deeper),
        encoder_biases=tuple(np.zeros(size, dtype=np.float32) for size in sizes[1:]),
        decoder_weight=_normal(own, n_columns, sizes[-1], DECODER_DEVIATION, generator),
        decoder_bias=column_means.astype(np.float32),
        hidden_activation=settings.hidden_activation,
        output_activation=settings.output_activation,
        output_range=output_range,
        thresholds=None if levels is None else _between(levels, sizes[-1]),
    )


def _between(levels: Levels, n_units: int) -> Thresholds[Array]:
    """Thresholds in the middle between levels, the same for all examples."""
    # Without weights, no code moves a threshold yet.
    bias = np.array(levels.midpoints, dtype=np.float32)
    return Thresholds(np.zeros((len(bias), n_units), dtype=np.float32), bias, levels)


def _normal(rows: Array, n_in: int, n_out: int, deviation: float, generator: np.random.Generator) -> Array:
    """Draw some rows of a normal matrix (n_in, n_out).

    `rows` are ascending.
    """
    # Every process draws all blocks and keeps its rows: weights then do not depend on the world size, and no process
    # holds the whole matrix.
    own = np.empty((len(rows), n_out), dtype=np.float32)
    for start in range(0, n_in, COLUMNS_PER_BLOCK):
        n_drawn = min(COLUMNS_PER_BLOCK, n_in - start)
        first, last = np.searchsorted(rows, [start, start + n_drawn])
        if last - first == n_drawn:  # in place: a copy takes as long as drawing
            generator.standard_normal(dtype=np.float32, out=own[first:last])
        else:
            block = generator.standard_normal((n_drawn, n_out), dtype=np.float32)
            own[first:last] = block[rows[first:last] - start]
    own *= np.float32(deviation)
    return own


def _glorot(n_in: int, n_out: int, gain: float, generator: np.random.Generator) -> Array:
    bound = gain * (6.0 / (n_in + n_out)) ** 0.5
    return generator.uniform(-bound, bound, (n_in, n_out)).astype(np.float32)
