"""Columns that grow block by block, and give their memory back from the end."""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autorec_cli.data import loops

SEGMENT = 1 << 20  # room is made for this many values at a time, and given back
# Segments of the first room: 256 MiB for 4-byte values. Pages that were never written do not exist, and what does not
# grow is never moved. glibc gives an array of that size pages of its own, so that making more room moves pages instead
# of copying values, and giving room back returns them to the system at once.
FIRST_ROOM = 64
COUNTED_AT_ONCE = 1 << 17  # few enough for the processor's cache


def count_values(values: NDArray[np.signedinteger[Any]], n_values: int) -> NDArray[np.int64]:
    """How often each of 0 to n_values - 1 is in `values`, (n_values,)."""
    if loops.are_compiled() and values.dtype == np.int32:
        return loops.count_values(values, n_values)
    counts = np.zeros(n_values, dtype=np.int64)
    at_once = max(COUNTED_AT_ONCE, n_values)
    for start in range(0, len(values), at_once):  # as bincount copies to int64
        counts += np.bincount(values[start : start + at_once], minlength=n_values)
    return counts


class GrowingColumn:
    """Values appended in order, in one array; all of one type, which becomes wider when values of a wider one come."""

    def __init__(self) -> None:
        self._room: NDArray[Any] = np.empty(0, dtype=np.int32)
        self._length = 0

    def __len__(self) -> int:
        return self._length

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of all values."""
        return self._room.dtype

    def append(self, values: NDArray[Any]) -> None:
        """Copy `values` to the end."""
        if not self._length:
            self._room = np.empty(FIRST_ROOM * SEGMENT, dtype=values.dtype)
        wider = np.result_type(self._room, values)
        if wider != self._room.dtype:
            self._room = self._room[: self._length].astype(wider)
        end = self._length + len(values)
        if end > len(self._room):
            self._resize(end)
        self._room[self._length : end] = values
        self._length = end

    def counts(self, n_values: int) -> NDArray[np.int64]:
        """How often each of 0 to `n_values` - 1 is among the values, which are integers, (n_values,)."""
        return count_values(self._room[: self._length], n_values)

    def pop(self, length: int) -> NDArray[Any]:
        """The last `length` values, which the column has no longer."""
        self._length -= length
        popped = self._room[self._length : self._length + length].copy()
        if len(self._room) >= self._length + SEGMENT:
            self._resize(self._length)
        return popped

    def _resize(self, length: int) -> None:
        # Nobody else has a reference to the array, which is what numpy would check.
        self._room.resize(-(-length // SEGMENT) * SEGMENT, refcheck=False)

    def tolist(self) -> list[Any]:
        """All values as Python numbers."""
        values: list[Any] = self._room[: self._length].tolist()
        return values

    def take(self) -> NDArray[Any]:
        """All values as an array that owns its memory; the column ends up empty."""
        taken = self._room
        taken.resize(self._length, refcheck=False)
        self._room, self._length = np.empty(0, dtype=np.int32), 0
        return taken


class CountedColumn:
    """Indexes appended in order; as long as they never fall, only how often each of them comes is kept.

    Attributes:
        column: All indexes, once one was smaller than the one before it; None until then.
    """

    def __init__(self) -> None:
        self._counts = np.zeros(1024, dtype=np.int64)
        self._length = self._last = 0
        self.column: GrowingColumn | None = None

    def __len__(self) -> int:
        return self._length if self.column is None else len(self.column)

    def append(self, indexes: NDArray[np.int32]) -> None:
        """Add `indexes` to the end."""
        if self.column is None and len(indexes):
            starts = np.flatnonzero(np.append(True, indexes[1:] != indexes[:-1]))  # of runs of equal ones
            distinct = indexes[starts]
            if distinct[0] >= self._last and np.all(distinct[1:] > distinct[:-1]):
                self._count(distinct, np.diff(starts, append=len(indexes)))
                return
            self.column = _written_out(self._counts)
        if self.column is not None:
            self.column.append(indexes)

    def _count(self, distinct: NDArray[np.int32], counts: NDArray[np.int64]) -> None:
        self._last = int(distinct[-1])
        if self._last >= len(self._counts):
            self._counts = np.concatenate([self._counts, np.zeros(max(self._last, len(self._counts)), dtype=np.int64)])
        self._counts[distinct] += counts
        self._length += int(counts.sum())

    def counts(self, n_indexes: int) -> NDArray[np.int64]:
        """How often each index from 0 to `n_indexes` - 1 comes, (n_indexes,)."""
        if self.column is not None:
            return self.column.counts(n_indexes)
        counts = np.zeros(n_indexes, dtype=np.int64)
        n_known = min(n_indexes, self._last + 1)
        counts[:n_known] = self._counts[:n_known]
        return counts

    def tolist(self) -> list[Any]:
        """All indexes as Python numbers."""
        return (self.column or _written_out(self._counts)).tolist()


def _written_out(counts: NDArray[np.int64]) -> GrowingColumn:
    """Each index as often as it comes."""
    column = GrowingColumn()
    ends = np.cumsum(counts)
    first = 0
    while first < len(counts) and ends[-1]:
        done = int(ends[first - 1]) if first else 0
        stop = max(first + 1, int(np.searchsorted(ends, done + SEGMENT, side="right")))
        column.append(np.repeat(np.arange(first, stop, dtype=np.int32), counts[first:stop]))
        first = stop
    return column


def sparse_pages(length: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """An array of `length` values whose memory comes into being page by page (4 KiB) as it is written.

    numpy asks for pages of 2 MiB, which it gets outside `memory.small_pages`: an array that is filled in many places at
    once soon has all of them.
    """
    if not length:
        return np.empty(0, dtype=dtype)
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    return np.frombuffer(mmap.mmap(-1, length * dtype.itemsize, flags=flags), dtype=dtype)
