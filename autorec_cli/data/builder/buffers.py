"""Growing arrays, and counts that need little memory."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

INITIAL_CAPACITY = 1 << 25  # values
SLICE = 1 << 17  # values handled at once: few enough for the processor's cache


def count_values(values: NDArray[np.signedinteger[Any]], n_values: int) -> NDArray[np.int64]:
    """Occurrences of each of 0 to `n_values` - 1 in `values`, (n_values,)."""
    counts = np.zeros(n_values, dtype=np.int64)
    at_once = max(SLICE, n_values)
    for start in range(0, len(values), at_once):  # bincount copies what it counts to int64
        counts += np.bincount(values[start : start + at_once], minlength=n_values)
    return counts


class GrowingArray:
    """Values appended in order; their type widens when values of a wider one come.

    Room doubles when it is full. Pages that were never written take no memory, so unused room costs nothing.
    """

    def __init__(self) -> None:
        self._room: NDArray[Any] = np.empty(0, dtype=np.int32)
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def append(self, values: NDArray[Any]) -> None:
        """Copy `values` to the end."""
        end = self._length + len(values)
        dtype = np.result_type(self._room, values) if self._length else values.dtype
        if end > len(self._room) or dtype != self._room.dtype:
            larger = np.empty(max(end, 2 * len(self._room), INITIAL_CAPACITY), dtype=dtype)
            larger[: self._length] = self._room[: self._length]
            self._room = larger
        self._room[self._length : end] = values
        self._length = end

    def values(self) -> NDArray[Any]:
        """View of all values."""
        return self._room[: self._length]

    def take(self) -> NDArray[Any]:
        """All values; the array is empty afterwards."""
        taken = self.values()
        self._room, self._length = np.empty(0, dtype=np.int32), 0
        return taken
