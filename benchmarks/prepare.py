"""Seconds and peak memory of `autorec prepare`, next to a polars scan and a pandas script on the same file.

    python -m benchmarks.prepare FILE.csv [--user user] [--item item] [--runs 5]

The scan reads the file and counts distinct users and items. The script does what a user would write: `read_csv`,
`factorize`, a CSR matrix; it checks, splits and saves nothing. Whole commands, in turn; medians. Memory is the peak
of `prepare` less that of preparing four ratings, over the bytes of the matrices it wrote.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks import results
from benchmarks.measure import AUTOREC, Measured, measure

COLUMNS = {
    "file": "",
    "prepare": "{:.2f} s",
    "polars' scan": "{:.2f} s",
    "ratio": "{:.2f}",
    "pandas": "{:.2f} s",
    "ratio to pandas": "{:.2f}",
    "peak": "{:.0f} MiB",
    "memory over matrices": "{:.2f}",
}

SCAN = "import sys, polars as pl; print(pl.scan_csv(sys.argv[1]).select(pl.col(*sys.argv[2:]).n_unique()).collect())"

PANDAS = """
import sys, pandas as pd
from scipy import sparse
path, user, item, rating = sys.argv[1:]
frame = pd.read_csv(path)
user_index, user_ids = pd.factorize(frame[user])
item_index, item_ids = pd.factorize(frame[item])
cells = frame[rating].to_numpy("float32"), (user_index, item_index)
print(sparse.csr_array(cells, shape=(len(user_ids), len(item_ids))).nnz)
"""


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--user", default="user", help="the column of users")
    parser.add_argument("--item", default="item", help="the column of items")
    parser.add_argument("--rating", default="rating", help="the column of ratings")
    parser.add_argument("--name", help="what the table calls the file; its name if left out")
    parser.add_argument("--runs", type=int, default=5)
    results.add_option(parser)
    arguments = parser.parse_args()
    file, names = arguments.file, (arguments.user, arguments.item)
    runs: dict[str, list[Measured]] = {"prepare": [], "scan": [], "pandas": []}
    with tempfile.TemporaryDirectory() as folder:
        data, tiny = Path(folder) / "data", Path(folder) / "tiny.csv"
        tiny.write_text("user,item,rating\n1,1,1\n1,2,2\n2,1,3\n2,2,4\n")
        floor = measure([*AUTOREC, "prepare", tiny, "-o", Path(folder) / "tiny"]).peak_mib
        for _ in range(arguments.runs):
            runs["prepare"].append(measure([*AUTOREC, "prepare", file, "-o", data, "--force"]))
            runs["scan"].append(measure([sys.executable, "-c", SCAN, file, *names]))
            runs["pandas"].append(measure([sys.executable, "-c", PANDAS, file, *names, arguments.rating]))
        matrices = sum(file.stat().st_size for file in data.glob("*.npz")) / 2**20
    seconds = {name: statistics.median(run.seconds for run in values) for name, values in runs.items()}
    peak = statistics.median(run.peak_mib for run in runs["prepare"])
    row = [arguments.name or file.name, seconds["prepare"]]
    for name in ("scan", "pandas"):
        row += [seconds[name], seconds["prepare"] / seconds[name]]
    results.report(COLUMNS, [[*row, peak, (peak - floor) / matrices]], arguments.result)


if __name__ == "__main__":
    main()
