"""Models of both variants: weights, refit, resume, warm start, promotion, and what cannot be."""

import dataclasses
import json
import re

import numpy as np
import pytest

import autorec_cli as autorec
from autorec_cli.csr import row_indices
from autorec_cli.data import dataset
from autorec_cli.defaults import default_variants
from autorec_cli.errors import UsageError
from autorec_cli.inference.blending import Blend, best_weights
from autorec_cli.inference.files import model_file
from autorec_cli.inference.model import Model
from autorec_cli.training.settings import TrainSettings
from tests.planted import matrix_of, planted_dataset
from tests.program import call
from tests.training.checkpoints.test_resume import assert_resumes

TINY = {
    "objective": "rating",
    "hidden_sizes": (16,),
    "epochs": 32,
    "batch_size": 16,
    "regularization": 5.0,
    "learning_rate": 0.02,
}
# Few epochs of a large rate, in which both networks get weight.
TYPED = ("--objective", "rating", "--output-activation", "identity", "--hidden-size", 16, "--epochs", 16,
         "--batch-size", 16, "--regularization", 5, "--learning-rate", 0.02, "--threads", 1)  # fmt: skip


@pytest.fixture
def shop(workshop, tmp_path, monkeypatch):
    """A directory with the workshop's dataset, the current one."""
    (tmp_path / "data").symlink_to(workshop / "data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("objective", "shape", "n_ratings", "variants"),
    [
        ("rating", (60, 60), 300, ("item", "user")),
        ("rating", (60, 60), 299, ("item",)),
        ("rating", (1200, 60), 9000, ("item", "user")),
        ("rating", (1201, 60), 9000, ("user",)),
        ("rating", (60, 1201), 9000, ("item",)),
        ("ranking", (60, 60), 3000, ("user",)),
    ],
)
def test_both_variants_are_trained_unless_one_costs_much_and_gains_little(objective, shape, n_ratings, variants):
    assert default_variants(objective, *shape, n_ratings) == variants


def test_a_fit_ends_in_the_mean_of_both_networks():
    prepared = planted_dataset()
    fitting = autorec.fit(prepared, TrainSettings(**TINY), device="cpu", threads=1)
    phases = [(result.variant, result.phase) for result in fitting]
    assert list(dict.fromkeys(phases)) == [
        ("item", "selection"), ("user", "selection"), ("item", "refit"), ("user", "refit"),
    ]  # fmt: skip
    model = fitting.model
    assert isinstance(model, Blend)
    alone = [
        autorec.train(prepared, TrainSettings(variant=variant, **TINY), device="cpu", threads=1)
        for variant in ("item", "user")
    ]
    for ours, theirs in zip(model.models, alone, strict=True):
        np.testing.assert_array_equal(ours.decoder_weight, theirs.decoder_weight)
        np.testing.assert_array_equal(ours.codes, theirs.codes)
    unfitted = [
        autorec.train(prepared, TrainSettings(variant=variant, refit=False, **TINY), device="cpu", threads=1)
        for variant in ("item", "user")
    ]
    users, items = row_indices(prepared.valid), prepared.valid.indices
    predictions = np.stack([one.predict_pairs(users, items) for one in unfitted], axis=1)
    # Of what the networks predicted before they learned from these ratings.
    np.testing.assert_allclose(model.weights, best_weights(predictions, prepared.valid.data), atol=1e-4)
    rmse = np.sqrt(np.mean(np.square(predictions @ model.weights - prepared.valid.data)))
    assert model.provenance["metrics"]["valid_rmse"] == pytest.approx(rmse)
    assert rmse <= min(one.provenance["metrics"]["valid_rmse"] for one in alone)


def test_a_network_that_adds_nothing_is_not_refitted(monkeypatch):
    monkeypatch.setattr("autorec_cli.training.networks.best_weights", lambda *_: np.array([0.0, 1.0]))
    fitting = autorec.fit(planted_dataset(), TrainSettings(**TINY), device="cpu", threads=1)
    assert {result.variant for result in fitting if result.phase == "refit"} == {"user"}
    model = fitting.model
    assert isinstance(model, Model)
    assert model.settings.variant == "user"
    assert [network["weight"] for network in model.provenance["networks"]] == [0.0, 1.0]


def test_a_few_validation_ratings_decide_no_weights():
    prepared = planted_dataset()
    cells = prepared.valid.tocoo()
    few = {(row, column): value for row, column, value in zip(cells.row[:29], cells.col, cells.data, strict=False)}
    blind = dataclasses.replace(prepared, valid=matrix_of(few, prepared.valid.shape))
    fitting = autorec.fit(blind, TrainSettings(**TINY), device="cpu", threads=1)
    assert {result.variant for result in fitting} == {"item", "user"}
    assert fitting.model.weights == (0.5, 0.5)


