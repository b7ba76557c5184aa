"""The sample data is what its generator says, and its noise floor is where it says."""

import gzip
import importlib.util
import json

import numpy as np
import pytest

from tests.program import ROOT, run

FOLDER = ROOT / "sample_data"


@pytest.fixture(scope="module")
def generate():
    import sys

    spec = importlib.util.spec_from_file_location("sample_data_generate", FOLDER / "generate.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture(scope="module")
def sample(generate):
    return generate.draw_sample(np.random.default_rng(generate.SEED))


def text_of(file):
    """The bytes of the text: compressed ones depend on how zlib was built."""
    return gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()


def test_the_committed_files_are_what_the_generator_writes(generate, tmp_path):
    generate.write(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["ratings.csv.gz", "titles.csv"]
    for file in tmp_path.iterdir():
        assert text_of(file) == text_of(FOLDER / file.name), file.name


def test_whoever_knew_the_liking_would_err_by_the_noise_floor(generate, sample):
    liking = sample.liking[sample.user, sample.item]
    expected, _ = generate.expected_rating(liking)
    error = sample.rating - expected
    assert abs(error.mean()) < 0.01
    assert np.sqrt(np.square(error).mean()) == pytest.approx(generate.noise_floor(liking), rel=0.01)
    assert generate.noise_floor(liking) < np.sqrt(np.square(sample.rating - liking).mean())


def test_the_pages_name_the_noise_floor(generate, sample):
    floor = f"{generate.noise_floor(sample.liking[sample.user, sample.item]):.3f}"
    for page in (ROOT / "README.md", FOLDER / "README.md"):
        assert floor in page.read_text(encoding="utf-8"), page


def test_expected_rating_of_certain_likings(generate):
    mean, variance = generate.expected_rating(np.array([-10.0, 3.0, 20.0]))
    np.testing.assert_allclose(mean, [0.5, 3.0, 5.0], atol=1e-3)
    assert variance[0] == pytest.approx(0, abs=1e-6)
    assert variance[1] == pytest.approx(generate.NOISE**2 + 0.5**2 / 12, rel=0.02)


def test_pairs_are_distinct_and_popularity_is_skewed(generate, sample):
    pairs = sample.user * generate.N_ITEMS + sample.item
    assert len(np.unique(pairs)) == len(pairs) == generate.N_RATINGS
    counts = np.sort(np.bincount(sample.item, minlength=generate.N_ITEMS))[::-1]
    assert counts[: generate.N_ITEMS // 5].sum() > 0.6 * generate.N_RATINGS
    assert set(np.unique(sample.rating)) <= set(generate.STARS)


def test_titles_are_all_different(generate):
    titles = generate.draw_titles(np.random.default_rng(0))
    assert len(set(titles)) == generate.N_ITEMS


@pytest.fixture(scope="module")
def prepared(made_once):
    def make(folder):
        assert run("prepare", FOLDER / "ratings.csv.gz", "-o", folder / "data").status == 0

    return made_once("sample", make) / "data"


@pytest.mark.parametrize("variant", ["item", "user"])
def test_a_model_trained_with_the_defaults_comes_close_to_the_noise_floor_and_never_below(
    variant, generate, sample, prepared, tmp_path
):
    floor = generate.noise_floor(sample.liking[sample.user, sample.item])
    assert run("train", prepared, "-o", tmp_path / "m", "--variant", variant).status == 0
    result = run("evaluate", tmp_path / "m", "--format", "json")
    rmse = {row["model"]: row["rmse"] for row in json.loads(result.stdout)}
    assert floor < rmse["m"] < 1.14 * floor
    assert rmse["user+item bias"] - rmse["m"] > 0.6 * (rmse["user+item bias"] - floor)
