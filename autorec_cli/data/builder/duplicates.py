"""Duplicates: several ratings of one item by one user."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from autorec_cli.data.builder.sorted_cells import SortedCells


class DuplicatePair(NamedTuple):
    """Two ratings of the same user and item.

    Attributes:
        position: Position in the sources of the duplicate, or of the leaked training rating.
        other: Position of the earlier rating, or of the test rating.
        user_index, item_index: The pair.
    """

    position: int
    other: int
    user_index: int
    item_index: int


@dataclass
class Resolved:
    """Report of the ratings that were dropped.

    Only one example per block of cells is kept, since the error message names the first one only.

    Attributes:
        n_leaked: Training ratings dropped because the test set has their pair.
        leaks: The first of these in the sources, with the test rating; one per block of cells.
        repeats: The first rating that is the second of its pair, with the one before it; one per block.
    """

    n_leaked: int = 0
    leaks: list[DuplicatePair] = field(default_factory=list)
    repeats: list[DuplicatePair] = field(default_factory=list)


@dataclass(frozen=True)
class SourceRatings:
    """Ratings by position in the sources.

    Attributes:
        ratings: (n,) float32; "mean" overwrites the kept ones.
        timestamps: (n,), if there are any.
        n_train: Positions from this one on are test ratings.
    """

    ratings: NDArray[np.float32]
    timestamps: NDArray[Any] | None
    n_train: int


def resolve_duplicates(cells: SortedCells, source_ratings: SourceRatings, rule: str) -> Resolved:
    """Keep one rating per pair in `cells`.

    Args:
        cells: All ratings, sorted.
        source_ratings: Values and timestamps, by position.
        rule: "last" or "first" by timestamp, then by position; "mean"; or "error", in which case the caller raises.
    """
    resolved = Resolved()
    if not cells.is_unchanged:  # strictly rising pairs, so no duplicates
        cells.keep((part, _resolve(cells, part, source_ratings, rule, resolved)) for part in cells.pair_slices())
    return resolved


def _resolve(
    cells: SortedCells, part: slice, source_ratings: SourceRatings, rule: str, resolved: Resolved
) -> NDArray[np.bool_]:
    """Mask of the cells in `part` to keep."""
    repeats = cells.repeats(part)
    several = repeats.copy()
    several[:-1] |= repeats[1:]
    if not several.any():  # the usual case: the rest works on the few duplicated cells only
        return ~several
    where = np.flatnonzero(several)
    # Numbers instead of the packed keys: `tested` below is then an array with one entry per duplicated pair.
    pairs = np.cumsum(~repeats[where], dtype=np.int64)  # numbers the pairs, whose cells are neighbors
    where += part.start
    leaking = _find_leaks(cells, where, pairs, source_ratings.n_train, resolved)
    where, pairs = where[~leaking], pairs[~leaking]
    _find_repeats(cells, where, pairs, resolved)
    keep = ~several
    keep[where[_choose(cells.positions(where), pairs, source_ratings, rule)] - part.start] = True
    return keep


def _find_leaks(
    cells: SortedCells, where: NDArray[np.int64], pairs: NDArray[np.int64], n_train: int, resolved: Resolved
) -> NDArray[np.bool_]:
    """Mask of training ratings that have a test rating.

    Both are among the cells `where`.
    """
    positions = cells.positions(where)
    is_test = positions >= n_train
    tested = np.zeros(pairs[-1] + 1, dtype=bool)
    tested[pairs[is_test]] = True  # by number of the pair
    leaking: NDArray[np.bool_] = tested[pairs] & ~is_test
    if leaking.any():
        first = np.flatnonzero(leaking)[np.argmin(positions[leaking])]
        test = np.flatnonzero(is_test & (pairs == pairs[first]))[0]
        resolved.leaks.append(_duplicate_pair(cells, where[first], where[test]))
        resolved.n_leaked += int(leaking.sum())
    return leaking


def _find_repeats(cells: SortedCells, where: NDArray[np.int64], pairs: NDArray[np.int64], resolved: Resolved) -> None:
    later = np.flatnonzero(pairs[1:] == pairs[:-1]) + 1
    if len(later):
        # Of all second ratings the one that comes first in the sources.
        second = later[np.argmin(cells.positions(where[later]))]
        resolved.repeats.append(_duplicate_pair(cells, where[second], where[second - 1]))


def _duplicate_pair(cells: SortedCells, cell: int, other: int) -> DuplicatePair:
    position, other_position = cells.positions(np.array([cell, other])).tolist()
    return DuplicatePair(position, other_position, *cells.pair(cell))


def _choose(
    positions: NDArray[np.int64], pairs: NDArray[np.int64], source_ratings: SourceRatings, rule: str
) -> NDArray[np.int64]:
    """Indexes into `positions` of the kept rating of each pair.

    With "mean" the kept rating is overwritten with the mean.
    """
    order = np.arange(len(positions))
    if source_ratings.timestamps is not None:  # stable: equal timestamps keep the order of the sources
        order = np.lexsort((source_ratings.timestamps[positions], pairs))
    firsts = np.flatnonzero(np.diff(pairs, prepend=0))  # pairs are numbered from 1
    lasts = np.append(firsts[1:], len(pairs)) - 1
    if rule == "mean":
        # float64: a sum of float32 ratings would depend on their order
        sums = np.add.reduceat(source_ratings.ratings[positions[order]], firsts, dtype=np.float64)
        source_ratings.ratings[positions[order[lasts]]] = sums / (lasts - firsts + 1)
    return order[firsts if rule == "first" else lasts]
