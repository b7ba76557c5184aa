"""Every exit status, each by a real run of the program; what else such a run must do is tested where it belongs."""

import json
import os
import re
import shutil
import subprocess
import time

import pytest

from autorec_cli.runtime import signals
from tests.exit_statuses import COMMAND_LINES
from tests.program import ROOT, run

OWN = {"item.model", "ratings.csv", "data"}
OF_A_LOST_RUN = re.compile(
    r"m\.model\.resume\.[12]-of-2(\.next)?|\.m\.model\.resume\.[12]-of-2\.next\.[0-9a-f]{8}\.tmp"
)
SIGNALS = {signals.exit_status(number): number for number in signals.STOPPING}


@pytest.fixture
def shop(workshop, tmp_path):
    for name in ("item.model", "ratings.csv"):
        shutil.copy(workshop / name, tmp_path)
    shutil.copytree(workshop / "data", tmp_path / "data")
    return tmp_path


@pytest.mark.parametrize("status", COMMAND_LINES)
def test_a_command_line_ends_with(shop, shell, status):
    process = subprocess.Popen(
        ["bash", "-c", COMMAND_LINES[status]], cwd=shop, env={**os.environ, "PYTHONPATH": str(ROOT), **shell},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        if status in SIGNALS:
            while not (shop / ".m.model.lock").exists() and process.poll() is None:
                time.sleep(0.1)
            time.sleep(0.5)  # a signal in the instant between making the lock and holding it leaves its empty file
            process.send_signal(SIGNALS[status])
        _, stderr = process.communicate(timeout=100)
    finally:
        process.kill()
    assert process.returncode == status, stderr
    assert ("Traceback" in stderr) == (status == 1)
    errors = [line for line in stderr.splitlines() if " error: " in line]
    assert len(errors) == (status not in (0, 141) and 1 + (status == 7)), stderr
    left = {path.name for path in shop.iterdir()} - OWN
    if status == 9:
        assert left >= {"m.model.resume.1-of-2", "m.model.resume.2-of-2"}
        assert not [name for name in left if not OF_A_LOST_RUN.fullmatch(name)]
        assert run("train", "data", "-o", "m.model", "--epochs", 1, "--threads", 1, cwd=shop).status == 0
        assert {path.name for path in shop.iterdir()} == OWN | {"m.model"}
    else:
        assert left <= ({"m.model.resume"} if status in (7, *SIGNALS) else set())


def test_the_summary_of_a_run_says_its_status(shop, shell):
    for status in (2, 3, 4, 5, 8):
        script = f"{COMMAND_LINES[status]} --summary run.json"
        finished = subprocess.run(
            ["bash", "-c", script], cwd=shop, env={**os.environ, "PYTHONPATH": str(ROOT), **shell}, capture_output=True
        )
        assert finished.returncode == status == json.loads((shop / "run.json").read_text())["exit_status"]
