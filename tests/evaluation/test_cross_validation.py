"""Averages over splits."""

import pytest

from autorec_cli.evaluation.cross_validation import average
from autorec_cli.evaluation.metrics import mean_over_splits


def test_the_interval_over_splits_is_students():
    estimate = mean_over_splits([1.0, 2.0, 3.0])
    assert estimate.value == 2
    assert estimate.margin == pytest.approx(4.302653 / 3**0.5)  # t of two degrees of freedom; s is 1
    assert mean_over_splits([0.5] * 4).margin == 0


def test_metrics_are_averaged_and_counts_are_not():
    rows = [
        [
            {"model": "net", "rmse": rmse, "rmse_low": 0, "mae": 1, "n_pairs": 9, "clip_low": 1, "ndcg@5": 0.25},
            {"model": "popularity", "mean_popularity@5": 10 * rmse, "n_users": 3},
        ]
        for rmse in (0.8, 1.0)
    ]
    net, popularity = average(rows)
    assert net["rmse"] == pytest.approx(0.9)
    assert net["rmse_margin"] == pytest.approx(12.7062 * 0.1, rel=1e-4)
    assert list(net) == ["model", "rmse", "rmse_margin", "mae", "mae_margin", "ndcg@5", "ndcg@5_margin", "n_splits"]
    assert popularity["mean_popularity@5"] == pytest.approx(9)
    assert (net["n_splits"], popularity["n_splits"]) == (2, 2)


def test_a_metric_that_one_split_lacks_is_left_out():
    (row,) = average([[{"model": "net", "rmse": 1.0, "ndcg@5": 0.5}], [{"model": "net", "rmse": 2.0}]])
    assert list(row) == ["model", "rmse", "rmse_margin", "n_splits"]
