"""Peak memory of `autorec train` beside what `--dry-run` says: whole processes, one epoch.

    python -m benchmarks.memory DATASET... [--hidden-sizes 50,500]

DATASET is a directory made by `autorec prepare`.
"""

from __future__ import annotations

import argparse
import itertools
import re
import subprocess
import tempfile
from pathlib import Path

from benchmarks import results
from benchmarks.measure import AUTOREC, measure

COLUMNS = {
    "dataset": "",
    "variant": "",
    "hidden size": "{:,}",
    "refit": "",
    "estimated": "{:,.0f} MiB",
    "measured": "{:,.0f} MiB",
    "error": "{:+.0%}",
}


def estimated_mib(command: list[str]) -> float:
    """What `command --dry-run` expects, in MiB."""
    result = subprocess.run([*command, "--dry-run"], capture_output=True, text=True, check=True)
    found = re.search(r"about ([\d,]+) MiB", result.stderr)
    if found is None:
        raise SystemExit(f"no estimate in {result.stderr!r}")
    return float(found[1].replace(",", ""))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", type=Path, nargs="+")
    parser.add_argument("--hidden-sizes", default="50,500")
    results.add_option(parser)
    arguments = parser.parse_args()
    cells = []
    runs = itertools.product(
        arguments.datasets, ("item", "user"), arguments.hidden_sizes.split(","), ("--refit", "--no-refit")
    )
    with tempfile.TemporaryDirectory() as folder:
        for dataset, variant, size, refit in runs:
            options = ["--variant", variant, "--hidden-size", size, "--epochs", "1", refit, "--force"]
            command = [*AUTOREC, "train", str(dataset), "-o", str(Path(folder) / "model"), *options]
            estimated, measured = estimated_mib(command), measure(command).peak_mib
            refitted = "yes" if refit == "--refit" else "no"
            cells.append([dataset.name, variant, int(size), refitted, estimated, measured, estimated / measured - 1])
    results.report(COLUMNS, cells, arguments.result, n_keys=4)


if __name__ == "__main__":
    main()
