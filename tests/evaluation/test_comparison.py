"""Paired comparison: known differences, and rates of error in simulations."""

import numpy as np
import pytest

from autorec_cli.evaluation.comparison import PAIRED_ERRORS, compare, has_user_values
from autorec_cli.evaluation.measurement import Measurement
from autorec_cli.evaluation.metrics import RANKING_METRICS, RATING_METRICS, TOP_K_METRICS, Z_95, UserErrors
from autorec_cli.evaluation.ranking import UserRankings

N_RUNS = 2000


def ranked(values, n_relevant=None):
    """Measurement with these nDCG@10 of each user."""
    values = np.asarray(values, dtype=float)
    n_relevant = np.ones(len(values), dtype=int) if n_relevant is None else np.asarray(n_relevant)
    none = np.zeros(1, dtype=int)
    return Measurement("m", rankings=UserRankings(10, n_relevant, {"ndcg": values, "recall": values}, none, none))


def rated(errors, users):
    """Measurement with these errors of predicted ratings."""
    return Measurement("m", errors=UserErrors.of(np.asarray(errors, dtype=float), users, users.max() + 1))


def rankings_of_two(rng, n_users, loss):
    """Two models whose lists differ for a third of the users, by 0.15 up or down."""
    current = rng.beta(0.6, 1.4, n_users)
    change = rng.normal(0, 0.15, n_users) * (rng.random(n_users) < 1 / 3)
    return ranked(current + change - loss), ranked(current)


def errors_of_two(rng, n_users, loss):
    """Two models with errors of the same size, most of it noise that both share, and users of 1 to 40 ratings."""
    n_pairs = np.minimum(rng.geometric(0.1, n_users), 40)
    users = np.repeat(np.arange(n_users), n_pairs)
    shared = rng.normal(0, 0.85, len(users)) * np.repeat(rng.uniform(0.7, 1.3, n_users), n_pairs)
    new, current = (rng.normal(0, 0.15, len(users)) + np.repeat(rng.normal(0, 0.1, n_users), n_pairs) for _ in "ab")
    return rated((shared + new) * (1 + loss), users), rated(shared + current, users)


CASES = [("ndcg@10", rankings_of_two), ("recall@10", rankings_of_two), ("rmse", errors_of_two), ("mae", errors_of_two)]


def rate_of_worse(metric, draw, loss, n_runs=N_RUNS):
    rng = np.random.default_rng(0)
    return np.mean([compare(*draw(rng, 300, loss), metric).is_worse for _ in range(n_runs)])


@pytest.mark.parametrize(("metric", "draw"), CASES)
def test_an_equal_model_is_called_worse_in_5_percent_of_cases(metric, draw):
    # Two and a half standard deviations of the rate; two-sided limits would give .025.
    allowed = 2.5 * np.sqrt(0.05 * 0.95 / N_RUNS)
    assert rate_of_worse(metric, draw, 0) == pytest.approx(0.05, abs=allowed)


@pytest.mark.parametrize(("metric", "draw"), CASES)
def test_a_planted_loss_of_4_standard_errors_is_found_and_a_gain_is_not_called_a_loss(metric, draw):
    rng = np.random.default_rng(1)
    spread = np.mean([compare(*draw(rng, 300, 0), metric).loss.margin for _ in range(20)]) / Z_95
    unit = 1 if "@" in metric else compare(*draw(rng, 300, 0), metric).current
    loss = 4 * spread / unit
    assert rate_of_worse(metric, draw, loss, 300) > 0.97
    assert rate_of_worse(metric, draw, -loss, 300) == 0


@pytest.mark.parametrize(("metric", "draw"), CASES)
def test_the_interval_covers_the_planted_loss(metric, draw):
    """A planted loss of nDCG is known; that of RMSE is the factor on the errors."""
    rng = np.random.default_rng(2)
    planted = 0.01
    covered = 0
    for _ in range(N_RUNS):
        found = compare(*draw(rng, 300, planted), metric)
        truth = planted if "@" in metric else planted * (found.new / (1 + planted))
        covered += abs(found.loss.value - truth) <= found.loss.margin
    assert covered / N_RUNS == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize(("metric", "draw"), CASES)
def test_the_loss_is_the_difference_of_the_values(metric, draw):
    found = compare(*draw(np.random.default_rng(3), 50, 0.02), metric)
    sign = -1 if "@" in metric else 1
    assert found.loss.value == pytest.approx(sign * (found.new - found.current))
    assert found.new != found.current


def test_the_interval_of_a_ranking_metric_by_hand():
    found = compare(ranked([0.5, 0.0, 0.0, 0.9]), ranked([0.75, 0.0, 0.5, 0.5]), "ndcg@10")
    differences = np.array([0.25, 0.0, 0.5, -0.4])
    assert (found.new, found.current) == (pytest.approx(0.35), pytest.approx(0.4375))
    assert found.loss.margin == pytest.approx(Z_95 * differences.std(ddof=1) / 2)


def test_users_without_relevant_ratings_do_not_count():
    counted = compare(ranked([0.5, 0.25]), ranked([0.75, 0.5]), "ndcg@10")
    among_others = compare(ranked([0.5, 0, 0.25, 0], [1, 0, 2, 0]), ranked([0.75, 0, 0.5, 0], [1, 0, 2, 0]), "ndcg@10")
    assert among_others == counted


def test_users_of_one_rating_each_whose_errors_double():
    users = np.arange(4)
    found = compare(rated([2, -2, 2, -2], users), rated([1, -1, 1, -1], users), "rmse")
    assert (found.new, found.current, found.loss.value) == (2, 1, 1)
    assert found.loss.margin == pytest.approx(0)
    assert found.is_worse


@pytest.mark.parametrize(
    ("measured", "metric"),
    [
        (ranked([0.5, 0.2]), "ndcg@10"),
        (rated([1, -1, 2], np.array([0, 0, 1])), "rmse"),
        (rated([0, 0, 0], np.array([0, 0, 1])), "rmse"),
    ],
)
def test_ties_are_no_loss(measured, metric):
    found = compare(measured, measured, metric)
    assert (found.loss.value, found.loss.margin, found.is_worse) == (0, 0, False)


def test_models_without_errors_are_compared_with_ones_that_have_some():
    users = np.array([0, 1, 1])
    perfect, other = rated([0, 0, 0], users), rated([1, -1, 1], users)
    assert compare(other, perfect, "rmse").is_worse
    assert not compare(perfect, other, "rmse").is_worse


def test_of_a_single_user_the_values_decide():
    assert compare(ranked([0.4]), ranked([0.5]), "ndcg@10").is_worse
    assert not compare(ranked([0.5]), ranked([0.5]), "ndcg@10").is_worse


def test_without_users_nothing_is_known():
    found = compare(ranked([0.0], [0]), ranked([0.0], [0]), "ndcg@10")
    assert np.isnan([found.new, found.current, found.loss.value]).all()
    assert not found.is_worse


def test_metrics_with_a_value_of_each_user():
    assert set(PAIRED_ERRORS) == set(RATING_METRICS)
    found = {
        metric for metric in (*RATING_METRICS, *(f"{name}@10" for name in TOP_K_METRICS)) if has_user_values(metric)
    }
    assert found == {*RATING_METRICS, *(f"{name}@10" for name in RANKING_METRICS)}
