import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autorec_cli.evaluation.metrics import (
    Z_95,
    UserErrors,
    coverage,
    diversity,
    gini,
    is_clearly_better,
    lorenz_curve,
    mae,
    mean_over_pairs,
    mean_popularity,
    ndcg,
    novelty,
    recall,
    rmse,
    times_recommended,
    unique_items,
)


def over_pairs(values, user_index):
    """The mean of one value per pair, from its sums over users."""
    return mean_over_pairs(np.bincount(user_index, weights=values), np.bincount(user_index))


def test_rmse_and_mae_of_errors_3_and_4():
    errors = UserErrors.of(np.array([3.0, -4.0]), np.array([0, 1]), 2)
    assert rmse(errors).value == pytest.approx(np.sqrt(12.5))
    assert mae(errors).value == pytest.approx(3.5)


def test_no_error_has_no_interval():
    estimate = rmse(UserErrors.of(np.zeros(4), np.array([0, 0, 1, 1]), 2))
    assert (estimate.value, estimate.margin) == (0.0, 0.0)


def test_interval_with_one_pair_a_user_is_the_usual_one():
    values = np.array([1.0, 2.0, 4.0, 7.0])
    expected = Z_95 * values.std(ddof=1) / np.sqrt(len(values))
    assert over_pairs(values, np.arange(4)).margin == pytest.approx(expected)


def test_interval_does_not_shrink_when_a_users_pairs_repeat_each_other():
    values = np.array([1.0, 2.0, 4.0, 7.0])
    once = over_pairs(values, np.arange(4))
    copied = over_pairs(np.repeat(values, 10), np.repeat(np.arange(4), 10))
    assert copied.margin == pytest.approx(once.margin)


def test_interval_of_a_single_user_is_unknown():
    assert np.isnan(over_pairs(np.array([1.0, 2.0]), np.array([5, 5])).margin)


def test_without_pairs_there_is_no_mean():
    estimate = mean_over_pairs(np.zeros(3), np.zeros(3, dtype=int))
    assert np.isnan([estimate.value, estimate.margin]).all()


def test_sums_of_different_users_add_up_to_the_sums_of_all():
    rng = np.random.default_rng(0)
    errors, users, cold = rng.normal(size=40), np.repeat(np.arange(10), 4), np.arange(40) % 3 == 0
    parts = [UserErrors.of(errors[own], users[own], 10, cold[own]) for own in (users < 4, users >= 4)]
    added = UserErrors(*(sum(getattr(part, field.name) for part in parts) for field in dataclasses.fields(UserErrors)))
    whole = UserErrors.of(errors, users, 10, cold)
    assert (rmse(added), mae(added)) == (rmse(whole), mae(whole))
    assert added.n_cold.sum() == cold.sum()


def test_interval_covers_the_truth_about_95_times_in_100():
    rng = np.random.default_rng(0)
    n_users, inside = 80, 0
    for _ in range(400):
        count = rng.integers(1, 20, n_users)
        owner = np.repeat(np.arange(n_users), count)
        values = rng.normal(2, 1, n_users)[owner] + rng.normal(0, 1, len(owner))
        estimate = over_pairs(values, owner)
        inside += abs(estimate.value - 2) <= estimate.margin
    assert 0.91 < inside / 400 < 0.98


def test_ndcg_of_hits_at_ranks_1_and_3_with_two_relevant():
    hits = np.array([[True, False, True]])
    assert ndcg(hits, np.array([2]))[0] == pytest.approx((1 + 0.5) / (1 + 1 / np.log2(3)))


def test_ndcg_ideal_is_no_longer_than_the_list():
    assert ndcg(np.array([[True, True]]), np.array([50]))[0] == pytest.approx(1.0)


def test_recall_counts_relevant_items_beyond_the_list():
    assert recall(np.array([[True, True, False]]), np.array([8]))[0] == pytest.approx(0.25)


