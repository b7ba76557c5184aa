"""PyTorch's fused Adam."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch.optim.adam import adam

from autorec_cli.network.adam import BETA1, BETA2, EPSILON


class TorchAdam:
    """Adam on some tensors, which it updates.

    The first `torch.optim.Optimizer` of a process imports PyTorch's compiler, which takes longer than PyTorch itself.

    Attributes:
        parameters: The tensors.
        means, squares: Running averages of their gradients and of the squares.
    """

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self.parameters = list(parameters)
        self.means = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.squares = [torch.zeros_like(parameter) for parameter in self.parameters]
        # On the device: the fused implementation refuses others.
        self._steps = [torch.zeros((), device=parameter.device) for parameter in self.parameters]

    @property
    def n_steps(self) -> int:
        """Number of steps taken."""
        return int(self._steps[-1]) if self._steps else 0

    def step(self, gradients: Sequence[Tensor], rate: float, decays: Sequence[float]) -> None:
        """Take a step at learning rate `rate`.

        Args:
            gradients: Gradient of each parameter.
            rate: Learning rate.
            decays: Penalty of each parameter: its factor in the gradient.
        """
        parts = list(zip(self.parameters, gradients, self.means, self.squares, self._steps, decays, strict=True))
        # A call has one decay for all its parameters.
        for decay in dict.fromkeys(decays):
            parameters, slopes, means, squares, steps = (
                list(part) for part in zip(*(part[:-1] for part in parts if part[-1] == decay), strict=True)
            )
            adam(
                parameters,
                slopes,
                means,
                squares,
                [],  # for `amsgrad` only
                steps,
                fused=True,
                amsgrad=False,
                beta1=BETA1,
                beta2=BETA2,
                lr=rate,
                weight_decay=decay,
                eps=EPSILON,
                maximize=False,
            )

    def restore(self, n_steps: int, means: Iterable[Tensor], squares: Iterable[Tensor]) -> None:
        """Continue with these averages after `n_steps`."""
        for own, given in ((self.means, means), (self.squares, squares)):
            for average, value in zip(own, given, strict=True):
                average.copy_(value)
        for step in self._steps:
            step.fill_(n_steps)
