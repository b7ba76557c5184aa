"""Promotion: `train --keep-if-better` and `--tolerance`."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from autorec_cli.evaluation.comparison import Comparison, compare
from autorec_cli.evaluation.metrics import Estimate
from autorec_cli.inference.files import model_file
from autorec_cli.training.retraining.promotion import decide
from tests.evaluation.test_comparison import ranked
from tests.program import SMALL, call

RATING = SMALL
JOINT = (*SMALL, "--objective", "both")
RANKING = (*SMALL, "--objective", "ranking", "--variant", "user", "--missing-weight", 0.001)
POOR = ("--epochs", 1, "--learning-rate", 1e-5)


# --- decisions


N_USERS = 1170
"""Users with a relevant test rating on a site where three nights were refused for 0.0005 nDCG."""
NOISE = 0.06
"""Standard deviation of each model's nDCG@10 of a user around its true value; .09 for a difference, as on ML-100K."""


class Nights:
    """Nights of training on the same test users, of whom one in a hundred is new each night."""

    def __init__(self, seed, noise=NOISE, growth=0.0):
        self.rng, self.noise, self.growth = np.random.default_rng(seed), noise, growth
        self.base = self.rng.beta(0.6, 1.4, N_USERS)
        self.level = self.best_level = 0.0
        self.current = self.measured(0.0, self.base)
        self.values, self.deficits, self.n_promoted = [self.current.mean()], {}, 0

    def measured(self, level, base):
        return base + level + self.rng.normal(0, self.noise, len(base))

    def train(self, gain, tolerance):
        """Train from the current model with a true `gain`; the decision."""
        joining = self.rng.beta(0.6, 1.4, int(self.growth * len(self.base)))
        self.base = np.append(self.base, joining)
        self.current = np.append(self.current, self.measured(self.level, joining))
        new = self.measured(self.level + gain, self.base)
        found = compare(ranked(new), ranked(self.current), "ndcg@10")
        decision = decide({"ndcg@10": found}, self.deficits, tolerance)
        if decision.reason is None:
            self.current, self.deficits = new, decision.deficits
            self.level += gain
            self.best_level = max(self.best_level, self.level)
            self.values.append(new.mean())
            self.n_promoted += 1
        return decision


def test_a_loss_of_0_0005_ndcg_over_1170_users_is_promoted():
    nights = Nights(0)
    current = nights.current
    change = nights.rng.normal(0, NOISE * np.sqrt(2), N_USERS)
    change += -0.0005 - change.mean()
    found = compare(ranked(current + change), ranked(current), "ndcg@10")
    assert found.loss.value == pytest.approx(0.0005)
    decision = decide({"ndcg@10": found}, {}, 0.01)
    assert decision.reason is None
    assert decision.deficits == {"ndcg@10": pytest.approx(0.0005)}


@pytest.mark.parametrize("seed", range(5))
def test_fifty_nights_each_a_little_worse_do_not_ratchet_downhill(seed):
    nights, unlimited = Nights(seed), Nights(seed)
    for _ in range(50):
        nights.train(-0.0005, 0.01)
        unlimited.train(-0.0005, 1)
    limit = 0.01 * max(nights.values)
    assert max(nights.values) - nights.values[-1] <= limit
    assert nights.deficits["ndcg@10"] == pytest.approx(max(nights.values) - nights.values[-1])
    # Each of these losses is within the noise: without a limit nearly all of them pass.
    assert max(unlimited.values) - unlimited.values[-1] > 5 * limit
    assert unlimited.n_promoted > 35


@pytest.mark.parametrize("seed", range(5))
def test_the_limit_holds_when_test_users_join_every_night(seed):
    nights = Nights(seed, growth=0.01)
    for _ in range(50):
        nights.train(-0.0005, 0.01)
    one_standard_error = NOISE * np.sqrt(2 / N_USERS)
    assert nights.best_level - nights.level <= 0.01 * nights.base.mean() + 2 * one_standard_error


