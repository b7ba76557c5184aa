"""Gates for scripts: `evaluate --fail-above` and `--fail-below`."""

import json
import math

import pytest

from autorec_cli.errors import QualityGateError, UsageError
from autorec_cli.evaluation.gates import Gate, check_metric, enforce, parse_gate
from tests.program import call, run

ROW = {"model": "m", "rmse": 0.9, "ndcg@10": 0.3}


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
