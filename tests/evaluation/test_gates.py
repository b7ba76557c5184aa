"""Gates for scripts: `evaluate --fail-above`, `--fail-below` and `train --keep-if-better`."""

import json
import math
import re
import shutil

import pytest

from autorec_cli.errors import QualityGateError, UsageError
from autorec_cli.evaluation.gates import Gate, check_metric, enforce, is_worse, parse_gate
from autorec_cli.inference import model_file
from tests.program import SMALL, call, run

ROW = {"model": "m", "rmse": 0.9, "ndcg@10": 0.3}
POOR = (*SMALL, "--epochs", 1, "--learning-rate", 1e-5)


@pytest.mark.parametrize(
    ("text", "above", "missed"),
    [
        ("rmse=0.85", True, "rmse of m is 0.9, above 0.85"),
        ("rmse=0.9", True, None),
        ("ndcg@10=0.3", False, None),
        ("ndcg@10=3e-1", False, None),
        ("ndcg@10=0.31", False, "ndcg@10 of m is 0.3, below 0.31"),
        ("mae=1", True, "mae of m could not be measured"),
    ],
)
def test_a_limit_itself_is_passed(text, above, missed):
    assert parse_gate(text, above).miss(ROW) == missed


def test_what_is_not_a_number_is_missed():
    assert Gate("rmse", 1, True).miss({"model": "m", "rmse": math.nan}) == "rmse of m could not be measured"


@pytest.mark.parametrize("text", ["rmse", "rmse=", "rmse=x", "rmse=nan", "rmse=inf", "=", ""])
def test_what_is_no_gate_is_refused(text):
    with pytest.raises(UsageError, match="is not METRIC=NUMBER, such as"):
        parse_gate(text, above=True)


@pytest.mark.parametrize(("text", "above"), [("rmse=0.8", False), ("mae=1", False), ("ndcg@10=0.3", True)])
def test_a_gate_that_stops_good_models_only_is_refused(text, above):
    with pytest.raises(UsageError, match=f"use --fail-{'below' if above else 'above'} {text}"):
        parse_gate(text, above)
    parse_gate("coverage@10=0.5", above)


def test_all_misses_are_named():
    with pytest.raises(QualityGateError, match=r"rmse of m is 0\.9, above 0\.8; ndcg@10 of m is 0\.3, below 0\.5"):
        enforce([ROW], [Gate("rmse", 0.8, True), Gate("ndcg@10", 0.5, False)])
    enforce([ROW], [])


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ("rsme", r"--fail-above rsme .*did you mean rmse\?"),
        ("ndcg", r"did you mean ndcg@10\?"),
        ("ndcg@20", r"ndcg@20 .*10.* ndcg@10"),
        ("ndcg@x", r"ndcg@x is not a metric"),
        ("zzz", r"known are rmse, mae, ndcg@10"),
    ],
)
def test_what_is_no_metric_is_refused_with_the_nearest(metric, message):
    with pytest.raises(UsageError, match=message):
        check_metric(metric, 10, "--fail-above")


def test_which_metrics_need_lists():
    needs = {metric: check_metric(metric, 5, "") for metric in ("rmse", "mae", "ndcg@5", "coverage@5")}
    assert needs == {"rmse": False, "mae": False, "ndcg@5": True, "coverage@5": True}


def test_what_is_better_depends_on_the_metric():
    low, high = {"rmse": 0.8, "ndcg@10": 0.2}, {"rmse": 0.9, "ndcg@10": 0.3}
    assert is_worse("rmse", high, low)
    assert not is_worse("rmse", low, high)
    assert is_worse("ndcg@10", low, high)
    assert not is_worse("ndcg@10", high, low)
    assert not is_worse("rmse", low, low)
    assert is_worse("mae", low, low)
    assert is_worse("rmse", {"rmse": math.nan}, low)


# --- evaluate


def test_status_8_after_the_results_are_written(item_model):
    usual = call("evaluate", item_model, "--format", "json")
    rmse = json.loads(usual.stdout)[0]["rmse"]
    for limit, status in ((rmse + 1e-6, 0), (rmse - 1e-6, 8)):
        result = call("evaluate", item_model, "--format", "json", "--fail-above", f"rmse={limit:.7f}")
        assert (result.status, result.stdout) == (status, usual.stdout)
    assert "error: quality gate missed: rmse of item.model is " in result.stderr.splitlines()[-1]


def test_status_8_through_the_real_program_for_any_of_several_models(item_model, user_model):
    gates = ("--fail-below", "ndcg@10=0", "--fail-below", "recall@10=1")
    result = run("evaluate", item_model, user_model, *gates, "--format", "json")
    assert result.status == 8
    assert "ndcg@10" in json.loads(result.stdout)[0], "the gate asks for lists"
    assert "recall@10 of item.model is " in result.stderr
    assert "recall@10 of user.model is " in result.stderr
    assert "popularity" not in result.stderr.splitlines()[-1], "baselines pass no gates"