def test_coverage_and_popularity_leave_out_short_lists():
    ranked = np.array([[0, 1], [0, -1]])
    assert coverage(times_recommended(ranked, 4)) == 0.5
    assert mean_popularity(times_recommended(ranked, 4), np.array([10, 4, 0, 0])) == pytest.approx(8.0)
    assert np.isnan(mean_popularity(times_recommended(np.array([[-1]]), 1), np.array([3])))


def test_unique_items_and_novelty_leave_out_short_lists():
    times = times_recommended(np.array([[0, 1], [0, -1]]), 4)
    assert unique_items(times) == 2
    # 8 users: items with 8, 2 and no ratings have 0, 2 and, as if with one rating, 3 bits.
    assert novelty(times, np.array([8, 2, 1, 0]), 8) == pytest.approx((0 + 2 + 0) / 3)
    assert novelty(np.array([0, 0, 0, 1]), np.array([8, 2, 1, 0]), 8) == pytest.approx(3)
    assert np.isnan(novelty(np.zeros(2, dtype=int), np.array([1, 1]), 3))


def test_lorenz_curve_and_gini_by_hand():
    times = np.array([5, 0, 2, 1])
    np.testing.assert_allclose(lorenz_curve(times), [0, 0, 1 / 8, 3 / 8, 1])
    # (-3 * 0 - 1 * 1 + 1 * 2 + 3 * 5) / (3 * 8)
    assert gini(times) == pytest.approx(16 / 24)
    assert gini(np.array([3, 3, 3])) == pytest.approx(0)
    assert gini(np.array([0, 0, 7])) == pytest.approx(1)
    assert np.isnan(gini(np.zeros(3, dtype=int)))
    assert np.isnan(gini(np.array([4])))
    assert np.isnan(lorenz_curve(np.zeros(3, dtype=int))[-1])


@given(st.lists(st.integers(0, 50), min_size=2, max_size=20).filter(any))
def test_gini_is_the_area_between_the_lorenz_curve_and_the_diagonal(times):
    curve, n = lorenz_curve(np.array(times)), len(times)
    area = np.trapezoid(np.linspace(0, 1, n + 1) - curve, dx=1 / n)
    assert gini(np.array(times)) == pytest.approx(2 * area * n / (n - 1))
    assert 0 - 1e-12 <= gini(np.array(times)) <= 1 + 1e-12


def test_diversity_is_the_mean_over_pairs():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(9, 4))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[8] = 0  # an item that is similar to nothing
    ranked = np.array([[0, 3, 8], [2, 5, -1], [4, -1, -1], [-1, -1, -1]])
    pairs = [(0, 3), (0, 8), (3, 8)]
    expected = [np.mean([1 - vectors[i] @ vectors[j] for i, j in pairs]), 1 - vectors[2] @ vectors[5], 0, 0]
    np.testing.assert_allclose(diversity(ranked, vectors), expected)


@given(st.lists(st.booleans(), min_size=1, max_size=12), st.integers(0, 20))
def test_ranking_metrics_lie_between_0_and_1(hits, more_relevant):
    row, n_relevant = np.array([hits]), np.array([max(1, sum(hits) + more_relevant)])
    for formula in (ndcg, recall):
        assert 0 <= formula(row, n_relevant)[0] <= 1 + 1e-12


def test_clearly_better_is_decided_by_the_difference_on_the_same_pairs():
    rng = np.random.default_rng(0)
    users, baseline = np.repeat(np.arange(200), 5), rng.normal(0, 1, 1000)

    def errors(values):
        return UserErrors.of(values, users, 200)

    assert is_clearly_better(errors(baseline * 0.99), errors(baseline)), "much less than the interval of either"
    assert not is_clearly_better(errors(baseline), errors(baseline))
    assert not is_clearly_better(errors(baseline * 1.01), errors(baseline))
    shuffled = rng.permutation(baseline) * 0.99
    assert not is_clearly_better(errors(shuffled), errors(baseline)), "other pairs are wrong: chance would explain it"
    one = [UserErrors.of(values, np.zeros(5, dtype=int), 1) for values in (baseline[:5] * 0.9, baseline[:5])]
    assert is_clearly_better(*one)
