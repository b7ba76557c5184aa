"""`autorec info`, `autorec config show` and `autorec doctor`."""

import importlib.util
import json
import re
import subprocess
from dataclasses import replace

import polars as pl
import pytest

from autorec_cli.cli.commands import doctor
from autorec_cli.cli.commands.doctor import checks
from autorec_cli.errors import install_command
from autorec_cli.inference.files import model_file
from autorec_cli.network import device
from tests.program import call


def rows_of(text):
    return {row["name"]: row["value"] for row in pl.read_csv(text.encode(), infer_schema=False).iter_rows(named=True)}


# --- info


def test_what_a_model_is(workshop, item_model):
    result = call("info", item_model)
    assert (result.status, result.stderr) == (0, "")
    rows = rows_of(result.stdout)
    assert (rows["kind"], rows["path"], rows["variant"]) == ("model", str(item_model), "item")
    assert int(rows["bytes"]) == item_model.stat().st_size
    assert rows["layers"] == "[80, 16, 80]"
    assert (rows["n_users"], rows["n_items"], rows["n_cold_users"]) == ("80", "50", "0")
    assert (rows["settings.hidden_sizes"], rows["settings.learning_rate"]) == ("[16]", "0.02")
    assert rows["dataset"] == str(workshop / "data")
    assert float(rows["metrics.valid_rmse"]) > 0
    assert rows["versions.torch"]
    document = json.loads(call("info", item_model, "--format", "json").stdout)
    assert document["fingerprint"] == rows["fingerprint"]
    assert document["settings"] == model_file.load_model(item_model).settings.to_document()
    assert document["split"]["strategy"] == "random"


def test_what_a_dataset_is(workshop, tmp_path):
    rows = rows_of(call("info", workshop / "data").stdout)
    assert (rows["kind"], rows["n_users"], rows["has_titles"]) == ("dataset", "80", "true")
    assert rows["sources.1.path"] == "ratings.csv"
    assert rows["sources.1.part"] == ""
    assert call("info", workshop / "data", "-o", tmp_path / "d.json").status == 0
    document = json.loads((tmp_path / "d.json").read_text())
    assert document["counts"]["n_ratings"] == int(rows["counts.n_ratings"])
    assert document["bytes"] == sum(file.stat().st_size for file in (workshop / "data").iterdir())


@pytest.mark.parametrize("name", ["none", "ratings.csv", "."])
def test_what_is_neither_is_status_4(workshop, name):
    result = call("info", workshop / name)
    assert (result.status, result.stdout) == (4, "")
    assert len(result.stderr.splitlines()) == 1


# --- config show


@pytest.fixture
def shown(tmp_path, monkeypatch):
    """The rows of `config show`, by command and option."""
    monkeypatch.chdir(tmp_path)

    def show(*arguments):
        result = call("config", "show", *arguments)
        assert result.status == 0, result.stderr
        rows = pl.read_csv(result.stdout.encode(), infer_schema=False).rows(named=True)
        return {(row["command"], row["option"]): (row["value"], row["origin"]) for row in rows}

    return show


COMMANDS = {
    "run",
    "predict",
    "sample",
    "prepare",
    "train",
    "evaluate",
    "recommend",
    "similar",
    "export",
    "report",
    "info",
    "doctor",
    "cross-validate",
    "tune",
}


def test_every_value_and_where_it_comes_from(shown, tmp_path, monkeypatch):
    (tmp_path / "autorec.toml").write_text("[train]\nepochs = 30\nseed = 1\nrefit = false\nhidden-size = [9, 8]\n")
    (tmp_path / "other.toml").write_text("[recommend]\nuser = ['1', '2']\n")
    monkeypatch.setenv("AUTOREC_TRAIN_SEED", "2")
    rows = shown()
    assert {command for command, _ in rows} == COMMANDS
    assert rows["train", "epochs"] == ("30", "autorec.toml")
    assert rows["train", "refit"] == ("false", "autorec.toml")
    assert rows["train", "hidden-size"] == ("9,8", "autorec.toml")
    assert rows["train", "seed"] == ("2", "AUTOREC_TRAIN_SEED")
    assert rows["train", "hidden-activation"] == ("sigmoid", "default")
    assert re.fullmatch(r"\(.* of the examples or less, .* at most, .*\)", rows["train", "batch-size"][0])
    assert rows["train", "output"] == ("", "default")
    assert rows["prepare", "quiet"] == ("false", "default")
    rows = shown("recommend", "--config", "other.toml")
    assert {command for command, _ in rows} == {"recommend"}
    assert rows["recommend", "user"] == ("1,2", "other.toml")


