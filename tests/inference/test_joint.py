"""Joint models: one file whose parts rate and rank."""

import csv
import dataclasses
import io
import json

import numpy as np
import polars as pl
import pytest

from autorec_cli.errors import ArtifactError
from autorec_cli.inference.files import model_file, model_info
from autorec_cli.inference.joint import JointModel
from autorec_cli.inference.prediction.predict import predict
from autorec_cli.inference.ranking.settings import RecommendSettings
from autorec_cli.inference.recommender import recommend
from tests.planted import planted_dataset
from tests.program import call
from tests.trained import blend_of, described, model_of, small_settings

DATASET = planted_dataset(titles=True)


@pytest.fixture(scope="module")
def parts():
    item, user = (
        model_of(DATASET, small_settings(variant, objective="rating", epochs=5)) for variant in ("item", "user")
    )
    ranker = model_of(DATASET, small_settings("user", objective="ranking", epochs=5))
    return item, blend_of((item, user), (0.3, 0.7)), ranker


@pytest.fixture(scope="module", params=["a network", "a blend"])
def model(request, parts):
    item, blend, ranker = parts
    provenance = {**ranker.provenance, "metrics": {"valid_rmse": 0.9, "valid_ndcg@10": 0.3}}
    return JointModel(
        item if request.param == "a network" else blend_of(blend.models, blend.weights), ranker, provenance
    )


def test_ratings_are_those_of_one_part_and_the_order_that_of_the_other(model):
    frame = recommend(model, RecommendSettings(k=5))
    alone = recommend(model.ranker, RecommendSettings(k=5))
    assert frame["item_id"].equals(alone["item_id"])
    assert frame["score"].equals(alone["score"])
    assert alone["predicted_rating"].null_count() == alone.height
    np.testing.assert_allclose(frame["predicted_rating"], predict(model.rater, frame), atol=1e-3)
    np.testing.assert_array_equal(predict(model, frame), predict(model.rater, frame))
    assert frame["title"].null_count() == 0


def test_new_users_are_folded_into_both_parts(model):
    history = pl.DataFrame({"user": ["new"] * 3, "item": ["i1", "i5", "i7"], "rating": [5.0, 1.0, 4.0]})
    settings = RecommendSettings(k=4, history=history)
    top = recommend(model, settings)
    assert top["item_id"].equals(recommend(model.ranker, settings)["item_id"])
    rated = recommend(model.rater, RecommendSettings(k=50, history=history))
    joined = top.join(rated, on="item_id")
    assert joined.height == 4
    np.testing.assert_allclose(joined["predicted_rating"], joined["predicted_rating_right"], atol=1e-3)


def test_unknown_users_get_popular_items_with_the_ratings_of_the_baseline(model):
    top = recommend(model, RecommendSettings(k=3, user_ids=["nobody"], on_unknown="popular"))
    counts = np.sort(model.catalog.item_counts)[::-1]
    assert top["score"].to_list() == counts[:3].tolist()
    np.testing.assert_allclose(top["predicted_rating"], predict(model, top), atol=1e-3)


def test_a_file_holds_both_parts_and_shared_arrays_once(model, tmp_path):
    model_file.save_model(model, tmp_path / "m")
    loaded = model_file.load_model(tmp_path / "m")
    assert isinstance(loaded, JointModel)
    assert (loaded.weights, loaded.provenance) == (model.weights, model.provenance)
    assert recommend(loaded, RecommendSettings(k=3)).equals(recommend(model, RecommendSettings(k=3)))
    assert model_info.describe(tmp_path / "m") == described(loaded)
    for number, part in enumerate(model.networks):
        model_file.save_model(part, tmp_path / str(number))
    n_bytes = sum((tmp_path / str(number)).stat().st_size for number in range(len(model.networks)))
    assert (tmp_path / "m").stat().st_size < n_bytes


def test_aligned_parts_predict_the_same_by_id(model):
    users, items = [f"u{number}" for number in range(79, -1, -1)], [f"i{number}" for number in range(49, 9, -1)]
    aligned = model.aligned(users, items)
    pairs = [("u3", "i20"), ("u77", "i49")]
    np.testing.assert_allclose(predict(aligned, pairs), predict(model, pairs))
    assert aligned.ranker.catalog.n_items == 40


def test_ratings_that_overflow_are_an_error(parts):
    item, _, ranker = parts
    # Products of either sign that are infinite have a sum that is no number.
    signs = np.where(np.arange(16) % 2, 1, -1).astype(np.float32)
    weights = np.tile(3e38 * signs, (len(item.decoder_weight), 1)).astype(np.float32)
    broken = dataclasses.replace(item, decoder_weight=weights, codes=np.full_like(item.codes, 3e38))
    with np.errstate(all="ignore"):
        model = JointModel(broken, ranker, ranker.provenance)
        with pytest.raises(ArtifactError, match="not numbers"):
            recommend(model, RecommendSettings(k=3))
        with pytest.raises(ArtifactError, match="not numbers"):
            predict(model, [("u1", "i1"), ("u2", "i2")])


# --- through the program


def test_one_file_rates_and_ranks(both_model):
    row, *baselines = json.loads(call("evaluate", both_model, "--format", "json").stdout)
    assert {"rmse", "mae", "ndcg@10", "coverage@10"} <= set(row)
    assert row["rmse"] is not None
    assert row["ndcg@10"] is not None
    assert [row["model"] for row in baselines] == ["global mean", "item mean", "user+item bias", "popularity", "EASE"]
    told = call("recommend", both_model, "-k", 2)
    assert (told.status, told.stderr) == (0, "")
    rows = list(csv.DictReader(io.StringIO(told.stdout)))
    assert list(rows[0]) == ["user_id", "rank", "item_id", "score", "predicted_rating", "title"]
    assert all(1 <= float(row["predicted_rating"]) <= 5 for row in rows)
    described = json.loads(call("info", both_model, "--format", "json").stdout)
    assert described["kind"] == "joint model"
    assert set(described["metrics"]) == {"valid_rmse", "valid_ndcg@10"}
    assert [model["objective"] for model in described["models"]][-1] == "ranking"


def test_rows_have_the_same_columns_whatever_the_model(workshop):
    headers = {
        call("recommend", workshop / f"{name}.model", "-k", 1).stdout.splitlines()[0] for name in ("item", "lists")
    }
    assert headers == {"user_id,rank,item_id,score,predicted_rating,title"}
    ranked = call("recommend", workshop / "lists.model", "-k", 1).stdout.splitlines()[1]
    assert ranked.split(",")[4] == ""
