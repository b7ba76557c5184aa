"""Ids are numbered by first appearance, as numbers or as texts."""

from __future__ import annotations

import polars as pl
import pytest

from autorec_cli.data.builder import vocabulary
from autorec_cli.data.builder.vocabulary import IdTable


def numbers(*ids):
    return pl.Series(ids, dtype=pl.Int64)


def test_an_id_is_one_whether_it_comes_as_a_number_or_as_a_text():
    ids = IdTable()
    assert ids.indexes(numbers(5, 7, 5)).tolist() == [0, 1, 0]
    assert ids.indexes(pl.Series(["7", "007", "1500", "5"])).tolist() == [1, 2, 3, 0]
    assert ids.indexes(numbers(1500, 8, 8)).tolist() == [3, 4, 4]
    assert ids.indexes(pl.Series(["8", "+8"])).tolist() == [4, 5]
    assert ids.ids().to_list() == ["5", "7", "007", "1500", "8", "+8"]
    assert len(ids) == 6
    assert ids.indexes(numbers()).tolist() == ids.indexes(pl.Series([], dtype=pl.String)).tolist() == []


@pytest.mark.parametrize("other", [-1, 2000, 2**62])
def test_numbers_that_are_negative_or_large_are_ids_like_others(monkeypatch, other):
    monkeypatch.setattr(vocabulary, "MIN_TABLE_SIZE", 2000)
    ids = IdTable()
    assert ids.indexes(numbers(1999, 7)).tolist() == [0, 1]
    assert ids.indexes(numbers(7, other, 3, other)).tolist() == [1, 2, 3, 2]
    assert ids.indexes(numbers(3, 1999)).tolist() == [3, 0]
    assert ids.ids().to_list() == ["1999", "7", str(other), "3"]
