"""A few nights of the soak, so that it still runs when it is wanted for all 200."""

import os
import subprocess
import sys

from tests.program import ROOT


def test_two_nights_lose_nothing(tmp_path):
    finished = subprocess.run(
        [sys.executable, "-m", "tests.soak", "--nights", "2", "--seed", "3", "--folder", str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert finished.stdout.startswith("2 nights (")
    assert finished.stdout.endswith("left over: nothing; nothing was lost\n")
