"""The ranking objective: what is trained, how it is validated, and what becomes of its scores."""

import dataclasses
import json

import numpy as np
import pytest

from autorec_cli.data.bias import mean_scores
from autorec_cli.defaults import RatingFacts
from autorec_cli.errors import UsageError
from autorec_cli.evaluation.measurement import metric_rows
from autorec_cli.evaluation.ranking import RankingProtocol
from autorec_cli.inference.fold_in import fold_in
from autorec_cli.inference.ridge import solve_scoring_row
from autorec_cli.inference.scoring import item_scorer, trained_users
from autorec_cli.network.engine import make_engine
from autorec_cli.training.loop.examples import make_examples
from autorec_cli.training.loop.randomness import initial_network
from autorec_cli.training.settings import TrainSettings
from tests.planted import dataset_of, matrix_of
from tests.program import call
from tests.trained import model_of, run

VARIANTS = ["item", "user"]
GROUPS = 4


def groups_dataset(n_users=120, n_items=40, seed=0):
    """Users of four groups; each rates items of their own group only, and only a third of them: all with 4 or 5."""
    rng = np.random.default_rng(seed)
    parts = {"train": {}, "valid": {}, "test": {}}
    for user in range(n_users):
        own = [item for item in range(n_items) if item % GROUPS == user % GROUPS]
        for place, item in enumerate(rng.permutation(own)[:6]):
            part = ("valid", "test")[place] if place < 2 else "train"
            parts[part][user, int(item)] = float(rng.integers(4, 6))
    parts["train"][0, 1] = 1.0  # so that the scale is 1 to 5
    return dataset_of(parts, (n_users, n_items))


def ranking_settings(variant="user", **given):
    values = {"objective": "ranking", "hidden_sizes": (16,), "epochs": 40, "batch_size": 16, "regularization": 2.0}
    values |= {"learning_rate": 0.01, "missing_value": 0.0}
    return TrainSettings(variant=variant, **{**values, **given}).complete((120, 40), 480)


@pytest.fixture(scope="module")
def dataset():
    return groups_dataset()


@pytest.fixture(scope="module", params=VARIANTS)
def model(request, dataset):
    return model_of(dataset, ranking_settings(request.param))


def test_lists_stay_within_the_group_where_ratings_alone_say_nothing(dataset, model):
    """All ratings are alike: which cells have one is all that there is to learn."""
    protocol = RankingProtocol(5, 4.0)
    ours, popularity, _ = metric_rows([("ours", model)], dataset, "test", protocol)
    assert ours["recall@5"] > 0.9
    assert popularity["recall@5"] < 0.4


@pytest.mark.parametrize("n_units", [0, 30])
def test_validation_measures_what_evaluate_does(dataset, n_units):
    settings = ranking_settings(refit=False, epochs=7, linear_units=n_units)
    results, fitted = run(dataset, settings)
    measured = fitted.validation
    protocol = RankingProtocol.for_scale(dataset.rating_scale)
    ours, popularity, _ = metric_rows([("m", model_of(dataset, settings))], dataset, "valid", protocol)
    assert measured.metric == "ndcg@10"
    assert measured.value == pytest.approx(ours["ndcg@10"])
    if n_units == 0:  # epochs are measured without linear units, which are added to the best one
        assert measured.value == max(result.valid for result in results)
    assert measured.baseline == pytest.approx(popularity["ndcg@10"])
    assert measured.predictions is None


def test_without_a_relevant_rating_the_last_epoch_is_kept(dataset):
    low = dataclasses.replace(dataset, valid=matrix_of({(0, 0): 1.0}, (120, 40)))
    results, fitted = run(low, ranking_settings(epochs=3))
    assert fitted.epochs == 3
    assert np.isnan(results[0].valid)


def test_cells_without_a_rating_enter_the_first_predictions(dataset):
    settings = ranking_settings()
    examples = make_examples(dataset.train, dataset.rating_scale, settings)
    assert examples.centering.mean == settings.missing_value == 0
    bias = initial_network(examples, settings, np.random.default_rng(0)).decoder_bias
    dense = examples.matrix.toarray()
    weight = np.where(dense != 0, 1, settings.missing_weight)
    expected = (dense * weight).sum(0) / weight.sum(0)
    np.testing.assert_allclose(bias, expected, rtol=0.1)


