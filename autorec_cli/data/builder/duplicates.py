"""Of several ratings of one user and item one stays, in a block of whole rows that are sorted by item."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Block:
    """Some whole rows.

    Attributes:
        first_row: The number of the first one.
        pointers: Row pointers that begin with 0, (n_rows + 1,).
        columns: Views of the cells, (pointers[-1],) each.
    """

    first_row: int
    pointers: NDArray[Any]
    columns: dict[str, NDArray[Any]]


class Clash(NamedTuple):
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
class Found:
    """What was found in a block.

    Attributes:
        keep: Positions of the cells that stay, in order; None for all of them.
        n_leaked: Training ratings that gave way to a test rating.
        leak: The first of these ratings, with the test rating.
        repeat: The first rating that is the second of its pair, with the first of its pair.
    """

    keep: NDArray[Any] | None
    n_leaked: int = 0
    leak: Clash | None = None
    repeat: Clash | None = None


def resolve_block(block: Block, n_train: int, duplicates: str) -> Found:
    """Which cells of a block stay.

    Args:
        block: Sorted by row and item; "mean" changes ratings in place. Clashes are told only if it has a "position".
        n_train: Positions from this one on are the test part.
        duplicates: "last", "first", "mean" or "error".
    """
    same = _same_cell_as_before(block.pointers, block.columns["item"])
    if not same.any():
        return Found(None)
    several = same.copy()
    several[:-1] |= same[1:]
    keep = ~several
    cells = np.flatnonzero(several)
    pairs = np.cumsum(~same[cells])  # numbers the pairs, whose cells are neighbours
    found = Found(None)
    if "position" in block.columns:
        leaking = _find_leaks(block, cells, pairs, n_train, found)
        cells, pairs = cells[~leaking], pairs[~leaking]
        _find_repeats(block, cells, pairs, found)
    keep[_choose(block, cells, pairs, duplicates)] = True
    found.keep = np.flatnonzero(keep)
    return found


def _same_cell_as_before(indptr: NDArray[Any], items: NDArray[Any]) -> NDArray[np.bool_]:
    """For every cell, whether the one before it has the same user and item."""
    same = np.zeros(len(items), dtype=bool)
    np.equal(items[1:], items[:-1], out=same[1:])
    same[indptr[:-1][np.diff(indptr) > 0]] = False
    return same


def _find_leaks(
    block: Block, cells: NDArray[Any], pairs: NDArray[Any], n_train: int, found: Found
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
        found.leak = _clash(block, cells[first], cells[test])
        found.n_leaked = int(leaking.sum())
    return leaking


def _find_repeats(block: Block, cells: NDArray[Any], pairs: NDArray[Any], found: Found) -> None:
    later = np.flatnonzero(pairs[1:] == pairs[:-1]) + 1
    if len(later):
        second = later[np.argmin(block.columns["position"][cells[later]])]
        found.repeat = _clash(block, cells[second], cells[second - 1])


def _clash(block: Block, cell: int, other: int) -> Clash:
    positions = block.columns["position"]
    row = block.first_row + int(np.searchsorted(block.pointers, cell, side="right")) - 1
    return Clash(int(positions[cell]), int(positions[other]), row, int(block.columns["item"][cell]))


def _choose(block: Block, cells: NDArray[Any], pairs: NDArray[Any], duplicates: str) -> NDArray[Any]:
    """The one of `cells` that stays of every pair; with "mean" the last one, which gets the mean as its rating."""
    if "timestamp" in block.columns:  # by time; ratings of one moment stay in the order of the sources
        cells = cells[np.lexsort((block.columns["timestamp"][cells], pairs))]
    firsts = np.flatnonzero(np.diff(pairs, prepend=0))  # pairs are numbered from 1
    lasts = np.append(firsts[1:], len(pairs)) - 1
    if duplicates == "mean":
        ratings = block.columns["rating"]
        ratings[cells[lasts]] = np.add.reduceat(ratings[cells], firsts, dtype=np.float64) / (lasts - firsts + 1)
    return cells[firsts if duplicates == "first" else lasts]
