"""Growing arrays, and counts that need little memory."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

INITIAL_CAPACITY = 1 << 25
"""Values reserved at first: 33 million, so that most datasets are never copied to a larger array."""
SLICE = 1 << 16
"""Values handled at a time; 512 KiB of uint64, which stay in the processor's cache."""


def count_values(values: NDArray[np.signedinteger[Any]], n_values: int) -> NDArray[np.int64]:
    """Count each of 0 to `n_values` - 1, (n_values,)."""
    counts = np.zeros(n_values, dtype=np.int64)
    at_once = max(SLICE, n_values)
    for start in range(0, len(values), at_once):  # bincount copies its input to int64: 8 bytes per value
        counts += np.bincount(values[start : start + at_once], minlength=n_values)
    return counts


class GrowingArray:
    """Growing array, with a dtype that widens as needed.

    The capacity doubles when it is full. The operating system provides a page when it is first written, so reserved
    capacity takes no memory.
    """

    def __init__(self) -> None:
        self._buffer: NDArray[Any] = np.empty(0, dtype=np.int32)
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def append(self, values: NDArray[Any]) -> None:
        """Copy `values` to the end."""
        self.extend(len(values), values.dtype)[:] = values

    def extend(self, n_values: int, dtype: np.dtype[Any]) -> NDArray[Any]:
        """Lengthen by values of a type, which the caller fills in."""
        end = self._length + n_values
        dtype = np.result_type(self._buffer, dtype) if self._length else dtype
        if end > len(self._buffer) or dtype != self._buffer.dtype:
            # Doubling copies each value about once; growing by one block at a time would be quadratic.
            larger = np.empty(max(end, 2 * len(self._buffer), INITIAL_CAPACITY), dtype=dtype)
            larger[: self._length] = self._buffer[: self._length]
            self._buffer = larger
        start, self._length = self._length, end
        return self._buffer[start:end]

    def values(self) -> NDArray[Any]:
        """View of all values."""
        return self._buffer[: self._length]

    def take(self) -> NDArray[Any]:
        """Remove and return all values.

        The caller gets the only reference, so that the memory is freed as soon as the caller drops it.
        """
        taken = self.values()
        self._buffer, self._length = np.empty(0, dtype=np.int32), 0
        return taken
