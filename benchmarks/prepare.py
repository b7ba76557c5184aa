"""Seconds and peak memory of `autorec prepare`, beside a scan of the same file by polars.

    python -m benchmarks.prepare FILE.csv [--user user] [--item item] [--runs 5]

The scan reads the file and counts distinct users and items. Whole commands, in turn; medians. Memory is the peak of
`prepare` less that of preparing four ratings, over the bytes of the matrices it wrote.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks.measure import AUTOREC, Measured, measure

SCAN = "import sys, polars as pl; print(pl.scan_csv(sys.argv[1]).select(pl.col(*sys.argv[2:]).n_unique()).collect())"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--user", default="user", help="the column of users")
    parser.add_argument("--item", default="item", help="the column of items")
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    runs: dict[str, list[Measured]] = {"prepare": [], "scan": []}
    with tempfile.TemporaryDirectory() as folder:
        data, tiny = Path(folder) / "data", Path(folder) / "tiny.csv"
        tiny.write_text("user,item,rating\n1,1,1\n1,2,2\n2,1,3\n2,2,4\n")
        floor = measure([*AUTOREC, "prepare", tiny, "-o", Path(folder) / "tiny"]).peak_mib
        for _ in range(arguments.runs):
            runs["prepare"].append(measure([*AUTOREC, "prepare", arguments.file, "-o", data, "--force"]))
            runs["scan"].append(measure([sys.executable, "-c", SCAN, arguments.file, arguments.user, arguments.item]))
        matrices = sum(file.stat().st_size for file in data.glob("*.npz")) / 2**20
    seconds = {name: statistics.median(run.seconds for run in values) for name, values in runs.items()}
    peak = statistics.median(run.peak_mib for run in runs["prepare"])
    print(f"{arguments.file.name}: prepare {seconds['prepare']:.2f} s, scan {seconds['scan']:.2f} s, ", end="")
    print(f"ratio {seconds['prepare'] / seconds['scan']:.2f}; memory: {peak:.0f} MiB at the peak, ", end="")
    print(f"{floor:.0f} MiB for four ratings, {matrices:.1f} MiB of matrices: {(peak - floor) / matrices:.2f} times")


if __name__ == "__main__":
    main()
