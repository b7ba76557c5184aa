"""`autorec evaluate`, through the real program."""

import dataclasses
import io
import json
import re
import shutil

import polars as pl
import pytest

from autorec_cli.cli.reports.metric_tables import write_tables
from autorec_cli.data import dataset
from autorec_cli.inference.files import model_file
from tests.program import call, on_terminal, run

RATING_COLUMNS = ["model", "rmse", "rmse_low", "rmse_high", "mae", "mae_low", "mae_high", "n_pairs", "n_cold",
                  "clip_low", "clip_high"]  # fmt: skip
RANKING_COLUMNS = ["ndcg@5", "recall@5", "coverage@5", "unique_items@5", "gini@5", "mean_popularity@5", "novelty@5",
                   "diversity@5", "n_users"]  # fmt: skip
BASELINES = ["global mean", "item mean", "user+item bias"]
RANKERS = ["popularity", "EASE"]


@pytest.fixture
def rows_of(tmp_path):
    def rows(*arguments):
        result = call("evaluate", *arguments, "-o", tmp_path / "rows.json")
        assert result.status == 0, result.stderr
        return json.loads((tmp_path / "rows.json").read_text())

    return rows


def moved(model, target, **provenance):
    """A copy of a model that remembers something else."""
    loaded = model_file.load_model(model)
    model_file.save_model(dataclasses.replace(loaded, provenance={**loaded.provenance, **provenance}), target)
    return target


def test_csv_in_a_pipe_has_a_row_a_model_and_a_row_a_baseline(workshop):
    result = run("evaluate", "item.model", "user.model", cwd=workshop)
    assert result.status == 0
    frame = pl.read_csv(io.StringIO(result.stdout))
    assert frame.columns == RATING_COLUMNS + [name.replace("@5", "@10") for name in RANKING_COLUMNS]
    assert frame["model"].to_list() == ["item.model", "user.model", *BASELINES, *RANKERS]
    frame = frame.head(5)
    n_test = dataset.load_dataset(workshop / "data").test.nnz
    assert frame["n_pairs"].to_list() == [n_test] * 5
    assert frame["clip_low"].to_list() == [1] * 5
    assert frame["clip_high"].to_list() == [5] * 5
    for metric in ("rmse", "mae"):
        assert ((frame[f"{metric}_low"] < frame[metric]) & (frame[metric] < frame[f"{metric}_high"])).all()
    assert frame["rmse"][0] < frame["rmse"][4], "planted factors beat the biases"
    assert f"{n_test} pairs, 0 of them cold" in result.stderr
    assert "predictions are clipped to 1 to 5" in result.stderr


def test_json_holds_the_same_numbers_and_ranks_as_long_as_asked(workshop, item_model, rows_of):
    rows = rows_of(item_model, "-k", 5)
    assert [row["model"] for row in rows] == ["item.model", *BASELINES, *RANKERS]
    assert list(rows[0]) == RATING_COLUMNS + RANKING_COLUMNS
    assert rows[1]["ndcg@5"] is None
    assert rows[-1]["rmse"] is None
    for row in (rows[0], rows[-1]):
        assert 0 < row["ndcg@5"] < 1
        assert 0 < row["coverage@5"] <= 1
        assert row["n_users"] == rows[0]["n_users"] > 10
    ten = rows_of(item_model)[0]
    assert {name: ten[name] for name in RATING_COLUMNS} == {name: rows[0][name] for name in RATING_COLUMNS}


def test_a_table_is_readable_at_80_columns(workshop):
    result = run("evaluate", "item.model", "user.model", "--format", "table", cwd=workshop)
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    ratings, rankings, variety = [line for line in lines if line[0] not in "╭├│╰"]
    assert re.match(r"\d+ test ratings", ratings)
    assert re.match(r"top-10 recommendations for \d+ users", rankings)
    assert "recommendations" in variety
    assert sum("item.model" in line for line in lines) == 3
    assert sum(line.startswith("│ popularity") for line in lines) == 2
    headings = [re.findall(r"[\w@]+", line) for line in lines if "│ model" in line]
    assert headings == [
        ["model", "rmse", "mae"],
        ["model", "ndcg@10", "recall@10", "coverage@10", "mean_popularity@10"],
        ["model", "unique_items@10", "gini@10", "novelty@10", "diversity@10"],
    ]


def test_counts_that_differ_are_columns_and_cold_pairs_are_not_hidden():
    row = {"rmse": 0.81234, "rmse_low": 0.8, "rmse_high": 0.83, "n_pairs": 123_456, "clip_low": 1, "clip_high": 5}
    ranked = {"ndcg@10": 0.4, "mean_popularity@10": 12345.67}
    rows = [
        {"model": "ml-25m.ratings.model", **row, "n_cold": 12, **ranked, "n_users": 162_000},
        {"model": "user+item bias", **row, "n_cold": 3, **ranked, "n_users": 161_000},
    ]
    stream = io.BytesIO()
    write_tables(rows, "test", 10, stream)
    text = stream.getvalue().decode()
    assert text.startswith("123,456 test ratings")
    assert "cold pairs" in text
    assert all(number in text for number in ("12 │", "3 │", "162,000", "161,000", "12,346"))
    assert max(map(len, text.splitlines())) <= 80


def test_no_word_is_cut_on_a_narrow_terminal(workshop):
    text, status = on_terminal(["evaluate", "both.model"], workshop, COLUMNS="60")
    assert status == 0
    rows = re.findall("│.*│", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text))  # without colors
    assert max(map(len, rows)) <= 60
    for word in ("both.model", "popularity ", "mean_popularity@10", "unique_items@10", "diversity@10", "coverage@10"):
        assert any(word in row for row in rows), word


