"""One model by several processes of this machine: the most memory of any of them, and seconds of an epoch.

    python -m benchmarks.together DATASET [--worlds 1x1,1x2,2x1] [--runs 5] [OPTIONS OF TRAIN]

DATASET is a directory made by `autorec prepare`; 2x1 is two processes of one thread each, started by torchrun (one
process is started without it). The worlds take turns. Memory is a process's peak, start-up and saving included; seconds
are the median epoch of a run's first fit, and the whole command's.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from benchmarks import results
from benchmarks.measure import AUTOREC

COLUMNS = {
    "variant": "",
    "processes x threads": "",
    "most columns": "{:,}",
    "most ratings": "{:,}",
    "peak": "{:,.0f} MB",
    "seconds per epoch": "{:.2f}",
    "seconds, whole command": "{:.1f}",
}


@dataclass(frozen=True)
class Run:
    """Cost of one training: seconds of its median epoch and of the command, and the most of any process.

    Attributes:
        epoch, whole: Seconds.
        peak: MB.
        columns, ratings: How many.
    """

    epoch: float
    whole: float
    peak: float
    columns: int
    ratings: int


def train(data: Path, processes: int, threads: int, options: list[str], folder: Path) -> Run:
    """Train once."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    launcher += ["--nproc-per-node", str(processes), "-m", "--"]
    files = {name: folder / name for name in ("model", "log", "summary")}
    program = AUTOREC if processes == 1 else (*launcher, AUTOREC[-1])
    command = [*program, "train", str(data), "-o", str(files["model"]), "--force", "--objective", "rating"]
    command += ["--threads", str(threads), "--log", str(files["log"]), "--summary", str(files["summary"]), *options]
    start = time.perf_counter()
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "NUMBA_NUM_THREADS": str(threads)}
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    whole = time.perf_counter() - start
    if result.returncode:
        raise SystemExit(f"{' '.join(command)}: exit status {result.returncode}\n{result.stderr}")
    epochs = [json.loads(line) for line in files["log"].read_text().splitlines()]
    summary = json.loads(files["summary"].read_text())
    shape = summary["result"]
    each = shape.get("processes") or [
        {"peak_bytes": summary["peak_memory_bytes"], "columns": 0, "ratings": shape["n_train"] + shape["n_valid"]}
    ]
    peak = max(process["peak_bytes"] for process in each) / 1e6
    first = [epoch["seconds"] for epoch in epochs if epoch["phase"] == epochs[0]["phase"]]
    most = (max(process[name] for process in each) for name in ("columns", "ratings"))
    return Run(statistics.median(first), whole, peak, *most)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--worlds", default="1x1,1x2,2x1")
    parser.add_argument("--runs", type=int, default=5)
    results.add_option(parser)
    arguments, options = parser.parse_known_args()
    runs: dict[str, list[Run]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(arguments.runs):
            for world in arguments.worlds.split(","):
                processes, threads = map(int, world.split("x"))
                runs[world].append(train(arguments.dataset, processes, threads, options, Path(folder)))
    variant = options[options.index("--variant") + 1] if "--variant" in options else "item"
    cells = []
    for world, found in runs.items():
        epochs = sorted(run.epoch for run in found)
        peak, whole = max(run.peak for run in found), statistics.median(run.whole for run in found)
        seconds = [statistics.median(epochs), epochs[0], epochs[-1]]
        cells.append([variant, world, found[0].columns or "all", found[0].ratings, peak, seconds, whole])
    results.report(COLUMNS, cells, arguments.result, n_keys=2)


if __name__ == "__main__":
    main()
