"""Interactions: which items a user has chosen, without ratings, from `prepare` to recommendations."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest

import autorec_cli as autorec
from autorec_cli.errors import InputDataError
from tests.program import call

TINY = ("--epochs", 2, "--hidden-size", 8, "--threads", 1)


def chosen():
    """Pairs of 30 users and 20 items, by parity, most of them."""
    rng = np.random.default_rng(0)
    return [(user, item) for user in range(30) for item in range(20) if (user + item) % 2 == 0 and rng.random() < 0.8]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The same interactions as pairs, as ratings of 1, with timestamps, and as counts."""
    folder = tmp_path_factory.mktemp("interactions")
    pairs = chosen()
    (folder / "pairs.csv").write_text("user,item\n" + "".join(f"{u},{i}\n" for u, i in pairs))
    (folder / "plain.csv").write_text("".join(f"u{u},i{i}\n" for u, i in pairs))
    (folder / "ones.csv").write_text("user,item,bought\n" + "".join(f"{u},{i},1\n" for u, i in pairs))
    (folder / "times.csv").write_text(
        "user,item,timestamp\n" + "".join(f"{u},{i},{1700000000 + n}\n" for n, (u, i) in enumerate(pairs))
    )
    plays = [f"{u},{i},{1 + 9000 // (1 + n)}\n" for n, (u, i) in enumerate(pairs)]
    (folder / "plays.csv").write_text("user,item,plays\n" + "".join(plays) + "0,1,0\n")
    return folder


@pytest.fixture(scope="module")
def data(files):
    assert call("prepare", files / "pairs.csv", "-o", files / "data").status == 0
    return files / "data"


@pytest.fixture(scope="module")
def model(files, data):
    result = call("train", data, "-o", files / "m", *TINY)
    assert result.status == 0, result.stderr
    return files / "m"


def document(folder):
    return json.loads((folder / "dataset.json").read_text())


@pytest.mark.parametrize("name", ["pairs", "plain", "ones", "times", "plays"])
def test_interactions_of_every_kind_are_prepared(files, tmp_path, name):
    options = ["--interactions"] * (name == "plays")
    result = call("prepare", files / f"{name}.csv", "-o", tmp_path / "d", *options)
    assert result.status == 0, result.stderr
    found = document(tmp_path / "d")
    assert (found["feedback"], found["rating_scale"]) == ("interactions", [0, 1])
    assert found["counts"]["n_ratings"] == len(chosen())
    assert found["counts"].get("n_missing", 0) == (name == "plays")
    assert f"interactions: {len(chosen())}" in result.stderr
    assert "ratings: none" in result.stderr
    assert ("warning: all" in result.stderr) == (name == "ones")
    assert set(autorec.load_dataset(tmp_path / "d").train.data) == {1}


def test_counts_are_ratings_with_a_warning_unless_asked(files, tmp_path):
    result = call("prepare", files / "plays.csv", "-o", tmp_path / "d")
    assert (result.status, document(tmp_path / "d")["feedback"]) == (0, "ratings")
    assert "--interactions" in result.stderr


def test_equal_ratings_teach_nothing_about_ratings(data, tmp_path):
    rating = ("--objective", "rating")
    for command in (("train", data, "-o", tmp_path / "m", *rating), ("cross-validate", data, *rating), ("tune", data)):
        result = call(*command)
        assert (result.status, result.stdout) == (3, ""), result.stderr
        assert "--objective ranking" in result.stderr
    with pytest.raises(InputDataError, match="--objective ranking"):
        autorec.train(autorec.load_dataset(data), autorec.TrainSettings(objective="rating"))


def test_a_ranking_model_of_interactions_recommends_and_is_evaluated(files, data, model):
    assert call("info", data).stdout.count("feedback,interactions") == 1
    rows = call("recommend", model, "-k", 3, "--format", "jsonl").stdout.splitlines()
    assert len(rows) == 30 * 3
    assert json.loads(rows[0])["score"] is not None
    result = call("evaluate", model, "--format", "json")
    assert (result.status, "ndcg@10" in json.loads(result.stdout)[0]) == (0, True)
    history = call("recommend", model, "--history", files / "pairs.csv", "-k", 2)
    assert (history.status, len(history.stdout.splitlines())) == (0, 61)
    assert "warning" not in history.stderr


def test_other_commands_take_interactions(data, model, tmp_path):
    warm = call("train", data, "-o", tmp_path / "w", "--warm-start", model, "--epochs", 1, "--threads", 1)
    assert warm.status == 0, warm.stderr
    crossed = call("cross-validate", data, "--repeats", 2, *TINY, "--format", "json")
    assert (crossed.status, "ndcg@10" in crossed.stdout) == (0, True), crossed.stderr
    tuned = call("tune", data, "--objective", "ranking", "--trials", 2, "--max-epochs", 2, "--threads", 1)
    assert tuned.status == 0, tuned.stderr


def test_frames_of_two_columns(data):
    frame = pl.DataFrame(chosen(), schema=["user", "item"], orient="row")
    dataset = autorec.prepare(frame)
    assert dataset.info["feedback"] == "interactions"
    assert dataset.fingerprint() == autorec.load_dataset(data).fingerprint()


def test_sources_with_and_without_ratings_are_refused(files, tmp_path):
    result = call("prepare", files / "pairs.csv", files / "plays.csv", "-o", tmp_path / "d")
    assert (result.status, "--interactions" in result.stderr) == (3, True)
    assert call("prepare", files / "pairs.csv", files / "plays.csv", "-o", tmp_path / "d", "--interactions").status == 0
