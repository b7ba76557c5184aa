"""Cells sorted by user, item, and position in the sources."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from autorec_cli.data.builder.buffers import SLICE
from autorec_cli.runtime.threads import for_each

PAIR_SHIFT = 32
"""Bits of the item index in a packed pair; the user index has the upper 32."""


def pack_pairs(user_indexes: NDArray[np.int32], item_indexes: NDArray[np.int32], pairs: NDArray[np.uint64]) -> None:
    """Pack pairs into keys sorted by user, item; fills `pairs` (n,)."""
    signed = pairs.view(np.int64)
    np.left_shift(user_indexes, PAIR_SHIFT, out=signed, dtype=np.int64)
    signed |= item_indexes


def unpack_pairs(pairs: NDArray[np.uint64]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """User indexes and item indexes of packed pairs."""
    return (pairs >> np.uint64(PAIR_SHIFT)).astype(np.int32), (pairs & _low_bits(PAIR_SHIFT)).astype(np.int32)


class SortedCells:
    """Cells sorted by user, item and position.

    numpy sorts integers in place several times faster than argsort finds their order, and argsort needs 8 more bytes
    per rating. So user, item and position are packed into one uint64: 18 + 15 + 25 = 58 bits for 138,000 users, 27,000
    items and 22 million rows. Sorting 20 million rows grouped by user takes 0.08 s (docs/notes/speed.md). argsort is
    used only beyond 64 bits. Rows already in matrix order are not touched.
    """

    def __init__(self, pairs: NDArray[np.uint64], n_users: int, n_items: int) -> None:
        """Sort `pairs`, see `pack_pairs`; their array is overwritten."""
        self._keys = pairs
        self._n_users = n_users
        self._item_bits = PAIR_SHIFT
        self._position_bits = 0
        self._order: NDArray[np.int64] | None = None
        self._is_grouped = False  # the cells of a user are those of the same positions, in another order
        # One cheap pass: rows already in order need neither sorting nor a search for duplicates.
        self.is_unchanged = _rises_strictly(pairs)
        if not self.is_unchanged:
            self._sort(n_items)

    def _sort(self, n_items: int) -> None:
        item_bits, position_bits = (n_items - 1).bit_length(), (len(self) - 1).bit_length()
        if (self._n_users - 1).bit_length() + item_bits + position_bits > 64:
            # Stable, because these keys have no position in their low bits to break ties.
            self._order = self._keys.argsort(kind="stable")
            self._keys = self._keys[self._order]
            return
        self._item_bits, self._position_bits = item_bits, position_bits
        # Files are mostly grouped by user: then each group sorts by itself, in cache and on several threads.
        self._is_grouped = by_user = _rises(self._keys, PAIR_SHIFT)
        parts = group_slices(self._keys, PAIR_SHIFT) if by_user else slices(len(self))

        def pack(part: slice) -> None:
            keys = self._keys[part]
            items = keys & _low_bits(PAIR_SHIFT)
            keys >>= np.uint64(PAIR_SHIFT)
            keys <<= np.uint64(item_bits)
            keys |= items
            keys <<= np.uint64(position_bits)
            # The position makes keys unique, so that an unstable sort keeps the order of the sources.
            keys |= np.arange(part.start, part.stop, dtype=np.uint64)
            if by_user:
                keys.sort()

        for_each(pack, parts)
        if not by_user:
            self._keys.sort()

    def __len__(self) -> int:
        return len(self._keys)

    def positions(self, cells: slice | NDArray[np.int64]) -> NDArray[Any]:
        """Positions in the sources of the given cells, int64."""
        if self._order is not None:
            return self._order[cells]
        if self.is_unchanged:  # keys have no position bits: cell and position are the same
            return np.arange(cells.start, cells.stop) if isinstance(cells, slice) else cells
        return (self._keys[cells] & _low_bits(self._position_bits)).view(np.int64)

    def pair(self, cell: int) -> tuple[int, int]:
        """User index and item index of a cell."""
        user, item = divmod(int(self._keys[cell]) >> self._position_bits, 1 << self._item_bits)
        return user, item

    def to_columns(self, ratings: NDArray[np.float32]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Item indexes of all cells and a copy of their `ratings`.

        They take the memory of the keys, which are lost, and fill it exactly. New arrays would add to the peak, and
        take longer: memory that no one has used yet must be found and zeroed.
        """
        halves = self._keys.view(np.int32)
        items, copied = halves[: len(self)], halves[len(self) :].view(np.float32)
        mask = _low_bits(self._item_bits)
        for part in slices(len(self)):  # in order: an item overwrites keys that have been read
            items[part] = self._keys[part] >> np.uint64(self._position_bits) & mask
        copied[:] = ratings
        return items, copied

    def arrange(self, values: NDArray[Any]) -> NDArray[Any]:
        """Reorder `values` from source order to cell order.

        In the same array if possible.
        """
        if self.is_unchanged:
            return values
        if not self._is_grouped:
            return self._collect(lambda part: values.take(self.positions(part)), values.dtype)

        def arrange(part: slice) -> None:
            values[part] = values.take(self.positions(part))

        # Parts of whole users: each takes its values from the places that it overwrites, and from no others.
        for_each(arrange, group_slices(self._keys, self._position_bits + self._item_bits))
        return values

    def at_or_after(self, position: int) -> NDArray[np.bool_]:
        """Mask of the cells from `position` in the sources on."""
        return self._collect(lambda part: self.positions(part) >= position, np.bool_)

    def _collect(self, values_of: Callable[[slice], NDArray[Any]], dtype: DTypeLike) -> NDArray[Any]:
        collected = np.empty(len(self), dtype=dtype)

        def collect(part: slice) -> None:
            collected[part] = values_of(part)

        for_each(collect, slices(len(self)))
        return collected

    def repeats(self, cells: slice) -> NDArray[np.bool_]:
        """Mask of the cells that repeat the pair before."""
        pairs = self._keys[cells] >> np.uint64(self._position_bits)
        return np.append(False, pairs[1:] == pairs[:-1])

    def pair_slices(self) -> Iterator[slice]:
        """Short slices that cover all cells, never splitting a pair.

        Duplicates can then be resolved slice by slice.
        """
        return group_slices(self._keys, self._position_bits)

    def keep(self, masks: Iterable[tuple[slice, NDArray[np.bool_]]]) -> None:
        """Drop cells where `masks` are False.

        Args:
            masks: Slices that cover all cells in turn, each with the mask of the cells to keep.
        """
        end = 0
        for part, mask in masks:
            # Moved down within the same array: a second one would add 8 bytes per rating at the peak.
            start, end = end, end + int(np.count_nonzero(mask))
            if (start, end) == (part.start, part.stop):
                continue
            self._is_grouped = False  # the cells of later users have left their positions
            self._keys[start:end] = self._keys[part][mask]
            if self._order is not None:
                self._order[start:end] = self._order[part][mask]
        self._keys = self._keys[:end]

    def row_pointers(self) -> NDArray[np.int64]:
        """CSR row pointers, (n_users + 1,)."""
        # The smallest key of each user; users without ratings get an empty row.
        firsts = np.arange(self._n_users, dtype=np.uint64) << np.uint64(self._position_bits + self._item_bits)
        return np.append(np.searchsorted(self._keys, firsts), len(self))


