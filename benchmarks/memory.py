"""Peak memory of `autorec train` beside what `--dry-run` says: whole processes, 20 epochs, with default batches.

    python -m benchmarks.memory DATASET... [--hidden-sizes 50,500] [--only rating:user] [--keep-measured]

`--keep-measured` takes peaks from the result file, after a change of the estimate alone. The rows keep the date, commit
and machine of the peaks.

DATASET is a directory made by `autorec prepare`. Estimates must not be low on MovieLens 100K and 1M, on 60,000
users x 1,000 items (`benchmarks.generate --users 60000 --items 1000 --ratings 300000`) and on 1,000 x 60,000.
"""

from __future__ import annotations

import argparse
import itertools
import re
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks import results
from benchmarks.measure import AUTOREC, measure

COLUMNS = {
    "dataset": "",
    "objective": "",
    "variant": "",
    "hidden size": "{:,}",
    "refit": "",
    "estimated": "{:,.0f} MiB",
    "measured": "{:,.0f} MiB",
    "error": "{:+.0%}",
}

NETWORKS = (("rating", "item"), ("rating", "user"), ("ranking", "user"), ("both", "both"))
"""Objective and variant of each run; `both` with both variants trains three networks, one after the other."""


def estimated_mib(command: list[str]) -> float:
    """Estimate of `command --dry-run`, in MiB."""
    result = subprocess.run([*command, "--dry-run"], capture_output=True, text=True, check=True)
    found = re.search(r"about ([\d,]+) MiB", result.stderr)
    if found is None:
        raise SystemExit(f"no estimate in {result.stderr!r}")
    return float(found[1].replace(",", ""))


def cells_of(key: Sequence[results.Cell], estimated: float, measured: float) -> list[results.Cell]:
    """The cells of a row."""
    return [*key, estimated, measured, estimated / measured - 1]


def estimated_again(row: results.Row, estimated: float) -> results.Row:
    """`row` with another estimate; it keeps its peak, and where and when that was measured."""
    return replace(row, cells=cells_of(row.cells[:5], estimated, row.cells[6]))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", type=Path, nargs="+")
    parser.add_argument("--hidden-sizes", default="500")
    parser.add_argument("--only", help="objective:variant of the runs, such as rating:user")
    parser.add_argument("--keep-measured", action="store_true", help="estimate again, and keep the peaks in --result")
    results.add_option(parser)
    arguments = parser.parse_args()
    rows = []
    before = {}
    if arguments.keep_measured:
        before = {tuple(row.cells[:5]): row for row in results.load(arguments.result).rows}
    networks = [network for network in NETWORKS if arguments.only in (None, ":".join(network))]
    runs = itertools.product(arguments.datasets, networks, arguments.hidden_sizes.split(","), ("--refit", "--no-refit"))
    with tempfile.TemporaryDirectory() as folder:
        for dataset, (objective, variant), size, refit in runs:
            options = ["--objective", objective, "--variant", variant, "--hidden-size", size, "--epochs", "20", refit]
            command = [*AUTOREC, "train", str(dataset), "-o", str(Path(folder) / "model"), "--force", *options]
            key = (dataset.name, objective, variant, int(size), "yes" if refit == "--refit" else "no")
            estimated = estimated_mib(command)
            if arguments.keep_measured:
                rows.append(estimated_again(before[key], estimated))
            else:
                rows.append(results.Row(cells_of(key, estimated, measure(command).peak_mib), **results.this_run()))
    results.publish(results.Table(COLUMNS, rows, n_keys=5), arguments.result)


if __name__ == "__main__":
    main()
