"""Activation functions, and their derivatives written in terms of their outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from autorec_cli.csr import Array


def sigmoid(z: Array, out: Array | None = None) -> Array:
    """Logistic function 1 / (1 + exp(-z))."""
    with np.errstate(over="ignore"):  # of a large -z, where the result is 0
        result: Array = np.exp(np.negative(z, out=out), out=out)
    result += 1
    return np.reciprocal(result, out=result)


SIGMOID_AT_ZERO = 0.5
"""Value of a linear unit for an example without ratings; see `network.linear_units`."""

ACTIVATIONS: Mapping[str, Callable[[Array], Array]] = {
    "identity": lambda z: z,
    "sigmoid": sigmoid,
    "tanh": np.tanh,
    "relu": lambda z: np.maximum(z, 0),
    "elu": lambda z: np.where(z > 0, z, np.expm1(np.minimum(z, 0))),
}
"""Names and functions of arrays; `pytorch.engine` has those of tensors."""

DERIVATIVES: Mapping[str, Callable[[Any], Any]] = {
    "identity": lambda _: 1.0,
    "sigmoid": lambda h: h * (1 - h),
    "tanh": lambda h: 1 - h * h,
    "relu": lambda h: h > 0,
    "elu": lambda h: 1 + h * (h <= 0),
}
"""Factors of a gradient, from the outputs h, which are arrays or tensors."""
