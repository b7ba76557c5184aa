"""Ratings of a user, of which each is hidden once."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from autorec_cli.csr import Array


class HiddenRatings(NamedTuple):
    """Ratings of a user, each of them hidden once.

    All are in the network's unit.

    Attributes:
        items: item_index (n,).
        values: (n,) ratings less mean and item bias.
        offsets: (n,) the mean and item bias.
        shifts: (n + 1,) user bias, to be subtracted from all values: with all ratings, then without each.
    """

    items: Array
    values: Array
    offsets: Array
    shifts: Array


Rows = Callable[[HiddenRatings], tuple[Array, Array]]
"""Hidden ratings -> vectors (n + 1, k) and shifts (n + 1,) of the user: with all ratings, then without each."""


def without_each(terms: Array) -> Array:
    """Sum with all terms, then without each: (n + 1, ...)."""
    total = terms.sum(axis=0)
    sums = np.empty((len(terms) + 1, *terms.shape[1:]), dtype=terms.dtype)
    sums[0] = total
    np.subtract(total, terms, out=sums[1:])
    return sums
