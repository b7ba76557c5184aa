"""Columns grow, widen, are counted while they rise, and give their memory back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autorec_cli.data.builder import buffers
from autorec_cli.data.builder.buffers import CountedColumn, GrowingColumn, count_values, sparse_pages


@pytest.fixture(autouse=True)
def short_segments(monkeypatch):
    monkeypatch.setattr(buffers, "SEGMENT", 3)
    monkeypatch.setattr(buffers, "FIRST_ROOM", 2)


def test_a_column_grows_becomes_wider_and_is_taken():
    column = GrowingColumn()
    for start in range(0, 40, 4):
        column.append(np.arange(start, start + 4, dtype=np.int32))
    assert column.tolist() == list(range(40))
    column.append(np.array([0.5, 2**40]))
    assert column.dtype == np.float64
    assert column.tolist() == [*range(40), 0.5, 2**40]
    taken = column.take()
    assert (len(taken), taken.base, len(column), column.tolist()) == (42, None, 0, [])
    column.append(np.array([7], dtype=np.int32))
    assert (column.tolist(), column.dtype) == ([7], np.int32)


def test_what_is_popped_is_gone_and_its_memory_given_back():
    column = GrowingColumn()
    column.append(np.arange(20, dtype=np.int32))
    assert column.pop(5).tolist() == [15, 16, 17, 18, 19]
    assert column.pop(15).tolist() == list(range(15))
    assert len(column) == 0
    assert len(column._room) == 0


@given(st.lists(st.lists(st.integers(0, 3000), max_size=6), max_size=8), st.booleans())
def test_indexes_are_kept_whether_they_rise_or_not(blocks, in_order):
    values = [value for block in blocks for value in block]
    if in_order:
        values.sort()
    column = CountedColumn()
    start = 0
    for block in blocks:
        column.append(np.array(values[start : start + len(block)], dtype=np.int32))
        start += len(block)
    assert (column.column is None) == (values == sorted(values))
    assert (column.tolist(), len(column)) == (values, len(values))
    assert column.counts(3001).tolist() == np.bincount(values or [0], minlength=3001).tolist() if values else True
    assert column.counts(3001).sum() == len(values)


def test_values_are_counted_by_slices():
    assert count_values(np.array([4, 0, 4, 4, 1, 0, 4, 2], dtype=np.int32), 6).tolist() == [2, 1, 1, 0, 4, 0]


def test_an_array_of_sparse_pages_is_an_array():
    pages = sparse_pages(5000, np.dtype(np.float32))
    pages[1234] = 2.5
    assert (pages.sum(), len(pages), pages.dtype) == (2.5, 5000, np.float32)
    assert len(sparse_pages(0, np.dtype(np.int32))) == 0
