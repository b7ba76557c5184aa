"""Top-k lists with at most some items of each group, compared with taking one item after the other."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autorec_cli.inference.ranking.limited_top_k import FREE, Limit, limited_top_k
from autorec_cli.inference.ranking.top_k import NO_ITEM, top_k


def one_by_one(scores, k, limits):
    """The best items in turn, if no group of theirs is full."""
    ranked = []
    for row in scores:
        listed = []
        for item in np.lexsort((np.arange(len(row)), -row)).tolist():
            counts = [sum(limit.groups[other] == limit.groups[item] for other in listed) for limit in limits]
            fits = all(
                limit.groups[item] == FREE or count < limit.n for limit, count in zip(limits, counts, strict=True)
            )
            if np.isfinite(row[item]) and fits and len(listed) < k:
                listed.append(item)
        ranked.append(listed + [NO_ITEM] * (min(k, len(row)) - len(listed)))
    return ranked


@given(
    seed=st.integers(0, 2**32 - 1),
    n_items=st.integers(1, 40),
    k=st.integers(1, 12),
    n_groups=st.integers(1, 6),
    n_limits=st.integers(1, 3),
)
def test_items_are_those_taken_one_by_one(seed, n_items, k, n_groups, n_limits):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 8, (5, n_items)).astype(np.float32)  # many are equal
    scores[rng.random(scores.shape) < 0.2] = -np.inf
    limits = [Limit(int(rng.integers(1, 4)), rng.integers(FREE, n_groups, n_items)) for _ in range(n_limits)]
    expected = one_by_one(scores, k, limits)
    items, best = limited_top_k(scores.copy(), k, limits)
    assert items.tolist() == expected
    rows, places = np.nonzero(items != NO_ITEM)
    assert np.array_equal(best[rows, places], scores[rows, items[rows, places]])
    assert np.isneginf(best[items == NO_ITEM]).all()


def test_a_limit_that_nothing_reaches_changes_nothing():
    scores = np.random.default_rng(0).random((20, 300), dtype=np.float32)
    limit = Limit(10, np.arange(300) % 3)
    for ours, plain in zip(limited_top_k(scores.copy(), 10, [limit]), top_k(scores, 10), strict=True):
        np.testing.assert_array_equal(ours, plain)


@pytest.mark.parametrize("n", [1, 2])
def test_lists_are_filled_from_far_below_the_best(n):
    scores = -np.arange(1000, dtype=np.float32)[None]
    items, _ = limited_top_k(scores, 4, [Limit(n, np.minimum(np.arange(1000) // 996, 1))])
    assert items.tolist() == [[0, 996, NO_ITEM, NO_ITEM] if n == 1 else [0, 1, 996, 997]]


def test_long_lists_take_no_more_memory_than_scores():
    scores = np.random.default_rng(0).random((40, 2000), dtype=np.float32)
    limits = [Limit(400, np.arange(2000) % 5), Limit(1, np.arange(2000))]
    tracemalloc.start()
    items, _ = limited_top_k(scores.copy(), 1900, limits)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (items != NO_ITEM).all()
    assert peak < 50 * scores.nbytes  # pairs of listed items would be 450 times as many
    few, _ = limited_top_k(scores.copy(), 1900, [Limit(100, np.arange(2000) % 5)])
    assert ((few != NO_ITEM).sum(axis=1) == 500).all()
