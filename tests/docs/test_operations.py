"""docs/operations.md says only what is so: its blocks run in order, its statuses are the program's, its units parse."""

import configparser
import re
import shutil
import subprocess

import pytest

from autorec_cli import errors
from autorec_cli.runtime import signals
from tests.exit_statuses import COMMAND_LINES
from tests.forking import UNDRAWN, WITHOUT_TORCH
from tests.program import ROOT

UNITS = ROOT / "contrib" / "systemd"
PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture
def server(workshop, shell, tmp_path):
    """A folder with ratings.csv, and an environment in which `autorec` is the program under test."""
    shutil.copy(workshop / "ratings.csv", tmp_path)
    return tmp_path, {**shell, "TESTS_FIRST": UNDRAWN + WITHOUT_TORCH}


def test_every_block_runs_in_the_order_of_the_page(server):
    folder, environment = server
    scripts = blocks("bash")
    assert len(scripts) >= 6
    for script in scripts:
        # One script sets a size, and one stops a training that takes long.
        small = {} if re.search("hidden-size|--epochs 300 ", script) else {"AUTOREC_TRAIN_HIDDEN_SIZE": "16"}
        finished = subprocess.run(
            ["bash", "-e", "-c", script], cwd=folder, env=environment | small, capture_output=True, text=True,
            check=False, stdin=subprocess.DEVNULL, timeout=120,
        )  # fmt: skip
        assert finished.returncode == 0, f"{script}\n{finished.stdout}{finished.stderr}"
    names = {path.name for path in folder.iterdir()}
    assert {"out", "last-run.json", "five.jsonl", "model.json"} <= names
    assert not [name for name in names if name.startswith(".")], "no lock, no temporary file"
    assert "slow.model" not in names


def test_the_crontab_has_five_times_and_a_command_that_runs(server):
    folder, environment = server
    (crontab,) = blocks("crontab")
    *settings, entry = crontab.splitlines()
    assert all(re.fullmatch(r"[A-Z]+=\S+", line) for line in settings)
    *times, command = entry.split(maxsplit=5)
    assert [bool(re.fullmatch(r"\*|\d+", time)) for time in times] == [True] * 5
    moved, _, line = command.partition(" && ")
    assert moved.startswith("cd /")
    assert line in (ROOT / "docs" / "operations.md").read_text().split("```ini")[1], "systemd does the same"
    finished = subprocess.run(
        ["sh", "-c", line], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert (finished.returncode, finished.stdout) == (0, ""), finished.stderr
    assert (folder / "out" / "recommendations.csv").exists()


def test_the_units_are_those_of_contrib():
    assert blocks("ini") == [(UNITS / f"recommender.{kind}").read_text() for kind in ("service", "timer")]
    for text, section, key in zip(blocks("ini"), ("Service", "Timer"), ("ExecStart", "OnCalendar"), strict=True):
        unit = configparser.ConfigParser(interpolation=None)
        unit.optionxform = str
        unit.read_string(text)
        assert unit[section][key]


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
def test_systemd_understands_the_units(tmp_path):
    names = ("recommender.service", "recommender.timer")
    for name in names:
        # It wants the program to exist.
        text = re.sub(r"(?<=ExecStart=)\S+", "/bin/true", (UNITS / name).read_text())
        (tmp_path / name).write_text(text)
    finished = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *names], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (finished.returncode, finished.stderr) == (0, "")


def test_every_exit_status_is_explained_and_produced_by_a_test_of_the_program():
    statuses = {0, errors.EXIT_BUG, 141, *signals.MESSAGES}
    statuses |= {kind.exit_status for kind in errors.AutoRecError.__subclasses__()}
    assert statuses == {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 129, 130, 138, 140, 141, 143, 152}
    table = PAGE.partition("## Exit statuses")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("|")]
    explained = {int(number) for row in rows for number in re.findall(r"\d+", row)}
    assert explained == statuses
    assert set(COMMAND_LINES) == statuses
