"""Blends: how weights are fitted, that files hold them, and that they predict what they say."""

import dataclasses

import numpy as np
import pytest

from autorec_cli.errors import ArtifactError
from autorec_cli.evaluation.measurement import metric_rows
from autorec_cli.inference import blending, model_file
from autorec_cli.inference.blending import Blend
from autorec_cli.inference.model import Model
from tests.planted import planted_dataset
from tests.program import call
from tests.trained import model_of, small_settings

DATASET = planted_dataset(titles=True)
PAIRS = (np.arange(50) % 80, np.arange(50) % 50)


@pytest.fixture(scope="module")
def models():
    return [(variant, model_of(DATASET, small_settings(variant, epochs=15))) for variant in ("item", "user")]


@pytest.fixture(scope="module")
def blended(models):
    return blending.blend(models, DATASET.valid.data)


def with_predictions(model, predictions):
    return dataclasses.replace(model, valid_predictions=np.asarray(predictions, dtype=np.float32))


def test_validation_predictions_are_those_before_the_final_fit(models):
    """They are what `blend` can trust: nearer to the valid ratings once the network has been fitted to them."""
    for variant, model in models:
        unfitted = model_of(DATASET, small_settings(variant, epochs=15, refit=False))
        np.testing.assert_allclose(model.valid_predictions, unfitted.predict_pairs(*_pairs(DATASET.valid)), atol=1e-4)


def _pairs(ratings):
    coo = ratings.tocoo()
    return coo.coords


def test_weights_are_those_that_made_the_ratings(models):
    rng = np.random.default_rng(0)
    first, second = rng.uniform(1, 5, (2, 400))
    known = [
        (name, with_predictions(model, predictions))
        for (name, model), predictions in zip(models, (first, second), strict=True)
    ]
    made = blending.blend(known, (0.3 * first + 0.7 * second + rng.normal(0, 0.01, 400)).astype(np.float32))
    assert made.weights == pytest.approx((0.3, 0.7), abs=2e-3)
    against = blending.blend(known, (1.2 * second - 0.2 * first).astype(np.float32))
    assert against.weights == (0, 1), "none below 0, none above 1"
    assert sum(made.weights) == pytest.approx(1)


def test_a_model_that_adds_nothing_but_chance_gets_no_weight(models):
    """Fitted to all ratings it would get some: chance fits a little on the ratings that it is fitted to."""
    rng = np.random.default_rng(2)
    ratings = rng.uniform(1, 5, 30)
    good = ratings + rng.normal(0, 0.5, 30)
    noisier = good + rng.normal(0, 0.3, 30)
    given = zip(models, (good, noisier), strict=True)
    known = [(name, with_predictions(model, predictions)) for (name, model), predictions in given]
    errors = np.stack([good, noisier], axis=1) - ratings[:, None]
    assert blending._weights(errors)[1] > 0.1
    assert blending.blend(known, ratings.astype(np.float32)).weights == (1, 0)


def test_one_validation_rating_is_enough_to_blend(models):
    known = [(name, with_predictions(model, [guess])) for (name, model), guess in zip(models, (3.0, 4.0), strict=True)]
    assert sum(blending.blend(known, np.array([3.2], dtype=np.float32)).weights) == pytest.approx(1)


def test_a_blend_is_no_worse_on_valid_than_its_models(models, blended):
    valid = DATASET.valid.data

    def rmse(predictions):
        return np.sqrt(np.mean(np.square(predictions - valid)))

    of_blend = blended.provenance["metrics"]["valid_rmse"]
    assert of_blend <= min(rmse(model.valid_predictions) for _, model in models)


def test_predictions_are_the_weighted_sum_of_clipped_ones(models, blended):
    expected = sum(
        weight * model.predict_pairs(*PAIRS) for weight, (_, model) in zip(blended.weights, models, strict=True)
    )
    expected = np.clip(expected, *blended.catalog.rating_scale)
    np.testing.assert_allclose(blended.predict_pairs(*PAIRS), expected)
    users, items = PAIRS
    scores = blended.user_scorer()(users)[np.arange(50), items]
    np.testing.assert_allclose(np.clip(scores, *blended.catalog.rating_scale), expected, atol=1e-4)


