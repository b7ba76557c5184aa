"""The table of ratings becomes one sparse matrix: cells in row order, duplicates resolved.

Nothing here adds, multiplies or compares ratings of different cells, so zeros and negative ratings are cells like any
other. scipy's own conversion from coordinates would sum duplicates; it is only used to count and order.

Memory: the table holds 12 bytes a rating, 16 with timestamps. Its columns are moved one by one and freed on the way, so
that the peak is 4 bytes above that, and the matrix with its timestamps (8 or 12) is what stays. Sorting rows and
resolving duplicates work in place, on blocks of whole rows, and add what one block needs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import polars as pl
from numpy.typing import NDArray

from autorec_cli.data import loops
from autorec_cli.data.builder.buffers import GrowingColumn, sparse_pages
from autorec_cli.data.builder.duplicates import Block, Clash, Found, resolve_block
from autorec_cli.data.builder.ratings_table import RatingsTable, read_ratings
from autorec_cli.data.readers.options import DUPLICATES, ReadOptions
from autorec_cli.errors import InputDataError, UsageError, quoted
from autorec_cli.runtime.threads import in_order

if TYPE_CHECKING:  # `build_dataset` imports scipy while ratings are read
    from scipy import sparse

SLICE = 1 << 17  # ratings handled at once: few enough for the processor's cache
MOST_BLOCKS = 512  # of ratings in any order; a slice of them is cut into as many runs


@dataclass(frozen=True)
class Ratings:
    """Every rating once, as a matrix.

    Attributes:
        matrix: CSR (n_users, n_items) float32, indices sorted, no duplicates; every stored cell is a rating.
        user_ids, item_ids: Ids of rows and columns, String.
        timestamps: Of every stored cell, in its order, int32 or float64; None without timestamps.
        is_test: Whether a stored cell comes from a source of the test part; None if there was none.
        n_duplicates: Ratings that gave way to another one of the same user and item.
        n_leaked: Ratings left out of training because the test part has the same user and item.
        n_dropped: Ratings of users and items with too few of them.
    """

    matrix: sparse.csr_array
    user_ids: pl.Series
    item_ids: pl.Series
    timestamps: NDArray[np.generic] | None = None
    is_test: NDArray[np.bool_] | None = None
    n_duplicates: int = 0
    n_leaked: int = 0
    n_dropped: int = 0


def build_ratings(table: RatingsTable, duplicates: str = "last", skip_leaks: bool = False) -> Ratings:
    """Turn `table` into a matrix; its columns are emptied on the way.

    Args:
        table: Ratings of all sources.
        duplicates: Which of several ratings of one user and item stays: "last" or "first" by timestamp, then by order
            in the sources; "mean"; or "error".
        skip_leaks: Whether a training rating gives way to a test rating of the same user and item, instead of raising.

    Raises:
        InputDataError: "error" was asked for and there are duplicates, or training and test ratings share a pair.
        UsageError: `duplicates` is unknown.
    """
    from scipy import sparse

    if duplicates not in DUPLICATES:
        raise UsageError(f"--duplicates {duplicates} is not one of {', '.join(DUPLICATES)}")
    n_train = table.n_ratings - table.n_given_test
    shape = (len(table.user_ids), len(table.item_ids))
    needs_positions = duplicates == "error" or bool(table.n_given_test)
    indptr = _pointers(table.user_indexes.counts(shape[0]))
    columns, rows = _take_columns(table, indptr, needs_positions)
    resolved = _settle(indptr, rows, columns, shape[1], n_train, duplicates)
    columns.pop("user", None)
    if resolved.leaks and not skip_leaks:
        _refuse_leak(min(resolved.leaks), table)
    if resolved.repeats and duplicates == "error":
        _refuse_repeat(min(resolved.repeats), table)
    _cut_off(columns, int(resolved.indptr[-1]))
    matrix = sparse.csr_array((columns["rating"], columns["item"], resolved.indptr), shape=shape)
    matrix.has_canonical_format = True
    is_test = columns["position"] >= n_train if table.n_given_test else None
    return Ratings(
        matrix,
        table.user_ids,
        table.item_ids,
        timestamps=columns.get("timestamp"),
        is_test=is_test,
        n_duplicates=table.n_ratings - matrix.nnz - resolved.n_leaked,
        n_leaked=resolved.n_leaked,
    )


def _pointers(counts: NDArray[np.int64]) -> NDArray[Any]:
    """Row pointers for rows of `counts` cells, in the smallest type that scipy indexes with."""
    indptr = np.concatenate([[0], np.cumsum(counts)])
    return indptr.astype(np.int32 if indptr[-1] < np.iinfo(np.int32).max else np.int64)


def _take_columns(
    table: RatingsTable, indptr: NDArray[Any], needs_positions: bool
) -> tuple[dict[str, NDArray[Any]], NDArray[Any]]:
    """The columns "item", "rating", ... with the ratings of a block side by side, and where blocks begin and end.

    A block is some whole rows: those from `rows[i]` to `rows[i + 1]`, if `rows` is what comes second. Ratings of
    one user stay in the order of the sources. If a block's rows are not in order yet, there is a column "user".
    """
    sources = {"item": table.item_indexes, "rating": table.ratings}
    if len(table.timestamps):
        sources["timestamp"] = table.timestamps
    least = max(SLICE, len(table.item_ids))  # sorting a block has steps for every item
    if table.user_indexes.column is not None:
        return _gathered({"user": table.user_indexes.column, **sources}, indptr, least, needs_positions)
    columns = {name: column.take() for name, column in sources.items()}
    if needs_positions:
        columns["position"] = np.arange(indptr[-1], dtype=indptr.dtype)
    return columns, _blocks_of(indptr, least)


def _blocks_of(indptr: NDArray[Any], length: int) -> NDArray[Any]:
    """Row numbers that cut all rows into blocks of `length` ratings, more only where a single row has more."""
    rows = [0]
    while rows[-1] < len(indptr) - 1:
        fit = int(np.searchsorted(indptr, indptr[rows[-1]] + length, side="right")) - 1
        rows.append(max(rows[-1] + 1, fit))
    return np.array(rows)


def _gathered(
    sources: dict[str, GrowingColumn], indptr: NDArray[Any], least: int, needs_positions: bool
) -> tuple[dict[str, NDArray[Any]], NDArray[Any]]:
    """What `_take_columns` returns for ratings in any order, in blocks of at least `least`; `sources` are emptied.

    The ratings are taken from the end, slice by slice. Each slice is sorted by block, and what it has of a block goes
    in front of what later slices had of it. So a column is nowhere twice, and memory is written in runs.
    """
    n_ratings = int(indptr[-1])
    rows = _blocks_of(indptr, max(least, -(-n_ratings // MOST_BLOCKS)))
    block_of_user = np.repeat(np.arange(len(rows) - 1), np.diff(rows)).astype(np.uint16)
    free = indptr[rows[1:]].astype(np.int64)  # (n_blocks,) where the free places of each block end
    columns = {name: sparse_pages(n_ratings, column.dtype) for name, column in sources.items()}
    if needs_positions:
        columns["position"] = sparse_pages(n_ratings, indptr.dtype)

    def popped() -> Iterator[dict[str, NDArray[Any]]]:
        for start in reversed(range(0, n_ratings, SLICE)):
            length = min(SLICE, n_ratings - start)
            part = {name: column.pop(length) for name, column in sources.items()}
            if needs_positions:
                part["position"] = np.arange(start, start + length, dtype=indptr.dtype)
            yield part

    def in_block_order(part: dict[str, NDArray[Any]]) -> tuple[NDArray[Any], dict[str, NDArray[Any]]]:
        blocks = block_of_user.take(part["user"])
        order = blocks.argsort(kind="stable")  # a radix sort, as these are 16 bits
        return np.bincount(blocks), {name: column.take(order) for name, column in part.items()}

    with in_order(in_block_order, popped()) as parts:
        for counts, part in parts:
            start = 0
            for block in np.flatnonzero(counts):
                count = counts[block]
                for name, column in part.items():
                    columns[name][free[block] - count : free[block]] = column[start : start + count]
                free[block] -= count
                start += count
    return columns, rows


def _blocks(indptr: NDArray[Any], rows: NDArray[Any], columns: dict[str, NDArray[Any]]) -> Iterator[Block]:
    """The blocks in turn; `rows` says where they begin and end."""
    for row, stop in pairwise(rows.tolist()):
        pointers = indptr[row : stop + 1]
        views = {name: column[pointers[0] : pointers[-1]] for name, column in columns.items()}
        yield Block(row, pointers - pointers[0], views)


def _sort_block(block: Block, n_items: int) -> None:
    """Sort the cells of a block by row and item, equal ones in the order they have; in place."""
    columns = dict(block.columns)
    rows = columns.pop("user", None)
    if rows is None and loops.are_compiled():
        loops.sort_rows(block.pointers, columns.pop("item"), list(columns.values()), n_items)
        return
    if rows is None:
        rows = np.repeat(np.arange(len(block.pointers) - 1, dtype=np.int32), np.diff(block.pointers))
    else:
        rows = rows - np.int32(block.first_row)
    order = _order_by_counting(rows, block, n_items)
    for column in columns.values():
        column[:] = column.take(order)


def _order_by_counting(rows: NDArray[np.int32], block: Block, n_items: int) -> NDArray[Any]:
    """Where the cells sorted by row and item come from, equal ones in the order they have.

    Args:
        rows: Of all cells, counted from that of the block.
        block: The cells.
        n_items: Columns of the matrix.
    """
    from scipy import sparse

    items = block.columns["item"]
    places = np.arange(len(items), dtype=np.int32 if len(items) < 2**31 else np.int64)
    cells = sparse.coo_array((places, (rows, items)), shape=(len(block.pointers) - 1, n_items))
    cells.has_canonical_format = True  # or scipy would sum the places of a pair that comes twice
    order: NDArray[Any] = cells.tocsc().tocsr().data  # two counting sorts, each of them stable
    return order


@dataclass
class _Resolved:
    """What became of the duplicates.

    Attributes:
        indptr: Row pointers of the cells that stay.
        n_leaked: Training ratings that gave way to a test rating.
        leaks, repeats: Those of all blocks.
    """

    indptr: NDArray[Any]
    n_leaked: int = 0
    leaks: list[Clash] = field(default_factory=list)
    repeats: list[Clash] = field(default_factory=list)

    def add(self, found: Found) -> None:
        """Add what was found in a block."""
        self.n_leaked += found.n_leaked
        self.leaks += [found.leak] if found.leak else []
        self.repeats += [found.repeat] if found.repeat else []


def _settle(
    indptr: NDArray[Any],
    rows: NDArray[Any],
    columns: dict[str, NDArray[Any]],
    n_items: int,
    n_train: int,
    duplicates: str,
) -> _Resolved:
    """Sort the cells in `columns` and leave one of every user and item, block by block.

    Args:
        indptr: Row pointers of the columns.
        rows: Where blocks begin and end, see `_take_columns`.
        columns: Those that stay move to the front, in place. Clashes are told only if there is a "position".
        n_items: Columns of the matrix.
        n_train: Positions from this one on are the test part.
        duplicates: Which rating of a pair stays.
    """

    def settle(block: Block) -> tuple[Block, Found]:
        _sort_block(block, n_items)
        return block, resolve_block(block, n_train, duplicates)

    resolved = _Resolved(np.zeros_like(indptr))
    n_seen = n_kept = 0
    with in_order(settle, _blocks(indptr, rows, columns)) as settled:
        for block, found in settled:
            resolved.add(found)
            n_cells = int(block.pointers[-1])
            kept = n_cells if found.keep is None else len(found.keep)
            before = block.pointers if found.keep is None else np.searchsorted(found.keep, block.pointers)
            resolved.indptr[block.first_row :][: len(before)] = n_kept + before
            if n_kept + kept < n_seen + n_cells:  # something went, here or earlier: what stays moves up
                for name, column in block.columns.items():
                    if name == "user":
                        continue
                    columns[name][n_kept : n_kept + kept] = column if found.keep is None else column.take(found.keep)
            n_seen, n_kept = n_seen + n_cells, n_kept + kept
    return resolved


def _cut_off(columns: dict[str, NDArray[Any]], length: int) -> None:
    """Give back the memory behind the first `length` cells."""
    for name, column in columns.items():
        if column.base is None:
            column.resize(length, refcheck=False)  # in place: the only views were those of blocks
        else:
            columns[name] = column[:length]


def _pair_name(clash: Clash, table: RatingsTable) -> str:
    return f"user {quoted(table.user_ids[clash.user_index])} and item {quoted(table.item_ids[clash.item_index])}"


def _refuse_repeat(clash: Clash, table: RatingsTable) -> NoReturn:
    names = list(dict.fromkeys([table.source_of(clash.other), table.source_of(clash.position)]))
    where = f"twice in {names[0]}" if len(names) == 1 else f"in {names[0]} and again in {names[1]}"
    raise InputDataError(
        f"{_pair_name(clash, table)} come {where}; remove one rating or choose with --duplicates last, first or mean"
    )


def _refuse_leak(clash: Clash, table: RatingsTable) -> NoReturn:
    raise InputDataError(
        f"{_pair_name(clash, table)} come in {table.source_of(clash.position)} and in the test file "
        f"{table.source_of(clash.other)}; remove the training rating or use --on-error skip"
    )


def read_user_items(name: str, options: ReadOptions | None = None) -> tuple[list[str], list[str], sparse.csr_array]:
    """The ratings of one source as they are, without a split: ids of users, ids of items, and their matrix.

    Ids are in order of first appearance; of several ratings of one pair the last one counts.

    Raises:
        InputDataError: the source cannot be used.
    """
    ratings = build_ratings(read_ratings([name], options or ReadOptions()))
    return ratings.user_ids.to_list(), ratings.item_ids.to_list(), ratings.matrix
