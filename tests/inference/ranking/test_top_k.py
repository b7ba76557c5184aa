import sys
import threading
import time
from contextlib import nullcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from autorec_cli.inference.ranking import top_k as module
from autorec_cli.inference.ranking.top_k import NO_ITEM, rank_items, top_k
from autorec_cli.runtime import threads

SCORES = np.array([[1.0, 3.0, 2.0, 0.0], [5.0, 4.0, 5.0, 1.0], [0.0, 0.0, 0.0, 9.0]], dtype=np.float32)
EVERYTHING = np.ones(4, dtype=bool)


def score(users):
    return SCORES[users].copy()


def ranked(seen=None, listable=EVERYTHING, k=2):
    return np.concatenate([block.items for block in rank_items(3, score, seen, listable, k)]).tolist()


def test_best_first_and_ties_in_the_order_of_the_index():
    assert ranked() == [[1, 2], [0, 2], [3, 0]]


def test_seen_items_are_left_out():
    def seen(users):
        cells = [(0, 1), (1, 0), (1, 2), (2, 3)]
        kept = [(user - users.start, item) for user, item in cells if users.start <= user < users.stop]
        return np.array([user for user, _ in kept]), np.array([item for _, item in kept])

    assert ranked(seen) == [[2, 0], [1, 3], [0, 1]]


def test_items_that_are_not_listable_are_left_out():
    assert ranked(listable=np.array([True, False, False, True])) == [[0, 3], [0, 3], [3, 0]]


def test_a_short_list_ends_in_no_item():
    assert ranked(listable=np.array([False, False, True, False]), k=3) == [[2, NO_ITEM, NO_ITEM]] * 3


def test_a_list_is_no_longer_than_there_are_items():
    assert ranked(k=9)[0] == [1, 2, 0, 3]


def test_nobody_gets_no_blocks():
    assert list(rank_items(0, score, None, EVERYTHING, 2)) == []


@given(per_block=st.integers(1, 5))
def test_blocks_do_not_show(per_block):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SCORES_AT_ONCE", per_block * 4)
        blocks = list(rank_items(3, score, None, EVERYTHING, 2))
    assert all(block.users.stop - block.users.start <= per_block for block in blocks)
    assert np.concatenate([block.items for block in blocks]).tolist() == ranked()
    assert np.concatenate([block.scores for block in blocks]).tolist() == [[3, 2], [5, 5], [9, 0]]


@pytest.mark.parametrize("n_users", [1, 2, 9, 16, 17, 100])
def test_threads_get_equal_shares(monkeypatch, n_users):
    monkeypatch.setattr(module, "SCORES_AT_ONCE", 16 * 4)
    repeated = np.tile(SCORES, (n_users, 1))
    blocks = list(rank_items(n_users, lambda users: repeated[users].copy(), None, EVERYTHING, 2))
    sizes = [block.users.stop - block.users.start for block in blocks]
    assert sum(sizes) == n_users
    assert len(sizes) == 1 if n_users <= 16 else len(sizes) % threads.MAX_THREADS == 0
    assert max(sizes) <= 16
    assert max(sizes) - sizes[-1] < len(sizes)


@pytest.fixture(params=[True, False], ids=["workers", "one by one"])
def per_user(request, monkeypatch):
    """Blocks of one user, two of them at once, with and without threadpoolctl."""
    monkeypatch.setattr(module, "SCORES_AT_ONCE", 4)
    monkeypatch.setattr(module, "BLOCKS_AT_ONCE", 2)
    for patched in (module, threads):
        monkeypatch.setattr(patched, "n_threads", lambda: 2)
    monkeypatch.setattr(module, "one_thread_per_product", nullcontext if request.param else lambda: None)
    return request.param


def test_few_blocks_are_scored_before_the_first_is_taken(per_user):
    asked = []

    def watched(users):
        asked.append(users.start)
        return np.zeros((1, 4), dtype=np.float32)

    blocks = rank_items(100, watched, None, EVERYTHING, 2)
    next(blocks)
    blocks.close()
    assert sorted(asked) == ([0, 1] if per_user else [0])