def test_without_validation_ratings_there_is_nothing_to_weigh_on():
    prepared = planted_dataset()
    blind = dataclasses.replace(prepared, valid=matrix_of({}, prepared.valid.shape))
    fitting = autorec.fit(blind, TrainSettings(**TINY), device="cpu", threads=1)
    assert {result.variant for result in fitting} == {"item"}
    with pytest.raises(UsageError, match="--variant both needs validation ratings"):
        autorec.fit(blind, TrainSettings(variant="both", **TINY), device="cpu")


def test_both_cannot_rank():
    with pytest.raises(UsageError, match="--variant both needs --objective rating"):
        TrainSettings(variant="both", objective="ranking")


def test_the_command_says_how_much_each_network_weighs(shop):
    result = call("train", "data", "-o", "m", *TYPED, "--log", "log", "--summary", "run.json")
    assert result.status == 0, result.stderr
    networks = json.loads((shop / "run.json").read_text())["result"]["networks"]
    assert [network["settings"]["variant"] for network in networks] == ["item", "user"]
    assert sum(network["weight"] for network in networks) == pytest.approx(1)
    for network in networks:
        assert f"{network['weight']:.2f} {network['settings']['variant']} (RMSE alone {network['valid_rmse']:.4f})" in (
            result.stderr
        )
    epochs = [json.loads(line) for line in (shop / "log").read_text().splitlines()]
    assert {epoch["variant"] for epoch in epochs} == {"item", "user"}
    assert call("evaluate", "m", "--fail-above", "rmse=2").status == 0
    assert call("recommend", "m").stdout.count("\n") > 100
    described = json.loads(call("info", "m", "--format", "json").stdout)
    assert described["networks"] == networks


@pytest.mark.parametrize("after", ["item, selection", "user, selection", "item, refit", "user, refit"])
def test_a_run_that_was_interrupted_in_any_phase_goes_on_to_the_same_model(shop, after):
    assert_resumes(shop, after, *TYPED)


def test_a_warm_start_goes_on_with_both_networks_and_their_weights(shop):
    assert call("train", "data", "-o", "m", *TYPED).status == 0
    before = model_file.load_model(shop / "m")
    # All validation ratings are known to the older model: nothing is left to fit weights to.
    result = call("train", "data", "-o", "new", "--warm-start", "m", "--threads", 1)
    assert result.status == 0, result.stderr
    model = model_file.load_model(shop / "new")
    assert model.weights == before.weights
    assert [one.settings.variant for one in model.models] == ["item", "user"]
    assert [one.settings.hidden_sizes for one in model.models] == [(16,), (16,)]
    assert model.provenance["warm_start"]["fitted_parts"] == ["train", "valid"]
    users, items = np.meshgrid(np.arange(80), np.arange(50))
    differences = model.predict_pairs(users.ravel(), items.ravel()) - before.predict_pairs(users.ravel(), items.ravel())
    assert 0 < np.sqrt(np.mean(np.square(differences))) < 0.4
    refused = call("train", "data", "-o", "other", "--warm-start", "m", "--variant", "user")
    assert (refused.status, "--variant is user here and both there" in refused.stderr) == (2, True)


def test_both_variants_cannot_start_from_one(shop, item_model):
    refused = call("train", "data", "-o", "new", "--warm-start", item_model, "--variant", "both")
    assert (refused.status, "--variant is both here and item there" in refused.stderr) == (2, True)


def test_promotion_compares_the_mean(shop):
    train = ("train", "data", "-o", "m", *TYPED, "--keep-if-better", "rmse")
    assert call(*train).status == 0
    assert call(*train).status == 0  # the same model is no worse
    worse = call("train", "data", "-o", "m", *TYPED, "--epochs", 1, "--keep-if-better", "rmse")
    assert (worse.status, "kept the current model, m:" in worse.stderr) == (0, True)
    assert isinstance(model_file.load_model(shop / "m"), Blend)


def test_a_dry_run_shows_both_networks(shop):
    result = call("train", "data", "-o", "m", *TYPED, "--dry-run")
    assert (result.status, "80-16-80" in result.stderr, "50-16-50" in result.stderr) == (0, True, True)
    ranking = call("train", "data", "-o", "m", "--objective", "ranking", "--hidden-size", 16, "--dry-run")
    assert re.search(r"layers\W+50-66-50 with 50 linear units", ranking.stderr), ranking.stderr


def test_the_mean_is_no_worse_than_the_better_network_on_ratings_it_was_not_fitted_to(workshop):
    prepared = dataset.load_dataset(workshop / "data")
    both, item, user = (
        autorec.train(prepared, TrainSettings(variant=variant, **TINY), device="cpu", threads=1)
        for variant in ("both", "item", "user")
    )
    rows = autorec.evaluate([both, item, user], prepared)
    assert rows[0]["rmse"] < min(row["rmse"] for row in rows[1:3]) + 0.005
