"""Every exit status, each by a real run of the program; what else such a run must do is tested where it belongs."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tests.program import ROOT

PROGRAM = f'"{sys.executable}" -m autorec_cli'
TRAIN = f"{PROGRAM} train data -o m.model --epochs 100000 --patience 0 --hidden-size 2 --threads 1 -q"
BUG = (
    "from autorec_cli.cli import main; from autorec_cli.inference import model_file; "
    "model_file.load = lambda path: 1 / 0; main.main()"
)
FREE_PORT = f'"{sys.executable}" -c "import socket; s = socket.create_server((str(), 0)); print(s.getsockname()[1])"'

TABLE = {
    0: f"{PROGRAM} recommend item.model --user 007",
    1: f'"{sys.executable}" -c "{BUG}" recommend item.model',
    2: f"{PROGRAM} recommend item.model --no-such-option",
    3: f"{PROGRAM} prepare no-such-file.csv -o new",
    4: f"{PROGRAM} recommend ratings.csv",
    5: f"{PROGRAM} train data -o m.model --epochs 2 --learning-rate 1e20 --regularization 0",
    6: f"{PROGRAM} train data -o m.model --hidden-size 1000000000000",
    7: f"{TRAIN} & while [ ! -s .m.model.lock ]; do sleep 0.1; done; {TRAIN}; status=$?; kill $!; wait; exit $status",
    8: f"{PROGRAM} evaluate item.model --fail-above rmse=0.0001",
    9: f"export TORCHELASTIC_RUN_ID=t WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=$({FREE_PORT}); "
    f"RANK=1 {TRAIN} --save-every 0 & other=$!; "
    "(until [ -e m.model.resume.2-of-2 ]; do sleep 0.1; done; kill -9 $other) & "
    f"RANK=0 {TRAIN} --save-every 0",
    130: f"exec {TRAIN}",
    141: f"set -o pipefail; {PROGRAM} recommend item.model -k 50 --include-seen | head -n 1",
    143: f"exec {TRAIN}",
}
"""Status -> a command line of bash that ends with it; those of signals run until they get one."""

STATES_OF_A_LOST_RUN = {"m.model.resume.1-of-2", "m.model.resume.2-of-2"}
SIGNALS = {130: signal.SIGINT, 143: signal.SIGTERM}


@pytest.fixture
def shop(workshop, tmp_path):
    for name in ("item.model", "ratings.csv"):
        shutil.copy(workshop / name, tmp_path)
    shutil.copytree(workshop / "data", tmp_path / "data")
    return tmp_path


@pytest.mark.parametrize("status", TABLE)
def test_a_command_line_ends_with(shop, status):
    process = subprocess.Popen(
        ["bash", "-c", TABLE[status]], cwd=shop, env={**os.environ, "PYTHONPATH": str(ROOT)},
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
    left = {path.name for path in shop.iterdir()}
    assert left - STATES_OF_A_LOST_RUN == {"item.model", "ratings.csv", "data"}
    assert (left >= STATES_OF_A_LOST_RUN) == (status == 9)


def test_the_summary_of_a_run_says_its_status(shop):
    for status in (2, 3, 4, 5, 8):
        script = f"{TABLE[status]} --summary run.json"
        finished = subprocess.run(
            ["bash", "-c", script], cwd=shop, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True
        )
        assert finished.returncode == status == json.loads((shop / "run.json").read_text())["exit_status"]