def test_a_file_holds_a_blend_and_shared_arrays_once(models, blended, tmp_path):
    model_file.save_model(blended, tmp_path / "blend.model")
    loaded = model_file.load_model(tmp_path / "blend.model")
    assert isinstance(loaded, Blend)
    assert (loaded.weights, loaded.provenance) == (
        blended.weights,
        blended.provenance,
    )
    np.testing.assert_array_equal(loaded.predict_pairs(*PAIRS), blended.predict_pairs(*PAIRS))
    assert list(loaded.catalog.titles) == list(models[0][1].catalog.titles)
    for number, (_, model) in enumerate(models):
        model_file.save_model(model, tmp_path / str(number))
    sizes = [(tmp_path / name).stat().st_size for name in ("0", "1", "blend.model")]
    assert sizes[2] < sizes[0] + sizes[1]
    with pytest.raises(ArtifactError, match="is a blend"):
        model_file.load_single(tmp_path / "blend.model")
    assert isinstance(model_file.load_single(tmp_path / "0"), Model)


def test_folded_users_are_blended_too(models, blended):
    histories = [(np.array([1, 4, 9]), np.array([5.0, 2.0, 4.0]))]
    scores = blended.history_scorer()(histories)
    expected = sum(
        weight * np.clip(model.history_scorer()(histories), *model.catalog.rating_scale)
        for weight, (_, model) in zip(blended.weights, models, strict=True)
    )
    np.testing.assert_allclose(scores, expected, rtol=1e-4)


def test_what_cannot_be_blended_is_refused(models):
    (name, model), other = models
    with pytest.raises(ArtifactError, match="no predictions of this dataset's validation set"):
        blending.blend([(name, with_predictions(model, [])), other], DATASET.valid.data)
    ranking = {"objective": "ranking", "missing_value": 0.0, "missing_weight": 0.1, "center": "none"}
    settings = dataclasses.replace(model.settings, **ranking, decoder_mean=False)
    ranks = dataclasses.replace(model, settings=settings)
    with pytest.raises(ArtifactError, match="trained to rank"):
        blending.blend([("ranks", ranks), other], DATASET.valid.data)


def test_a_row_of_a_blend_is_like_any_other(models, blended):
    rows = {row["model"]: row for row in metric_rows([*models, ("blend", blended)], DATASET, "test")}
    assert rows["blend"]["rmse"] < max(rows["item"]["rmse"], rows["user"]["rmse"])
    assert rows["blend"]["n_cold"] == rows["item"]["n_cold"]


def test_evaluate_stores_a_blend_that_recommend_takes(workshop, tmp_path):
    models = [workshop / "item.model", workshop / "user.model"]
    stored = tmp_path / "blend.model"
    result = call("evaluate", *models, "--blend", "-o", stored, "--format", "json")
    assert result.status == 0, result.stderr
    assert '"model":"blend.model"' in result.stdout
    assert "blend: " in result.stderr
    lists = call("recommend", stored, "--user", "007", "-k", 3, "--format", "csv")
    assert lists.status == 0, lists.stderr
    assert len(lists.stdout.splitlines()) == 4
    shown = call("info", stored, "--format", "csv")
    assert "kind,blend" in shown.stdout
    again = call("evaluate", stored, "--format", "json")
    assert again.stdout.split("blend.model")[1] == result.stdout.split("blend.model")[1]


def test_evaluate_refuses_to_blend_one_model_and_takes_the_networks_of_a_blend(workshop, tmp_path):
    model = workshop / "item.model"
    result = call("evaluate", model, "--blend")
    assert (result.status, "two models or more" in result.stderr) == (2, True)
    stored = tmp_path / "blend.model"
    assert call("evaluate", model, workshop / "user.model", "--blend", "-o", stored, "-q").status == 0
    kept = call("evaluate", model, workshop / "user.model", "--blend", "-o", stored.with_name("rows.csv"))
    assert "--output NAME.model" in kept.stderr
    result = call("evaluate", stored, model, "--blend")
    assert result.status == 0, result.stderr
    assert all(f"{name}, " in result.stderr for name in ("blend.model (item)", "blend.model (user)"))
    result = call("evaluate", workshop / "lists.model", model, "--blend")
    assert (result.status, "trained to rank" in result.stderr) == (4, True)
