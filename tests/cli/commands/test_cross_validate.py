"""`autorec cross-validate` through the program."""

import io
import json
import re
import signal
import subprocess

import numpy as np
import polars as pl
import pytest

from autorec_cli.data import dataset
from autorec_cli.evaluation.metrics import TOP_K_METRICS
from tests.forking import program
from tests.program import SMALL, call, run

BASELINES = ["global mean", "item mean", "user+item bias"]
RANKERS = ["popularity", "EASE"]
QUICK = (*SMALL, "--epochs", 3)


def test_a_split_is_what_prepare_train_and_evaluate_make_of_its_seed(workshop, tmp_path):
    result = run("cross-validate", workshop / "data", *SMALL, "--repeats", 2, "--test", 0.2,
                 "--per-split", tmp_path / "splits.csv")  # fmt: skip
    assert result.status == 0, result.stderr
    splits = pl.read_csv(tmp_path / "splits.csv")
    rows = splits.filter(pl.col("split") == 2).drop("split", "seed")
    seed = splits["seed"][-1]
    for arguments in (
        ("prepare", workshop / "ratings.csv", "-o", "data", "--seed", seed, "--test", 0.2),
        ("train", "data", "-o", "m", *SMALL, "--seed", seed),
        ("evaluate", "m", "-o", "by-hand.csv"),
    ):
        assert run(*arguments, cwd=tmp_path).status == 0
    by_hand = pl.read_csv(tmp_path / "by-hand.csv")
    assert rows["model"].to_list() == ["I-AutoRec", *BASELINES, *RANKERS]
    assert rows.drop("model").equals(by_hand.drop("model"))


def test_a_pipe_gets_the_means_and_stderr_a_line_a_split(workshop, tmp_path):
    result = run("cross-validate", "data", *QUICK, "--folds", 3, "--variant", "user", "--per-split",
                 tmp_path / "splits.parquet", cwd=workshop)  # fmt: skip
    assert result.status == 0, result.stderr
    means = pl.read_csv(io.StringIO(result.stdout))
    metrics = ("rmse", "mae", *(f"{name}@10" for name in TOP_K_METRICS))
    assert set(means.columns) == {"model", "n_splits", *metrics, *(f"{metric}_margin" for metric in metrics)}
    assert means["model"].to_list() == ["U-AutoRec", *BASELINES, *RANKERS]
    assert means["n_splits"].to_list() == [3] * means.height
    splits = pl.read_parquet(tmp_path / "splits.parquet")
    of_net = splits.filter(pl.col("model") == "U-AutoRec")
    assert means["rmse"][0] == pytest.approx(of_net["rmse"].mean(), abs=1e-6)
    assert means["rmse_margin"][0] == pytest.approx(4.302653 * of_net["rmse"].std() / 3**0.5, abs=2e-6)
    prepared = dataset.load_dataset(workshop / "data")
    assert of_net["n_pairs"].sum() == prepared.train.nnz + prepared.valid.nnz + prepared.test.nnz
    told = [line for line in result.stderr.splitlines() if re.search(r"Z split \d/3 ", line)]
    assert len(told) == 3
    assert f"test RMSE: U-AutoRec {of_net['rmse'][1]:.4f}, user+item bias " in told[1]
    assert "3 folds of" in result.stderr
    assert "epoch 1/" not in result.stderr


def test_tables_have_intervals_beside_values(workshop):
    result = call("cross-validate", workshop / "data", *QUICK, "--repeats", 2, "--format", "table")
    assert result.status == 0, result.stderr
    assert "test ratings of 2 splits, mean ± " in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert re.search(r"│ I-AutoRec +│ \d\.\d{4} ± \d\.\d{4} │ \d\.\d{4} ± ", result.stdout)
    assert "top-10 recommendations" in result.stdout
    assert "│ popularity │" in result.stdout


def test_the_summary_has_both_kinds_of_rows(workshop, tmp_path):
    result = call("cross-validate", workshop / "data", *QUICK, "--repeats", 2, "-q", "--summary", tmp_path / "run.json",
                  "-o", tmp_path / "mean.json")  # fmt: skip
    assert (result.status, result.stdout) == (0, "")
    found = json.loads((tmp_path / "run.json").read_text())["result"]
    assert found["average"] == json.loads((tmp_path / "mean.json").read_text())
    assert [row["split"] for row in found["splits"]] == [1] * 6 + [2] * 6


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (["--folds", 1], 2, "--folds"),
        (["--folds", 2, "--repeats", 2], 2, "--folds"),
        (["--top-k", 0], 2, "--top-k"),
        (["--epochs", 0], 2, "--epochs"),
        (["--hidden-size", "many"], 2, "--hidden-size"),
        (["--seed", -1], 2, "--seed"),
        (["-o", "."], 2, ". is a "),
        (["-o", "no/such.csv"], 2, " no/such.csv"),
        (["--per-split", "no/such.csv"], 2, " no/such.csv"),
        (["--per-split", "x.csv", "-o", "x.csv"], 2, "x.csv"),
        (["--per-split", "-"], 2, "--output and --per-split"),
        (["--per-split", "x.xlsx"], 2, "x.xlsx"),
        (["--device", "tpu"], 2, "--device"),
        (["--hidden-size", 10**12], 6, "--hidden-size"),
        (["--learning-rate", 1e20], 5, "--learning-rate"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_leaves_nothing(
    workshop, tmp_path, monkeypatch, options, status, message
):
    monkeypatch.chdir(tmp_path)
    result = call("cross-validate", workshop / "data", *SMALL, *options, "-q")
    assert (result.status, result.stdout) == (status, "")
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_run_leaves_nothing(workshop, tmp_path):
    arguments = [
        "cross-validate",
        workshop / "data",
        *SMALL,
        "--repeats",
        500,
        "-o",
        "mean.csv",
        "--per-split",
        "s.csv",
    ]
    process = subprocess.Popen(
        [program(), *map(str, arguments)], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        shown = [process.stderr.readline() for _ in range(3)]
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=30)
    finally:
        process.kill()
    assert "split 1/500" in shown[2]
    assert (process.returncode, stdout) == (130, "")
    assert "error: interrupted" in stderr.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


def test_splits_on_which_one_network_has_no_weight_are_averaged_under_one_name(workshop, tmp_path, monkeypatch):
    """The dataset's own split has no validation ratings, which says nothing of these splits."""
    prepared = call("prepare", workshop / "ratings.csv", "-o", tmp_path / "data", "--split", "none")
    assert prepared.status == 0, prepared.stderr
    weights = iter([np.array([1.0, 0.0]), np.array([0.0, 1.0]), np.array([0.5, 0.5])])
    monkeypatch.setattr("autorec_cli.training.networks.best_weights", lambda *_: next(weights))
    result = call("cross-validate", tmp_path / "data", *QUICK, "--variant", "both", "--repeats", 3,
                  "--per-split", tmp_path / "splits.csv")  # fmt: skip
    assert result.status == 0, result.stderr
    assert "rating by item and rating by user, device" in result.stderr
    names = pl.read_csv(tmp_path / "splits.csv")["model"].to_list()
    assert [name for name in names if name not in (*BASELINES, *RANKERS)] == ["AutoRec"] * 3
    refused = call("cross-validate", tmp_path / "data", *QUICK, "--variant", "both", "--valid", 0)
    assert (refused.status, "--valid" in refused.stderr) == (2, True)
