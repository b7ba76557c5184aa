"""Similar items and users: correlations of scores, whatever the vectors look like."""

import dataclasses

import numpy as np
import polars as pl
import pytest

import autorec_cli as autorec
from autorec_cli.errors import ArtifactError, InputDataError, UsageError
from autorec_cli.inference import similarity
from autorec_cli.inference.catalog import did_you_mean
from tests.planted import planted_dataset
from tests.trained import blend_of, model_of, small_settings

DATASET = planted_dataset(titles=True)
PLAIN = {"output_activation": "identity", "center": "none", "epochs": 5}


@pytest.fixture(scope="module")
def networks():
    return {variant: model_of(DATASET, small_settings(variant, **PLAIN)) for variant in ("item", "user")}


@pytest.fixture(scope="module", params=["item", "user", "blend", "ranking"])
def model(request, networks):
    if request.param == "blend":
        return blend_of(list(networks.values()), (0.3, 0.7))
    return networks.get(request.param) or model_of(DATASET, small_settings("user", objective="ranking", epochs=5))


def products(model):
    """Scores of all items for all users without shifts: (n_users, n_items) float64."""
    total = 0
    for network, weight in zip(model.ranker.networks, model.ranker.weights, strict=True):
        # What a linear unit adds without ratings is a shift of the items.
        codes = network.codes.astype(np.float64) - network.code_at_zero
        cells = weight * network.output_unit * (codes @ network.decoder_weight.T)
        total = total + (cells.T if network.settings.variant == "item" else cells)
    return total


@pytest.mark.parametrize("of", similarity.SIDES)
def test_similarities_are_correlations_of_scores(model, of):
    scores = products(model) if of == "items" else products(model).T
    expected = np.corrcoef(scores.T)
    unit = similarity.similarity_vectors(model, of)
    np.testing.assert_allclose(unit @ unit.T, expected, atol=2e-4)


def test_rows_are_the_nearest_ones_best_first(model):
    expected = np.corrcoef(products(model).T)
    np.fill_diagonal(expected, -np.inf)
    frame = autorec.similar(model, autorec.SimilarSettings(k=3, ids=["i7", "i0", "i7"], min_ratings=1))
    assert frame.columns == ["item_id", "title", "rank", "similar_id", "similarity", "similar_title"]
    assert frame["item_id"].to_list() == ["i7"] * 3 + ["i0"] * 3
    assert frame["rank"].to_list() == [1, 2, 3] * 2
    for item in (7, 0):
        found = frame.filter(pl.col("item_id") == f"i{item}")
        best = np.sort(expected[item])[::-1][:3]
        np.testing.assert_allclose(found["similarity"], best, atol=2e-4)
        for row in found.iter_rows(named=True):
            assert expected[item, int(row["similar_id"][1:])] == pytest.approx(row["similarity"], abs=2e-4)
            assert row["similar_title"] == f"Title {row['similar_id'][1:]}"


def test_a_change_of_basis_changes_nothing(networks):
    model = networks["user"]
    change = np.random.default_rng(0).normal(0, 1, (16, 16)) + 4 * np.eye(16)
    other = dataclasses.replace(
        model,
        codes=(model.codes @ change).astype(np.float32),
        decoder_weight=(model.decoder_weight @ np.linalg.inv(change).T).astype(np.float32),
    )
    ours, theirs = (similarity.similarity_vectors(each, "items") for each in (model, other))
    np.testing.assert_allclose(ours @ ours.T, theirs @ theirs.T, atol=1e-3)


def test_users_have_no_titles_and_all_are_compared(model):
    frame = autorec.similar(model, autorec.SimilarSettings("users", k=2))
    assert frame.columns == ["user_id", "rank", "similar_id", "similarity"]
    assert frame.height == 2 * DATASET.n_users
    assert (frame["user_id"] != frame["similar_id"]).all()


def test_only_items_with_enough_ratings_are_found_and_any_may_be_asked_for(networks):
    counts = networks["item"].catalog.item_counts
    least = int(np.median(counts))
    frame = autorec.similar(networks["item"], autorec.SimilarSettings(k=50, min_ratings=least))
    found = {int(item[1:]) for item in frame["similar_id"]}
    assert found == set(np.flatnonzero(counts >= least))
    assert frame["item_id"].n_unique() == 50


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"ids": ["nothing"]}, "nothing"),
        ({"of": "users", "ids": ["i1"]}, "i1"),
        ({"min_ratings": 1000}, "--min-ratings"),
    ],
)
def test_what_cannot_be_found_is_named(networks, settings, word):
    with pytest.raises(InputDataError, match=word):
        autorec.similar(networks["item"], autorec.SimilarSettings(**settings))


@pytest.mark.parametrize("settings", [{"of": "films"}, {"k": 0}, {"min_ratings": 0}])
def test_settings_out_of_range(settings):
    with pytest.raises(UsageError):
        autorec.SimilarSettings(**settings)


def test_a_cold_item_has_no_neighbors_and_is_none(networks):
    model = networks["item"]
    counts = model.catalog.item_counts.copy()
    counts[3] = 0
    cold = dataclasses.replace(model, catalog=dataclasses.replace(model.catalog, item_counts=counts))
    with pytest.raises(InputDataError, match="i3"):
        autorec.similar(cold, autorec.SimilarSettings(ids=["i3"]))
    frame = autorec.similar(cold, autorec.SimilarSettings(k=50, min_ratings=1))
    assert "i3" not in {*frame["item_id"], *frame["similar_id"]}


def test_vectors_that_are_not_finite_are_refused(networks):
    model = networks["user"]
    broken = dataclasses.replace(model, decoder_weight=np.full_like(model.decoder_weight, np.inf))
    with pytest.raises(ArtifactError):
        autorec.similar(broken)


def test_items_without_variation_are_similar_to_nothing(networks):
    model = networks["item"]
    flat = dataclasses.replace(model, codes=np.zeros_like(model.codes))
    frame = autorec.similar(flat, autorec.SimilarSettings(k=1))
    assert set(frame["similarity"]) == {0.0}


@pytest.mark.parametrize(
    ("wanted", "said"),
    [("U0001", "; did you mean 'u0001'?"), ("u1", "; did you mean 'u0001'?"), ("u10", ""), ("", ""), ("0", "")],
)
def test_ids_that_differ_by_case_and_zeros_are_named(wanted, said):
    assert did_you_mean(["u0001", "u0100"], wanted) == said
