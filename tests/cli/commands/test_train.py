"""`autorec train` through the real program."""

import errno
import json
import re
import shutil

import pytest

from autorec_cli.cli.reports.training import TrainingReport
from autorec_cli.data import dataset
from autorec_cli.errors import UsageError
from autorec_cli.inference.files import model_file
from autorec_cli.storage import safetensors_writer
from autorec_cli.training.loop.validation import ValidationResult
from autorec_cli.training.settings import TrainSettings
from autorec_cli.training.train import TrainedModel
from tests.program import SMALL, call, run
from tests.trained import train

TINY = {"hidden_sizes": (2,), "epochs": 1}
STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ "


def test_lines_off_a_terminal_are_timestamped_one_an_epoch(workshop, tmp_path):
    log = tmp_path / "log.jsonl"
    result = run("train", workshop / "data", "-o", tmp_path / "m", *SMALL, "--log", log)
    assert (result.status, result.stdout) == (0, "")
    lines = result.stderr.splitlines()
    assert all(re.match(STAMP, line) for line in lines)
    assert "\r" not in result.stderr
    assert "\x1b" not in result.stderr
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    model = model_file.load_model(tmp_path / "m")
    n_refit = model.settings.refit_epochs(model.provenance["epochs"])
    assert [(entry["phase"], entry["epoch"]) for entry in entries] == [
        *(("selection", epoch) for epoch in range(1, 16)),
        *(("refit", epoch) for epoch in range(1, n_refit + 1)),
    ]
    epochs = [line for line in lines if re.match(STAMP + "epoch ", line)]
    assert len(epochs) == len(entries)
    for line, entry in zip(epochs, entries, strict=True):
        assert f"{entry['epoch']}/{entry['n_epochs']} {entry['phase']}: train RMSE {entry['train_rmse']:.4f}" in line
        assert entry["seconds"] > 0
        assert (entry["valid_rmse"] is None) == (entry["phase"] == "refit")
    best = min(entry["valid_rmse"] for entry in entries if entry["phase"] == "selection")
    assert f"trained: valid RMSE: {best:.4f}" in result.stderr
    assert f"next: autorec evaluate {tmp_path / 'm'}" in result.stderr
    assert "device cpu" in lines[0] or "device cuda" in lines[0]
    # The same seed and threads gave the model of the session: the bytes are equal.
    assert (tmp_path / "m").read_bytes() == (workshop / "item.model").read_bytes()


def test_another_seed_is_another_model_and_log_can_be_stdout(workshop, tmp_path):
    result = run("train", workshop / "data", "-o", tmp_path / "m", *SMALL, "--seed", 1, "--log", "-", "--no-refit")
    assert result.status == 0
    assert [json.loads(line)["phase"] for line in result.stdout.splitlines()] == ["selection"] * 15
    assert (tmp_path / "m").read_bytes() != (workshop / "item.model").read_bytes()
    assert model_file.load_model(tmp_path / "m").provenance["fitted_parts"] == ["train"]


def test_the_model_remembers_where_it_comes_from(workshop, user_model):
    model, prepared = model_file.load_model(user_model), dataset.load_dataset(workshop / "data")
    assert model.provenance["dataset"] == str(workshop / "data")
    assert model.provenance["fingerprint"] == prepared.fingerprint()
    assert model.provenance["fitted_parts"] == ["train", "valid"]
    assert model.settings.variant == "user"
    assert model.settings.hidden_sizes == (16,)
    assert model.provenance["metrics"]["valid_rmse"] > 0
    assert set(model.provenance["versions"]) == {"autorec-cli", "numpy", "torch"}


def test_an_existing_model_is_not_replaced_without_force(workshop, tmp_path):
    (tmp_path / "m").write_text("old")
    result = run("train", workshop / "data", "-o", tmp_path / "m", *SMALL)
    assert (result.status, result.stdout) == (2, "")
    assert all(word in result.stderr for word in (str(tmp_path / "m"), "--force"))
    assert (tmp_path / "m").read_text() == "old"
    train(workshop / "data", tmp_path / "m", "item", TINY, force=True)
    assert model_file.load_model(tmp_path / "m").settings.hidden_sizes == (2,)


