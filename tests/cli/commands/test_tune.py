"""`autorec tune` through the program."""

import json
import re
import shlex
import shutil
import signal
import subprocess
import sys

import pytest

from autorec_cli.cli.commands.tune import _flags
from autorec_cli.errors import install_command
from autorec_cli.training.settings import TrainSettings
from tests.forking import program
from tests.program import ROOT, call, run

pytest.importorskip("optuna")

SMALL = ("--max-epochs", 4, "--max-hidden-size", 20, "--threads", 1)


def test_stdout_is_the_command_that_trains_the_best_model(tmp_path):
    """On the sample data; the same settings and seed give the same validation RMSE."""
    shutil.copytree(ROOT / "sample_data", tmp_path / "sample_data")
    assert run("prepare", "sample_data/ratings.csv.gz", "-o", "my data", cwd=tmp_path).status == 0
    result = run("tune", "my data", *SMALL, "--trials", 3, "--variant", "both", cwd=tmp_path)
    assert result.status == 0, result.stderr
    assert result.stdout.startswith("autorec train 'my data' -o ")
    told = [line for line in result.stderr.splitlines() if re.search(r"Z trial \d/3 ", line)]
    assert ["complete: valid" in line for line in told] == [True] * 3
    assert "epoch 1/" not in result.stderr
    trained = run(*shlex.split(result.stdout)[1:], "--threads", 1, cwd=tmp_path)
    assert trained.status == 0
    best = re.search(r"best validation RMSE (\d\.\d{4})", result.stderr)[1]
    assert f"valid RMSE: {best} " in trained.stderr


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"implicit": False, "center": "none"}, "--no-implicit --center none"),
        ({"objective": "ranking", "implicit": True, "normalize": False}, "--implicit --no-normalize"),
    ],
)
def test_switches_are_told_as_train_takes_them(given, told):
    asked = TrainSettings(variant="item", epochs=7, **given).complete((80, 50), 2000)
    flags = " ".join(_flags(asked))
    assert told in flags
    assert "True" not in flags
    assert "False" not in flags


def test_a_stored_search_goes_on_until_all_trials_are_done(workshop, tmp_path):
    stored = (*SMALL, "--storage", tmp_path / "trials?.db", "--format", "json")
    first = run("tune", workshop / "data", *stored, "--trials", 2)
    assert first.status == 0, first.stderr
    second = run("tune", workshop / "data", *stored, "--trials", 4)
    assert "up to 4 trials, 2 of them made before" in second.stderr
    assert re.findall(r"trial (\d)/4 ", second.stderr) == ["3", "4"]
    again = run("tune", workshop / "data", *stored, "--trials", 4)
    assert "trial " not in again.stderr.replace("trials", "")
    assert again.stdout == second.stdout
    found = json.loads(again.stdout)
    assert found["n_trials"] == 4
    assert found["valid_rmse"] <= json.loads(first.stdout)["valid_rmse"]
    assert found["command"].startswith("autorec train ")
    assert found["settings"]["hidden_sizes"][0] <= 20
    assert [path.name for path in tmp_path.iterdir()] == ["trials?.db"]
    at_once = run("tune", workshop / "data", *SMALL, "--format", "json", "--trials", 4)
    assert at_once.stdout == again.stdout
    for options, name in ((["--seed", 1], "seed"), (["--variant", "user"], "variants")):
        other = run("tune", workshop / "data", *stored, *options)
        assert (other.status, other.stdout) == (2, "")
        assert f"were made with another {name}; name another file" in other.stderr


@pytest.mark.parametrize("sent", ["SIGINT", "SIGKILL"])
def test_a_search_that_was_cut_off_goes_on(workshop, tmp_path, sent):
    arguments = ["tune", workshop / "data", *SMALL, "--max-epochs", 10**6, "--storage", "trials.db", "-o", "best.txt"]
    process = subprocess.Popen(
        [program(), *map(str, arguments)], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        shown = [process.stderr.readline() for _ in range(2)]  # the defaults have ended, a long trial is running
        process.send_signal(getattr(signal, sent))
        stdout, stderr = process.communicate(timeout=30)
    finally:
        process.kill()
    assert "trial 1/50 complete" in shown[1]
    assert stdout == ""
    if sent == "SIGINT":
        assert process.returncode == 130
        assert "error: interrupted" in stderr.splitlines()[-1]
        assert [path.name for path in tmp_path.iterdir()] == ["trials.db"]
    result = run("tune", workshop / "data", *SMALL, "--max-epochs", 10**6, "--storage", "trials.db", "--trials", 1,
                 "-o", "best.json", cwd=tmp_path)  # fmt: skip
    assert result.status == 0, result.stderr
    assert "1 of them made before" in result.stderr
    assert json.loads((tmp_path / "best.json").read_text())["n_trials"] == 1


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (["--trials", 0], 2, "--trials"),
        (["--variant", "all"], 2, "item, user, both"),
        (["--max-hidden-size", 0], 2, "--max-hidden-size"),
        (["--max-hidden-size", 10**12], 6, "--hidden-size"),
        (["--seed", -1], 2, "--seed"),
        (["--format", "csv"], 2, "command, json"),
        (["--storage", "-"], 2, "--storage"),
        (["--storage", "no/trials.db"], 2, " no/trials.db"),
        (["--storage", "x", "-o", "x"], 2, "--storage x"),
        (["--storage", "."], 2, ". is a "),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_leaves_nothing(
    workshop, tmp_path, monkeypatch, options, status, message
):
    monkeypatch.chdir(tmp_path)
    result = call("tune", workshop / "data", *options, "-q")
    assert (result.status, result.stdout) == (status, "")
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_database_stays_as_it_was(workshop, tmp_path):
    (tmp_path / "notes.txt").write_text("not a database, but longer than the header of one would be, " * 9)
    before = (tmp_path / "notes.txt").read_bytes()
    result = call("tune", workshop / "data", "--storage", tmp_path / "notes.txt")
    assert (result.status, result.stdout) == (4, "")
    assert "notes.txt" in result.stderr
    assert "Traceback" not in result.stderr
    assert (tmp_path / "notes.txt").read_bytes() == before


def test_a_dataset_without_validation_ratings_is_refused(workshop, tmp_path):
    assert run("prepare", workshop / "ratings.csv", "-o", "data", "--valid", 0, cwd=tmp_path).status == 0
    result = call("tune", tmp_path / "data")
    assert (result.status, result.stdout) == (4, "")
    assert "--valid" in result.stderr


def test_without_optuna_the_command_to_install_it_is_told(workshop, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    result = call("tune", workshop / "data")
    assert (result.status, result.stdout) == (2, "")
    assert install_command("tune") in result.stderr
