"""Tiled matrices, blocks of columns, and threads for kernels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import cached_property
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from autorec_cli.network.autoencoder import ROWS_PER_PIECE, TILE
from autorec_cli.network.compiled.kernels import count_blocks
from autorec_cli.runtime.threads import product_limit
from autorec_cli.storage.safetensors_writer import Pieces

COLUMNS_AT_ONCE = 2048
"""Rows of a factor per block; in one tile they take half a MiB, less than the L2 cache of a core."""

PARTS_PER_THREAD, RANGES_PER_THREAD = 4, 2
"""Parts of a product per thread, so that none waits long for another; of a product that has to read all tiles for every
range of rows, fewer."""

Floats = NDArray[np.float32]
Indexes = NDArray[np.int32]
Task = TypeVar("Task")
Result = TypeVar("Result")


def block_pointers(indptr: NDArray[Any], indices: Indexes, n_columns: int) -> NDArray[np.int64]:
    """Find the first cell of every row per block.

    A block has COLUMNS_AT_ONCE columns.

    Returns:
        (n_blocks + 1, m); the last row has the end of each row.
    """
    n_blocks = max(1, -(-n_columns // COLUMNS_AT_ONCE))
    pointers = np.empty((n_blocks + 1, len(indptr) - 1), dtype=np.int64)
    count_blocks(indptr, indices, COLUMNS_AT_ONCE, pointers)
    return pointers


def to_tiles(matrix: Floats) -> Floats:
    """Convert (n, k) to (ceil(k / TILE), n, TILE)."""
    tiles = np.empty((-(-matrix.shape[1] // TILE), len(matrix), TILE), dtype=np.float32)
    fill_tiles(tiles, matrix)
    return tiles


def fill_tiles(tiles: Floats, matrix: Floats) -> None:
    """Copy `matrix` (n, k) into `tiles` (ceil(k / TILE), n, TILE)."""
    for tile, start in zip(tiles, range(0, matrix.shape[1], TILE), strict=True):
        columns = matrix[:, start : start + TILE]
        tile[:, : columns.shape[1]] = columns
        tile[:, columns.shape[1] :] = 0  # kernels add up the padding too


def from_tiles(tiles: Floats, n_columns: int, column: Floats | float | None = None) -> Floats:
    """Convert (ceil(k / TILE), n, TILE) to (n, k).

    With a `column` (n,) appended, to (n, k + 1).
    """
    matrix = np.empty((tiles.shape[1], n_columns + (column is not None)), dtype=np.float32)
    for tile, start in zip(tiles, range(0, n_columns, TILE), strict=True):
        columns = matrix[:, start : min(start + TILE, n_columns)]
        columns[:] = tile[:, : columns.shape[1]]
    if column is not None:
        matrix[:, -1] = column
    return matrix


def untiled(tiles: Floats, n_columns: int) -> Pieces:
    """Convert as `from_tiles`, in pieces of ROWS_PER_PIECE rows."""
    n_rows = tiles.shape[1]

    def make() -> Iterator[Floats]:
        # A checkpoint would otherwise hold a second copy of V and W while it is written.
        for start in range(0, n_rows, ROWS_PER_PIECE):
            yield from_tiles(tiles[:, start : start + ROWS_PER_PIECE], n_columns)

    return Pieces(tiles.dtype, (n_rows, n_columns), make)


class Workers:
    """Thread pool for kernels and matrix products, which release the GIL.

    The thread that calls it is one of its `threads`.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._pool = ThreadPoolExecutor(max(1, threads - 1))

    def run(
        self, kernel: Callable[..., None], indptr: NDArray[Any], tiled: Sequence[Floats], *arguments: object
    ) -> None:
        """Call `kernel` on all threads, each time for a part.

        A call is `kernel(*tiled, *arguments, first, last)`, with part of the tiles and a range of rows. A kernel that
        needs all tiles at once has them among its other arguments.
        """
        parts = self._parts(indptr, len(tiled[0]) if tiled else 0)
        self.map(lambda part: kernel(*(array[part[0]] for array in tiled), *arguments, *part[1:]), parts)

    def map(self, work: Callable[[Task], Result], tasks: Sequence[Task]) -> list[Result]:
        """Call `work` for all `tasks` on all threads.

        Returns:
            The results in order.
        """
        results: list[Any] = [None] * len(tasks)
        remaining = iter(enumerate(tasks))

        def take_all() -> None:
            # Threads share the iterator, so that whichever is free takes the next task.
            for number, task in remaining:
                results[number] = work(task)

        others = [self._pool.submit(take_all) for _ in range(self.threads - 1)]
        take_all()
        for other in others:
            other.result()  # raises what it raised
        return results

    def multiply(self, work: Callable[[Task], Result], tasks: Sequence[Task]) -> list[Result]:
        """Call `work` as `map` does, each matrix product on one thread."""
        if self._product_limit is None:  # products on several threads each would compete with each other
            return [work(task) for task in tasks]
        with self._product_limit():
            return self.map(work, tasks)

    @cached_property
    def _product_limit(self) -> Callable[[], AbstractContextManager[object]] | None:
        return product_limit()

    def close(self, wait: bool = True) -> None:
        """End the threads, and with `wait` return after their end."""
        self._pool.shutdown(wait=wait, cancel_futures=True)

    def _parts(self, indptr: NDArray[Any], n_tiles: int) -> list[tuple[slice, int, int]]:
        """Divide the tiles, and where these are too few the rows too."""
        if self.threads == 1 or not n_tiles:
            n_ranges = 1 if self.threads == 1 else RANGES_PER_THREAD * self.threads
            return [(slice(None), *rows) for rows in _row_ranges(indptr, n_ranges)]
        # One tile stays in the cache of one core, and tiles are equally large, so rows are divided as little as can be.
        rows = list(_row_ranges(indptr, -(-PARTS_PER_THREAD * self.threads // n_tiles)))
        return [(slice(tile, tile + 1), *range_) for tile in range(n_tiles) for range_ in rows]


def _row_ranges(indptr: NDArray[Any], n_ranges: int) -> Iterator[tuple[int, int]]:
    """Divide the rows into ranges of about as many cells each."""
    # By cells and not by rows: a few popular rows hold most of the cells.
    n_rows = len(indptr) - 1
    if n_ranges == 1:
        return iter([(0, n_rows)] if n_rows else [])
    goals = np.linspace(0, int(indptr[-1]) + n_rows, n_ranges + 1)  # an empty row takes some time too
    bounds = np.searchsorted(indptr + np.arange(n_rows + 1), goals).tolist()
    # Rounding must not leave out the first or the last row.
    bounds[0], bounds[-1] = 0, n_rows
    return ((first, last) for first, last in pairwise(bounds) if first < last)