@pytest.mark.parametrize("part", ["valid", "train"])
def test_other_parts_are_warned_about_when_the_model_has_seen_them(workshop, item_model, rows_of, part):
    row = rows_of(item_model, "--on", part)[0]
    assert row["n_pairs"] == dataset.load_dataset(workshop / "data").split(part).nnz
    assert row["rmse"] < rows_of(item_model)[0]["rmse"]
    told = call("evaluate", item_model, "--on", part, "-q").stderr
    assert ("item.model was fitted on the valid ratings too" in told) == (part == "valid")


def test_a_dataset_that_is_gone_is_named_with_what_to_do(tmp_path, item_model, workshop, rows_of):
    model = moved(item_model, tmp_path / "m", dataset=str(tmp_path / "gone"))
    result = run("evaluate", model)
    assert (result.status, result.stdout) == (4, "")
    assert f"is no longer at {tmp_path / 'gone'}; say where it is with --data DIR" in result.stderr
    assert rows_of(model, "--data", workshop / "data")[0]["rmse"] == rows_of(item_model)[0]["rmse"]


def test_another_dataset_is_refused(tmp_path, item_model, user_model, workshop):
    shutil.copytree(workshop / "data", tmp_path / "data")
    refused = call("evaluate", item_model, moved(user_model, tmp_path / "b.model", fingerprint="0" * 64))
    assert (refused.status, "b.model was not trained on this dataset" in refused.stderr) == (4, True)
    prepared = dataset.load_dataset(workshop / "data")
    prepared.test.data[0] = 6 - prepared.test.data[0]
    dataset.save_dataset(prepared, tmp_path / "data")
    refused = call("evaluate", item_model, "--data", tmp_path / "data")
    assert (refused.status, "fingerprints differ" in refused.stderr) == (4, True)


def test_an_empty_part_is_a_sentence(tmp_path, item_model, workshop):
    prepared = dataset.load_dataset(workshop / "data")
    empty = prepared.test.copy()
    empty = type(empty)(empty.shape, dtype=empty.dtype)
    changed = dataclasses.replace(prepared, test=empty)
    dataset.save_dataset(changed, tmp_path / "data")
    model = moved(item_model, tmp_path / "m", fingerprint=changed.fingerprint())
    refused = call("evaluate", model, "--data", tmp_path / "data")
    assert (refused.status, "the test set of the dataset has no ratings" in refused.stderr) == (4, True)


def test_models_keep_their_names_apart(tmp_path, item_model, user_model, rows_of):
    (tmp_path / "other").mkdir()
    for source, name in ((item_model, "popularity"), (user_model, "other/popularity")):
        shutil.copy(source, tmp_path / name)
    paths = [tmp_path / "popularity", tmp_path / "other" / "popularity", tmp_path / "popularity"]
    rows = rows_of(*paths)
    assert [row["model"] for row in rows] == [*map(str, paths[:2]), *BASELINES, *RANKERS]
    assert rows[0]["ndcg@10"] != rows[1]["ndcg@10"] != rows[-1]["ndcg@10"]


def test_a_model_worse_than_the_baseline_is_called_so(tmp_path, item_model):
    model = model_file.load_model(item_model)
    model_file.save_model(dataclasses.replace(model, decoder_bias=model.decoder_bias + 2), tmp_path / "m")
    told = call("evaluate", item_model, tmp_path / "m", "-q").stderr
    assert told.count("predicts worse") == told.count("m predicts worse than the bias baseline") == 1


def test_a_model_that_says_nothing_is_no_better_than_the_baseline(tmp_path, item_model):
    model = model_file.load_model(item_model)
    silent = dataclasses.replace(model, output_unit=0.0, centering=model.baseline)
    model_file.save_model(silent, tmp_path / "m")
    assert "m is not clearly better than the bias baseline" in call("evaluate", tmp_path / "m", "-q").stderr


def test_options_that_cannot_work_are_refused(item_model):
    for options, message in (
        (("--on", "tset"), "--on must be one of train, valid, test, not 'tset'"),
        (("-k", "0"), "--top-k must be a whole number from 1"),
        (("-o", "x.csv", "--format", "json"), "contradicts"),
    ):
        refused = call("evaluate", item_model, *options)
        assert (refused.status, message in refused.stderr) == (2, True)


def test_a_test_set_without_relevant_ratings_is_warned_of(item_model):
    result = call("evaluate", item_model, "--relevant-from", 99, "--format", "json")
    assert "no user has a relevant test rating" in result.stderr
    assert json.loads(result.stdout)[0]["rmse"] > 0


def test_groups_by_a_column_in_every_format(workshop, item_model, rows_of):
    rows = rows_of(item_model, "--by", "users.n_train_ratings")
    assert [row["model"] for row in rows[::5]] == ["item.model", "user+item bias", "popularity"]
    assert [row["group"] for row in rows[:1]] == ["all"]
    assert sum(row["n_pairs"] for row in rows[1:5]) == rows[0]["n_pairs"]
    assert rows[0]["rmse"] == rows_of(item_model)[0]["rmse"]
    table = call("evaluate", item_model, "--by", "users.n_train_ratings", "--format", "table").stdout
    assert max(map(len, table.splitlines())) <= 80
    assert table.count("│ all ") == 3
    assert f"{rows[0]['rmse']:.4f} ±" in table


@pytest.mark.parametrize(
    ("arguments", "status"), [(["--by", "color"], 2), (["--by", "users.n_ratings", "--fail-above", "rmse=9"], 2)]
)
def test_groups_that_cannot_be_measured_are_refused(item_model, arguments, status):
    result = call("evaluate", item_model, *arguments)
    assert result.status == status
    assert "--by" in result.stderr