def test_rmse_is_left_out_where_outputs_are_scores(dataset, model):
    rater = model_of(dataset, ranking_settings(objective="rating", missing_value=None, epochs=2))
    protocol = RankingProtocol(5, 4.0)
    rows = {row["model"]: row for row in metric_rows([("s", model), ("r", rater)], dataset, "test", protocol)}
    assert list(rows)[:2] == ["s", "r"]
    assert ["rmse" in rows[name] for name in "sr"] == [False, True]
    assert ["ndcg@5" in rows[name] for name in "sr"] == [True, True]
    assert all("rmse" not in row for row in metric_rows([("s", model)], dataset, "test", protocol))


def test_a_user_without_ratings_gets_what_most_people_like(dataset):
    cells = {(user, item): rating for (user, item), rating in _cells(dataset.train).items() if user != 5}
    without = dataclasses.replace(dataset, train=matrix_of(cells, (120, 40)), valid=matrix_of({}, (120, 40)))
    cold = model_of(without, ranking_settings(epochs=2))
    scores = item_scorer(cold)(trained_users(cold, np.array([5])))[0]
    np.testing.assert_allclose(scores, mean_scores(without.train, 0.0).item_bias, rtol=1e-5)


def test_an_item_without_ratings_scores_as_a_missing_cell(dataset):
    cells = {(user, item): rating for (user, item), rating in _cells(dataset.train).items() if item != 7}
    without = dataclasses.replace(dataset, train=matrix_of(cells, (120, 40)), valid=matrix_of({}, (120, 40)))
    for variant in VARIANTS:
        cold = model_of(without, ranking_settings(variant, epochs=2, missing_value=-1.0))
        scores = item_scorer(cold)(trained_users(cold, np.arange(9)))
        np.testing.assert_allclose(scores[:, 7], -1, atol=1e-6)


def _cells(matrix):
    coo = matrix.tocoo()
    return {(int(u), int(i)): float(r) for u, i, r in zip(*coo.coords, coo.data, strict=True)}


def test_a_folded_user_gets_the_lists_of_a_known_one(dataset, model):
    """Rated as a known user has: the user variant scores alike, the item variant nearly so."""
    both = dataset.train + dataset.valid
    users = np.arange(12)
    histories = [(both[[user]].indices, both[[user]].data) for user in users]
    known = item_scorer(model)(trained_users(model, users))
    folded = item_scorer(model)(fold_in(model, histories))
    if model.settings.variant == "user":
        np.testing.assert_allclose(folded, known, rtol=1e-3, atol=1e-3)
    for user in users:
        best = np.argsort(-folded[user])[:8]
        assert np.mean(best % GROUPS == user % GROUPS) > 0.8


def test_the_scoring_row_minimizes_the_weighted_squares():
    rng = np.random.default_rng(0)
    codes, rated = rng.normal(size=(30, 5)), np.array([3, 8, 21])
    targets, weight, regularization = np.array([4.0, 1.0, 5.0]), 0.3, 2.0
    ones = np.hstack([codes, np.ones((30, 1))])
    row, bias = solve_scoring_row(codes[rated], targets, ones.T @ ones, weight, regularization)

    def gradient(solution):
        outputs = ones @ solution
        weights, wanted = np.full(30, weight), np.zeros(30)
        weights[rated], wanted[rated] = 1, targets
        return 2 * ones.T @ (weights * (outputs - wanted)) + regularization * np.append(solution[:-1], 0)

    np.testing.assert_allclose(gradient(np.append(row, bias)), 0, atol=1e-4)


def test_inputs_are_of_one_length_and_targets_are_scaled_together(dataset):
    examples = make_examples(dataset.train, dataset.rating_scale, ranking_settings())
    norms = np.sqrt(np.square(examples.inputs[:].toarray()).sum(1))
    np.testing.assert_allclose(norms, examples.input_norm, rtol=1e-5)
    np.testing.assert_allclose(examples.matrix.toarray() * examples.unit, dataset.train.toarray(), rtol=1e-6)
    plain = make_examples(dataset.train, dataset.rating_scale, ranking_settings(normalize=False))
    assert plain.inputs.examples is plain.matrix
    np.testing.assert_array_equal(plain.inputs[:].toarray(), plain.matrix.toarray())


def codes_of(fitted):
    return make_engine(fitted.network, "cpu", 16).codes(fitted.examples.inputs)


