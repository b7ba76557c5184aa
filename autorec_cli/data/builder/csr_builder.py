"""Conversion of the table to a CSR matrix without duplicates.

Nothing here adds or multiplies ratings of different cells, so zeros and negative ratings are cells like any other.
scipy converts coordinates to CSR by summing duplicates, which would turn two ratings of 3 into one of 6.

Memory: the table holds 12 bytes per rating, 16 with timestamps: an 8-byte pair, a float32, an int32. Pairs are sorted
in place; the other columns are reordered one at a time and freed on the way, which takes 4 bytes more at the peak.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import polars as pl
from numpy.typing import NDArray

from autorec_cli.csr import csr_of
from autorec_cli.data.builder.duplicates import DuplicatePair, SourceRatings, resolve_duplicates
from autorec_cli.data.builder.ratings_table import RatingsTable
from autorec_cli.data.builder.read_ratings import ratings_from_frame, read_ratings
from autorec_cli.data.builder.sorted_cells import SortedCells
from autorec_cli.data.readers.layout import ENCODED
from autorec_cli.data.readers.options import DUPLICATES, ReadOptions
from autorec_cli.data.readers.tables.frames import polars_frame
from autorec_cli.errors import InputDataError, UsageError, quoted

if TYPE_CHECKING:  # slow to import: `prepare` has a thread do it while ratings are read
    from scipy import sparse


@dataclass(frozen=True)
class RatingsMatrix:
    """Ratings as a matrix, one per user and item.

    Attributes:
        matrix: CSR (n_users, n_items) float32, indices sorted, no duplicates; every stored cell is a rating.
        user_ids, item_ids: Ids of rows and columns, String.
        timestamps: One per stored cell, in the same order, int32 or float64; None without timestamps.
        is_test: True for stored cells of test sources; None if there were none.
        n_duplicates: Ratings dropped for another one of the same user and item.
        n_leaked: Training ratings dropped because the test set has the same user and item.
        n_dropped: Ratings dropped by the k-core filter.
        n_excluded: Ratings of users that were left out.
    """

    matrix: sparse.csr_array
    user_ids: pl.Series
    item_ids: pl.Series
    timestamps: NDArray[np.generic] | None = None
    is_test: NDArray[np.bool_] | None = None
    n_duplicates: int = 0
    n_leaked: int = 0
    n_dropped: int = 0
    n_excluded: int = 0


def build_ratings(table: RatingsTable, duplicates: str = "last", skip_leaks: bool = False) -> RatingsMatrix:
    """Convert `table` to a matrix, emptying the table.

    Args:
        table: Ratings of all sources.
        duplicates: Rating to keep of several of one user and item: "last" or "first" by timestamp, then by order in
            the sources; "mean"; or "error".
        skip_leaks: Drop a training rating whose user and item are in the test set, instead of raising.

    Raises:
        InputDataError: "error" was asked for and there are duplicates, or training and test ratings share a pair.
        UsageError: `duplicates` is unknown.
    """
    if duplicates not in DUPLICATES:
        raise UsageError(f"--duplicates {duplicates} is not one of {', '.join(DUPLICATES)}")
    n_rows, n_train = table.n_ratings, table.n_ratings - table.n_given_test
    shape = (len(table.users), len(table.items))
    # `take` leaves no reference in the table, so that every column is freed as soon as it has been replaced.
    cells = SortedCells(table.pairs.take(), *shape)
    ratings = table.ratings.take()
    timestamps = table.timestamps.take() if len(table.timestamps) else None
    resolved = resolve_duplicates(cells, SourceRatings(ratings, timestamps, n_train), duplicates)
    # Examples are in cell order; report the one that comes first in the files.
    if resolved.leaks and not skip_leaks:
        _refuse_leak(min(resolved.leaks), table)
    if resolved.repeats and duplicates == "error":
        _refuse_repeat(min(resolved.repeats), table)
    # Each column replaces its unsorted version before the next one is sorted: at most one extra column is in memory.
    ratings = cells.arrange(ratings)
    timestamps = None if timestamps is None else cells.arrange(timestamps)
    pointers = _narrow(cells.row_pointers())
    is_test = cells.at_or_after(n_train) if table.n_given_test else None
    items, ratings = cells.to_columns(ratings)
    return RatingsMatrix(
        csr_of(ratings, items, pointers, shape),
        table.user_ids,
        table.item_ids,
        timestamps=timestamps,
        is_test=is_test,
        n_duplicates=n_rows - len(cells) - resolved.n_leaked,
        n_leaked=resolved.n_leaked,
    )


def _narrow(pointers: NDArray[np.int64]) -> NDArray[Any]:
    """Cast row pointers to int32 if they fit.

    scipy would otherwise convert the indices to int64 too, 4 bytes more per rating.
    """
    return pointers.astype(np.int32 if pointers[-1] < np.iinfo(np.int32).max else np.int64)


def _pair_name(duplicate: DuplicatePair, table: RatingsTable) -> str:
    return (
        f"user {quoted(table.user_ids[duplicate.user_index])} and item {quoted(table.item_ids[duplicate.item_index])}"
    )


def _refuse_repeat(duplicate: DuplicatePair, table: RatingsTable) -> NoReturn:
    names = list(dict.fromkeys([table.source_of(duplicate.other), table.source_of(duplicate.position)]))
    where = f"twice in {names[0]}" if len(names) == 1 else f"in {names[0]} and again in {names[1]}"
    other_rule = "" if table.sources[0].layout.kind == ENCODED else " or set --duplicates to last, first or mean"
    raise InputDataError(f"{_pair_name(duplicate, table)} come {where}; remove one rating{other_rule}")


def _refuse_leak(duplicate: DuplicatePair, table: RatingsTable) -> NoReturn:
    raise InputDataError(
        f"{_pair_name(duplicate, table)} come in {table.source_of(duplicate.position)} and in the test file "
        f"{table.source_of(duplicate.other)}; remove the training rating or use --on-error skip"
    )


def read_user_items(
    source: Any,  # noqa: ANN401 - a pandas frame, among others
    options: ReadOptions | None = None,
) -> tuple[list[str], list[str], sparse.csr_array]:
    """Read a file or frame without splitting it.

    Returns:
        User ids and item ids, in order of first appearance, and the CSR matrix of their ratings; the last of several
        ratings of one pair is kept.

    Raises:
        InputDataError: the source cannot be used.
    """
    options = options or ReadOptions()
    if isinstance(source, str | Path):
        table = read_ratings([str(source)], options)
    else:
        table = ratings_from_frame(polars_frame(source), options)
    ratings = build_ratings(table)
    return ratings.user_ids.to_list(), ratings.item_ids.to_list(), ratings.matrix
