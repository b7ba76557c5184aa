"""The library as a caller uses it: models and frames in, frames and arrays out."""

import logging
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from autorec_cli.errors import AutoRecError, InputDataError, UsageError
from autorec_cli.inference.files import model_file
from autorec_cli.inference.prediction.predict import predict
from autorec_cli.inference.ranking.settings import RecommendSettings
from autorec_cli.inference.recommender import recommend, recommend_batches
from tests.planted import planted_dataset
from tests.program import ROOT
from tests.trained import blend_of, described, model_of, small_settings

DATASET = planted_dataset()


@pytest.fixture(scope="module")
def models():
    return [model_of(DATASET, small_settings(variant, epochs=3)) for variant in ("item", "user")]


@pytest.fixture(scope="module", params=["item", "user", "blend"])
def model(request, models):
    if request.param == "blend":
        return blend_of(models, (0.4, 0.6))
    return models[request.param == "user"]


class PandasFrame(dict):
    """Used part of a pandas frame: its columns, and the values of each."""

    @property
    def columns(self):
        return list(self)


@pytest.mark.parametrize("kind", ["polars", "pandas", "pairs"])
def test_pairs_are_predicted_by_id(model, kind):
    users, items = np.array([3, 0, 41]), np.array([7, 49, 7])
    ids = {"user_id": [f"u{user}" for user in users], "item_id": [f"i{item}" for item in items]}
    pairs = {"polars": pl.DataFrame, "pandas": PandasFrame, "pairs": lambda ids: zip(*ids.values(), strict=True)}[kind]
    np.testing.assert_array_equal(predict(model, pairs(ids)), model.predict_pairs(users, items))


def test_unknown_ids_are_cold(model):
    means = model.baseline
    values = predict(model, [("u3", "new"), ("new", "i7"), ("new", "new")])
    expected = np.clip([means.mean + means.user_bias[3], means.mean + means.item_bias[7], means.mean], 1, 5)
    np.testing.assert_allclose(values, expected)
    assert len(predict(model, [])) == 0


def test_numbers_are_ids_as_they_are_printed(models):
    import dataclasses

    catalog = dataclasses.replace(models[0].catalog, user_ids=[str(number) for number in range(80)])
    model = dataclasses.replace(models[0], catalog=catalog)
    assert predict(model, [(3, "i7")]) == models[0].predict_pairs(np.array([3]), np.array([7]))


def test_a_frame_without_ids_is_refused():
    with pytest.raises(InputDataError, match="no column item_id"):
        predict(None, pl.DataFrame({"user_id": ["a"]}))


def test_batches_are_the_one_frame(model, monkeypatch):
    from autorec_cli.inference.ranking import top_k

    settings = RecommendSettings(k=3)
    whole = recommend(model, settings)
    assert whole.columns == ["user_id", "rank", "item_id", "score", "predicted_rating", "title"]
    assert whole.height == 80 * 3
    monkeypatch.setattr(top_k, "SCORES_AT_ONCE", 50 * 7)
    batches = list(recommend_batches(model, settings))
    assert len(batches) == 12
    # Products of other shapes round differently, and so may the last of the four decimals.
    named = recommend(model, RecommendSettings(k=3, user_ids=list(model.catalog.user_ids)))
    for other in (pl.concat(batches), named):
        assert_frame_equal(other, whole, rel_tol=0, abs_tol=1.1e-4)


def test_the_best_item_has_the_best_prediction(model):
    frame = recommend(model, RecommendSettings(k=50, include_seen=True, user_ids=["u5"]))
    predictions = predict(model, frame)
    np.testing.assert_allclose(frame["predicted_rating"], predictions, atol=1e-3)
    assert frame["score"].is_sorted(descending=True)


def test_errors_are_those_of_the_package_and_come_before_the_first_frame(model):
    with pytest.raises(InputDataError, match="does not know user 'nobody'"):
        recommend_batches(model, RecommendSettings(user_ids=["nobody"]))
    with pytest.raises(AutoRecError, match="the model knows none of 1 item of --candidates; check the ids"):
        recommend_batches(model, RecommendSettings(candidates=["none of ours"]))
    for wrong in ({"k": 0}, {"on_unknown": "guess"}, {"min_item_ratings": -1}, {"history": "h.csv", "user_ids": []}):
        with pytest.raises(UsageError):
            RecommendSettings(**wrong)


def test_what_is_ignored_is_logged_as_a_warning(model, caplog):
    with caplog.at_level(logging.INFO):
        frame = recommend(model, RecommendSettings(k=1, user_ids=["u1", "nobody"], on_unknown="skip"))
    assert frame["user_id"].to_list() == ["u1"]
    (record,) = caplog.records
    assert (record.levelname, record.name) == ("WARNING", "autorec_cli.inference.recommender")
    assert "1 of 2 users are unknown to the model and were skipped" in record.getMessage()


def test_recommending_needs_no_torch_and_no_command_line(workshop):
    code = (
        "import sys; from pathlib import Path; from autorec_cli.inference import recommender; "
        "from autorec_cli.inference.files import model_file; "
        "from autorec_cli.inference.prediction.predict import predict\n"
        f"model = model_file.load_model(Path({str(workshop / 'both.model')!r}))\n"
        "frame = recommender.recommend(model, recommender.RecommendSettings(k=2))\n"
        "predict(model, frame)\n"
        "assert not {'torch', 'typer', 'rich', 'autorec_cli.cli'} & set(sys.modules), set(sys.modules)\n"
    )
    finished = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=False)
    assert (finished.returncode, finished.stderr) == (0, b"")


def test_a_model_survives_its_file(model, tmp_path):
    model_file.save_model(model, tmp_path / "m")
    loaded = model_file.load_model(tmp_path / "m")
    assert recommend(loaded).equals(recommend(model))
    assert described(loaded) == described(model)
