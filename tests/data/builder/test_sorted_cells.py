"""Cells are sorted as Python would sort them, however they come and however large their indexes may be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autorec_cli.data.builder import sorted_cells
from autorec_cli.data.builder.sorted_cells import SortedCells, pack_pairs, unpack_pairs

HUGE = 2**31 - 1  # two indexes below it and a position do not fit into 64 bits
pairs_of = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 9)), min_size=1, max_size=60)


def packed(pairs):
    users, items = np.array(pairs, dtype=np.int32).reshape(-1, 2).T
    keys = np.empty(len(pairs), dtype=np.uint64)
    pack_pairs(users, items, keys)
    return keys


@given(pairs_of, st.sampled_from(["any", "by user", "sorted", "distinct"]), st.sampled_from([1, 3, 1000]))
@pytest.mark.parametrize("shape", [(7, 10), (HUGE, HUGE)])
def test_cells_are_sorted_by_user_item_and_position(shape, pairs, order, length):
    if order == "by user":
        pairs.sort(key=lambda pair: pair[0])
    elif order != "any":
        pairs = sorted(pairs if order == "sorted" else set(pairs))
    expected = sorted((*pair, position) for position, pair in enumerate(pairs))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sorted_cells, "SLICE", length)
        cells = SortedCells(packed(pairs), *shape)
        assert [cells.pair(cell) for cell in range(len(cells))] == [cell[:2] for cell in expected]
        positions = [position for *_, position in expected]
        assert cells.positions(np.arange(len(pairs))).tolist() == positions
        assert cells.positions(slice(0, len(pairs))).tolist() == positions
        assert cells.arrange(np.arange(len(pairs)) * 2).tolist() == [2 * position for position in positions]
        assert cells.at_or_after(2).tolist() == [position >= 2 for position in positions]
        parts = list(cells.pair_slices())
        assert [cell for part in parts for cell in range(part.start, part.stop)] == list(range(len(pairs)))
        assert all(cells.pair(part.start) != cells.pair(part.start - 1) for part in parts[1:])
        repeats = np.concatenate([cells.repeats(part) for part in parts]).tolist()
        items, ratings = cells.to_columns(np.arange(len(pairs), dtype=np.float32))
        assert items.tolist() == [item for _, item, _ in expected]
        assert ratings.tolist() == list(range(len(pairs)))
    assert repeats == [cell > 0 and expected[cell][:2] == expected[cell - 1][:2] for cell in range(len(pairs))]


@pytest.mark.parametrize("shape", [(3, 4), (HUGE, HUGE)])
def test_cells_that_are_dropped_leave_rows_in_order(shape):
    cells = SortedCells(packed([(2, 1), (0, 3), (2, 1), (0, 0), (2, 0)]), *shape)
    keep = np.array([True, True, True, False, True])
    cells.keep((part, keep[part]) for part in cells.pair_slices())
    assert [cells.pair(cell) for cell in range(len(cells))] == [(0, 0), (0, 3), (2, 0), (2, 1)]
    assert cells.positions(slice(0, 4)).tolist() == [3, 1, 4, 2]
    if shape == (3, 4):
        assert cells.row_pointers().tolist() == [0, 2, 2, 4]


def test_the_largest_indexes_are_packed():
    assert [column.tolist() for column in unpack_pairs(packed([(0, HUGE), (HUGE, 0)]))] == [[0, HUGE], [HUGE, 0]]
