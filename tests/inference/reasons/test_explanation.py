"""Effects of ratings: equal to scores recomputed by fold-in without each rating."""

import dataclasses

import numpy as np
import pytest

from autorec_cli.inference.fold_in import fold_in
from autorec_cli.inference.joint import JointModel
from autorec_cli.inference.ranking.top_k import NO_ITEM
from autorec_cli.inference.reasons import ordinal_rows
from autorec_cli.inference.reasons.explanation import explain, hidden_scorer
from autorec_cli.inference.reasons.leave_one_out import leave_one_out
from tests.planted import planted_dataset
from tests.trained import blend_of, model_of, small_settings

DATASET = planted_dataset()
KINDS = {
    "user": ("user", {}),
    "user, plain input": ("user", {"implicit": False, "normalize": False, "center": "none"}),
    "user, without norm": ("user", {"normalize": False, "center": "user"}),
    "user, linear": ("user", {"output_activation": "identity", "hidden_activation": "elu"}),
    "user, deep": ("user", {"hidden_sizes": (12, 7, 12)}),
    "user, ranking": ("user", {"objective": "ranking"}),
    "item, ordinal": ("item", {}),
    "item, linear": ("item", {"output_activation": "identity"}),
    "item, not centered": ("item", {"output_activation": "identity", "center": "none"}),
    "item, sigmoid": ("item", {"output_activation": "sigmoid"}),
    "item, wide": ("item", {"output_activation": "identity", "hidden_sizes": (60,)}),
    "item, wide ordinal": ("item", {"hidden_sizes": (60,)}),
    "item, deep": ("item", {"hidden_sizes": (12, 7, 12)}),
    "item, ranking": ("item", {"objective": "ranking"}),
}


def network(kind):
    variant, given = KINDS[kind]
    return model_of(DATASET, small_settings(variant, epochs=4, **given))


def history_of(user, n=None):
    cells = slice(DATASET.train.indptr[user], DATASET.train.indptr[user + 1])
    return DATASET.train.indices[cells][:n], DATASET.train.data[cells][:n]


def without_each(history):
    """The history, then the history without each rating."""
    items, ratings = history
    return [history, *((np.delete(items, j), np.delete(ratings, j)) for j in range(len(items)))]


@pytest.fixture(scope="module", params=KINDS)
def model(request):
    return network(request.param)


@pytest.mark.parametrize("n", [None, 2, 1, 0])
def test_vectors_are_those_of_fold_in_without_each_rating(model, n):
    history = history_of(3, n)
    found, expected = leave_one_out(model)(history), fold_in(model, without_each(history))
    np.testing.assert_array_equal(found.cold, expected.cold)
    kept = ~found.cold
    scale = np.abs(expected.vectors).max(initial=1e-3)
    for name in ("vectors", "shift", "centering_bias", "baseline_bias"):
        ours, theirs = (getattr(users, name)[kept] for users in (found, expected))
        np.testing.assert_allclose(ours, theirs, atol=2e-4 * scale, err_msg=name)


def test_scores_are_those_of_recommendations_without_each_rating(model):
    history, items = history_of(5), np.array([4, 30, 7])
    found = hidden_scorer(model)(history, items)
    expected = model.history_scorer()(without_each(history))[:, items]
    effects = np.abs(expected[0] - expected[1:]).max()
    assert effects > 1e-4
    np.testing.assert_allclose(found, expected, atol=0.003 * effects + 2e-5)


def test_a_blend_and_a_joint_model_explain_what_they_rank_by():
    item, user, ranking = (network(kind) for kind in ("item, ordinal", "user", "user, ranking"))
    blend = blend_of([item, user], (0.3, 0.7))
    joint = JointModel(blend, ranking, ranking.provenance)
    history, items = history_of(5), np.arange(50)
    for model in (blend, joint):
        expected = model.history_scorer()(without_each(history))
        np.testing.assert_allclose(hidden_scorer(model)(history, items), expected, atol=1e-4)
    np.testing.assert_array_equal(hidden_scorer(joint)(history, items), hidden_scorer(ranking)(history, items))


def test_a_rating_of_a_cold_item_moves_nothing():
    model = network("user")
    counts = model.catalog.item_counts.copy()
    items, _ = history_of(5)
    counts[items[2]] = 0
    cold = dataclasses.replace(model, catalog=dataclasses.replace(model.catalog, item_counts=counts))
    scores = hidden_scorer(cold)(history_of(5), np.arange(50))
    np.testing.assert_array_equal(scores[3], scores[0])
    expected = cold.history_scorer()(without_each(history_of(5)))
    np.testing.assert_allclose(scores, expected, atol=1e-4)


def test_reasons_are_the_ratings_that_raised_a_score_most():
    scores = np.array([[4.0, 3.0], [3.5, 3.1], [4.75, 2.9], [4.1, 3.0]], dtype=np.float32)
    history = np.array([9, 8, 7]), np.array([5.0, 1.0, 3.0])
    found = explain(lambda *_: scores, history, np.array([0, 1]), 2, 0.05)
    np.testing.assert_array_equal(found.ratings, [[0, NO_ITEM], [1, NO_ITEM]])
    np.testing.assert_allclose(found.effects, [[0.5, -np.inf], [0.1, -np.inf]], atol=1e-6)
    np.testing.assert_allclose(found.scores, [4, 3])
    both = explain(lambda *_: -scores, history, np.array([0, 1]), 9, 0.05)
    np.testing.assert_array_equal(both.ratings, [[1, 2, NO_ITEM], [0, NO_ITEM, NO_ITEM]])
    nothing = explain(lambda *_: scores[:1], (history[0][:0], history[1][:0]), np.array([0, 1]), 2, 0.05)
    assert nothing.ratings.shape == (2, 0)


@pytest.mark.parametrize("kind", ["item, ordinal", "item, wide ordinal"])
def test_a_user_with_very_many_ratings_is_done_in_blocks(monkeypatch, kind):
    model, history = network(kind), history_of(3)
    whole = leave_one_out(model)(history).vectors
    monkeypatch.setattr(ordinal_rows, "CELLS_AT_ONCE", 7 * len(history[0]))
    np.testing.assert_allclose(leave_one_out(model)(history).vectors, whole, atol=1e-6)


@pytest.mark.parametrize("steps", [1, 20])
def test_rows_that_have_not_converged_are_fitted_alone(monkeypatch, steps):
    model, history = network("item, ordinal"), history_of(3)
    expected = fold_in(model, without_each(history)).vectors
    monkeypatch.setattr(ordinal_rows, "MAX_NEWTON_STEPS", steps)
    np.testing.assert_allclose(leave_one_out(model)(history).vectors, expected, atol=2e-4 * np.abs(expected).max())
