import numpy as np
import pytest

from autorec_cli.errors import UsageError
from autorec_cli.inference.export.vectors import vectors
from autorec_cli.inference.joint import JointModel
from tests.planted import dataset_of, planted_dataset
from tests.trained import blend_of, model_of, small_settings

DATASET = planted_dataset(titles=True)
LINEAR = {"objective": "rating", "output_activation": "identity", "center": "both", "epochs": 3}
RANKING = {"objective": "ranking", "hidden_sizes": (12, 6), "epochs": 3}


@pytest.fixture(scope="module")
def ranker():
    return model_of(DATASET, small_settings("user", **RANKING))


@pytest.fixture(scope="module")
def linear():
    return [model_of(DATASET, small_settings(variant, **LINEAR)) for variant in ("item", "user")]


def sides(frame):
    return [frame.filter(side=side) for side in ("item", "user")]


def assert_products_are_scores(model, frame, scores):
    items, users = sides(frame)
    catalog = model.catalog
    warm_items, warm_users = (np.flatnonzero(counts) for counts in (catalog.item_counts, catalog.user_counts))
    assert items["id"].to_list() == [catalog.item_ids[index] for index in warm_items]
    assert users["id"].to_list() == [catalog.user_ids[index] for index in warm_users]
    products = users["vector"].to_numpy() @ items["vector"].to_numpy().T
    np.testing.assert_allclose(products, scores[np.ix_(warm_users, warm_items)], atol=1e-5)


def scores_of(model):
    return model.user_scorer()(np.arange(model.catalog.n_users))


def test_inner_products_are_the_scores_that_recommend_orders_by(ranker, linear):
    by_item = model_of(DATASET, small_settings("item", **RANKING))
    for model in (ranker, by_item, *linear):
        assert_products_are_scores(model, vectors(model), scores_of(model))


def test_vectors_of_a_blend_are_those_of_its_networks_in_one(linear):
    blend = blend_of(linear, [0.3, 0.7])
    unclipped = sum(np.float32(w) * scores_of(model) for w, model in zip(blend.weights, linear, strict=True))
    assert_products_are_scores(blend, vectors(blend), unclipped)
    alone = vectors(blend_of(linear, [0, 1]))
    assert alone["vector"].dtype == vectors(linear[1])["vector"].dtype


def test_items_are_equally_long_so_that_cosine_and_distance_order_as_the_product_does(ranker):
    items, users = (rows["vector"].to_numpy() for rows in sides(vectors(ranker)))
    np.testing.assert_allclose(np.linalg.norm(items, axis=1), np.linalg.norm(items, axis=1).max(), rtol=1e-6)
    distances = np.linalg.norm(users[:, None] - items, axis=2)
    assert (distances.argmin(1) == (users @ items.T).argmax(1)).all()


def test_either_part_of_a_joint_model(ranker, linear):
    joint = JointModel(linear[0], ranker, {})
    assert vectors(joint).equals(vectors(ranker))
    assert vectors(joint, "rating").equals(vectors(linear[0]))
    assert vectors(joint)["title"].to_list()[:2] == ["Title 0", "Title 1"]


def test_users_and_items_without_training_ratings_are_left_out():
    cells = {(user, item): float(1 + (user + item) % 5) for user in range(8) for item in range(6)}
    dataset = dataset_of({"train": cells, "test": {(8, 6): 5.0}}, (9, 7))
    model = model_of(dataset, small_settings("user", **RANKING, refit=False))
    items, users = sides(vectors(model))
    assert (items.height, users.height) == (6, 8)


@pytest.mark.parametrize("output", ["sigmoid", "ordinal"])
def test_scores_that_are_no_products_are_refused(output):
    model = model_of(DATASET, small_settings("item", **{**LINEAR, "output_activation": output}))
    with pytest.raises(UsageError, match=f"{output}.*--objective both"):
        vectors(model)


def test_a_model_that_only_ranks_predicts_no_ratings(ranker):
    with pytest.raises(UsageError, match="--objective rating"):
        vectors(ranker, "rating")
