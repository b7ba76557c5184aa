"""Runs of `autorec train` that are killed at random moments, each resumed until it ends; the models must be equal.

    python -m tests.kills [--kills 100] [--epochs 60] [--seed 0] [--folder FOLDER]

Every run is killed by SIGKILL, most of them, or by SIGTERM or Ctrl-C, at a moment drawn between its start and the time
that a whole run takes; some are killed again while they resume. Prints what happened; the status is 0 if every model is
the one of an uninterrupted run, to the byte, and nothing else is left.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from autorec_cli.data import dataset
from autorec_cli.inference.files import model_file
from tests.forking import program
from tests.planted import planted_dataset

SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
STATUSES = {-9: "SIGKILL", 143: "SIGTERM", 130: "Ctrl-C", -15: "SIGTERM", -2: "Ctrl-C", 0: "ended before"}
OPTIONS = ("--hidden-size", "64,32", "--batch-size", "32", "--dropout", "0.2", "--threads", "1",
           "--learning-rate", "0.005", "--regularization", "5", "--save-every", "0", "--log", "log", "-q")  # fmt: skip
KINDS = (("--center", "both"), ("--no-refit",), ("--patience", "20"), ("--objective", "ranking"))


def start(folder: Path, options: Sequence[str], resume: bool) -> subprocess.Popen[bytes]:
    """Start a training of `data` to `m`."""
    command = [program(), "train", "data", "-o", "m", *OPTIONS, *options]
    return subprocess.Popen(
        [*command, *(["--resume"] if resume else [])], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"}, start_new_session=True,
    )  # fmt: skip


def finish(folder: Path, options: Sequence[str], resume: bool) -> float:
    """Run to the end; the seconds it took."""
    begun = time.perf_counter()
    process = start(folder, options, resume)
    _, said = process.communicate()
    if process.returncode:
        raise RuntimeError(f"status {process.returncode}: {said.decode()}")
    return time.perf_counter() - begun


def kill(folder: Path, options: Sequence[str], resume: bool, after: float, sent: signal.Signals) -> str:
    """Start a run and kill it after so many seconds; how it ended."""
    process = start(folder, options, resume)
    try:
        process.wait(after)
    except subprocess.TimeoutExpired:
        process.send_signal(sent)
    _, said = process.communicate()
    if process.returncode not in STATUSES:
        raise RuntimeError(f"status {process.returncode}: {said.decode()}")
    return STATUSES[process.returncode]


def clear(folder: Path) -> None:
    """Away with all but the dataset."""
    for path in folder.iterdir():
        if path.name != "data":
            path.unlink()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--epochs", default="60")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path)
    asked = parser.parse_args(arguments)
    folder = asked.folder or Path(tempfile.mkdtemp(prefix="kills."))
    rng = random.Random(asked.seed)
    dataset.save_dataset(planted_dataset(n_users=300, n_items=200), folder / "data")
    program()  # starts what forks, or the first run would take longer than those that are killed
    wanted: dict[tuple[str, ...], tuple[bytes, float, list[int]]] = {}
    ended: Counter[str] = Counter()
    n_kills = n_lost = n_different = n_resumed = 0
    while n_kills < asked.kills:
        options = (*KINDS[n_kills % len(KINDS)], "--epochs", asked.epochs)
        if options not in wanted:
            clear(folder)
            seconds = finish(folder, options, resume=False)
            wanted[options] = (folder / "m").read_bytes(), seconds, epochs_in(folder / "log")
            model_file.load_model(folder / "m")
        model, seconds, epochs = wanted[options]
        clear(folder)
        resume = False
        while True:  # one kill, or several in a row
            way = kill(folder, options, resume, rng.uniform(0.1, seconds), rng.choice(SIGNALS))
            ended[way] += 1
            n_kills += way != STATUSES[0]
            n_resumed += (folder / "m.resume").exists()
            resume = True
            whole = (folder / "m").exists() and not (folder / "m.resume").exists()
            if whole or n_kills == asked.kills or rng.random() < 0.6:
                break
        finish(folder, options, resume=True)  # of a model that is whole it says so, and sweeps
        n_lost += not (folder / "m").exists()
        n_different += (folder / "m").exists() and (folder / "m").read_bytes() != model
        left = {path.name for path in folder.iterdir()} - {"data", "m", "log"}
        if left or epochs_in(folder / "log") != epochs:
            n_different += 1
            sys.stdout.write(f"left: {left}, log: {epochs_in(folder / 'log')}\n")
    ways = ", ".join(f"{number} {way}" for way, number in ended.most_common())
    what = f"{n_kills} kills ({ways}), {n_resumed} left a state"
    sys.stdout.write(f"{what}: {n_lost} models lost, {n_different} differ\n")
    return int(n_lost + n_different > 0)


def epochs_in(log: Path) -> list[int]:
    """The epochs that a log tells of, in its order."""
    return [json.loads(line)["epoch"] for line in log.read_text().splitlines()]


if __name__ == "__main__":
    sys.exit(main())
