"""Two nights of the soak and two kills, so that both still run when they are wanted for hundreds."""

import os
import subprocess
import sys

from tests import kills
from tests.program import ROOT


def test_two_nights_lose_nothing(tmp_path):
    finished = subprocess.run(
        [sys.executable, "-m", "tests.soak", "--nights", "2", "--seed", "3", "--folder", str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert finished.stdout.startswith("2 nights (")
    assert finished.stdout.endswith("left over: nothing; nothing was lost\n")


def test_two_kills_lose_nothing(tmp_path):
    assert kills.main(["--kills", "2", "--folder", str(tmp_path)]) == 0
