"""Evaluation against numbers that can be worked out by hand or in another way."""

import dataclasses
from functools import reduce

import numpy as np
import pytest

from autorec_cli.csr import add_splits
from autorec_cli.errors import ArtifactError, UsageError
from autorec_cli.evaluation.evaluate import evaluate, measure_in_group
from autorec_cli.evaluation.linear_autoencoder import ease
from autorec_cli.evaluation.measurement import EvaluateSettings, fitted_ratings, measure, metric_rows
from autorec_cli.evaluation.ranking import RankingProtocol, default_relevance
from autorec_cli.runtime.process_group import SINGLE_PROCESS
from tests.planted import dataset_of, planted_dataset
from tests.trained import model_of, small_settings

# Items 0 and 1 have training ratings 2, 4 and 5; item 2 and user 2 have none.
TRAIN = {(0, 0): 2.0, (1, 0): 4.0, (1, 1): 5.0, (0, 1): 5.0, (3, 0): 3.0}
TINY = dataset_of({"train": TRAIN, "test": {(3, 1): 4.0, (2, 0): 1.0, (0, 2): 5.0}}, (4, 3))


@pytest.fixture(scope="module")
def tiny_model():
    return model_of(TINY, small_settings(hidden_sizes=(2,), epochs=2))


def by_name(rows):
    return {row["model"]: row for row in rows}


def test_baselines_are_the_means_of_the_fitted_ratings(tiny_model):
    rows = by_name(metric_rows([("m", tiny_model)], TINY, "test"))
    assert list(rows) == ["m", "global mean", "item mean", "user+item bias"]
    mean = np.mean(list(TRAIN.values()))
    errors = np.array([mean - 1, mean - 5, mean - 4])
    assert rows["global mean"]["rmse"] == pytest.approx(np.sqrt(np.mean(errors**2)))
    assert rows["global mean"]["mae"] == pytest.approx(np.mean(np.abs(errors)))
    errors = np.array([3 - 1, mean - 5, 5 - 4])  # an item without ratings gets the global mean
    assert rows["item mean"]["rmse"] == pytest.approx(np.sqrt(np.mean(errors**2)))


def test_pairs_cold_pairs_and_clip_range_are_in_every_row(tiny_model):
    for row in metric_rows([("m", tiny_model)], TINY, "test"):
        assert (row["n_pairs"], row["n_cold"], row["clip_low"], row["clip_high"]) == (3, 2, 2, 5)
        assert row["rmse_low"] < row["rmse"] < row["rmse_high"]
        assert row["rmse_high"] - row["rmse"] == pytest.approx(row["rmse"] - row["rmse_low"])


def test_cold_pairs_of_a_model_are_predicted_by_the_bias_baseline(tiny_model):
    only_cold = dataclasses.replace(TINY, test=dataset_of({"train": {(2, 0): 1.0, (0, 2): 5.0}}, (4, 3)).train)
    rows = by_name(metric_rows([("m", tiny_model)], only_cold, "test"))
    assert rows["m"]["rmse"] == pytest.approx(rows["user+item bias"]["rmse"])


def test_baselines_are_clipped_too():
    """User 0 loves everything, everyone loves item 0, nobody else likes anything: the biases add up to 7."""
    cells = {(user, item): 5.0 if user * item == 0 else 1.0 for user in range(20) for item in range(20)}
    loved = {(0, 0): cells.pop((0, 0))}
    dataset = dataset_of({"train": cells, "test": loved}, (20, 20))
    model = model_of(dataset, small_settings(hidden_sizes=(2,), epochs=1))
    assert model.baseline.predict(np.array(0), np.array(0)) > 6
    rows = by_name(metric_rows([("m", model)], dataset, "test"))
    assert rows["user+item bias"]["rmse"] == 0


def test_predictions_are_clipped(tiny_model):
    wild = dataclasses.replace(tiny_model, decoder_bias=tiny_model.decoder_bias + 100)
    predictions = wild.predict_pairs(np.array([0, 3]), np.array([0, 1]))
    assert predictions.tolist() == [5, 5]


