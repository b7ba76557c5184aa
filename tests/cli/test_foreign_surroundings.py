"""Names, variables and disks that somebody else chose."""

import json
import os
import shutil
import subprocess

import polars as pl
import pytest

from autorec_cli.data import dataset
from autorec_cli.errors import ArtifactError
from autorec_cli.inference.files import model_file
from tests.program import PROGRAM, ROOT, call

ONE = ("--user", "007")


def test_the_root_directory_is_no_output(workshop):
    result = call("prepare", workshop / "ratings.csv", "-o", "/", "--force")
    assert result.status == 2
    assert "error: / is the root of the file system" in result.stderr


@pytest.mark.parametrize("name", ["POLARS_MAX_THREADS", "NUMBA_NUM_THREADS"])
@pytest.mark.parametrize("value", ["0", "-1", "x", ""])
def test_a_variable_that_is_no_number_of_threads_is_a_sentence(lists_model, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    result = call("recommend", lists_model, *ONE, "-q")
    assert (result.status, result.stdout) == (2, "")
    assert f"the environment variable {name} must be a whole number from 1" in result.stderr


def test_no_variable_ends_the_program_in_a_traceback(lists_model):
    for name in ("POLARS_MAX_THREADS", "NUMBA_NUM_THREADS"):
        finished = subprocess.run(
            [*PROGRAM, "recommend", lists_model, *ONE, "-q"], capture_output=True, text=True, check=False,
            env={**os.environ, "PYTHONPATH": str(ROOT), name: "0"},
        )  # fmt: skip
        assert finished.returncode == 2
        assert len(finished.stderr.splitlines()) == 1


def test_paths_that_are_not_utf_8(tmp_path, workshop, item_model):
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    model = folder / os.fsdecode(b"m\xff")
    shutil.copy(item_model, model)
    assert r"caf\xe9/m\xff" in call("info", model).stdout
    assert r"caf\xe9/m\xff" in json.loads(call("info", model, "--format", "json").stdout)["path"]
    shutil.copytree(workshop / "data", folder / "data")
    assert call("info", folder / "data", "--check").status == 0
    result = call("evaluate", model, "--format", "csv", "-q")
    assert result.status == 0
    assert r"m\xff" in pl.read_csv(result.stdout.encode())["model"].to_list()


def test_info_does_not_steer_a_terminal(tmp_path, item_model):
    from tests.storage.test_hostile import rewritten

    rewritten(item_model, tmp_path / "m", lambda d, _: d["provenance"].update(dataset="\x1b[2Jx\x9b"))
    for format in ("csv", "tsv", "table", "json", "jsonl"):
        out = call("info", tmp_path / "m", "--format", format).stdout
        assert "\x1b" not in out
        assert "\x9b" not in out


def test_a_disk_that_cannot_be_read_is_not_called_damage(monkeypatch, item_model, workshop):
    def fail(*arguments, **options):
        raise OSError(5, "Input/output error", "somewhere")

    monkeypatch.setattr(model_file, "open_tensors", fail)
    monkeypatch.setattr(dataset.checksums, "of_file", fail)
    for load, path in ((model_file.load_model, item_model), (dataset.load_dataset, workshop / "data")):
        with pytest.raises(ArtifactError, match=r"cannot read .*: Input/output error; check the disk"):
            load(path)
