"""Adam (Kingma and Ba, 2015): constants, state and steps.

The steps are for small arrays; the engines update V and W themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from autorec_cli.csr import Array
from autorec_cli.storage.safetensors_writer import Pieces

BETA1, BETA2 = 0.9, 0.999
"""Decay of the running averages of gradients and of their squares."""
EPSILON = 1e-8
"""Added to the root of the averaged squares."""


@dataclass(frozen=True)
class AdamState:
    """Parameters and optimizer state of Adam.

    Lists of float32 in the order of `Network.parameters`; the mean row comes last, if W is stored relative to it.

    Three times as large as the network, so nothing is copied until its pieces are read.

    Attributes:
        n_steps: Number of steps taken.
        parameters: Network parameters.
        means, squares: Running averages of the gradients and of their squares.
    """

    n_steps: int
    parameters: list[Pieces]
    means: list[Pieces]
    squares: list[Pieces]


class Adam:
    """Adam on some arrays, which it updates.

    Attributes:
        parameters: The arrays.
        means, squares: Running averages of their gradients and of the squares.
        n_steps: Number of steps taken.
    """

    def __init__(self, parameters: Sequence[Array]) -> None:
        self.parameters = list(parameters)
        self.means = [np.zeros_like(parameter) for parameter in self.parameters]
        self.squares = [np.zeros_like(parameter) for parameter in self.parameters]
        self.n_steps = 0

    def scales(self, rate: float) -> tuple[np.float32, np.float32]:
        """Bias-corrected step size, and factor of the averaged squares' root.

        For the step at learning rate `rate` that `n_steps` counts already.
        """
        with np.errstate(over="ignore"):  # infinite steps show in `Engine.is_finite`
            step_size = np.float32(rate / (1 - BETA1**self.n_steps))
        # 1 / sqrt(1 - beta2^t), once per step instead of once per weight.
        return step_size, np.float32((1 - BETA2**self.n_steps) ** -0.5)

    def step(self, gradients: Sequence[Array], rate: float) -> None:
        """Take a step at learning rate `rate`."""
        self.n_steps += 1
        step_size, correction = self.scales(rate)
        for parameter, slope, mean, square in zip(self.parameters, gradients, self.means, self.squares, strict=True):
            # In place: the caller's network has the same arrays.
            mean += np.float32(1 - BETA1) * (slope - mean)
            square += np.float32(1 - BETA2) * (slope * slope - square)
            parameter -= step_size * mean / (np.sqrt(square) * correction + np.float32(EPSILON))
