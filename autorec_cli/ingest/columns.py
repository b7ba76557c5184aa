"""A column that grows block by block and gives its memory back as it is consumed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Segments of 32 MiB and more. An allocator keeps the memory of many small arrays that were freed between others that
# live on (measured: it doubled the peak); arrays of this size it returns to the system at once. Pages of a segment that
# were never written do not exist.
SEGMENT = 8 << 20


class GrowingColumn:
    """Values appended in order, kept in large segments; all of one type unless a wider one is appended."""

    def __init__(self) -> None:
        self._segments: list[NDArray[Any]] = []
        self._used: list[int] = []

    def __len__(self) -> int:
        return sum(self._used)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type that holds every value."""
        return np.result_type(*{segment.dtype for segment in self._segments})

    def append(self, values: NDArray[Any]) -> None:
        """Copy `values` to the end."""
        while len(values):
            if not self._segments or self._segments[-1].dtype != values.dtype or self._used[-1] == SEGMENT:
                self._segments.append(np.empty(SEGMENT, dtype=values.dtype))
                self._used.append(0)
            start = self._used[-1]
            count = min(len(values), SEGMENT - start)
            self._segments[-1][start : start + count] = values[:count]
            self._used[-1] += count
            values = values[count:]

    def tolist(self) -> list[Any]:
        """All values as Python numbers."""
        return [value for segment, used in self._filled() for value in segment[:used].tolist()]

    def take(self) -> Iterator[NDArray[Any]]:
        """The values segment by segment; each one is freed when the next is asked for, and the column ends up empty."""
        while self._segments:
            yield self._segments[0][: self._used[0]]
            del self._segments[0], self._used[0]

    def _filled(self) -> Iterator[tuple[NDArray[Any], int]]:
        return zip(self._segments, self._used, strict=True)
