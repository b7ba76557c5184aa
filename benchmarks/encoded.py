"""Preparing ratings that DuckDB has encoded with little memory, beside `prepare` on the file itself.

    python -m benchmarks.encoded FOLDER [--ratings 5000000] [--partitions 1]

Runs the SQL of docs/scaling.md, which limits DuckDB to 1 GB, in a process of its own, prepares both ways, and fails
unless the datasets are equal. DuckDB writes one file of ratings, which --partitions cuts.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks import generate, results
from benchmarks.measure import AUTOREC, measure

N_USERS, N_ITEMS = 25_000, 17_770  # 200 ratings a user, as in Netflix
PAGE = Path(__file__).resolve().parent.parent / "docs" / "scaling.md"
DUCKDB = "import duckdb, sys; duckdb.connect('encode.duckdb').execute(sys.argv[1])"


def sql() -> str:
    """The SQL for DuckDB in docs/scaling.md."""
    found = re.search(r"```sql\n(-- duckdb.*?)```", PAGE.read_text(), re.DOTALL)
    assert found is not None
    return found[1]


def write(path: Path, n_ratings: int) -> None:
    """Write ratings with timestamps in random order, of which one in a hundred is there twice."""
    generate.write(path, N_USERS * n_ratings // 5_000_000, N_ITEMS, n_ratings, seed=0)
    rng, rows = np.random.default_rng(0), pl.read_csv(path)
    rows = pl.concat([rows, rows[::100]]).sample(fraction=1, shuffle=True, seed=0)
    rows.with_columns(timestamp=rng.integers(1_500_000_000, 1_700_000_000, rows.height)).write_csv(path)


def cut(ratings: Path, n_partitions: int) -> None:
    """Cut part-0.parquet in `ratings` into `n_partitions` files of as many rows."""
    whole = ratings / "part-0.parquet"
    rows = pl.scan_parquet(whole)
    cuts = np.linspace(0, rows.select(pl.len()).collect().item(), n_partitions + 1).astype(int).tolist()
    for number, (first, last) in enumerate(pairwise(cuts), 1):
        rows.slice(first, last - first).collect().write_parquet(ratings / f"part-{number}.parquet")
    whole.unlink()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--ratings", type=int, default=5_000_000)
    parser.add_argument("--partitions", type=int, default=1)
    results.add_option(parser)
    arguments = parser.parse_args()
    folder, result = arguments.folder, arguments.result and arguments.result.resolve()
    (folder / "encoded" / "ratings").mkdir(parents=True, exist_ok=True)
    (folder / "encode.duckdb").unlink(missing_ok=True)
    write(Path(folder, "ratings.csv"), arguments.ratings)
    os.environ["PYTHONPATH"] = str(PAGE.parent.parent)
    os.chdir(folder)
    runs = {
        "DuckDB": [sys.executable, "-c", DUCKDB, sql()],
        "prepare --encoded": [*AUTOREC, "prepare", "--encoded", "encoded", "-o", "by-duckdb", "--force"],
        "prepare": [*AUTOREC, "prepare", "ratings.csv", "-o", "by-prepare", "--force"],
    }
    cells = [[name, (run := measure(command)).seconds, run.peak_mib] for name, command in runs.items()]
    prints = [json.loads(Path(name, "dataset.json").read_text())["fingerprint"] for name in ("by-duckdb", "by-prepare")]
    if prints[0] != prints[1]:
        sys.exit(f"the datasets differ: {prints}")
    if arguments.partitions > 1:
        cut(Path("encoded", "ratings"), arguments.partitions)
    results.report({"command": "", "seconds": "{:.1f}", "peak": "{:,.0f} MiB"}, cells, result)


if __name__ == "__main__":
    main()
