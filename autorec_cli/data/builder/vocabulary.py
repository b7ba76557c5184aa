"""Ids become indexes, numbered by first appearance."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from autorec_cli.data import loops

LEAST_ROOM = 1 << 20  # numbers below this one are looked up in a table from the start
ROWS_PER_NUMBER = 2  # and larger ones once there are so many rows for each place of the table


class IdTable:
    """The ids seen so far on one side, users or items.

    An id is a text. Where a whole block has plain numbers for ids ("7", not "007"), the block comes as numbers, which
    are looked up in a table; other ids go through polars, which hashes them (a `Categorical` whose categories live as
    long as this table). The codes it gives depend on its threads, so they are numbered again in order of first
    appearance, which makes runs repeatable. Both ways know each other's ids: the table has the index of every id seen
    that is a plain number and has a place in it.
    """

    def __init__(self) -> None:
        self._dtype = pl.Categorical(pl.Categories.random(namespace="autorec"))
        self._keep_alive = pl.Series([], dtype=self._dtype)
        self._index_of_code = np.full(1024, -1, dtype=np.int32)
        self._index_of_number = np.full(1024, -1, dtype=np.int32)
        self._new_ids: list[pl.Series] = []  # String, or Int32 for numbers that print as the ids do
        self._n_ids = 0
        self._n_rows = 0

    def __len__(self) -> int:
        return self._n_ids

    def indexes(self, ids: pl.Series | NDArray[np.int32]) -> NDArray[np.int32]:
        """The index of every id of a block, (len(ids),); unseen ids get the next numbers.

        Args:
            ids: String without nulls; or numbers from 0, which stand for the texts that they print as, and come from
                compiled loops alone.
        """
        self._n_rows += len(ids)
        if isinstance(ids, pl.Series):
            return self._indexes_of_texts(ids)
        largest = int(ids.max(initial=0))
        if largest >= max(LEAST_ROOM, self._n_rows // ROWS_PER_NUMBER):
            return self._indexes_of_texts(pl.Series(ids).cast(pl.String))
        if largest >= len(self._index_of_number):
            self._make_room_for_numbers(largest)
        return self._indexes_of_numbers(ids)

    def _indexes_of_numbers(self, numbers: NDArray[np.int32]) -> NDArray[np.int32]:
        indexes, new = loops.number_ids(numbers, self._index_of_number, self._n_ids)
        self._number_new_ids(pl.Series(new))
        return indexes

    def _indexes_of_texts(self, texts: pl.Series) -> NDArray[np.int32]:
        codes = texts.cast(self._dtype).to_physical().to_numpy()
        if len(codes):
            self._index_of_code = _with_room(self._index_of_code, int(codes.max()))
        indexes: NDArray[np.int32] = self._index_of_code.take(codes)
        if len(indexes) and indexes.min() < 0:
            unseen = np.flatnonzero(indexes < 0)
            new = pl.DataFrame({"code": codes[unseen], "row": unseen}).unique("code", keep="first", maintain_order=True)
            self._index_of_code[new["code"].to_numpy()] = self._indexes_of_new_texts(texts.gather(new["row"]))
            indexes = self._index_of_code.take(codes)
        return indexes

    def _indexes_of_new_texts(self, texts: pl.Series) -> NDArray[np.int32]:
        """The indexes of different texts that have no code yet; some may have come as numbers before."""
        rows, numbers = self._with_a_place(texts)
        indexes = np.full(len(texts), -1, dtype=np.int32)
        indexes[rows] = self._index_of_number[numbers]
        new = np.flatnonzero(indexes < 0)
        indexes[new] = self._number_new_ids(texts.gather(new))
        self._index_of_number[numbers] = indexes[rows]
        return indexes

    def _number_new_ids(self, ids: pl.Series) -> NDArray[np.int32]:
        if len(ids):
            self._new_ids.append(ids)
        first, self._n_ids = self._n_ids, self._n_ids + len(ids)
        return np.arange(first, self._n_ids, dtype=np.int32)

    def _with_a_place(self, texts: pl.Series) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Which of `texts` are plain numbers with a place in the table, and these numbers."""
        numbers = texts.cast(pl.Int64, strict=False)
        has_place = (numbers.cast(pl.String) == texts) & (numbers >= 0) & (numbers < len(self._index_of_number))
        rows = np.flatnonzero(has_place.fill_null(False).to_numpy())
        return rows, numbers.gather(rows).to_numpy()

    def _make_room_for_numbers(self, largest: int) -> None:
        self._index_of_number = _with_room(self._index_of_number, largest)
        if any(ids.dtype == pl.String for ids in self._new_ids):  # some of these may only now have a place
            rows, numbers = self._with_a_place(self.ids())
            self._index_of_number[numbers] = rows

    def ids(self) -> pl.Series:
        """All ids in index order, String."""
        ids = [pl.Series("id", [], dtype=pl.String)]
        for _, parts in groupby(self._new_ids, key=lambda part: part.dtype):
            ids.append(pl.concat(parts).cast(pl.String))
        return pl.concat(ids)


def _with_room(indexes: NDArray[np.int32], largest: int) -> NDArray[np.int32]:
    """`indexes`, longer if there is no place for `largest`; new places hold -1."""
    size = len(indexes)
    if largest < size:
        return indexes
    larger = np.full(max(2 * size, largest + 1), -1, dtype=np.int32)
    larger[:size] = indexes
    return larger
