import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autorec_cli import lists
from autorec_cli.lists import NO_ITEM, ranked_lists

SCORES = np.array([[1.0, 3.0, 2.0, 0.0], [5.0, 4.0, 5.0, 1.0], [0.0, 0.0, 0.0, 9.0]], dtype=np.float32)
EVERYTHING = np.ones(4, dtype=bool)


def score(users):
    return SCORES[users].copy()


def ranked(seen=None, listable=EVERYTHING, k=2):
    return np.concatenate([block.ranked for block in ranked_lists(3, score, seen, listable, k)]).tolist()


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
    assert list(ranked_lists(0, score, None, EVERYTHING, 2)) == []


@given(per_block=st.integers(1, 5))
def test_blocks_do_not_show(per_block):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lists, "SCORES_AT_ONCE", per_block * 4)
        blocks = list(ranked_lists(3, score, None, EVERYTHING, 2))
    assert [block.users.start for block in blocks] == list(range(0, 3, per_block))
    assert np.concatenate([block.ranked for block in blocks]).tolist() == ranked()
    assert np.concatenate([block.scores for block in blocks]).tolist() == [[3, 2], [5, 5], [9, 0]]


def test_the_first_block_is_ranked_before_the_second_is_scored():
    asked = []

    def watched(users):
        asked.append(users.start)
        return score(users)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lists, "SCORES_AT_ONCE", 4)
        next(ranked_lists(3, watched, None, EVERYTHING, 2))
    assert asked == [0]