def test_a_gate_that_means_nothing_is_refused_before_anything_is_measured(item_model):
    for arguments in (("--fail-above", "rsme=1"), ("--fail-below", "ndcg@20=1"), ("--fail-above", "rmse")):
        result = call("evaluate", item_model, *arguments)
        assert (result.status, result.stdout) == (2, "")


def test_a_gate_of_ratings_is_refused_for_a_ranking_model_before_measuring(item_model, lists_model, tmp_path):
    for models in ((lists_model,), (item_model, lists_model)):
        result = call("evaluate", *models, "--fail-above", "rmse=1", "--data", tmp_path / "not looked for")
        assert (result.status, result.stdout) == (2, "")
        assert "the ranking model lists.model has scores; use --fail-below ndcg@10, or" in result.stderr
        assert len(result.stderr.splitlines()) == 1


# --- train --keep-if-better


@pytest.fixture
def shop(workshop, tmp_path, monkeypatch):
    """A folder with the workshop's dataset and its item model."""
    shutil.copytree(workshop / "data", tmp_path / "data")
    shutil.copy(workshop / "item.model", tmp_path / "m")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("metric", ["rmse", "mae", "ndcg@10"])
def test_a_worse_model_does_not_replace_the_old_one(shop, metric):
    before = (shop / "m").read_bytes()
    result = call("train", "data", "-o", "m", *POOR, "--keep-if-better", metric)
    assert (result.status, result.stdout) == (8, "")
    assert f"error: m was kept: the new model is worse on the test ratings ({metric}: " in result.stderr
    assert (shop / "m").read_bytes() == before


def test_an_equal_or_better_model_replaces_the_old_one(shop):
    before = (shop / "m").read_bytes()
    arguments = ("train", "data", "-o", "m", *SMALL, "--keep-if-better", "rmse")
    assert call(*arguments).status == 0
    assert (shop / "m").read_bytes() != before, "it knows another folder as its dataset"
    assert call("train", "data", "-o", "m", *POOR, "--force").status == 0
    result = call(*arguments)
    assert result.status == 0
    assert "test ratings that neither model has seen" in result.stderr
    assert model_file.load_model(shop / "m").provenance["epochs"] > 1


def test_without_an_old_model_the_new_one_is_written(shop):
    assert call("train", "data", "-o", "new", *POOR, "--keep-if-better", "mae").status == 0
    assert (shop / "new").exists()


def test_on_another_dataset_only_ratings_new_to_the_old_model_count(shop, workshop):
    """Every rating is in another order, so that the split deals them anew; most of the new test part was learned."""
    header, *rows = (workshop / "ratings.csv").read_text().splitlines()
    more = [f"new{user},{item:05},{1 + item % 5},1" for user in range(20) for item in range(20)]
    (shop / "r.csv").write_text("\n".join([header, *more, *reversed(rows)]) + "\n")
    assert call("prepare", "r.csv", "-o", "data2", "--titles", workshop / "titles.csv").status == 0
    result = call("train", "data2", "-o", "m", *SMALL, "--keep-if-better", "rmse")
    assert result.status in (0, 8)
    counted = int(re.search(r"on (\d+) test ratings that neither|there are (\d+);", result.stderr)[1])
    assert 30 <= counted <= len(more) * 0.2, "a tenth of the new ratings, and no old one"


def test_with_too_few_new_ratings_the_old_model_stays(shop, workshop):
    before = (shop / "m").read_bytes()
    header, *rows = (workshop / "ratings.csv").read_text().splitlines()
    (shop / "r.csv").write_text("\n".join([header, *reversed(rows)]) + "\n")
    assert call("prepare", "r.csv", "-o", "data3", "--titles", workshop / "titles.csv").status == 0
    result = call("train", "data3", "-o", "m", *SMALL, "--keep-if-better", "rmse")
    assert result.status == 8
    assert "needs 30 test ratings that the old one has not seen" in result.stderr
    assert (shop / "m").read_bytes() == before


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ("rsme", "--keep-if-better rsme is not a metric; did you mean rmse?"),
        ("ndcg@20", "use ndcg@10"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_training(shop, metric, message):
    result = call("train", "data", "-o", "m", "--keep-if-better", metric)
    assert (result.status, result.stdout) == (2, "")
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_without_test_ratings_and_with_a_damaged_old_model_it_is_refused(shop, workshop):
    assert call("prepare", workshop / "ratings.csv", "-o", "untested", "--test", 0).status == 0
    result = call("train", "untested", "-o", "m", "--keep-if-better", "rmse")
    assert result.status == 2
    assert "the dataset has none; prepare it with --test" in result.stderr
    (shop / "m").write_bytes(b"not a model")
    assert call("train", "data", "-o", "m", "--keep-if-better", "rmse").status == 4
    assert (shop / "m").read_bytes() == b"not a model"