@pytest.mark.parametrize("variant", ["item", "user"])
def test_test_ratings_are_predicted_from_training_ratings_alone(variant):
    """The commonest fault of public AutoRec code is to feed the test ratings to the network."""
    dataset = planted_dataset()
    rated = dataset.train.toarray() + dataset.valid.toarray() > 0
    other_test = {(int(user), int(item)): 1.0 for user, item in np.argwhere(~rated)[::3]}
    other = dataclasses.replace(dataset, test=dataset_of({"train": other_test}, (80, 50)).train)
    assert other.fingerprint() != dataset.fingerprint()
    settings = small_settings(variant, epochs=3, center="both")
    ours, theirs = model_of(dataset, settings), model_of(other, settings)
    for name in ("codes", "decoder_weight", "decoder_bias"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name), err_msg=name)
    for name in ("user_counts", "item_counts"):
        np.testing.assert_array_equal(getattr(ours.catalog, name), getattr(theirs.catalog, name), err_msg=name)
    for first, second in zip(ours.encoder_weights, theirs.encoder_weights, strict=True):
        np.testing.assert_array_equal(first, second)
    users, items = np.indices((80, 50)).reshape(2, -1)
    np.testing.assert_array_equal(ours.predict_pairs(users, items), theirs.predict_pairs(users, items))
    # So the numbers of both on one test part are the same; those on the other part are not.
    first, second, elsewhere = (
        metric_rows([("m", model)], held_out, "test")
        for model, held_out in ((ours, dataset), (theirs, dataset), (ours, other))
    )
    assert first == second
    assert first[0]["rmse"] != elsewhere[0]["rmse"]


def test_baselines_may_use_what_any_model_was_fitted_on():
    dataset = planted_dataset()
    refit, kept = (model_of(dataset, small_settings(epochs=1, refit=refit)) for refit in (True, False))
    assert fitted_ratings([("k", kept)], dataset).nnz == dataset.train.nnz
    assert fitted_ratings([("k", kept), ("r", refit)], dataset).nnz == dataset.train.nnz + dataset.valid.nnz


def test_relevance_is_three_quarters_up_the_scale():
    assert default_relevance((1, 5)) == 4
    assert default_relevance((-10, 10)) == 5


def naive_ndcg(scores, dataset, known_parts, part, k, relevant_from):
    """nDCG@k, written out user by user."""
    known = sum(dataset.split(name).toarray() for name in known_parts)
    values = []
    for user in range(dataset.n_users):
        held_out = dataset.split(part)[[user]].toarray()[0]
        relevant = set(np.flatnonzero(held_out >= relevant_from))
        if not relevant:
            continue
        order = [item for item in np.argsort(-scores[user], kind="stable") if known[user, item] == 0]
        gain = sum(1 / np.log2(rank + 2) for rank, item in enumerate(order[:k]) if item in relevant)
        values.append(gain / sum(1 / np.log2(rank + 2) for rank in range(min(k, len(relevant)))))
    return np.mean(values), len(values)


@pytest.mark.parametrize(("part", "known"), [("test", ["train", "valid"]), ("valid", ["train"])])
def test_ranking_of_popularity_and_of_a_model_equal_a_naive_count(part, known):
    dataset = planted_dataset()
    model = model_of(dataset, small_settings(epochs=5))
    rows = by_name(metric_rows([("m", model)], dataset, part, RankingProtocol(5, 4.0)))
    counts = sum(np.bincount(dataset.split(name).indices, minlength=50) for name in known)
    assert counts.min() > 0
    popularity = np.tile(counts, (80, 1))
    scores = model.user_scorer()(np.arange(80))
    linear = ease(reduce(add_splits, map(dataset.split, known)))(np.arange(80))
    for name, expected in (("popularity", popularity), ("EASE", linear), ("m", scores)):
        ndcg, n_users = naive_ndcg(expected, dataset, known, part, 5, 4.0)
        assert rows[name]["ndcg@5"] == pytest.approx(ndcg)
        assert rows[name]["n_users"] == n_users
        assert 0 < rows[name]["coverage@5"] <= 1
    assert rows["popularity"]["mean_popularity@5"] > rows["m"]["mean_popularity@5"]


def test_without_a_relevant_rating_there_is_nothing_to_judge():
    dataset = planted_dataset()
    model = model_of(dataset, small_settings(epochs=1))
    rows = metric_rows([("m", model)], dataset, "test", RankingProtocol(5, 99.0))
    assert rows[-2:] == [{"model": "popularity"}, {"model": "EASE"}]
    assert not {"n_users", "ndcg@5"} & rows[0].keys()


def test_items_without_a_rating_are_never_listed(tiny_model):
    (row, *_) = metric_rows([("m", tiny_model)], TINY, "test", RankingProtocol(3, 5.0))
    assert row["recall@3"] == 0  # the relevant item 2 is cold
    assert row["n_users"] == 1


def test_evaluate_names_models_and_measures_them_with_the_baselines(caplog):
    dataset = planted_dataset()
    model = fingerprinted(model_of(dataset, small_settings(epochs=5)), dataset)
    with caplog.at_level("INFO", logger="autorec_cli"):
        rows = evaluate([model], dataset)
    baselines = ["global mean", "item mean", "user+item bias", "popularity", "EASE"]
    assert [row["model"] for row in rows] == ["model", *baselines]
    assert rows == metric_rows([("model", model)], dataset, "test", RankingProtocol.for_scale(dataset.rating_scale))
    assert "evaluated on the test set" in caplog.text
    rows = evaluate([model, model], dataset, EvaluateSettings("valid", k=5))
    assert [row["model"] for row in rows][:2] == ["model 1", "model 2"]
    assert "model 1 was fitted on the valid ratings too" in caplog.text
    assert [row["model"] for row in rows][2:] == baselines
    (row, *_) = evaluate({"mine": model}, dataset)
    assert row["model"] == "mine"


