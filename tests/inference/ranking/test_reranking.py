"""Recommendations that are more diverse or less popular, against the plain definitions."""

import dataclasses

import numpy as np
import pytest

import autorec_cli as autorec
from autorec_cli.errors import UsageError
from autorec_cli.inference.ranking import reranking
from autorec_cli.inference.ranking.top_k import NO_ITEM, TopItems
from autorec_cli.inference.similarity import similarity_vectors
from tests.planted import planted_dataset
from tests.trained import model_of, small_settings

DATASET = planted_dataset()


@pytest.fixture(scope="module")
def model():
    made = model_of(DATASET, small_settings("user", objective="ranking", epochs=5, refit=False))
    return dataclasses.replace(made, provenance={**made.provenance, "fingerprint": DATASET.fingerprint()})


def candidates():
    """Candidates of 70 users, some of whom have few, and vectors of 30 items."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(30, 5)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    items = np.array([rng.permutation(30)[:12] for _ in range(70)])
    scores = -np.sort(-rng.normal(size=items.shape), axis=1).astype(np.float32)
    for user, n in ((3, 4), (69, 1), (8, 0)):
        items[user, n:], scores[user, n:] = NO_ITEM, -np.inf
    scores[5] = 2.0  # none is more relevant than another
    return TopItems(slice(10, 80), items, scores), vectors


def one_by_one(items, scores, vectors, weight, k):
    """Maximal marginal relevance by its definition, for one user."""
    relevance = (scores - scores.min()) / (np.ptp(scores) or 1.0)
    left, chosen = list(range(len(items))), []
    while left and len(chosen) < k:

        def value(place):
            nearest = max((vectors[items[place]] @ vectors[items[other]] for other in chosen), default=0.0)
            return (1 - weight) * relevance[place] - weight * nearest

        best = max(left, key=value)
        chosen.append(best)
        left.remove(best)
    return [int(items[place]) for place in chosen]


@pytest.mark.parametrize("weight", [0.0, 0.3, 0.9, 1.0])
@pytest.mark.parametrize("k", [5, 20])
def test_items_are_chosen_by_marginal_relevance(weight, k):
    block, vectors = candidates()
    found = reranking.more_diverse(block, vectors, weight, k)
    assert found.users == block.users
    assert found.items.shape == (70, min(k, 12))
    for row, (items, scores) in enumerate(zip(block.items, block.scores, strict=True)):
        kept = items != NO_ITEM
        expected = one_by_one(items[kept], scores[kept], vectors, weight, k) if kept.any() else []
        assert found.items[row][found.items[row] != NO_ITEM].tolist() == expected
        assert (found.items[row][: len(expected)] != NO_ITEM).all(), "items come first"
        by_item = dict(zip(items.tolist(), scores.tolist(), strict=True))
        assert [by_item[item] for item in found.items[row].tolist()] == found.scores[row].tolist()


def test_recommendations_are_more_diverse_and_others(model):
    def lists(**settings):
        frame = autorec.recommend(model, autorec.RecommendSettings(k=5, **settings))
        items = np.array([int(item[1:]) for item in frame["item_id"]]).reshape(-1, 5)
        return frame, items

    unit = similarity_vectors(model, "items")

    def diversity(items):
        return np.mean([1 - np.mean((unit[row] @ unit[row].T)[np.triu_indices(5, 1)]) for row in items])

    plain, items = lists()
    same, _ = lists(rerank="mmr:0")
    assert same.equals(plain)
    values = [diversity(lists(rerank=f"mmr:{weight}")[1]) for weight in (0.2, 0.6)]
    assert diversity(items) < values[0] < values[1]


def test_popularity_correction_multiplies_what_is_above_nothing(model):
    plain = autorec.recommend(model, autorec.RecommendSettings(k=50))
    frame = autorec.recommend(model, autorec.RecommendSettings(k=50, popularity_correction=0.4))
    counts, center = model.catalog.item_counts, model.baseline.mean
    weights = {f"i{item}": (n / counts.mean()) ** -0.4 for item, n in enumerate(np.maximum(counts, 1))}
    both = plain.join(frame, on=["user_id", "item_id"], suffix="_corrected")
    assert both.height == plain.height
    expected = [
        center + (score - center) * weights[item] for item, score in both.select("item_id", "score").iter_rows()
    ]
    np.testing.assert_allclose(both["score_corrected"], expected, atol=2e-4)
    assert not both["rank"].equals(both["rank_corrected"])
    for _, scores in frame.group_by("user_id", maintain_order=True):
        assert scores["score"].is_sorted(descending=True)


def test_predicted_ratings_are_not_corrected():
    model = model_of(DATASET, small_settings("user", epochs=3, refit=False))
    corrected = autorec.recommend(model, autorec.RecommendSettings(k=50, popularity_correction=0.5))
    both = autorec.recommend(model, autorec.RecommendSettings(k=50)).join(corrected, on=["user_id", "item_id"])
    np.testing.assert_allclose(both["predicted_rating"], both["predicted_rating_right"], atol=2e-4)


def test_reasons_are_those_of_corrected_scores(model):
    settings = autorec.RecommendSettings(k=5, explain=2, popularity_correction=0.4, rerank="mmr:0.5", dataset=DATASET)
    frame = autorec.recommend(model, settings)
    np.testing.assert_allclose(frame["explained_score"], frame["score"], atol=2e-4)
    assert not frame.group_by("user_id", maintain_order=True).head(10)["score"].is_sorted(descending=True)


@pytest.mark.parametrize(
    "settings",
    [{"rerank": text} for text in ("mmr", "mmr:", "mmr:2", "mmr:-0.1", "mmr:nan", "best:0.3", "")]
    + [{"popularity_correction": value} for value in (-0.1, float("nan"), float("inf"))],
)
def test_settings_out_of_range(settings):
    with pytest.raises(UsageError, match=r"--rerank|--popularity-correction"):
        autorec.RecommendSettings(**settings)


@pytest.mark.parametrize("strength", [1000.0, 1e308])
def test_a_correction_that_overflows_is_named(model, strength):
    with pytest.raises(UsageError, match=f"--popularity-correction {strength:g}".replace("+", r"\+")):
        autorec.recommend(model, autorec.RecommendSettings(popularity_correction=strength))
