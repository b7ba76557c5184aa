"""The program where Linux's own things are absent, as on macOS; and what Windows is told."""

import os
import subprocess
import sys

import pytest

from autorec_cli.runtime import memory
from autorec_cli.storage import system_calls
from tests.program import ROOT, SMALL, call


@pytest.fixture
def like_macos(tmp_path, monkeypatch):
    """No /proc, control groups, renameat2, affinity or extended attributes."""
    for name in ("PROCESS", "MACHINE", "CONTROL_GROUP"):
        monkeypatch.setattr(memory, name, tmp_path / "absent")
    memory._control_groups.cache_clear()
    monkeypatch.setattr(system_calls, "CDLL", lambda *_, **__: object())
    for name in ("sched_getaffinity", "listxattr", "getxattr", "setxattr"):
        monkeypatch.delattr(os, name, raising=False)
    yield
    memory._control_groups.cache_clear()


@pytest.mark.usefixtures("like_macos")
def test_every_stage_runs_without_what_only_linux_has(workshop, tmp_path):
    data, model = tmp_path / "data", tmp_path / "m"
    for options in ((), ("--force",)):
        finished = call("prepare", workshop / "ratings.csv", "-o", data, *options)
        assert finished.status == 0, finished.stderr
    for command in (
        ("train", data, "-o", model, *SMALL, "--epochs", 1),
        ("recommend", model, "-o", tmp_path / "r.csv"),
    ):
        finished = call(*command)
        assert finished.status == 0, finished.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"data", "m", "r.csv"}


WINDOWS = "import sys; sys.platform = 'win32'; sys.argv = {argv}; import autorec_cli"


@pytest.mark.parametrize("program", ["C:\\Python\\Scripts\\autorec.exe", "C:/Scripts/autorec"])
def test_on_windows_the_program_is_a_sentence_that_names_wsl(program):
    code = WINDOWS.format(argv=[program, "--version"])
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert (finished.returncode, finished.stdout) == (2, "")
    (line,) = finished.stderr.splitlines()
    assert "WSL" in line


def test_on_windows_the_package_cannot_be_imported():
    code = WINDOWS.format(argv=["notebook"])
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert finished.returncode == 1
    assert finished.stderr.splitlines()[-1].startswith("ImportError: ")
    assert "WSL" in finished.stderr