@pytest.mark.parametrize(
    ("variable", "text", "message"),
    [
        ("AUTOREC_TRAIN_EPOCH", "", "AUTOREC_TRAIN_EPOCH;"),
        ("AUTOREC_TRAIN_EPOCHS", "", "--epochs must be a whole number, not 'x'"),
        ("X", "[train]\nepochs = 'x'", "--epochs must be a whole number, not 'x'"),
        ("X", "[train]\nepoch = 1", "did you mean epochs?"),
    ],
)
def test_what_a_command_would_refuse_is_refused(tmp_path, monkeypatch, variable, text, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(variable, "x")
    (tmp_path / "autorec.toml").write_text(text)
    result = call("config", "show")
    assert (result.status, result.stdout) == (2, "")
    assert message in result.stderr


def test_an_unknown_command_is_refused(shown):
    result = call("config", "show", "trian")
    assert result.status == 2
    assert all(word in result.stderr for word in ("trian", "prepare, train"))


# --- doctor


def test_everything_works_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = call("doctor", "--format", "json")
    assert result.status == 0, result.stdout
    rows = {row["name"]: row for row in json.loads(result.stdout)}
    assert {row["result"] for row in rows.values()} <= {"ok", "warning"}
    assert {"autorec", "python", "packages", "torch", "cuda", "engine", "memory", "disk"} <= set(rows)
    assert re.search(r"[\d,]+ MB/s; ", rows["writing"]["found"])
    assert rows["writing"]["result"] == "ok"
    assert "torch" in rows["packages"]["found"]
    if importlib.util.find_spec("numba"):
        assert rows["engine"]["result"] == "ok"
        assert "numba" in rows["engine"]["found"]
    assert list(tmp_path.iterdir()) == []


def test_what_does_not_work_is_status_2_after_all_rows(tmp_path, monkeypatch):
    def broken(*arguments, **options):
        return subprocess.CompletedProcess(arguments, -4, "", "Traceback ...\nImportError: libtorch.so: not found\n")

    monkeypatch.setattr(doctor.subprocess, "run", broken)
    monkeypatch.setattr(doctor, "PACKAGES", ("numpy", "no-such-package"))
    result = call("doctor", "-o", tmp_path / "rows.csv")
    assert result.status == 2
    assert "packages, torch" in result.stderr
    text = (tmp_path / "rows.csv").read_text()
    assert "torch,failed,ImportError: libtorch.so: not found" in text
    assert "packages,failed,missing: no-such-package" in text
    assert "writing,ok" in text


def test_a_torch_that_crashes_is_told_and_survived(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "CHECK_TORCH", "import os; os.kill(os.getpid(), 11)")
    (torch,) = [check for check in doctor._torch(tmp_path) if check.name == "torch"]
    assert (torch.result, torch.found) == ("failed", "ended with status -11")


def test_an_engine_that_is_not_compiled_is_told(tmp_path, monkeypatch):
    pytest.importorskip("numba")
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    engine = doctor._torch(tmp_path)[-1]
    assert (engine.name, engine.result) == ("engine", "warning")
    assert all(word in engine.found for word in ("NUMBA_DISABLE_JIT", "unset it"))


@pytest.mark.parametrize(
    ("built_for", "devices", "has_gpu", "result", "found"),
    [
        (None, [], False, "ok", "for CPUs"),
        (None, [], True, "warning", "pip install --force-reinstall torch"),
        ("13.0", ["H200"], True, "ok", "for GPUs (13.0)"),
        ("13.0", [], False, "ok", "--index-url https://download.pytorch.org/whl/cpu"),
    ],
)
def test_a_torch_of_the_wrong_build_is_named_with_the_other(monkeypatch, built_for, devices, has_gpu, result, found):
    monkeypatch.setattr(device, "has_driver", lambda: has_gpu)
    check = doctor._build(built_for, devices)
    assert check.result == result
    assert check.found.endswith(found)


def test_missing_extras_are_told(monkeypatch):
    monkeypatch.setattr(doctor, "_version", lambda name: None if name == "numba" else "1")
    found = doctor._engine("No module named 'numba'").found
    assert f"but cannot be used: No module named 'numba'; install them with: {install_command('fast')}" in found
    assert doctor._engine(None).result == "warning"


def test_a_numba_that_crashes_is_told_and_survived(tmp_path, monkeypatch):
    found = json.dumps({"version": "2", "built_for": None, "threads": 1, "cuda": []})
    text = f"print({found!r}, flush=True); import os; os.kill(os.getpid(), 11)"
    monkeypatch.setattr(doctor, "CHECK_TORCH", text)
    rows = {check.name: (check.result, check.found) for check in doctor._torch(tmp_path)}
    assert rows["torch"] == ("ok", "2, 1 threads")
    assert rows["engine"] == ("failed", "ended with status -11")


def test_no_place_for_temporary_files_is_told(monkeypatch):
    def nowhere():
        raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr(doctor.tempfile, "gettempdir", nowhere)
    check = doctor._temporary_files()
    assert (check.result, check.found.endswith("; name a folder with TMPDIR")) == ("failed", True)


def test_a_torch_that_never_comes_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "CHECK_TORCH", "import time; time.sleep(60)")
    monkeypatch.setattr(doctor, "TORCH_SECONDS", 0.2)
    assert doctor._torch(tmp_path)[0].result == "failed"


