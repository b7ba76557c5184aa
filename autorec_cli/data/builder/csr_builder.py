"""Conversion of the ratings table into one sparse matrix, with duplicates resolved.

Nothing here adds, multiplies or compares ratings of different cells, so zeros and negative ratings are cells like any
other. scipy's own conversion from coordinates would sum duplicates.

Memory: the table holds 12 bytes a rating, 16 with timestamps. Pairs are sorted in place, then the other columns are
brought into their order one by one and freed on the way: 4 bytes more at the peak.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import polars as pl
from numpy.typing import NDArray

from autorec_cli.data.builder.duplicates import DuplicatePair, SourceRatings, resolve_duplicates
from autorec_cli.data.builder.ratings_table import RatingsTable
from autorec_cli.data.builder.read_ratings import ratings_from_frame, read_ratings
from autorec_cli.data.builder.sorted_cells import SortedCells
from autorec_cli.data.readers.frames import polars_frame
from autorec_cli.data.readers.options import DUPLICATES, ReadOptions
from autorec_cli.errors import InputDataError, UsageError, quoted

if TYPE_CHECKING:  # `prepare` imports scipy while ratings are read
    from scipy import sparse


@dataclass(frozen=True)
class RatingsMatrix:
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


def build_ratings(table: RatingsTable, duplicates: str = "last", skip_leaks: bool = False) -> RatingsMatrix:
    """Turn `table` into a matrix; its columns are emptied on the way.

    Args:
        table: Ratings of all sources.
        duplicates: Rating that stays of several of one user and item: "last" or "first" by timestamp, then by order in
            the sources; "mean"; or "error".
        skip_leaks: Whether a training rating gives way to a test rating of the same user and item, instead of raising.

    Raises:
        InputDataError: "error" was asked for and there are duplicates, or training and test ratings share a pair.
        UsageError: `duplicates` is unknown.
    """
    from scipy import sparse

    if duplicates not in DUPLICATES:
        raise UsageError(f"--duplicates {duplicates} is not one of {', '.join(DUPLICATES)}")
    n_rows, n_train = table.n_ratings, table.n_ratings - table.n_given_test
    shape = (len(table.users), len(table.items))
    cells = SortedCells(table.pairs.take(), *shape)
    ratings = table.ratings.take()
    timestamps = table.timestamps.take() if len(table.timestamps) else None
    resolved = resolve_duplicates(cells, SourceRatings(ratings, timestamps, n_train), duplicates)
    if resolved.leaks and not skip_leaks:
        _refuse_leak(min(resolved.leaks), table)
    if resolved.repeats and duplicates == "error":
        _refuse_repeat(min(resolved.repeats), table)
    ratings = cells.arrange(ratings)
    timestamps = None if timestamps is None else cells.arrange(timestamps)
    matrix = sparse.csr_array((ratings, cells.items(), _narrow(cells.row_pointers())), shape=shape)
    matrix.has_canonical_format = True
    return RatingsMatrix(
        matrix,
        table.user_ids,
        table.item_ids,
        timestamps=timestamps,
        is_test=cells.at_or_after(n_train) if table.n_given_test else None,
        n_duplicates=n_rows - len(cells) - resolved.n_leaked,
        n_leaked=resolved.n_leaked,
    )


def _narrow(pointers: NDArray[np.int64]) -> NDArray[Any]:
    """Row pointers in the smallest type that scipy indexes with."""
    return pointers.astype(np.int32 if pointers[-1] < np.iinfo(np.int32).max else np.int64)


def _pair_name(duplicate: DuplicatePair, table: RatingsTable) -> str:
    return (
        f"user {quoted(table.user_ids[duplicate.user_index])} and item {quoted(table.item_ids[duplicate.item_index])}"
    )


def _refuse_repeat(duplicate: DuplicatePair, table: RatingsTable) -> NoReturn:
    names = list(dict.fromkeys([table.source_of(duplicate.other), table.source_of(duplicate.position)]))
    where = f"twice in {names[0]}" if len(names) == 1 else f"in {names[0]} and again in {names[1]}"
    raise InputDataError(
        f"{_pair_name(duplicate, table)} come {where}; remove one rating or set --duplicates to last, first or mean"
    )


def _refuse_leak(duplicate: DuplicatePair, table: RatingsTable) -> NoReturn:
    raise InputDataError(
        f"{_pair_name(duplicate, table)} come in {table.source_of(duplicate.position)} and in the test file "
        f"{table.source_of(duplicate.other)}; remove the training rating or use --on-error skip"
    )


def read_user_items(
    source: Any,  # noqa: ANN401 - a pandas frame, among others
    options: ReadOptions | None = None,
) -> tuple[list[str], list[str], sparse.csr_array]:
    """Ratings of one file or frame as they are, without a split: ids of users, ids of items, and their matrix.

    Ids are in order of first appearance; of several ratings of one pair the last one counts.

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