def test_no_thread_is_left_between_two_blocks(per_user):
    before = threading.active_count()
    blocks = rank_items(100, lambda users: np.zeros((1, 4), dtype=np.float32), None, EVERYTHING, 2)
    for _ in range(5):
        next(blocks)
        assert threading.active_count() == before


def test_blocks_leave_in_the_order_of_users_whatever_finishes_first(per_user):
    def slow_first(users):
        time.sleep(0.05 if users.start == 0 else 0)
        return SCORES[users].copy()

    blocks = list(rank_items(3, slow_first, None, EVERYTHING, 2))
    assert [block.users.start for block in blocks] == [0, 1, 2]
    assert np.concatenate([block.items for block in blocks]).tolist() == ranked()


def test_an_error_in_a_block_reaches_whoever_takes_it(per_user):
    def broken(users):
        if users.start == 2:
            raise ValueError("no scores")
        return np.zeros((1, 4), dtype=np.float32)

    blocks = rank_items(100, broken, None, EVERYTHING, 2)
    assert [next(blocks).users.start, next(blocks).users.start] == [0, 1]
    with pytest.raises(ValueError, match="no scores"):
        next(blocks)


def test_a_product_has_its_threads_back_when_the_lists_are_made(monkeypatch):
    threadpoolctl = pytest.importorskip("threadpoolctl")

    def blas_threads():
        return [pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]

    during = []

    def watched(users):
        during.append(set(blas_threads()))
        return np.zeros((1, 4), dtype=np.float32)

    monkeypatch.setattr(module, "SCORES_AT_ONCE", 4)
    for patched in (module, threads):
        monkeypatch.setattr(patched, "n_threads", lambda: 2)
    before = blas_threads()
    assert len(list(rank_items(3, watched, None, EVERYTHING, 2))) == 3
    assert during == [{1}] * 3
    assert blas_threads() == before


def test_without_threadpoolctl_blocks_come_one_by_one(monkeypatch):
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    monkeypatch.setattr(module, "SCORES_AT_ONCE", 4)
    assert module.one_thread_per_product() is None
    assert ranked() == [[1, 2], [0, 2], [3, 0]]


def check_top_k(scores, k):
    """The head of a stable sort, without what is -inf."""
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    expected = np.take_along_axis(scores, order, axis=1)
    ranked, best = top_k(scores, k)
    np.testing.assert_array_equal(ranked, np.where(np.isneginf(expected), NO_ITEM, order))
    np.testing.assert_array_equal(best, expected)
    assert best.dtype == scores.dtype


@given(
    scores=arrays.arrays(
        np.float32,
        st.tuples(st.integers(1, 5), st.integers(1, 30)),
        elements=st.sampled_from([-np.inf, 0.0, 1.0, 2.0, 2.5, 3.0]),
    ),
    k=st.integers(1, 35),
    min_groups=st.sampled_from([1, 2, 3, 7, 512]),
)
def test_top_k_is_the_head_of_a_stable_sort(scores, k, min_groups):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MIN_GROUPS", min_groups)
        check_top_k(scores, k)


@pytest.mark.parametrize("k", [1, 10, 100, 700, 2900, 3000])
@pytest.mark.parametrize("distinct", [2, 40, 1_000_000])
def test_top_k_of_long_rows(k, distinct):
    rng = np.random.default_rng(0)
    scores = rng.integers(0, distinct, (7, 3000)).astype(np.float32)
    scores[rng.random(scores.shape) < 0.1] = -np.inf
    scores[0, 5:] = -np.inf
    check_top_k(scores, k)


def test_top_k_reads_part_of_a_wider_matrix():
    scores = np.arange(12, dtype=np.float32).reshape(3, 4)[:, 1:]
    assert top_k(scores, 2)[0].tolist() == [[2, 1]] * 3
