"""The table of ratings becomes one sparse matrix: cells in row order, duplicates resolved, minimum counts kept.

Nothing here adds, multiplies or compares ratings of different cells, so zeros and negative ratings are cells like any
other. scipy's own conversion from coordinates would sum duplicates; it is only used to count and order.

Memory: the table holds 12 bytes a rating, 16 with timestamps. Its columns are moved one by one and freed on the way, so
that the peak is 4 bytes above that, and the matrix with its timestamps (8 or 12) is what stays. Sorting rows and
resolving duplicates work in place, on blocks of whole rows, and add what one block needs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, NoReturn

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import sparse

from autorec_cli.errors import InputDataError, UsageError, quoted
from autorec_cli.ingest.columns import GrowingColumn
from autorec_cli.ingest.options import DUPLICATES, ReadOptions
from autorec_cli.ingest.table import RatingsTable, read_ratings

SLICE = 1 << 20  # ratings handled at once where a step needs scratch memory


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
    if duplicates not in DUPLICATES:
        raise UsageError(f"--duplicates {duplicates} is not one of {', '.join(DUPLICATES)}")
    n_train = table.n_ratings - table.n_given_test
    shape = (len(table.user_ids), len(table.item_ids))
    needs_positions = duplicates == "error" or bool(table.n_given_test)
    indptr, columns = _group_by_user(table, shape[0], needs_positions)
    _sort_rows(indptr, columns, shape[1])
    resolved = _resolve(indptr, columns, n_train, duplicates)
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


def _group_by_user(
    table: RatingsTable, n_users: int, needs_positions: bool
) -> tuple[NDArray[Any], dict[str, NDArray[Any]]]:
    """Row pointers, and the columns "item", "rating", ... in row order, within a row in the order of the sources."""
    indptr, target = _places(_joined(table.user_indexes), n_users)
    columns = {"item": _moved(table.item_indexes, target), "rating": _moved(table.ratings, target)}
    if len(table.timestamps):
        columns["timestamp"] = _moved(table.timestamps, target)
    if needs_positions:
        n_ratings = len(columns["item"])
        columns["position"] = np.arange(n_ratings, dtype=indptr.dtype)
        if target is not None:
            for part in _slices(n_ratings, 0):
                columns["position"][target[part]] = np.arange(part.start, part.stop, dtype=indptr.dtype)
    return indptr, columns


def _places(users: NDArray[np.int32], n_users: int) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Row pointers, and the place of every rating in row order; None if they are in row order already.

    A stable counting sort, slice by slice; the places are written over `users`.
    """
    counts = count_values(users, n_users)
    pointer_type = np.int32 if len(users) < np.iinfo(np.int32).max else np.int64
    indptr: NDArray[Any] = np.concatenate([[0], np.cumsum(counts)]).astype(pointer_type)
    if all(np.all(users[part][1:] >= users[part][:-1]) for part in _slices(len(users), 0, overlap=1)):
        return indptr, None  # most published sets are in order of user
    target = users.astype(pointer_type, copy=False)
    free = indptr[:-1].copy()
    for part in _slices(len(target), n_users):
        order, in_part = _by_user(target[part], n_users)
        starts = np.concatenate([[0], np.cumsum(in_part)[:-1]])
        target[part][order] = np.arange(len(order)) + np.repeat(free - starts, in_part)
        free += in_part.astype(pointer_type)
    return indptr, target


def _joined(column: GrowingColumn) -> NDArray[Any]:
    """The column as one array; it is emptied on the way."""
    joined = np.empty(len(column), dtype=column.dtype)
    start = 0
    for segment in column.take():
        joined[start : start + len(segment)] = segment
        start += len(segment)
    return joined


def _moved(column: GrowingColumn, target: NDArray[Any] | None) -> NDArray[Any]:
    """The column as one array, element i of it at `target[i]`; it is emptied on the way."""
    if target is None:
        return _joined(column)
    moved = np.empty(len(target), dtype=column.dtype)
    start = 0
    for segment in column.take():
        moved[target[start : start + len(segment)]] = segment
        start += len(segment)
    return moved


def _slices(length: int, least: int, overlap: int = 0) -> Iterator[slice]:
    """Slices long enough that work in proportion to `least`, done once a slice, does not weigh."""
    step = max(SLICE, least)
    for start in range(0, length, step):
        yield slice(start, min(start + step + overlap, length))


