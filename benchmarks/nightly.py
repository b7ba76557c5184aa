"""Nights of a growing dataset: trained from scratch each night, and from the model of the night before.

    python -m benchmarks.nightly RATINGS [--nights 10] [--growth 0.02] [--folder FOLDER] [-- TRAIN OPTIONS]

RATINGS is a file that `autorec prepare` reads, with a header; its ratings get made-up times: half of the users are
there from the beginning, the others join later, and everyone rates evenly from then on. Night 0 has what is left if the
file is the last night's and every night brings `--growth` more. It is trained from scratch (20 epochs, or 30 in the
user variant); each later night both from scratch and with `--warm-start` from the night before, which began in night 0
(10 epochs).

Splits are `--split stable` and models are trained with `--no-refit`, so that no model has ever seen a validation or
test rating of its own or a later night. Seconds are those of whole commands. Files that are there are used again, so
that a run can be done in pieces with a smaller `--nights` and one `--folder`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks import results
from benchmarks.measure import AUTOREC

COLUMNS = {
    "night": "{:,}",
    "from scratch: valid RMSE": "{:.4f}",
    "warm start: valid RMSE": "{:.4f}",
    "from scratch: test RMSE": "{:.4f}",
    "warm start: test RMSE": "{:.4f}",
}


def in_order_of_time(ratings: pl.DataFrame) -> pl.DataFrame:
    """The rows, earliest first, with the times of the module's description."""
    rng = np.random.default_rng(0)
    _, user_index = np.unique(ratings[:, 0].to_numpy(), return_inverse=True)
    joined = np.maximum(0, rng.random(user_index.max() + 1) * 2 - 1)[user_index]
    return ratings[np.argsort(joined + (1 - joined) * rng.random(len(ratings)))]


def autorec(*arguments: object) -> float:
    """Run a command; the seconds it took."""
    begun = time.perf_counter()
    subprocess.run([*AUTOREC, *map(str, arguments)], check=True, stderr=subprocess.DEVNULL)
    return time.perf_counter() - begun


def train(data: Path, model: Path, options: list[str]) -> tuple[float, float, float]:
    """Valid RMSE, test RMSE and seconds of a training, done or remembered."""
    facts = model.with_suffix(".json")
    if not facts.exists():
        written = ("-o", model, "--force", "--log", model.with_suffix(".log"))
        seconds = autorec("train", data, *written, "--objective", "rating", "--no-refit", *options)
        entries = [json.loads(line) for line in model.with_suffix(".log").read_text().splitlines()]
        command = [*AUTOREC, "evaluate", str(model), "--format", "csv"]
        header, row, *_ = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
        test = float(dict(zip(header.split(","), row.split(","), strict=True))["rmse"])
        facts.write_text(json.dumps([min(entry["valid_rmse"] for entry in entries), test, seconds]))
    valid, test, seconds = json.loads(facts.read_text())
    return valid, test, seconds


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ratings", type=Path)
    parser.add_argument("--nights", type=int, default=10)
    parser.add_argument("--growth", type=float, default=0.02)
    parser.add_argument("--of", type=int, default=10, help="nights until the whole file is there")
    parser.add_argument("--folder", type=Path)
    results.add_option(parser)
    end = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    asked, options = parser.parse_args(sys.argv[1:end]), sys.argv[end + 1 :]
    folder = asked.folder or Path(tempfile.mkdtemp(prefix="nightly."))
    ratings = in_order_of_time(pl.read_csv(asked.ratings))
    older, kept, cells = folder / "cold-0.model", [], []
    for night in range(asked.nights + 1):
        data = folder / f"data-{night}"
        if not data.exists():
            rows = ratings[: round(len(ratings) / (1 + asked.growth) ** (asked.of - night))]
            rows.write_csv(folder / "ratings.csv")
            autorec("prepare", folder / "ratings.csv", "-o", data, "--split", "stable")
        cold = train(data, folder / f"cold-{night}.model", options)
        line = f"night {night}: cold valid {cold[0]:.4f} test {cold[1]:.4f} {cold[2]:.1f} s"
        if night:
            newer = folder / f"warm-{night}.model"
            warm = train(data, newer, [*options, "--warm-start", str(older)])
            line += f", warm valid {warm[0]:.4f} test {warm[1]:.4f} {warm[2]:.1f} s"
            older = newer
            cells.append([night, cold[0], warm[0], cold[1], warm[1]])
            kept.append((warm[0] - cold[0], warm[1] - cold[1], cold[2] / warm[2]))
        print(line, flush=True)
    if kept:
        results.report(COLUMNS, cells, asked.result)
        valid, test, ratio = (list(column) for column in zip(*kept, strict=True))
        print(
            f"warm minus cold: valid {statistics.mean(valid):+.4f} (worst {max(valid):+.4f}), "
            f"test {statistics.mean(test):+.4f} (worst {max(test):+.4f}); "
            f"cold takes {statistics.median(ratio):.1f} times as long"
        )


if __name__ == "__main__":
    main()
