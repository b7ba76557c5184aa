"""Ordinal output: the expected rating of a cumulative logit model.

The model is that of McCullagh (1980, Regression Models for Ordinal Data). With rating levels l_0 < ... < l_J, the
center o that was subtracted from a target, and the codes h of an example:

    t_j = C_j . h + c_j                              thresholds of the example
    P(r >= l_j) = sigmoid(a (z + o - t_j))
    x_hat = l_0 + sum of (l_j - l_j-1) P(r >= l_j) - o
    loss = 2/a * sum of (l_j - l_j-1) * cross-entropy of [r >= l_j]

Its derivative by z is 2 (x_hat - x), as that of the squared error, so a penalty weighs as much as there. The slope a is
fixed: no penalty applies to it, so learning it would undo lambda. Rows of C are means of the decoder's rows, one for
each threshold. Shapes: n cells of B examples, k units in the last hidden layer; values are in the unit of the examples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

import numpy as np

from autorec_cli.csr import Array
from autorec_cli.network.activations import sigmoid

if TYPE_CHECKING:
    from torch import Tensor

Values = TypeVar("Values", Array, "Tensor")
"""Arrays, or in the PyTorch engine tensors."""


@dataclass(frozen=True)
class Levels:
    """Rating levels.

    Attributes:
        values: l_0 to l_J, ascending.
        slope: a.
    """

    values: tuple[float, ...]
    slope: float

    @property
    def gaps(self) -> list[float]:
        """Width of each gap, J of them."""
        return [high - low for low, high in pairwise(self.values)]

    @property
    def midpoints(self) -> list[float]:
        """Middle of each gap.

        It tells on which side of a threshold a rating is.
        """
        return [(low + high) / 2 for low, high in pairwise(self.values)]

    def expected(self, location: Array, thresholds: Array) -> Array:
        """Expected ratings of z + o, shape (...).

        `thresholds` broadcast to (..., J).
        """
        ratings = np.full_like(location, self.values[0])
        # One threshold at a time, in one buffer: all at once would take J times the memory.
        exceeded = np.empty_like(location)
        for number, gap in enumerate(self.gaps):
            np.subtract(location, thresholds[..., number], out=exceeded)
            exceeded *= location.dtype.type(self.slope)
            sigmoid(exceeded, out=exceeded)
            exceeded *= location.dtype.type(gap)
            ratings += exceeded
        return ratings


class Offsets(NamedTuple):
    """Centers that were subtracted from targets.

    That of a cell is the sum of its example's and its column's.

    Attributes:
        rows: (N,) float32.
        columns: (P,) float32.
    """

    rows: Array
    columns: Array


@dataclass(frozen=True)
class Thresholds(Generic[Values]):
    """Thresholds between rating levels.

    Attributes:
        weight: C (J, k).
        bias: c (J,).
        levels: The levels, in the unit of the network.
    """

    weight: Values
    bias: Values
    levels: Levels

    def of(self, codes: Values) -> Values:
        """Thresholds (n, J) of examples with these codes (n, k)."""
        return codes @ self.weight.T + self.bias


def levels_of(ratings: Array, unit: float, deviation: float) -> Levels:
    """Rating levels in the given unit, and their slope.

    The logistic noise around z, of standard deviation pi / (a sqrt 3), is as wide as the ratings are.

    Args:
        ratings: Distinct ratings, ascending.
        unit: Unit of the network, in that of the ratings.
        deviation: Standard deviation of all ratings.
    """
    return Levels(tuple((ratings / unit).tolist()), math.pi * unit / (math.sqrt(3) * deviation))
