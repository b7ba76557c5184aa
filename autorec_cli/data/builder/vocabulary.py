"""Vocabularies: ids to indexes, in order of first appearance."""

from __future__ import annotations

from itertools import groupby

import numpy as np
import polars as pl
from numpy.typing import NDArray

MIN_TABLE_SIZE = 1 << 20
"""Slots that the lookup table may always have: 4 MiB."""
SAMPLE = 1 << 12
"""Ids of a block that tell whether equal ones come together."""
MIN_ROWS_PER_SLOT = 2
"""Rows required per slot of a larger table, which then takes at most 2 bytes per rating."""


class IdTable:
    """Ids seen so far on one side, users or items.

    Ids are strings. As long as all are plain numbers ("7", not "007"), they index a lookup table, which needs no string
    and no hash. From the first other id on, or if numbers are so large that the table would be mostly empty, polars
    hashes strings (a `Categorical` whose categories live as long as this object). Its codes depend on thread timing, so
    they are mapped to order of first appearance, which makes runs repeatable.
    """

    def __init__(self) -> None:
        self._dtype = pl.Categorical(pl.Categories.random(namespace="autorec"))
        # polars drops the categories, and the codes given so far, with the last series that uses them.
        self._keep_alive = pl.Series([], dtype=self._dtype)
        self._index_of_number = np.full(1024, -1, dtype=np.int32)
        self._index_of_code = np.full(1024, -1, dtype=np.int32)
        self._are_numbers = True
        self._ids: list[pl.Series] = []  # String, or Int64 for plain numbers
        self._n_ids = self._n_rows = 0

    def __len__(self) -> int:
        return self._n_ids

    def indexes(self, ids: pl.Series) -> NDArray[np.int32]:
        """Indexes of a block of ids, (len(ids),) int32.

        New ids get the next indexes, in order of first appearance.

        Args:
            ids: String, or Int64 if each id is its number in decimal; no nulls.
        """
        if not len(ids):
            return np.empty(0, dtype=np.int32)
        self._n_rows += len(ids)
        if self._are_numbers and self._fits_table(ids):
            return self._indexes_of_numbers(ids.to_numpy())
        if self._are_numbers:
            self._are_numbers = False
            # Numbers seen so far become strings, so that "7" read as text later gets the same index.
            self._add_codes(self.ids().cast(self._dtype), np.arange(self._n_ids, dtype=np.int32))
        return self._indexes_of_texts(ids.cast(pl.String))

    def _fits_table(self, ids: pl.Series) -> bool:
        if ids.dtype != pl.Int64:
            return False
        least, largest = int(ids.min()), int(ids.max())  # type: ignore[arg-type]
        return least >= 0 and largest < max(MIN_TABLE_SIZE, self._n_rows // MIN_ROWS_PER_SLOT)

    def _indexes_of_numbers(self, numbers: NDArray[np.int64]) -> NDArray[np.int32]:
        if 2 * np.count_nonzero(_changes(numbers[:SAMPLE])) < len(numbers[:SAMPLE]):
            # Files are mostly grouped by user: one lookup serves a run of equal ids.
            starts = np.append(0, np.flatnonzero(_changes(numbers)) + 1)
            lengths = np.diff(starts, append=len(numbers))
            return np.repeat(self._lookup(numbers[starts]), lengths)
        return self._lookup(numbers)

    def _lookup(self, numbers: NDArray[np.int64]) -> NDArray[np.int32]:
        self._index_of_number = _grown(self._index_of_number, int(numbers.max()))
        indexes: NDArray[np.int32] = self._index_of_number.take(numbers)
        if indexes.min() < 0:
            # Mostly the first blocks have new ids: later ones end at the lookup above.
            new = numbers[indexes < 0]
            # Each once, in order of first appearance.
            new = new[np.sort(np.unique(new, return_index=True)[1])]
            self._index_of_number[new] = self._number_new_ids(pl.Series(new))
            indexes = self._index_of_number.take(numbers)
        return indexes

    def _indexes_of_texts(self, texts: pl.Series) -> NDArray[np.int32]:
        coded = texts.cast(self._dtype)
        codes = coded.to_physical().to_numpy()
        self._index_of_code = _grown(self._index_of_code, int(codes.max(initial=0)))
        indexes: NDArray[np.int32] = self._index_of_code.take(codes)
        if indexes.min() < 0:
            new = coded.gather(np.flatnonzero(indexes < 0)).unique(maintain_order=True)
            self._add_codes(new, self._number_new_ids(new.cast(pl.String)))
            indexes = self._index_of_code.take(codes)
        return indexes

    def _add_codes(self, ids: pl.Series, indexes: NDArray[np.int32]) -> None:
        codes = ids.to_physical().to_numpy()
        self._index_of_code = _grown(self._index_of_code, int(codes.max(initial=0)))
        self._index_of_code[codes] = indexes

    def _number_new_ids(self, ids: pl.Series) -> NDArray[np.int32]:
        self._ids.append(ids)
        first, self._n_ids = self._n_ids, self._n_ids + len(ids)
        return np.arange(first, self._n_ids, dtype=np.int32)

    def ids(self) -> pl.Series:
        """All ids in index order, String."""
        ids = [pl.Series("id", [], dtype=pl.String)]
        # Runs of one dtype are joined before the cast: one cast instead of one per block.
        for _, parts in groupby(self._ids, key=lambda part: part.dtype):
            ids.append(pl.concat(parts).cast(pl.String))
        return pl.concat(ids)


def _changes(numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Mask of changes, (n - 1,).

    True where a number differs from the one before; the first has none.
    """
    changes: NDArray[np.bool_] = numbers[1:] != numbers[:-1]
    return changes


def _grown(indexes: NDArray[np.int32], largest: int) -> NDArray[np.int32]:
    """Grow `indexes` to hold `largest`, filling with -1."""
    size = len(indexes)
    if largest < size:
        return indexes
    larger = np.full(max(2 * size, largest + 1), -1, dtype=np.int32)
    larger[:size] = indexes
    return larger