def test_dropout_changes_training_and_not_the_codes(dataset):
    without, with_dropout = (run(dataset, ranking_settings(dropout=share, epochs=3))[1] for share in (0.0, 0.5))
    assert not np.array_equal(codes_of(without), codes_of(with_dropout))
    again = run(dataset, ranking_settings(dropout=0.5, epochs=3))[1]
    np.testing.assert_array_equal(codes_of(again), codes_of(with_dropout))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"objective": "lists"}, "--objective must be one of"),
        ({"objective": "ranking", "missing_weight": 0.0}, "--missing-weight"),
        ({"objective": "ranking", "missing_value": float("nan")}, "--missing-value"),
        ({"objective": "ranking", "output_activation": "sigmoid"}, "--output-activation identity"),
        ({"objective": "ranking", "center": "both"}, "--center none"),
        ({"objective": "rating", "missing_weight": 0.3}, "need --objective ranking"),
        ({"objective": "rating", "missing_value": 0.0}, "need --objective ranking"),
        ({"dropout": 1.0}, "--dropout"),
        ({"objective": "ranking", "decoder_mean": True}, "--no-decoder-mean"),
    ],
)
def test_settings_that_make_no_sense_are_refused(given, message):
    with pytest.raises(UsageError, match=message):
        TrainSettings(**given)


def test_the_variant_follows_the_objective_and_the_shape():
    assert TrainSettings().complete((10, 10), 50).variant == "item"
    assert TrainSettings().complete((110, 10), 50).variant == "user"
    assert TrainSettings(variant="item").complete((110, 10), 50).variant == "item"
    assert TrainSettings(objective="ranking").complete((10, 10), 50).variant == "user"


@pytest.mark.parametrize(
    ("moments", "expected"),
    [
        ((3.5816, 1.1171), 0.0),  # MovieLens 1M
        ((4.39, 0.488), 2.83),  # its ratings of 4 and 5
        ((50.0, 25.0), -30.0),
        ((1.0, 0.0), 0.0),  # interactions
    ],
)
def test_unrated_cells_count_as_clearly_worse_than_the_mean_rating(moments, expected):
    settings = TrainSettings(objective="ranking").complete((10, 10), 50, RatingFacts(*moments, 5))
    assert settings.missing_value == expected


def test_targets_are_of_one_size_whatever_the_scale(dataset):
    """So that lambda means the same; the mean and the deviation decide, not the ends of the scale."""
    examples = make_examples(dataset.train, dataset.rating_scale, ranking_settings())
    ratings = dataset.train.copy()
    ratings.data = ratings.data * 20 - 50
    other = make_examples(ratings, (-30, 50), ranking_settings(missing_value=-50.0))
    np.testing.assert_allclose(other.matrix.toarray(), examples.matrix.toarray(), rtol=1e-5)
    assert np.sqrt(np.square(examples.matrix.data).mean()) == pytest.approx(3.75, rel=1e-5)
    assert other.unit == pytest.approx(20 * examples.unit)


# --- through the program


def test_recommend_says_that_another_model_recommends_better(workshop):
    result = call("recommend", workshop / "item.model", "--user", "007")
    assert result.status == 0
    assert "--objective both" in result.stderr


def test_evaluate_judges_lists_of_a_ranking_model_unasked(workshop):
    result = call("evaluate", workshop / "lists.model", "--format", "json")
    assert result.status == 0, result.stderr
    network, *baselines = json.loads(result.stdout)
    assert "ndcg@10" in network
    assert "rmse" not in network
    assert [row["model"] for row in baselines] == ["popularity", "EASE"]


def test_evaluate_says_which_models_have_no_rmse(item_model, lists_model):
    message = "output scores, not ratings: lists.model"
    assert message in call("evaluate", item_model, lists_model).stderr
    assert message not in call("evaluate", lists_model).stderr
    assert message not in call("evaluate", item_model).stderr


def test_the_quality_gate_of_lists(workshop, tmp_path):
    (tmp_path / "m").write_bytes((workshop / "lists.model").read_bytes())
    train = (
        "train",
        workshop / "data",
        "-o",
        tmp_path / "m",
        "--objective",
        "ranking",
        "--epochs",
        1,
        "--hidden-size",
        2,
    )
    refused = call(*train, "--keep-if-better", "rmse")
    assert (refused.status, "use ndcg@10" in refused.stderr) == (2, True)
    compared = call(*train, "--keep-if-better", "ndcg@10")
    assert (compared.status, "ndcg@10" in compared.stderr) == (0, True)
