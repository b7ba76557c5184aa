"""The sample is the same every time, and its noise floor is where the pages say."""

import gzip
import json

import numpy as np
import polars as pl
import pytest
from scipy.stats import norm

from autorec_cli.data.sample import N_ITEMS, N_RATINGS, NOISE, SEED, STARS, draw_sample, draw_titles
from tests.program import ROOT, call, run

FOLDER = ROOT / "sample_data"


@pytest.fixture(scope="module")
def sample():
    return draw_sample(np.random.default_rng(SEED))


def expected_rating(liking):
    """Mean and variance of the rounded, clipped rating for each liking."""
    edges = np.concatenate([[-np.inf], STARS[:-1] + 0.25, [np.inf]])
    chances = np.diff(norm.cdf((edges - liking[..., None]) / NOISE), axis=-1)
    mean = chances @ STARS
    return mean, chances @ STARS**2 - mean**2


def noise_floor(liking):
    """RMSE of the best possible prediction over pairs with these likings."""
    return float(np.sqrt(expected_rating(liking)[1].mean()))


def test_the_command_writes_the_files_of_sample_data(tmp_path):
    ratings, items = tmp_path / "ratings.csv", tmp_path / "items.csv"
    assert call("sample", "-o", ratings, "--items", items).status == 0
    assert ratings.read_bytes() == gzip.decompress((FOLDER / "ratings.csv.gz").read_bytes())
    assert items.read_bytes() == (FOLDER / "items.csv").read_bytes()
    assert call("sample").stdout.encode() == ratings.read_bytes()


def test_files_are_replaced_only_with_force_and_none_is_written_before_all_are_checked(tmp_path):
    ratings, items = tmp_path / "ratings.parquet", tmp_path / "items.csv"
    items.write_text("mine")
    refused = call("sample", "-o", ratings, "--items", items)
    assert (refused.status, str(items) in refused.stderr, "--force" in refused.stderr) == (2, True, True)
    assert not ratings.exists()
    assert call("sample", "-o", ratings, "--items", items, "--force").status == 0
    assert pl.read_parquet(ratings).height == N_RATINGS
    assert pl.read_csv(items).height == N_ITEMS


def test_whoever_knew_the_liking_would_err_by_the_noise_floor(sample):
    liking = sample.liking[sample.user, sample.item]
    expected, _ = expected_rating(liking)
    error = sample.rating - expected
    assert abs(error.mean()) < 0.01
    assert np.sqrt(np.square(error).mean()) == pytest.approx(noise_floor(liking), rel=0.01)
    assert noise_floor(liking) < np.sqrt(np.square(sample.rating - liking).mean())


def test_the_pages_name_the_noise_floor(sample):
    floor = f"{noise_floor(sample.liking[sample.user, sample.item]):.3f}"
    for page in (ROOT / "README.md", FOLDER / "README.md"):
        assert floor in page.read_text(encoding="utf-8"), page


def test_expected_rating_of_certain_likings():
    mean, variance = expected_rating(np.array([-10.0, 3.0, 20.0]))
    np.testing.assert_allclose(mean, [0.5, 3.0, 5.0], atol=1e-3)
    assert variance[0] == pytest.approx(0, abs=1e-6)
    assert variance[1] == pytest.approx(NOISE**2 + 0.5**2 / 12, rel=0.02)


def test_pairs_are_distinct_and_popularity_is_skewed(sample):
    pairs = sample.user * N_ITEMS + sample.item
    assert len(np.unique(pairs)) == len(pairs) == N_RATINGS
    counts = np.sort(np.bincount(sample.item, minlength=N_ITEMS))[::-1]
    assert counts[: N_ITEMS // 5].sum() > 0.6 * N_RATINGS
    assert set(np.unique(sample.rating)) <= set(STARS)


def test_titles_are_all_different():
    titles = draw_titles(np.random.default_rng(0))
    assert len(set(titles)) == N_ITEMS


@pytest.fixture(scope="module")
def prepared(made_once):
    def make(folder):
        assert run("prepare", FOLDER / "ratings.csv.gz", "-o", folder / "data").status == 0

    return made_once("sample", make) / "data"


@pytest.mark.parametrize("variant", ["item", "user"])
def test_a_model_trained_with_the_defaults_comes_close_to_the_noise_floor_and_never_below(
    variant, sample, prepared, tmp_path
):
    floor = noise_floor(sample.liking[sample.user, sample.item])
    assert run("train", prepared, "-o", tmp_path / "m", "--variant", variant).status == 0
    result = run("evaluate", tmp_path / "m", "--format", "json")
    rmse = {row["model"]: row["rmse"] for row in json.loads(result.stdout)}
    assert floor < rmse["m"] < 1.14 * floor
    assert rmse["user+item bias"] - rmse["m"] > 0.6 * (rmse["user+item bias"] - floor)