def test_cuda_where_there_is_none_is_an_error(workshop, tmp_path):
    result = run("train", workshop / "data", "-o", tmp_path / "m", "--device", "cuda", env={"CUDA_VISIBLE_DEVICES": ""})
    assert (result.status, result.stdout) == (2, "")
    assert "--device cuda" in result.stderr
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "tpu"}, "--device.*'tpu'"),
        ({"threads": -1}, "--threads.*-1"),
        ({"log": "no/such/folder.jsonl"}, "no/such/folder.jsonl"),
        ({"log": "."}, "Is a directory"),
        ({"output": "."}, r"\. is a "),
        ({"output": "no/such/m"}, "no/such/m"),
        ({"output": "/dev/null", "force": True}, "/dev/null"),
        ({"output": "/proc/m"}, "/proc/m"),
    ],
)
def test_what_cannot_be_done_is_refused_before_training(workshop, tmp_path, monkeypatch, options, message):
    from pathlib import Path

    monkeypatch.chdir(tmp_path)
    output = Path(options.pop("output", "m"))
    with pytest.raises(UsageError, match=message):
        train(workshop / "data", output, "item", TINY, **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--variant", "itme"), "itme"),
        (("--epochs", 0), "--epochs"),
        (("--objective", "ranking", "--center", "both"), "--center"),
        (("--objective", "rating", "--missing-weight", 0.5), "--objective ranking"),
        (("--device", "gpu"), "'gpu'"),
    ],
)
def test_options_are_checked_before_outputs_and_inputs(tmp_path, options, message):
    (tmp_path / "m").write_text("old")
    result = call("train", tmp_path / "no data", "-o", tmp_path / "m", *options)
    assert (result.status, result.stdout) == (2, "")
    assert message in result.stderr
    result = call("cross-validate", tmp_path / "no data", "-o", tmp_path, *options)
    assert (result.status, message in result.stderr) == (2, True)


@pytest.mark.parametrize(
    ("rmse", "better"), [(0.9, None), (0.998, None), (0.9995, "as well as"), (1.0, "as well as"), (1.1, "better than")]
)
def test_a_network_that_has_learned_nothing_is_warned_of(tmp_path, capsys, rmse, better):
    (tmp_path / "m").touch()
    provenance = {"fitted_parts": ["train"], "epochs": 1}
    trained = TrainedModel(tmp_path / "m", [], provenance, [ValidationResult("rmse", rmse, 1.0, None)], 1.0)
    TrainingReport().finished(trained)
    warnings = [line for line in capsys.readouterr().err.splitlines() if " warning: " in line]
    assert len(warnings) == (better is not None)
    for warning in warnings:
        assert f"predicts {better} this model" in warning


@pytest.mark.parametrize(
    ("n_units", "refit", "rating", "ranking"),
    [
        (0, True, "before the refit ", "before the refit "),
        (7, True, "before the refit ", "before the refit, with linear units "),
        (7, False, "", "with linear units "),
        (0, False, "", ""),
    ],
)
def test_the_outcome_says_how_validation_was_measured(tmp_path, capsys, n_units, refit, rating, ranking):
    (tmp_path / "m").touch()
    networks = TrainSettings(linear_units=n_units, refit=refit).networks((9, 9), 9)
    validations = [ValidationResult("rmse", 0.9, 1.0, None), ValidationResult("ndcg@10", 0.3, 0.1, None)]
    TrainingReport().finished(
        TrainedModel(tmp_path / "m", networks, {"fitted_parts": ["train"], "epochs": 1}, validations, 1.0)
    )
    told = capsys.readouterr().err
    assert f"valid RMSE: 0.9000 {rating}(bias baseline: 1.0000)" in told
    assert f"valid nDCG@10: 0.3000 {ranking}(popularity baseline: 0.1000)" in told


IDENTITY = ("--output-activation", "identity")


def test_a_learning_rate_that_is_far_too_large_writes_no_model(workshop, tmp_path):
    result = call("train", workshop / "data", "-o", tmp_path / "m", *SMALL, "--learning-rate", 1000, *IDENTITY)
    assert result.status == 5
    assert "predicts the training ratings with RMSE" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_a_sentence_and_leaves_the_old_model(workshop, tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    shutil.copy(workshop / "item.model", tmp_path / "m")
    monkeypatch.setattr(safetensors_writer, "_write_pieces", full)
    with pytest.raises(UsageError, match=r"cannot write .*No space left on device; make room"):
        train(workshop / "data", tmp_path / "m", "item", TINY, force=True)
    assert (tmp_path / "m").read_bytes() == (workshop / "item.model").read_bytes()
    assert [file.name for file in tmp_path.iterdir()] == ["m"]


def test_a_model_is_not_written_to_stdout(workshop, tmp_path):
    result = run("train", workshop / "data", "-o", "-", *SMALL, cwd=tmp_path)
    assert (result.status, result.stdout) == (2, "")
    assert "standard output" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_circle_of_links_is_refused_in_a_sentence(workshop, tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    result = run("train", workshop / "data", "-o", tmp_path / "loop", *SMALL)
    assert result.status == 2
    assert str(tmp_path / "loop") in result.stderr
    assert "Traceback" not in result.stderr


def test_where_numba_may_not_compile_torch_trains(workshop, tmp_path):
    result = run("train", workshop / "data", "-o", tmp_path / "m", *SMALL, env={"NUMBA_DISABLE_JIT": "1"})
    assert result.status == 0
    assert "device cpu (torch)" in result.stderr
