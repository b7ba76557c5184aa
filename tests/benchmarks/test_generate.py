"""The ratings that benchmarks run on have the properties that they promise."""

import numpy as np
import polars as pl
import pytest

from autorec_cli.runtime import threads
from benchmarks import generate


@pytest.fixture
def written(tmp_path, monkeypatch):
    monkeypatch.setattr(generate, "RATINGS_AT_ONCE", 5_000)

    def write(**arguments):
        n_ratings = generate.write(tmp_path / "r.csv", **{"n_users": 900, "n_items": 400, "seed": 0, **arguments})
        return n_ratings, pl.read_csv(tmp_path / "r.csv")

    return write


def test_the_shape_is_what_was_asked_for_and_no_pair_comes_twice(written):
    n_ratings, ratings = written(n_ratings=40_000)
    assert ratings.height == n_ratings == pytest.approx(40_000, rel=0.01)
    assert ratings.select("user", "item").is_unique().all()
    assert (ratings["user"].min(), ratings["user"].n_unique()) == (1, 900)
    assert ratings["item"].is_between(1, 400).all()
    assert sorted(ratings["rating"].unique()) == [1, 2, 3, 4, 5]
    assert ratings["user"].is_sorted()


def test_a_user_rates_at_most_half_of_all_items(written):
    _, ratings = written(n_ratings=150_000)
    assert ratings.group_by("user").len()["len"].max() == 200


def test_few_items_have_most_ratings(written):
    _, ratings = written(n_ratings=10_000)
    counts = ratings["item"].value_counts(sort=True)["count"].to_numpy()
    assert counts[:40].sum() > 0.4 * ratings.height


def test_the_same_seed_gives_the_same_ratings_on_any_number_of_cores(written, monkeypatch):
    first = written(n_ratings=40_000)[1]
    monkeypatch.setattr(threads, "n_threads", lambda: 1)
    assert written(n_ratings=40_000)[1].equals(first)
    assert not written(n_ratings=40_000, seed=1)[1].equals(first)


def test_draws_follow_the_law_of_their_ranks():
    rng = np.random.default_rng(0)
    items = generate.planted_items(50, rng)
    n_draws = 200_000
    share = np.bincount(items.draw(n_draws, rng), minlength=50)[items.by_popularity] / n_draws
    ranks, shift = np.arange(50), 50 / 100
    expected = np.log((ranks + 1 + shift) / (ranks + shift)) / np.log((50 + shift) / shift)
    np.testing.assert_allclose(share, expected, atol=4 * np.sqrt(0.25 / n_draws))