def _by_user(users: NDArray[Any], n_users: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Positions in order of user, ties in order of position; and the number of ratings of every user."""
    positions = np.arange(len(users), dtype=np.int32)
    cells = sparse.coo_array((positions, (users, positions)), shape=(n_users, len(users)))
    cells.has_canonical_format = True  # a position comes once: there is nothing to sum
    return cells.tocsr().indices, np.bincount(users, minlength=n_users)


def count_values(values: NDArray[np.signedinteger[Any]], n_values: int) -> NDArray[np.int64]:
    """How often each of 0 to n_values - 1 is in `values`, (n_values,); by slices, as bincount copies to int64."""
    counts = np.zeros(n_values, dtype=np.int64)
    for part in _slices(len(values), n_values):
        counts += np.bincount(values[part], minlength=n_values)
    return counts


def _sort_rows(indptr: NDArray[Any], columns: dict[str, NDArray[Any]], n_items: int) -> None:
    """Sort the cells of every row by item, equal items in the order they have; in place, some rows at a time."""
    for block in _blocks(indptr, columns, n_items):
        items = block.columns["item"]
        pointers = block.pointers.astype(np.int32 if len(items) < 2**31 else np.int64)
        shape = (len(pointers) - 1, n_items)
        cells = sparse.csr_array((np.arange(len(items), dtype=pointers.dtype), items, pointers), shape)
        order = cells.tocsc().tocsr().data  # two counting sorts, each of them stable
        for column in block.columns.values():
            column[:] = column[order]


@dataclass(frozen=True)
class _Block:
    """Some whole rows.

    Attributes:
        first_row: The number of the first one.
        pointers: Row pointers that begin with 0, (n_rows + 1,).
        columns: Views of the cells, (pointers[-1],) each.
    """

    first_row: int
    pointers: NDArray[Any]
    columns: dict[str, NDArray[Any]]


def _blocks(indptr: NDArray[Any], columns: dict[str, NDArray[Any]], least: int = 0) -> Iterator[_Block]:
    """All rows in turn; `SLICE` or `least` cells at once, more only where a single row has more."""
    n_rows = len(indptr) - 1
    step = max(SLICE, least)
    row = 0
    while row < n_rows:
        stop = max(row + 1, int(np.searchsorted(indptr, indptr[row] + step, side="right")) - 1)
        pointers = indptr[row : stop + 1]
        views = {name: column[pointers[0] : pointers[-1]] for name, column in columns.items()}
        yield _Block(row, pointers - pointers[0], views)
        row = stop


def _same_cell_as_before(indptr: NDArray[Any], items: NDArray[Any]) -> NDArray[np.bool_]:
    """For every cell, whether the one before it has the same user and item."""
    same = np.zeros(len(items), dtype=bool)
    np.equal(items[1:], items[:-1], out=same[1:])
    same[indptr[:-1][np.diff(indptr) > 0]] = False
    return same


class _Clash(NamedTuple):
    """Two ratings of one pair; of several clashes the least one is the one that comes first in the sources.

    Attributes:
        position: Position in the sources of the rating that should not be there.
        other: Position of the rating that was there before, or that is the one to test on.
        user_index, item_index: The pair.
    """

    position: int
    other: int
    user_index: int
    item_index: int


@dataclass
class _Resolved:
    """What became of the duplicates.

    Attributes:
        indptr: Row pointers of the cells that stay.
        n_leaked: Training ratings that gave way to a test rating.
        leaks: The first of these ratings in every block, with the test rating.
        repeats: The first rating in every block that is the second of its pair, with the first of its pair.
    """

    indptr: NDArray[Any]
    n_leaked: int = 0
    leaks: list[_Clash] = field(default_factory=list)
    repeats: list[_Clash] = field(default_factory=list)


def _resolve(indptr: NDArray[Any], columns: dict[str, NDArray[Any]], n_train: int, duplicates: str) -> _Resolved:
    """Leave one rating of every user and item in `columns`, some rows at a time.

    Args:
        indptr: Row pointers of the columns.
        columns: Cells sorted by row, item and order in the sources; those that stay move to the front, in place.
            Clashes are told only if there is a "position".
        n_train: Positions from this one on are the test part.
        duplicates: Which rating of a pair stays.
    """
    resolved = _Resolved(np.zeros_like(indptr))
    n_seen = n_kept = 0
    for block in _blocks(indptr, columns):
        keep = _resolve_block(block, n_train, duplicates, resolved)
        before = np.concatenate([[0], np.cumsum(keep)])
        resolved.indptr[block.first_row :][: len(block.pointers)] = n_kept + before[block.pointers]
        n_seen, stop = n_seen + len(keep), n_kept + int(before[-1])
        if stop < n_seen:  # something went, here or earlier: what stays moves up
            for name, column in block.columns.items():
                columns[name][n_kept:stop] = column[keep]
        n_kept = stop
    return resolved


def _cut_off(columns: dict[str, NDArray[Any]], length: int) -> None:
    """Give back the memory behind the first `length` cells; one column at a time is there twice."""
    for name in columns:
        if length < len(columns[name]):
            columns[name] = columns[name][:length].copy()


def _resolve_block(block: _Block, n_train: int, duplicates: str, resolved: _Resolved) -> NDArray[np.bool_]:
    """Which cells of `block` stay; "mean" changes ratings in place. `resolved` is told of leaks and repeats."""
    same = _same_cell_as_before(block.pointers, block.columns["item"])
    several = same.copy()
    several[:-1] |= same[1:]
    keep = ~several
    cells = np.flatnonzero(several)
    if not len(cells):
        return keep
    pairs = np.cumsum(~same[cells])  # numbers the pairs, whose cells are neighbours
    if "position" in block.columns:
        leaking = _find_leaks(block, cells, pairs, n_train, resolved)
        cells, pairs = cells[~leaking], pairs[~leaking]
        _find_repeats(block, cells, pairs, resolved)
    keep[_choose(block, cells, pairs, duplicates)] = True
    return keep


def _find_leaks(
    block: _Block, cells: NDArray[Any], pairs: NDArray[Any], n_train: int, resolved: _Resolved
) -> NDArray[np.bool_]:
    """Which of `cells` are training ratings of pairs that the test part has as well."""
    positions = block.columns["position"][cells]
    is_test = positions >= n_train
    tested = np.zeros(pairs[-1] + 1, dtype=bool)
    tested[pairs[is_test]] = True
    leaking: NDArray[np.bool_] = tested[pairs] & ~is_test
    if leaking.any():
        first = np.flatnonzero(leaking)[np.argmin(positions[leaking])]
        test = np.flatnonzero(is_test & (pairs == pairs[first]))[0]
        resolved.leaks.append(_clash(block, cells[first], cells[test]))
        resolved.n_leaked += int(leaking.sum())
    return leaking


def _find_repeats(block: _Block, cells: NDArray[Any], pairs: NDArray[Any], resolved: _Resolved) -> None:
    later = np.flatnonzero(pairs[1:] == pairs[:-1]) + 1
    if len(later):
        second = later[np.argmin(block.columns["position"][cells[later]])]
        resolved.repeats.append(_clash(block, cells[second], cells[second - 1]))


def _clash(block: _Block, cell: int, other: int) -> _Clash:
    positions = block.columns["position"]
    row = block.first_row + int(np.searchsorted(block.pointers, cell, side="right")) - 1
    return _Clash(int(positions[cell]), int(positions[other]), row, int(block.columns["item"][cell]))


def _choose(block: _Block, cells: NDArray[Any], pairs: NDArray[Any], duplicates: str) -> NDArray[Any]:
    """The one of `cells` that stays of every pair; with "mean" the last one, which gets the mean as its rating."""
    if "timestamp" in block.columns:  # by time; ratings of one moment stay in the order of the sources
        cells = cells[np.lexsort((block.columns["timestamp"][cells], pairs))]
    firsts = np.flatnonzero(np.diff(pairs, prepend=0))  # pairs are numbered from 1
    lasts = np.append(firsts[1:], len(pairs)) - 1
    if duplicates == "mean":
        ratings = block.columns["rating"]
        ratings[cells[lasts]] = np.add.reduceat(ratings[cells], firsts, dtype=np.float64) / (lasts - firsts + 1)
    return cells[firsts if duplicates == "first" else lasts]


def _pair_name(clash: _Clash, table: RatingsTable) -> str:
    return f"user {quoted(table.user_ids[clash.user_index])} and item {quoted(table.item_ids[clash.item_index])}"


def _refuse_repeat(clash: _Clash, table: RatingsTable) -> NoReturn:
    names = list(dict.fromkeys([table.source_of(clash.other), table.source_of(clash.position)]))
    where = f"twice in {names[0]}" if len(names) == 1 else f"in {names[0]} and again in {names[1]}"
    raise InputDataError(
        f"{_pair_name(clash, table)} come {where}; remove one rating or choose with --duplicates last, first or mean"
    )


def _refuse_leak(clash: _Clash, table: RatingsTable) -> NoReturn:
    raise InputDataError(
        f"{_pair_name(clash, table)} come in {table.source_of(clash.position)} and in the test file "
        f"{table.source_of(clash.other)}; remove the training rating or use --on-error skip"
    )


def keep_frequent(ratings: Ratings, min_user_ratings: int = 1, min_item_ratings: int = 1) -> Ratings:
    """Drop users and items with too few ratings, again and again until all have enough (the k-core).

    Raises:
        InputDataError: nothing is left.
    """
    if min_user_ratings <= 1 and min_item_ratings <= 1:
        return ratings
    n_before = int(ratings.matrix.nnz)
    while ratings.matrix.nnz:
        n_items = ratings.matrix.shape[1]
        user_counts = np.diff(ratings.matrix.indptr)
        item_counts = count_values(ratings.matrix.indices, n_items)
        users, items = user_counts >= max(min_user_ratings, 1), item_counts >= max(min_item_ratings, 1)
        if users.all() and items.all():
            return replace(ratings, n_dropped=n_before - ratings.matrix.nnz)
        ratings = _select(ratings, users, items)
    raise InputDataError(
        f"no rating is left with --min-user-ratings {min_user_ratings} and --min-item-ratings {min_item_ratings}; "
        "use smaller numbers"
    )


def _n_before(keep: NDArray[np.bool_], indptr: NDArray[Any]) -> NDArray[Any]:
    """The row pointers of the cells that are kept."""
    before = np.zeros(len(keep) + 1, dtype=indptr.dtype)
    np.cumsum(keep, out=before[1:])
    pointers: NDArray[Any] = before[indptr]
    return pointers


def _select(ratings: Ratings, users: NDArray[np.bool_], items: NDArray[np.bool_]) -> Ratings:
    """The ratings of the chosen users and items, numbered again in the same order."""
    matrix = ratings.matrix
    keep = np.repeat(users, np.diff(matrix.indptr)) & items[matrix.indices]
    counts = np.diff(_n_before(keep, matrix.indptr))
    indptr = np.concatenate([[0], np.cumsum(counts[users])]).astype(matrix.indptr.dtype)
    new_index = (np.cumsum(items) - 1).astype(matrix.indices.dtype)
    shape = (int(users.sum()), int(items.sum()))
    selected = sparse.csr_array((matrix.data[keep], new_index[matrix.indices[keep]], indptr), shape=shape)
    selected.has_canonical_format = True
    return replace(
        ratings,
        matrix=selected,
        user_ids=ratings.user_ids.filter(pl.Series(users)),
        item_ids=ratings.item_ids.filter(pl.Series(items)),
        timestamps=None if ratings.timestamps is None else ratings.timestamps[keep],
        is_test=None if ratings.is_test is None else ratings.is_test[keep],
    )


def check_usable(ratings: Ratings) -> None:
    """Check that there is something to learn.

    Raises:
        InputDataError: there is one user, one item, or one value only.
    """
    n_users, n_items = ratings.matrix.shape
    for count, what in ((n_users, "user"), (n_items, "item")):
        if count < 2:
            raise InputDataError(f"the ratings have a single {what}; a recommender needs at least two")
    values = ratings.matrix.data
    if values.min() == values.max():
        raise InputDataError(
            f"all {len(values)} ratings are {values[0]:g}; there is nothing to learn from equal ratings"
        )


def read_user_items(name: str, options: ReadOptions | None = None) -> tuple[list[str], list[str], sparse.csr_array]:
    """The ratings of one source as they are, without a split: ids of users, ids of items, and their matrix.

    Ids are in order of first appearance; of several ratings of one pair the last one counts.

    Raises:
        InputDataError: the source cannot be used.
    """
    ratings = build_ratings(read_ratings([name], options or ReadOptions()))
    return ratings.user_ids.to_list(), ratings.item_ids.to_list(), ratings.matrix
