"""ONNX graphs, run by onnxruntime, beside our own scores."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest

from autorec_cli.errors import UsageError
from autorec_cli.inference.export import onnx_graph
from autorec_cli.inference.export.onnx_graph import to_onnx
from autorec_cli.inference.joint import JointModel
from tests.planted import dataset_of, planted_dataset
from tests.trained import blend_of, model_of, small_settings

DATASET = planted_dataset()
RATING, RANKING = {"objective": "rating", "epochs": 3}, {"objective": "ranking", "epochs": 3}


def session_of(model, objective="ranking"):
    graph = to_onnx(model, objective)
    onnx.checker.check_model(onnx.load_from_string(graph), full_check=True)
    return onnxruntime.InferenceSession(graph)


def assert_same_scores(model, session):
    rng, n_items = np.random.default_rng(0), model.catalog.n_items
    score = model.history_scorer()
    for n_ratings in (0, 1, 2, n_items // 2, n_items):
        items = rng.permutation(n_items)[:n_ratings]
        ratings = rng.integers(1, 6, n_ratings).astype(np.float32)
        (scores,) = session.run(["scores"], {"item_index": items, "ratings": ratings})
        np.testing.assert_allclose(scores, score([(items, ratings)])[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "given",
    [
        RANKING,
        {**RANKING, "hidden_sizes": (12, 6), "hidden_activation": "relu"},
        {**RATING, "output_activation": "ordinal"},
        {**RATING, "output_activation": "ordinal", "center": "both", "hidden_activation": "tanh"},
        {**RATING, "output_activation": "sigmoid", "center": "item", "implicit": False, "normalize": False},
        {**RATING, "output_activation": "identity", "center": "both", "hidden_sizes": (12, 9, 6)},
        {**RATING, "output_activation": "identity", "center": "user", "hidden_activation": "elu"},
        {**RATING, "output_activation": "identity", "center": "none", "hidden_activation": "identity"},
    ],
    ids=lambda given: "-".join(str(value) for value in given.values()),
)
def test_scores_are_ours(given):
    model = model_of(DATASET, small_settings("user", **given))
    assert_same_scores(model, session_of(model))


@pytest.mark.parametrize("given", [{**RATING, "center": "both"}, RANKING], ids=["rating", "ranking"])
def test_cold_items_are_scored_by_the_baseline_and_tell_nothing_of_a_user(given):
    cells = {(user, item): float(1 + (user + item) % 5) for user in range(8) for item in range(6)}
    dataset = dataset_of({"train": cells, "test": {(8, 6): 5.0, (8, 7): 1.0}}, (9, 8))
    model = model_of(dataset, small_settings("user", **given, refit=False))
    session = session_of(model)
    assert_same_scores(model, session)
    only_cold = {"item_index": np.array([6, 7]), "ratings": np.array([5, 1], dtype=np.float32)}
    none = {"item_index": np.array([], dtype=np.int64), "ratings": np.array([], dtype=np.float32)}
    np.testing.assert_array_equal(*(session.run(None, history)[0] for history in (only_cold, none)))


@pytest.fixture(scope="module")
def of_each():
    return {
        (objective, variant): model_of(DATASET, small_settings(variant, objective=objective, epochs=2))
        for objective, variant in [("rating", "item"), ("rating", "user"), ("ranking", "user")]
    }


def test_either_part_of_a_joint_model(of_each):
    joint = JointModel(of_each["rating", "user"], of_each["ranking", "user"], {})
    assert_same_scores(joint.ranker, session_of(joint))
    assert_same_scores(joint.rater, session_of(joint, "rating"))


def test_the_metadata_have_the_ids_in_order(of_each):
    metadata = session_of(of_each["ranking", "user"]).get_modelmeta().custom_metadata_map
    assert json.loads(metadata["item_ids"]) == [f"i{index}" for index in range(50)]
    assert json.loads(metadata["rating_scale"]) == [1, 5]


def test_models_that_no_graph_can_be_are_refused(of_each, monkeypatch):
    item, user = of_each["rating", "item"], of_each["rating", "user"]
    with pytest.raises(UsageError, match="--variant user"):
        to_onnx(item)
    with pytest.raises(UsageError, match="averages 2 networks"):
        to_onnx(blend_of([item, user]))
    assert to_onnx(blend_of([item, user], [0, 1])) == to_onnx(user)
    monkeypatch.setattr(onnx_graph, "MAX_BYTES", 1000)
    with pytest.raises(UsageError, match="2 GB"):
        to_onnx(user)
