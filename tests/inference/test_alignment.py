"""An aligned model predicts the same for the same ids."""

import numpy as np
import pytest

from autorec_cli.inference.catalog import positions
from autorec_cli.inference.files import model_file
from tests.planted import planted_dataset
from tests.trained import model_of, small_settings

SIDE = np.arange(50)


@pytest.fixture(scope="module", params=["item", "user"])
def model(request):
    settings = small_settings(request.param, hidden_sizes=(8, 4), epochs=3, center="both")
    return model_of(planted_dataset(titles=True), settings)


def test_the_same_ids_are_the_same_model(model):
    same = model.aligned(model.catalog.user_ids, model.catalog.item_ids)
    np.testing.assert_array_equal(same.user_scorer()(SIDE), model.user_scorer()(SIDE))
    np.testing.assert_array_equal(same.catalog.seen.indices, model.catalog.seen.indices)
    np.testing.assert_array_equal(same.catalog.seen.indptr, model.catalog.seen.indptr)
    assert list(same.catalog.titles) == list(model.catalog.titles)


def test_predictions_follow_ids_and_newcomers_are_cold(model, tmp_path):
    rng = np.random.default_rng(0)
    user_ids = [*rng.permutation(model.catalog.user_ids)[:60], "new user"]
    item_ids = ["new item", *rng.permutation(model.catalog.item_ids)[:40]]
    aligned = model.aligned(user_ids, item_ids)
    users, items = np.arange(60).repeat(40), np.tile(np.arange(1, 41), 60)
    catalog = model.catalog
    old_users, old_items = positions(catalog.user_ids, user_ids)[users], positions(catalog.item_ids, item_ids)[items]
    np.testing.assert_allclose(
        aligned.predict_pairs(users, items), model.predict_pairs(old_users, old_items), rtol=0, atol=1e-6
    )
    newcomer = np.full(41, 60)
    assert aligned.cold_pairs(newcomer, np.arange(41)).all()
    by_items = np.clip(model.baseline.mean + aligned.baseline.item_bias, *model.catalog.rating_scale)
    np.testing.assert_allclose(aligned.predict_pairs(newcomer, np.arange(41)), by_items)
    for index, user_id in enumerate(user_ids[:60]):
        seen = {aligned.catalog.item_ids[item] for item in aligned.catalog.seen.of(np.array([index]))[1]}
        old_index = positions(catalog.user_ids, [user_id])
        old = {catalog.item_ids[item] for item in catalog.seen.of(old_index)[1]}
        assert seen == old.intersection(item_ids)
        assert (np.diff(aligned.catalog.seen.of(np.array([index]))[1]) > 0).all()
    assert aligned.catalog.titles[0] == ""
    assert aligned.catalog.items.row(0) == (None,) * 5
    model_file.save_model(aligned, tmp_path / "m")
    assert list(model_file.load_model(tmp_path / "m").catalog.user_ids) == user_ids


def test_nothing_known_is_all_cold(model):
    aligned = model.aligned(["x", "y"], ["z"])
    assert aligned.cold_pairs(np.array([0, 1]), np.array([0, 0])).all()
    assert len(aligned.catalog.seen.indices) == 0
