"""Bins of held-out ratings and their errors."""

import numpy as np
import pytest

from autorec_cli.evaluation.groups.bins import Bins, binned_mean, binned_rmse, bins_by_count, bins_by_value
from autorec_cli.evaluation.metrics import UserErrors, rmse


def test_counts_are_grouped_into_ranges_of_about_as_many():
    bins = bins_by_count(np.array([1, 1, 1, 2, 3, 4, 5, 900]), 4)
    assert bins.labels == ["1", "2–3", "4–900"]
    assert bins.index.tolist() == [0, 0, 0, 1, 1, 2, 2, 2]


def test_equal_counts_are_one_group():
    assert bins_by_count(np.array([7, 7, 7]), 5).labels == ["7"]


def test_few_values_have_a_group_each():
    bins = bins_by_value(np.array([5.0, 0.5, 5.0]), 10, (0.5, 5))
    assert (bins.labels, bins.index.tolist()) == (["0.5", "5"], [1, 0, 1])


def test_many_values_are_in_ranges_of_the_scale_and_outliers_at_its_ends():
    values = np.concatenate([np.linspace(1, 5, 41), [0.0, 9.0]])
    bins = bins_by_value(values, 4, (1, 5))
    assert bins.labels == ["1–2", "2–3", "3–4", "4–5"]
    assert bins.index[[0, 10, 40, 41, 42]].tolist() == [0, 1, 3, 0, 3]


def test_ranges_with_negative_ends_are_told_from_minus_signs():
    assert bins_by_value(np.linspace(-10, 10, 50), 2, (-10, 10)).labels == ["-10 to 0", "0 to 10"]


def test_errors_of_a_group_are_those_of_its_pairs_alone():
    rng = np.random.default_rng(0)
    errors, users = rng.normal(0, 1, 200), rng.integers(0, 20, 200)
    bins = Bins(["a", "b", "nobody"], rng.integers(0, 2, 200))
    first, second, nothing = binned_rmse(errors, users, bins)
    for found, number in ((first, 0), (second, 1)):
        pairs = bins.index == number
        assert found == rmse(UserErrors.of(errors[pairs], users[pairs], 20))
        assert found.value == pytest.approx(np.sqrt(np.mean(errors[pairs] ** 2)))
    assert np.isnan(nothing.value)
    means = binned_mean(errors, users, bins)
    assert means[1].value == pytest.approx(errors[bins.index == 1].mean())
    assert means[1].margin > 0
