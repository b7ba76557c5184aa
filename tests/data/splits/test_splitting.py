"""Splits: how many ratings are held out, whose, and that nothing later leaks into training."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from autorec_cli.data.builder import sorted_cells
from autorec_cli.data.splits import strategies
from autorec_cli.data.splits.splitting import SplitSettings, choose_split, split, split_matrices, take_cells
from autorec_cli.data.splits.strategies import STRATEGIES, TEST, TRAIN, VALID, WITHOUT_FRACTION
from autorec_cli.errors import UsageError


def matrix_of(counts, n_items=None):
    """Row u has counts[u] ratings, of items 0, 1, ...; every other rating is 0."""
    n_items = n_items or max(*counts, 1)
    indices = np.concatenate([np.arange(count, dtype=np.int32) for count in counts])
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    data = (np.arange(len(indices)) % 2).astype(np.float32)
    return sparse.csr_array((data, indices, indptr), shape=(len(counts), n_items))


def sizes(labels):
    return tuple(np.bincount(labels, minlength=3).tolist())


def rows_of(matrix):
    return np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))


@pytest.mark.parametrize(
    ("counts", "test", "valid", "expected"),
    [
        ([100, 100], 0.1, 0.1, (162, 18, 20)),
        ([3, 1], 0.1, 0.1, (4, 0, 0)),  # rounds to zero: holds out nothing
        ([3, 2], 0.1, 0.1, (5, 0, 0)),  # 0.5 rounds to even, like everywhere in Python
        ([10], 0, 0.1, (9, 1, 0)),
        ([10], 0.99, 0, (0, 0, 10)),
    ],
)
def test_random_holds_out_exact_shares(counts, test, valid, expected):
    assert sizes(split(matrix_of(counts), SplitSettings("random", test, valid))) == expected


def test_the_seed_decides_and_nothing_else_does():
    matrix = matrix_of([50] * 10)
    for strategy in ("random", "per-user"):
        first, again = (split(matrix, SplitSettings(strategy, seed=3)) for _ in range(2))
        np.testing.assert_array_equal(first, again)
        assert (first != split(matrix, SplitSettings(strategy, seed=4))).any()


@pytest.mark.parametrize("counts", [[100, 100], [37], [8, 0, 1]])
def test_random_of_many_ratings_holds_out_exact_shares_too(monkeypatch, counts):
    matrix = matrix_of(counts)
    few = [sizes(split(matrix, SplitSettings("random", test, 0.2))) for test in (0, 0.1, 0.5, 0.99)]
    monkeypatch.setattr(strategies, "SHUFFLED_AT_ONCE", 4)
    monkeypatch.setattr(strategies, "DRAWN_AT_ONCE", 5)
    assert [sizes(split(matrix, SplitSettings("random", test, 0.2))) for test in (0, 0.1, 0.5, 0.99)] == few
    monkeypatch.setattr(strategies, "MOST_TO_DRAW_FROM", 3)
    assert [sizes(split(matrix, SplitSettings("random", test, 0.2))) for test in (0, 0.1, 0.5, 0.99)] == few


def test_random_of_many_ratings_makes_every_choice_equally_likely(monkeypatch):
    """5 cells in stretches of 2, 2 and 1; one of them to test and two to valid: 30 choices, 6,000 seeds."""
    monkeypatch.setattr(strategies, "SHUFFLED_AT_ONCE", 4)
    monkeypatch.setattr(strategies, "DRAWN_AT_ONCE", 2)
    matrix = matrix_of([5])
    drawn = Counter(tuple(split(matrix, SplitSettings("random", 0.2, 0.5, seed)).tolist()) for seed in range(6000))
    assert len(drawn) == 30
    assert sum((count - 200) ** 2 / 200 for count in drawn.values()) < 58.3  # chi-squared, 29 degrees, p = 0.001


def test_a_million_ratings_are_drawn_like_ten(monkeypatch):
    """Draws of seeds from few ratings are fixed: published figures depend on it."""
    labels = np.array([TEST] * 4 + [VALID] * 6 + [TRAIN] * 30, dtype=np.uint8)
    np.random.default_rng(3).shuffle(labels)
    np.testing.assert_array_equal(split(matrix_of([20, 20]), SplitSettings("random", 0.1, 0.16, 3)), labels)


@pytest.mark.parametrize("strategy", ["per-user", "leave-last"])
def test_splits_of_users_do_not_depend_on_how_many_are_handled_at_once(monkeypatch, strategy):
    counts, times = [1, 0, 7, 2, 30, 0, 4, 9], np.arange(53) * 17 % 53
    whole = split(matrix_of(counts), SplitSettings(strategy), times)
    monkeypatch.setattr(strategies, "SHUFFLED_AT_ONCE", 6)
    parts = split(matrix_of(counts), SplitSettings(strategy), times)
    rows = rows_of(matrix_of(counts))
    for user in range(len(counts)):
        assert sizes(parts[rows == user]) == sizes(whole[rows == user])
    if strategy == "leave-last":
        np.testing.assert_array_equal(parts, whole)


def test_per_user_rounds_each_user_and_leaves_everyone_a_rating():
    counts = [1, 2, 4, 10, 30]
    matrix = matrix_of(counts)
    labels = split(matrix, SplitSettings("per-user", 0.1, 0.1))
    assert [sizes(labels[rows_of(matrix) == user]) for user in range(5)] == [
        (1, 0, 0), (2, 0, 0), (4, 0, 0), (8, 1, 1), (24, 3, 3)
    ]  # fmt: skip
    greedy = split(matrix, SplitSettings("per-user", 0.99, 0.9))
    assert [sizes(greedy[rows_of(matrix) == user])[TRAIN] for user in range(5)] == [1] * 5


def test_per_user_draws_every_place_of_a_row():
    matrix = matrix_of([4])
    drawn = {int(np.flatnonzero(split(matrix, SplitSettings("per-user", 0.25, 0, seed))).item()) for seed in range(60)}
    assert drawn == {0, 1, 2, 3}


def test_leave_last_takes_the_latest_of_each_user():
    matrix = matrix_of([1, 2, 3, 4])
    times = np.array([9, 5, 4, 1, 3, 2, 7, 9, 8, 6], dtype=np.int32)
    assert split(matrix, SplitSettings("leave-last"), times).tolist() == [
        TRAIN, TEST, TRAIN, TRAIN, TEST, VALID, TRAIN, TEST, VALID, TRAIN
    ]  # fmt: skip
    no_test = split(matrix, SplitSettings("leave-last", 0), times)
    assert no_test.tolist() == [TRAIN, VALID, TRAIN, TRAIN, VALID, TRAIN, TRAIN, VALID, TRAIN, TRAIN]
    assert sizes(split(matrix, SplitSettings("leave-last", 0.1, 0), times)) == (7, 0, 3)


def test_leave_last_of_equal_times_takes_the_later_item():
    assert split(matrix_of([3]), SplitSettings("leave-last"), np.array([5, 5, 5])).tolist() == [TRAIN, VALID, TEST]


def test_temporal_cuts_at_a_time():
    times = np.arange(20)[::-1].copy()
    labels = split(matrix_of([10, 10]), SplitSettings("temporal", 0.1, 0.2), times)
    assert sorted(times[labels == TEST]) == [18, 19]
    assert sorted(times[labels == VALID]) == [14, 15, 16, 17]


def test_temporal_leaves_ties_of_the_cut_on_the_earlier_side():
    times = np.array([1, 2, 3, 3, 3, 3, 4, 5, 5, 5])
    labels = split(matrix_of([10]), SplitSettings("temporal", 0.2, 0.4), times)
    assert labels.tolist() == [TRAIN] * 6 + [VALID] * 4  # the two latest are among three 5s: test stays empty
    same = split(matrix_of([10]), SplitSettings("temporal", 0.2, 0.2), np.full(10, 7))
    assert sizes(same) == (10, 0, 0)


@given(
    times=st.lists(st.integers(0, 12), min_size=1, max_size=40),
    test=st.sampled_from([0, 0.1, 0.5, 0.9]),
    valid=st.sampled_from([0, 0.1, 0.5]),
)
def test_no_training_rating_is_later_than_a_held_out_one(times, test, valid):
    times = np.array(times)
    labels = split(matrix_of([len(times)]), SplitSettings("temporal", test, valid), times)
    last = {part: times[labels == part].max(initial=-1) for part in (TRAIN, VALID)}
    first = {part: times[labels == part].min(initial=99) for part in (VALID, TEST)}
    assert last[TRAIN] < min(first[VALID], first[TEST])
    assert last[VALID] < first[TEST]
    assert (labels == TEST).sum() <= round(test * len(times))


@given(
    counts=st.lists(st.integers(0, 9), min_size=1, max_size=8),
    strategy=st.sampled_from([name for name in STRATEGIES if name != "none"]),
    test=st.sampled_from([0, 0.1, 0.4, 0.9]),
    valid=st.sampled_from([0, 0.1, 0.4, 0.9]),
)
def test_parts_are_disjoint_and_complete_and_a_share_of_zero_is_empty(counts, strategy, test, valid):
    matrix = matrix_of(counts)
    labels = split(matrix, SplitSettings(strategy, test, valid), np.arange(matrix.nnz))
    parts = [take_cells(matrix, labels == part) for part in (TRAIN, VALID, TEST)]
    assert sum(part.nnz for part in parts) == matrix.nnz  # zeros are kept
    found = sorted((u, i, v) for part in parts for u, i, v in zip(*part.tocoo().coords, part.data, strict=True))
    assert found == sorted(zip(*matrix.tocoo().coords, matrix.data, strict=True))
    if not test:
        assert parts[TEST].nnz == 0
    if not valid:
        assert parts[VALID].nnz == 0


def test_taking_cells_slice_by_slice_makes_no_difference(monkeypatch):
    matrix = matrix_of([3, 0, 5, 1, 0, 9, 2])
    keep = np.arange(matrix.nnz) % 3 != 1
    whole = take_cells(matrix, keep)
    np.testing.assert_array_equal(np.diff(whole.indptr), [np.sum(keep[rows_of(matrix) == row]) for row in range(7)])
    for length in (1, 2, 3, 7, 20):
        monkeypatch.setattr(sorted_cells, "SLICE", length)
        np.testing.assert_array_equal(take_cells(matrix, keep).indptr, whole.indptr)


def test_cells_are_dealt_to_splits_by_their_labels(monkeypatch):
    monkeypatch.setattr(sorted_cells, "SLICE", 4)
    matrix = matrix_of([3, 0, 5, 1, 0, 9, 2])
    before = matrix.copy()
    labels = np.array([TRAIN, TEST, TRAIN, TRAIN, VALID] * 4, dtype=np.uint8)
    for label, part in enumerate(split_matrices(matrix, labels)):
        part.check_format(full_check=True)
        np.testing.assert_array_equal(part.toarray(), take_cells(before, labels == label).toarray())
        np.testing.assert_array_equal(part.indices, before.indices[labels == label])
        in_place = take_cells(before.copy(), labels == label, overwrite=True)
        np.testing.assert_array_equal(in_place.indptr, part.indptr)
        np.testing.assert_array_equal(in_place.indices, part.indices)
        np.testing.assert_array_equal(in_place.data, part.data)


def test_none_holds_out_nothing():
    assert sizes(split(matrix_of([10, 10]), SplitSettings("none"))) == (20, 0, 0)


def test_a_given_test_part_stays_and_valid_comes_from_the_rest():
    given_test = np.arange(20) >= 10
    for strategy in STRATEGIES:
        labels = split(matrix_of([10, 10]), SplitSettings(strategy, 0, 0.2), np.arange(20), given_test)
        np.testing.assert_array_equal(labels == TEST, given_test)
        if strategy != "stable":  # which meets shares on average
            assert (labels == VALID).sum() == {"none": 0, "leave-last": 1}.get(strategy, 2)


def test_stable_meets_shares_on_average_and_leaves_ratings_where_they_are_when_others_come_and_go():
    matrix = sparse.csr_array(np.ones((80, 100), dtype=np.float32))
    users, items = [f"u{n}" for n in range(80)], [f"i{n}" for n in range(100)]
    settings = SplitSettings("stable", 0.2, 0.25, seed=5)
    labels = split(matrix, settings, ids=(users, items)).reshape(80, 100)
    assert sizes(labels.ravel()) == pytest.approx((4800, 1600, 1600), rel=0.06)
    for axis in (0, 1):  # no user and no item is held out more than chance has it
        assert 0.02 < (labels == TEST).mean(axis).min() < 0.2 < (labels == TEST).mean(axis).max() < 0.4
    order = np.random.default_rng(0).permutation(80)[:50]
    grown = sparse.csr_array(np.ones((51, 100), dtype=np.float32))
    later = split(grown, settings, ids=([*(users[n] for n in order), "new"], items)).reshape(51, 100)
    np.testing.assert_array_equal(later[:50], labels[order])
    other = split(matrix, SplitSettings("stable", 0.2, 0.25, seed=6), ids=(users, items)).reshape(80, 100)
    assert (other == TEST)[labels == TEST].mean() == pytest.approx(0.2, abs=0.05)


def test_stable_is_the_same_in_every_version():
    matrix = sparse.csr_array(np.ones((4, 6), dtype=np.float32))
    assert split(matrix, SplitSettings("stable", 0.3, 0.3), ids=("abcd", "uvwxyz")).tolist() == [
        0,
        1,
        2,
        0,
        1,
        0,
        1,
        2,
        0,
        0,
        0,
        2,
        0,
        0,
        1,
        2,
        1,
        1,
        0,
        1,
        0,
        0,
        0,
        0,
    ]


@pytest.mark.parametrize("strategy", ["leave-last", "temporal"])
def test_splits_by_time_need_timestamps(strategy):
    with pytest.raises(UsageError, match=f"--split {strategy} needs timestamps .*--columns timestamp="):
        split(matrix_of([10]), SplitSettings(strategy))


@pytest.mark.parametrize(
    ("arguments", "flag"),
    [
        (("no-such",), "--split"),
        (("random", 1.0), "--test"),
        (("random", 0.1, -0.1), "--valid"),
        (("random", 0, 0, -1), "--seed"),
    ],
)
def test_settings_that_make_no_sense_are_refused(arguments, flag):
    with pytest.raises(UsageError, match=flag):
        SplitSettings(*arguments)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize(
    ("shares", "flags"),
    [
        ({"test": 0.3}, "--test 0.3"),
        ({"test": 0.1}, "--test 0.1"),  # asked for, although it is the default
        ({"valid": 0.2}, "--valid 0.2"),
        ({"test": 0, "valid": 0.2}, "--valid 0.2"),
        ({"test": 0.3, "valid": 0.2}, "--test 0.3 and --valid 0.2"),
    ],
)
def test_a_share_that_was_asked_for_is_honored_or_refused(strategy, shares, flags):
    if strategy in WITHOUT_FRACTION:
        with pytest.raises(UsageError, match=f"^{flags} cannot be honored by --split {strategy}, which holds out"):
            choose_split(strategy, **shares)
    else:
        assert choose_split(strategy, **shares) == SplitSettings(strategy, **shares)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_shares_that_were_not_asked_for_or_are_zero_are_never_refused(strategy):
    assert choose_split(strategy) == SplitSettings(strategy, 0.1, 0.1)
    assert choose_split(strategy, 0, 0, seed=7) == SplitSettings(strategy, 0, 0, 7)


def test_a_strategy_takes_a_share_exactly_if_its_result_depends_on_it():
    matrix, times = matrix_of([20, 20]), np.arange(40)
    for strategy in STRATEGIES:
        small, large = (split(matrix, SplitSettings(strategy, share, share), times) for share in (0.1, 0.4))
        assert np.array_equal(small, large) == (strategy in WITHOUT_FRACTION)


def test_a_share_out_of_range_is_refused_as_such_whatever_the_strategy():
    for strategy in STRATEGIES:
        with pytest.raises(UsageError, match="--test must be"):
            choose_split(strategy, test=1.0)
