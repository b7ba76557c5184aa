"""Reasons of recommendations in frames, from the model's dataset or from a history."""

import dataclasses
import re

import numpy as np
import polars as pl
import pytest

import autorec_cli as autorec
from autorec_cli.errors import ArtifactError, UsageError
from autorec_cli.inference import recommender
from tests.planted import planted_dataset
from tests.trained import model_of, small_settings

DATASET = planted_dataset(titles=True)
REASONS = ["explained_score", "reason_rank", "reason_item_id", "reason_rating", "effect", "reason_title"]


def trained(variant):
    model = model_of(DATASET, small_settings(variant, epochs=4, refit=False))
    return dataclasses.replace(model, provenance={**model.provenance, "fingerprint": DATASET.fingerprint()})


@pytest.fixture(scope="module", params=["item", "user"])
def model(request):
    return trained(request.param)


def histories():
    """Training ratings as a frame."""
    users, items = DATASET.train.nonzero()
    return pl.DataFrame(
        {
            "user_id": [f"new {user}" for user in users],
            "item_id": DATASET.items["id"].gather(items),
            "rating": DATASET.train[users, items],
        }
    )


def test_rows_are_recommendations_repeated_for_their_reasons(model):
    plain = autorec.recommend(model, autorec.RecommendSettings(k=4))
    frame = autorec.recommend(model, autorec.RecommendSettings(k=4, explain=3, dataset=DATASET))
    assert frame.columns == plain.columns + REASONS
    assert frame.filter(pl.col("reason_rank") == 1).select(plain.columns).equals(plain)
    of_items = frame.group_by("user_id", "item_id", maintain_order=True).agg("reason_rank", "effect")
    assert of_items.height == plain.height
    for ranks, effects in of_items.select("reason_rank", "effect").iter_rows():
        assert ranks == [1, 2, 3][: len(ranks)]
        assert effects == sorted(effects, reverse=True)
        assert min(effects) > 0, "what speaks against an item is no reason"
    # What a user has rated, as rated.
    for row in frame.sample(20, seed=0).iter_rows(named=True):
        user, item = int(row["user_id"][1:]), int(row["reason_item_id"][1:])
        assert DATASET.train[user, item] == row["reason_rating"]
        assert row["reason_title"] == f"Title {item}"


def test_an_effect_is_the_score_less_the_one_recommended_without_the_rating(model):
    ratings = histories().filter(pl.col("user_id") == "new 7")
    settings = autorec.RecommendSettings(k=50, history=ratings, explain=2)
    first = autorec.recommend(model, settings).row(0, named=True)
    assert first["explained_score"] == first["score"]
    without = ratings.filter(pl.col("item_id") != first["reason_item_id"])
    again = autorec.recommend(model, autorec.RecommendSettings(k=50, history=without))
    score = again.filter(pl.col("item_id") == first["item_id"])["score"].item()
    assert first["score"] - score == pytest.approx(first["effect"], abs=2e-4)


def test_the_distance_from_the_models_own_scores_is_told(model, caplog):
    caplog.set_level("INFO")
    frame = autorec.recommend(model, autorec.RecommendSettings(k=4, explain=1, dataset=DATASET))
    largest = (frame["explained_score"] - frame["score"]).abs().max()
    told = [record.message for record in caplog.records if "explained_score" in record.message]
    # The encoder gives trained users the vectors they have; a refitted row is another than the trained one.
    assert (largest > 0.01) == (model.settings.variant == "item") == bool(told)
    if not told:
        return
    mean, most = (float(number) for number in re.findall(r"\d\.\d+", *told))
    assert most == pytest.approx(largest, abs=2e-4)
    assert mean == pytest.approx((frame["explained_score"] - frame["score"]).abs().mean(), abs=2e-4)


def test_an_item_that_no_rating_speaks_for_has_a_row_without_reasons(model, monkeypatch):
    def lowered(_):
        return lambda history, items: np.arange(len(history[0]) + 1.0)[:, None] + np.zeros(len(items))

    monkeypatch.setattr(recommender, "hidden_scorer", lowered)
    settings = autorec.RecommendSettings(k=2, user_ids=["u3", "u4"], explain=2, dataset=DATASET)
    frame = autorec.recommend(model, settings)
    assert frame["user_id"].to_list() == ["u3"] * 2 + ["u4"] * 2
    assert frame.select(REASONS[2:]).null_count().row(0) == (4,) * 4


def test_users_without_ratings_have_a_row_without_reasons(model):
    settings = autorec.RecommendSettings(
        k=2, user_ids=["u3", "stranger"], explain=2, dataset=DATASET, on_unknown="popular"
    )
    frame = autorec.recommend(model, settings)
    assert frame["user_id"].to_list() == ["u3"] * 4 + ["stranger"] * 2
    assert frame.select(REASONS).null_count().row(0) == (2,) * 6


def test_users_to_whom_nothing_is_recommended_have_no_reasons(model):
    everything = pl.DataFrame({"user_id": ["u3"] * 50, "item_id": DATASET.items["id"]})
    settings = autorec.RecommendSettings(
        k=2, user_ids=["u3", "u4"], explain=2, dataset=DATASET, exclude_pairs=everything
    )
    frame = autorec.recommend(model, settings)
    assert frame["user_id"].to_list() == ["u4"] * 4


def test_nobody_has_no_reasons_but_columns(model):
    frame = autorec.recommend(
        model, autorec.RecommendSettings(user_ids=["x"], on_unknown="skip", explain=2, dataset=DATASET)
    )
    assert frame.height == 0
    assert frame.columns[-6:] == REASONS


def test_a_dataset_that_is_gone_or_another_one_is_refused(model):
    gone = dataclasses.replace(model, provenance={**model.provenance, "dataset": "/nowhere"})
    with pytest.raises(ArtifactError, match="--data"):
        autorec.recommend(gone, autorec.RecommendSettings(explain=1))
    with pytest.raises(ArtifactError, match="fingerprints"):
        autorec.recommend(model, autorec.RecommendSettings(explain=1, dataset=planted_dataset(seed=5)))


@pytest.mark.parametrize("settings", [{"explain": -1}, {"dataset": DATASET}])
def test_settings_out_of_range(settings):
    with pytest.raises(UsageError):
        autorec.RecommendSettings(**settings)
