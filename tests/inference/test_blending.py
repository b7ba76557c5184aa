"""Blends: how weights are fitted, that files hold them, and that they predict what they say."""

import numpy as np
import pytest

from autorec_cli.evaluation.measurement import metric_rows
from autorec_cli.inference import blending
from autorec_cli.inference.blending import Blend, best_weights
from autorec_cli.inference.files import model_file
from autorec_cli.inference.model import Model
from tests.planted import planted_dataset
from tests.trained import blend_of, model_of, small_settings

DATASET = planted_dataset(titles=True)
PAIRS = (np.arange(50) % 80, np.arange(50) % 50)


@pytest.fixture(scope="module")
def models():
    return [(variant, model_of(DATASET, small_settings(variant, epochs=15))) for variant in ("item", "user")]


@pytest.fixture(scope="module")
def blended(models):
    return blend_of([model for _, model in models], (0.3, 0.7))


def test_weights_are_those_that_made_the_ratings():
    rng = np.random.default_rng(0)
    first, second = rng.uniform(1, 5, (2, 400))
    predictions = np.stack([first, second], axis=1)
    made = best_weights(predictions, 0.3 * first + 0.7 * second + rng.normal(0, 0.01, 400))
    np.testing.assert_allclose(made, (0.3, 0.7), atol=2e-3)
    assert made.sum() == pytest.approx(1)
    against = best_weights(predictions, 1.2 * second - 0.2 * first)
    assert against.tolist() == [0, 1], "none below 0, none above 1"


def test_a_model_that_adds_nothing_but_chance_gets_no_weight():
    """Fitted to all ratings it would get some: chance fits a little on the ratings that it is fitted to."""
    rng = np.random.default_rng(2)
    ratings = rng.uniform(1, 5, 30)
    good = ratings + rng.normal(0, 0.5, 30)
    predictions = np.stack([good, good + rng.normal(0, 0.3, 30)], axis=1)
    assert blending._weights(predictions - ratings[:, None])[1] > 0.1
    assert best_weights(predictions, ratings).tolist() == [1, 0]


def test_one_rating_is_enough_for_weights():
    assert best_weights(np.array([[3.0, 4.0]]), np.array([3.2])).sum() == pytest.approx(1)


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
    assert isinstance(model_file.load_model(tmp_path / "0"), Model)


def test_folded_users_are_blended_too(models, blended):
    histories = [(np.array([1, 4, 9]), np.array([5.0, 2.0, 4.0]))]
    scores = blended.history_scorer()(histories)
    expected = sum(
        weight * np.clip(model.history_scorer()(histories), *model.catalog.rating_scale)
        for weight, (_, model) in zip(blended.weights, models, strict=True)
    )
    np.testing.assert_allclose(scores, expected, rtol=1e-4)


def test_a_row_of_a_blend_is_like_any_other(models, blended):
    rows = {row["model"]: row for row in metric_rows([*models, ("blend", blended)], DATASET, "test")}
    assert rows["blend"]["rmse"] < max(rows["item"]["rmse"], rows["user"]["rmse"])
    assert rows["blend"]["n_cold"] == rows["item"]["n_cold"]