def test_nights_that_improve_are_promoted_every_time():
    nights = Nights(0, noise=0.02, growth=0.01)
    for _ in range(50):
        assert nights.train(0.003, 0.01).reason is None
    assert nights.deficits == {"ndcg@10": 0}


def comparison(new, current, loss, margin=0.01):
    return Comparison(new, current, Estimate(loss, margin))


def test_a_deficit_grows_by_losses_shrinks_by_gains_and_is_never_below_0():
    for before, loss, expected in ((0.002, 0.001, 0.003), (0.002, -0.001, 0.001), (0.002, -0.005, 0.0)):
        found = decide({"rmse": comparison(0.8 + loss, 0.8, loss)}, {"rmse": before}, 0.01)
        assert found.reason is None
        assert found.deficits == {"rmse": pytest.approx(expected)}


def test_more_than_the_tolerance_below_the_best_is_kept():
    for loss, kept in ((0.0039, False), (0.0041, True)):
        found = decide({"rmse": comparison(0.8 + loss, 0.8, loss)}, {"rmse": 0.004}, 0.01)
        assert (found.reason is not None) is kept
    assert re.search(r"rmse.*tolerance of 0\.01 allows", found.reason)


def test_a_better_model_is_promoted_even_if_the_best_is_far():
    found = decide({"ndcg@10": comparison(0.31, 0.3, -0.01)}, {"ndcg@10": 0.1}, 0.0)
    assert found.reason is None
    assert found.deficits == {"ndcg@10": pytest.approx(0.09)}


def test_either_metric_keeps_the_current_model():
    better, worse = comparison(0.79, 0.8, -0.01), comparison(0.28, 0.3, 0.02)
    found = decide({"rmse": better, "ndcg@10": worse}, {}, 0.5)
    assert "ndcg@10" in found.reason
    assert "rmse" not in found.reason


def test_deficits_of_metrics_that_are_not_compared_stay():
    found = decide({"rmse": comparison(0.8, 0.8, 0.0)}, {"mae": 0.001}, 0.01)
    assert found.deficits == {"mae": 0.001, "rmse": 0}


# --- train --keep-if-better


