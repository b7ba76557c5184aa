"""An aligned model predicts the same for the same ids."""

import numpy as np
import pytest

from autorec_cli.inference import model_file
from autorec_cli.inference.alignment import align, positions
from autorec_cli.inference.scoring import cold_pairs, item_scorer, known_users, predict_pairs
from tests.planted import planted_dataset
from tests.trained import model_of, small_settings

SIDE = np.arange(50)


@pytest.fixture(scope="module", params=["item", "user"])
def model(request):
    settings = small_settings(request.param, hidden_sizes=(8, 4), epochs=3, center="both")
    return model_of(planted_dataset(titles=True), settings)


def test_the_same_ids_are_the_same_model(model):
    same = align(model, model.user_ids, model.item_ids)
    np.testing.assert_array_equal(
        item_scorer(same)(known_users(same, SIDE)), item_scorer(model)(known_users(model, SIDE))
    )
    np.testing.assert_array_equal(same.seen.indices, model.seen.indices)
    np.testing.assert_array_equal(same.seen.indptr, model.seen.indptr)
    assert list(same.titles) == list(model.titles)


def test_predictions_follow_ids_and_newcomers_are_cold(model, tmp_path):
    rng = np.random.default_rng(0)
    user_ids = [*rng.permutation(model.user_ids)[:60], "new user"]
    item_ids = ["new item", *rng.permutation(model.item_ids)[:40]]
    aligned = align(model, user_ids, item_ids)
    users, items = np.arange(60).repeat(40), np.tile(np.arange(1, 41), 60)
    old_users, old_items = positions(model.user_ids, user_ids)[users], positions(model.item_ids, item_ids)[items]
    np.testing.assert_allclose(
        predict_pairs(aligned, users, items), predict_pairs(model, old_users, old_items), rtol=0, atol=1e-6
    )
    newcomer = np.full(41, 60)
    assert cold_pairs(aligned, newcomer, np.arange(41)).all()
    by_items = np.clip(model.baseline.mean + aligned.baseline.item_bias, *model.rating_scale)
    np.testing.assert_allclose(predict_pairs(aligned, newcomer, np.arange(41)), by_items)
    for index, user_id in enumerate(user_ids[:60]):
        seen = {aligned.item_ids[item] for item in aligned.seen.of(np.array([index]))[1]}
        old = {model.item_ids[item] for item in model.seen.of(np.array([list(model.user_ids).index(user_id)]))[1]}
        assert seen == old.intersection(item_ids)
        assert (np.diff(aligned.seen.of(np.array([index]))[1]) > 0).all()
    assert aligned.titles[0] == ""
    model_file.save(aligned, tmp_path / "m")
    assert list(model_file.load(tmp_path / "m").user_ids) == user_ids


def test_nothing_known_is_all_cold(model):
    aligned = align(model, ["x", "y"], ["z"])
    assert cold_pairs(aligned, np.array([0, 1]), np.array([0, 0])).all()
    assert len(aligned.seen.indices) == 0