def fingerprinted(model, dataset):
    return dataclasses.replace(model, provenance={**model.provenance, "fingerprint": dataset.fingerprint()})


def test_a_model_of_another_dataset_is_refused():
    dataset = planted_dataset()
    model = fingerprinted(model_of(dataset, small_settings(epochs=1)), dataset)
    with pytest.raises(ArtifactError, match="model was not trained on this dataset"):
        evaluate([model], planted_dataset(seed=1))
    empty = dataclasses.replace(dataset, test=dataset_of({"train": {(0, 0): 1.0}}, (80, 50)).valid)
    with pytest.raises(ArtifactError, match="the test set of the dataset has no ratings"):
        evaluate([fingerprinted(model, empty)], empty)
    empty = dataclasses.replace(dataset, train=empty.test)
    with pytest.raises(ArtifactError, match="smaller --test and --valid"):
        evaluate([fingerprinted(model, empty)], empty, EvaluateSettings("train"))


def test_a_model_that_ranks_no_better_than_a_linear_one_is_named(caplog):
    dataset = planted_dataset()
    model = fingerprinted(model_of(dataset, small_settings(epochs=1)), dataset)
    caplog.set_level("INFO")
    rows = by_name(evaluate({"m": model}, dataset, EvaluateSettings(k=5)))
    assert rows["m"]["ndcg@5"] < rows["EASE"]["ndcg@5"]
    assert "m ranks worse than the popularity" in caplog.text or "m ranks no better than EASE" in caplog.text


def test_rankings_of_many_users_are_measured_on_a_sample_and_it_is_said(caplog, monkeypatch):
    from autorec_cli.evaluation import measurement

    dataset = planted_dataset()
    model = fingerprinted(model_of(dataset, small_settings(epochs=5)), dataset)
    caplog.set_level("INFO")
    (whole, *_) = evaluate([model], dataset)
    monkeypatch.setattr(measurement, "MAX_RANKED_USERS", 20)
    settings = EvaluateSettings()

    def rows_of_group():
        measured = measure_in_group([("model", model)], dataset, settings, SINGLE_PROCESS)
        return [of_model.row(dataset.rating_scale) for of_model in measured]

    rows = rows_of_group()
    assert "a sample of 20 users (--all-users" in caplog.text
    assert {row["n_users"] for row in rows if "n_users" in row} == {20}
    assert rows[0]["rmse"] == whole["rmse"]
    assert rows[0]["ndcg@10"] != whole["ndcg@10"]
    assert rows_of_group()[0] == rows[0]
    # Processes that share the users measure the same sample.
    protocol = settings.protocol(dataset.rating_scale)
    parts = [measure([("model", model)], dataset, "test", protocol, (number, 3)) for number in range(3)]
    n_judged = [part[0].rankings.metrics().get("n_users", 0) for part in parts]
    assert sum(n_judged) == 20
    (everyone, *_) = evaluate([model], dataset, EvaluateSettings(all_users=True))
    assert everyone["n_users"] == whole["n_users"] > 20


@pytest.mark.parametrize("wrong", [{"split": "tset"}, {"k": 0}, {"relevant_from": float("nan")}])
def test_evaluate_settings_are_checked_where_they_are_made(wrong):
    with pytest.raises(UsageError):
        EvaluateSettings(**wrong)


@pytest.mark.parametrize("count", [2, 3, 200])
def test_partitions_of_the_users_add_up_to_all_of_them(count):
    """As processes do it: each measures its users, and the sums of all of them give the rows."""
    dataset = planted_dataset()
    models = [("m", model_of(dataset, small_settings(epochs=2)))]
    protocol = RankingProtocol(5, 4.0)
    parts = [measure(models, dataset, "test", protocol, (number, count)) for number in range(count)]
    arrays = [[] for _ in range(count)]
    for number, part in enumerate(parts):
        for of_model in part:
            of_model.reduced(lambda array, number=number: arrays[number].append(array) or array)
    sums = [sum(same) for same in zip(*arrays, strict=True)]
    whole = measure(models, dataset, "test", protocol)
    rows = [of_model.reduced(lambda _: sums.pop(0)).row(dataset.rating_scale) for of_model in whole]
    assert rows == metric_rows(models, dataset, "test", protocol)