@pytest.fixture
def shop(workshop, tmp_path, monkeypatch):
    """A folder with the workshop's dataset."""
    shutil.copytree(workshop / "data", tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def train(*options, data="data", model="m"):
    """Train; the run and its summary's `result`."""
    run = call("train", data, "-o", model, *options, "--summary", "run.json")
    assert run.status == 0, run.stderr
    return run, json.loads(Path("run.json").read_text())


@pytest.mark.parametrize(
    ("options", "metric"),
    [(RATING, "rmse"), (RATING, "mae"), (RANKING, "ndcg@10"), (RANKING, "recall@10"), (JOINT, "rmse")],
)
def test_a_worse_model_is_kept_out_with_a_warning_and_status_0(shop, options, metric):
    train(*options)
    before = (shop / "m").read_bytes()
    run, summary = train(*options, *POOR, "--keep-if-better", metric)
    assert (shop / "m").read_bytes() == before
    assert not (shop / "m.resume").exists()
    assert "error" not in run.stderr
    result = summary["result"]
    assert (summary["exit_status"], result["promoted"]) == (0, False)
    (warning,) = [line for line in summary["warnings"] if line.startswith("kept the current model, m: ")]
    assert result["promotion"]["reason"] in warning
    told = result["promotion"]["metrics"][metric]
    assert told["deficit"] == pytest.approx(abs(told["new"] - told["current"])) == pytest.approx(told["loss"])
    assert result["promotion"]["n_pairs"] > 30


def test_an_equal_model_and_a_better_one_replace_the_old_one(shop):
    options = (*RATING, "--keep-if-better", "rmse")
    _, summary = train(*options)
    assert summary["result"]["promoted"] is True
    assert summary["result"]["promotion"]["metrics"] == {}
    _, summary = train(*options)
    told = summary["result"]["promotion"]["metrics"]["rmse"]
    assert (told["loss"], told["deficit"], summary["result"]["promoted"]) == (0, 0, True)
    train(*RATING, *POOR, "--force")
    run, summary = train(*options)
    assert summary["result"]["promoted"] is True
    assert "test ratings that neither has seen" in run.stderr
    assert model_file.load_model(shop / "m").provenance["promotion"] == {"rmse": 0}


def test_a_summary_says_nothing_of_promotion_without_the_option(shop):
    _, summary = train(*RATING)
    assert {"promoted", "promotion"}.isdisjoint(summary["result"])


def test_deficits_are_handed_on_and_end_with_force(shop):
    train(*RATING)
    model = model_file.load_model(shop / "m")
    model.provenance["promotion"] = {"rmse": 0.001, "ndcg@10": 0.1}
    model_file.save_model(model, shop / "m")
    train(*RATING, "--keep-if-better", "rmse")
    assert model_file.load_model(shop / "m").provenance["promotion"] == {"rmse": 0.001, "ndcg@10": 0.1}
    train(*RATING, "--force")
    assert "promotion" not in model_file.load_model(shop / "m").provenance


def test_a_model_worse_than_the_best_by_more_than_the_tolerance_is_kept(shop):
    train(*RATING)
    model = model_file.load_model(shop / "m")
    model.provenance["promotion"] = {"rmse": 0.1}
    model_file.save_model(model, shop / "m")
    slightly_worse = (*RATING, "--seed", 6, "--keep-if-better", "rmse")
    for tolerance, promoted in ((0.01, False), (1, True)):
        _, summary = train(*slightly_worse, "--tolerance", tolerance)
        told = summary["result"]["promotion"]["metrics"]["rmse"]
        assert 0 < told["loss"] < told["noise"] * 0.8, "within the noise"
        assert told["deficit"] == pytest.approx(0.1 + told["loss"])
        assert summary["result"]["promoted"] is promoted


@pytest.mark.parametrize("tolerance", [-0.1, 1.5, "nan"])
def test_a_tolerance_that_is_no_share_is_refused(shop, tolerance):
    result = call("train", "data", "-o", "m", "--keep-if-better", "rmse", "--tolerance", tolerance)
    assert (result.status, "--tolerance" in result.stderr) == (2, True)


@pytest.mark.parametrize(
    ("current", "new", "metric", "compared"),
    [
        (RATING, RATING, "mae", {"mae"}),
        (RATING, JOINT, "rmse", {"rmse"}),
        (RATING, JOINT, "ndcg@10", {"ndcg@10", "rmse"}),
        (JOINT, JOINT, "mae", {"mae", "ndcg@10"}),
        (JOINT, JOINT, "recall@10", {"recall@10", "rmse"}),
        (JOINT, RANKING, "ndcg@10", {"ndcg@10"}),
        (RANKING, JOINT, "rmse", {"ndcg@10"}),
    ],
)
def test_metrics_of_all_objectives_that_both_models_have_are_compared(shop, current, new, metric, compared):
    train(*current, "--epochs", 2)
    _, summary = train(*new, "--epochs", 2, "--keep-if-better", metric)
    assert set(summary["result"]["promotion"]["metrics"]) == compared


def test_a_joint_model_with_one_worse_part_is_kept_out_whole(shop):
    # On the workshop's ratings, unrated cells of no weight rank far better, after enough epochs.
    train(*JOINT, "--missing-weight", 1e-9, "--patience", 0)
    before = (shop / "m").read_bytes()
    _, summary = train(*JOINT, "--patience", 0, "--keep-if-better", "rmse")
    told = summary["result"]["promotion"]["metrics"]
    assert told["rmse"]["loss"] == 0
    assert told["ndcg@10"]["loss"] > told["ndcg@10"]["noise"]
    assert summary["result"]["promoted"] is False
    assert (shop / "m").read_bytes() == before


def test_on_another_dataset_only_ratings_new_to_the_old_model_count(shop, workshop):
    """Every rating is in another order, so that the split deals them anew; most of the new test part was learned."""
    train(*RATING)
    header, *rows = (workshop / "ratings.csv").read_text().splitlines()
    more = [f"new{user},{item:05},{1 + item % 5},1" for user in range(20) for item in range(20)]
    (shop / "r.csv").write_text("\n".join([header, *more, *reversed(rows)]) + "\n")
    assert call("prepare", "r.csv", "-o", "data2", "--items", workshop / "items.csv").status == 0
    _, summary = train(*RATING, "--keep-if-better", "rmse", data="data2")
    counted = summary["result"]["promotion"]["n_pairs"]
    assert 30 <= counted <= len(more) * 0.2, "a tenth of the new ratings, and no old one"


def test_with_too_few_new_ratings_the_old_model_stays_and_advice_is_given(shop, workshop):
    train(*RATING)
    before = (shop / "m").read_bytes()
    header, *rows = (workshop / "ratings.csv").read_text().splitlines()
    (shop / "r.csv").write_text("\n".join([header, *reversed(rows)]) + "\n")
    assert call("prepare", "r.csv", "-o", "data3", "--items", workshop / "items.csv").status == 0
    _, summary = train(*RATING, "--keep-if-better", "rmse", data="data3")
    assert (summary["result"]["promoted"], summary["result"]["promotion"]["metrics"]) == (False, {})
    (warning,) = [line for line in summary["warnings"] if line.startswith("kept the current model, m: ")]
    assert all(word in warning for word in ("30", "--split stable", "--test", "--force"))
    assert (shop / "m").read_bytes() == before


@pytest.mark.parametrize(("options", "metric", "compared"), [(JOINT, "rmse", {"rmse"}), (RANKING, "ndcg@10", set())])
def test_a_metric_that_no_user_has_a_value_of_is_not_compared(shop, workshop, options, metric, compared):
    scale = ("--rating-scale", "1,20")  # so that no rating is relevant
    assert call("prepare", workshop / "ratings.csv", "-o", "low", *scale).status == 0
    train(*options, "--epochs", 2, data="low")
    _, summary = train(*options, "--epochs", 2, "--keep-if-better", metric, data="low")
    assert set(summary["result"]["promotion"]["metrics"]) == compared
    assert summary["result"]["promoted"] is bool(compared)
    assert compared or all(word in summary["warnings"][-1] for word in ("--split stable", "--test", "--force"))


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ("rsme", "did you mean rmse?"),
        ("ndcg@20", "use ndcg@10"),
        ("coverage@10", "use rmse, mae or ndcg@10"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_training(shop, metric, message):
    result = call("train", "data", "-o", "m", "--keep-if-better", metric)
    assert (result.status, result.stdout) == (2, "")
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_models_without_a_common_metric_are_refused(shop):
    train(*RANKING)
    assert call("train", "data", "-o", "m", *RANKING, "--keep-if-better", "rmse").status == 2
    refused = call("train", "data", "-o", "m", *RATING, "--keep-if-better", "rmse")
    assert (refused.status, "ndcg@10" in refused.stderr) == (4, True)


def test_without_test_ratings_and_with_a_damaged_old_model_it_is_refused(shop, workshop):
    assert call("prepare", workshop / "ratings.csv", "-o", "untested", "--test", 0).status == 0
    result = call("train", "untested", "-o", "m", "--keep-if-better", "rmse")
    assert result.status == 2
    assert "the dataset has none; prepare it with --test" in result.stderr
    (shop / "m").write_bytes(b"not a model")
    assert call("train", "data", "-o", "m", "--keep-if-better", "rmse").status == 4
    assert (shop / "m").read_bytes() == b"not a model"
