"""Arrays grow and widen; values are counted in little memory."""

from __future__ import annotations

import numpy as np
import pytest

from autorec_cli.data.builder import buffers
from autorec_cli.data.builder.buffers import GrowingArray, count_values


@pytest.mark.parametrize("room", [2, 3, 1000])
def test_an_array_grows_becomes_wider_and_is_taken(monkeypatch, room):
    monkeypatch.setattr(buffers, "INITIAL_CAPACITY", room)
    array = GrowingArray()
    for start in range(0, 40, 4):
        array.append(np.arange(start, start + 4, dtype=np.int32))
    assert (array.values().tolist(), array.values().dtype) == (list(range(40)), np.int32)
    array.append(np.array([0.5, 2**40]))
    assert array.values().dtype == np.float64
    assert array.take().tolist() == [*range(40), 0.5, 2**40]
    assert len(array) == 0
    array.append(np.array([7], dtype=np.int32))
    assert (array.values().tolist(), array.values().dtype) == ([7], np.int32)


def test_values_are_counted_by_slices(monkeypatch):
    monkeypatch.setattr(buffers, "SLICE", 2)
    values = np.random.default_rng(0).integers(0, 6, 100).astype(np.int32)
    assert count_values(values, 8).tolist() == np.bincount(values, minlength=8).tolist()