def slices(length: int) -> Iterator[slice]:
    """Slices of at most `SLICE` values that cover `length`."""
    return (slice(start, min(start + SLICE, length)) for start in range(0, length, SLICE))


def group_slices(keys: NDArray[np.uint64], shift: int) -> Iterator[slice]:
    """Short slices that cover `keys` and never split a group.

    A group has equal bits from bit `shift` on; these bits must not decrease.
    """
    start = 0
    while start < len(keys):
        # The last key of a full slice, with all low bits set, is an upper bound of its group.
        last = keys[min(start + SLICE, len(keys)) - 1] | _low_bits(shift)
        stop = start + int(np.searchsorted(keys[start:], last, side="right"))
        yield slice(start, stop)
        start = stop


def _low_bits(n_bits: int) -> np.uint64:
    return np.uint64((1 << n_bits) - 1)


def _rises(keys: NDArray[np.uint64], shift: int) -> bool:
    """Check that keys do not decrease from bit `shift` on."""
    for part in slices(len(keys) - 1):
        groups = keys[part.start : part.stop + 1] >> np.uint64(shift)
        if (groups[1:] < groups[:-1]).any():
            return False
    return True


def _rises_strictly(keys: NDArray[np.uint64]) -> bool:
    """Check that keys increase strictly."""
    parts = slices(len(keys) - 1)
    return all(bool((keys[part.start + 1 : part.stop + 1] > keys[part]).all()) for part in parts)