def test_a_folder_that_cannot_be_written_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "_torch", lambda folder: [])
    monkeypatch.setattr(doctor, "CHECKS", (doctor._writing,))
    (check,) = checks(tmp_path / "nowhere")
    assert (check.name, check.result) == ("writing", "failed")


def test_doctor_tells_of_a_python_that_cannot_be_started(monkeypatch, tmp_path):
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    found = {check.name: check for check in checks(tmp_path)}
    assert found["torch"].result == "failed"
    assert str(tmp_path / "python") in found["torch"].found


def test_a_table_says_each_fact_of_the_networks_once(workshop):
    whole = json.loads(call("info", workshop / "both.model", "--format", "json").stdout)
    table = call("info", workshop / "both.model", "--format", "table").stdout
    names = re.findall(r"^│ (\S+) ", table, re.MULTILINE)
    networks = [network["settings"] for network in whole["networks"]]
    common = {name for name in networks[0] if all(network[name] == networks[0][name] for network in networks)}
    assert {f"settings.{name}" for name in common} <= set(names)
    assert not any(name.startswith("models.") for name in names)
    for number, network in enumerate(networks, 1):
        assert f"networks.{number}.layers" in names
        found = {name.rpartition(".")[2] for name in names if name.startswith(f"networks.{number}.settings.")}
        assert found == network.keys() - common
    assert len(names) == len(set(names)) < 100
    assert "models" in whole


@pytest.mark.parametrize(
    ("networks", "shown"),
    [
        ([], "networks"),
        ([{"weight": 1}, 3], "networks"),
        ([{"weight": 1}], "networks.1.weight"),
        ([{"settings": {"hidden": 1, "seed": 2}}, {"settings": {"seed": 2}}], "networks.1.settings.hidden"),
        ("none", "networks"),
    ],
)
@pytest.mark.parametrize("name", ["both.model", "item.model"])
def test_facts_of_networks_that_are_odd_are_shown_as_they_are(workshop, tmp_path, name, networks, shown):
    model = model_file.load_model(workshop / name)
    odd = {"networks": networks, **({"models": [1]} if name == "item.model" else {})}
    model_file.save_model(replace(model, provenance={**model.provenance, **odd}), tmp_path / "odd.model")
    result = call("info", tmp_path / "odd.model", "--format", "table")
    assert result.status == 0, result.stderr
    assert re.search(rf"^│ {shown} ", result.stdout, re.MULTILINE)
