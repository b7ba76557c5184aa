"""Adam (Kingma and Ba, 2015): its constants and its state, the same for all engines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

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


def read_adam(optimizer: torch.optim.Optimizer, parameters: Sequence[Tensor]) -> tuple[int, list[Tensor], list[Tensor]]:
    """Read the number of steps of `optimizer`, and its moments for each of `parameters`."""
    # Before the first step an optimizer has no moments; they are zeros.
    states = [optimizer.state.get(parameter, {}) for parameter in parameters]
    means, squares = (
        [state.get(name, torch.zeros_like(parameter)) for state, parameter in zip(states, parameters, strict=True)]
        for name in ("exp_avg", "exp_avg_sq")
    )
    return int(states[-1].get("step", 0)), means, squares


def write_adam(
    optimizer: torch.optim.Optimizer,
    parameters: Sequence[Tensor],
    n_steps: int,
    means: Iterable[Tensor],
    squares: Iterable[Tensor],
) -> None:
    """Restore what `read_adam` returned."""
    for parameter, mean, square in zip(parameters, means, squares, strict=True):
        # A float tensor on the device: the fused implementation refuses others.
        step = torch.tensor(float(n_steps), device=parameter.device)
        copies = {"exp_avg": mean, "exp_avg_sq": square}
        optimizer.state[parameter] = {"step": step} | {
            name: value.to(parameter.device, copy=True) for name, value in copies.items()
        }
