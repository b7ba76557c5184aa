"""Ids become indexes, numbered by first appearance."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray


class IdTable:
    """The ids seen so far on one side, users or items.

    Polars hashes the strings (a `Categorical` whose categories live as long as this table). The codes it gives depend
    on its threads, so they are numbered again in order of first appearance, which makes runs repeatable.
    """

    def __init__(self) -> None:
        self._dtype = pl.Categorical(pl.Categories.random(namespace="autorec"))
        self._keep_alive = pl.Series([], dtype=self._dtype)
        self._index_of_code = np.full(1024, -1, dtype=np.int32)
        self._new_ids: list[pl.Series] = []
        self._n_ids = 0

    def __len__(self) -> int:
        return self._n_ids

    def indexes(self, ids: pl.Series) -> NDArray[np.int32]:
        """The index of every id of a block (String, no nulls), (len(ids),); unseen ids get the next numbers."""
        codes = ids.cast(self._dtype).to_physical().to_numpy()
        if len(codes):
            self._make_room(int(codes.max()))
        indexes: NDArray[np.int32] = self._index_of_code.take(codes)
        if len(indexes) and indexes.min() < 0:
            unseen = np.flatnonzero(indexes < 0)
            new = pl.DataFrame({"code": codes[unseen], "row": unseen}).unique("code", keep="first", maintain_order=True)
            self._index_of_code[new["code"].to_numpy()] = np.arange(len(new), dtype=np.int32) + np.int32(self._n_ids)
            self._new_ids.append(ids.gather(new["row"]))
            self._n_ids += len(new)
            indexes = self._index_of_code.take(codes)
        return indexes

    def _make_room(self, largest_code: int) -> None:
        size = len(self._index_of_code)
        if largest_code >= size:
            larger = np.full(max(2 * size, largest_code + 1), -1, dtype=np.int32)
            larger[:size] = self._index_of_code
            self._index_of_code = larger

    def ids(self) -> pl.Series:
        """All ids in index order, String."""
        return pl.concat(self._new_ids).alias("id") if self._new_ids else pl.Series("id", [], dtype=pl.String)
