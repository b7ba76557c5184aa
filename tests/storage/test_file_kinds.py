"""Results of somebody's work are not replaced by a log, a summary or recommendations."""

import csv
import io
import json
import os
import subprocess
import sys

import pytest

from autorec_cli.storage.file_kinds import artifact_at
from tests.program import ROOT, SMALL, call


def test_models_and_files_of_datasets_are_told_from_others(workshop, item_model, both_model, tmp_path):
    assert artifact_at(item_model) == artifact_at(both_model) == "a model"
    assert artifact_at(workshop / "data" / "train.npz") == "a file of the dataset data"
    assert artifact_at(workshop / "data" / "dataset.json") == "a file of the dataset data"
    for content in (b"", b"user,item\n", b"\x08\0\0\0\0\0\0\0notjson!", b"\xff" * 20, b"\x02\0\0\0\0\0\0\0[]"):
        (tmp_path / "other.json").write_bytes(content)
        assert artifact_at(tmp_path / "other.json") is None
    assert artifact_at(tmp_path) is artifact_at(tmp_path / "nothing") is None


@pytest.mark.parametrize("option", ["--summary", "--log"])
def test_no_log_or_summary_takes_the_place_of_a_model(workshop, item_model, tmp_path, option):
    old = tmp_path / "old.model"
    old.write_bytes(item_model.read_bytes())
    result = call("train", workshop / "data", "-o", tmp_path / "new.model", "--epochs", "1", option, old)
    assert result.status == 2
    assert f"{option} {old} would overwrite a model" in result.stderr
    assert old.read_bytes() == item_model.read_bytes()


def test_no_list_takes_the_place_of_a_model_or_of_a_part_of_a_dataset(workshop, item_model, tmp_path):
    old = tmp_path / "old.model"
    old.write_bytes(item_model.read_bytes())
    for output, what in ((old, "a model"), (workshop / "data" / "items.parquet", "a file of the dataset data")):
        before = output.read_bytes()
        result = call("recommend", item_model, "-k", "1", "-o", output)
        assert (result.status, output.read_bytes()) == (2, before)
        assert f"would overwrite {what}" in result.stderr


def test_a_model_never_replaces_a_file_of_a_dataset(workshop):
    train = workshop / "data" / "train.npz"
    before = train.read_bytes()
    result = call("train", workshop / "data", "-o", train, "--epochs", "1", "--force")
    assert (result.status, train.read_bytes()) == (2, before)
    assert "would overwrite a file of the dataset data" in result.stderr


def test_a_prepared_dataset_is_not_prepared_again(workshop, tmp_path):
    result = call("prepare", workshop / "data", "-o", tmp_path / "new")
    assert result.status == 3
    assert f"autorec train {workshop / 'data'} -o MODEL" in result.stderr


def test_a_warm_start_on_the_same_dataset_says_what_it_was_fitted_on(workshop, item_model, tmp_path):
    warm = (
        "train",
        workshop / "data",
        "-o",
        tmp_path / "warm.model",
        "--warm-start",
        item_model,
        *SMALL,
        "--epochs",
        "1",
    )
    told = call(*warm).stderr
    assert "fitted on: train and valid, epochs: 1" in told
    assert "valid: no ratings that the older model cannot know" in told


def test_variables_with_the_names_of_the_programs_own_options_change_nothing(monkeypatch, tmp_path):
    for name in ("VERSION", "SHOW_COMPLETION", "INSTALL_COMPLETION"):
        monkeypatch.setenv(f"AUTOREC_{name}", "1")
    monkeypatch.setenv("HOME", str(tmp_path))
    result = call("config", "show", "--format", "json")
    assert result.status == 0
    assert json.loads(result.stdout)
    assert list(tmp_path.iterdir()) == []


def test_predicted_ratings_have_four_decimals(both_model):
    result = call("recommend", both_model, "-k", "5", "--format", "csv")
    ratings = [row["predicted_rating"] for row in csv.DictReader(io.StringIO(result.stdout))]
    assert ratings
    assert all(len(rating.partition(".")[2]) <= 4 for rating in ratings)


def test_threads_that_wait_sleep_whatever_loads_torch_first():
    names = ("OMP_WAIT_POLICY", "OPENBLAS_THREAD_TIMEOUT")
    code = f"import autorec_cli.training.checkpoints.checkpoint, os; print(*map(os.environ.get, {names}))"
    environment = {name: value for name, value in os.environ.items() if name not in names}
    told = subprocess.run([sys.executable, "-c", code], env=environment, cwd=ROOT, capture_output=True, check=True)
    assert told.stdout.decode().split() == ["PASSIVE", "4"]
