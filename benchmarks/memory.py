"""Peak memory of `autorec train` beside what `--dry-run` says: whole processes, one epoch.

    python -m benchmarks.memory DATASET... [--hidden-sizes 50,500]

DATASET is a directory made by `autorec prepare`.
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

PROGRAM = (sys.executable, "-m", "autorec_cli")


def peak_mib(command: list[str]) -> float:
    """Run `command` and return the most memory it had, in MiB."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


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
    arguments = parser.parse_args()
    print("dataset variant hidden refit | estimated MiB | measured MiB | error")
    runs = itertools.product(
        arguments.datasets, ("item", "user"), arguments.hidden_sizes.split(","), ("--refit", "--no-refit")
    )
    with tempfile.TemporaryDirectory() as folder:
        for dataset, variant, size, refit in runs:
            options = ["--variant", variant, "--hidden-size", size, "--epochs", "1", refit, "--force"]
            command = [*PROGRAM, "train", str(dataset), "-o", str(Path(folder) / "model"), *options]
            estimated, measured = estimated_mib(command), peak_mib(command)
            error = f"{estimated / measured - 1:+.0%}"
            print(f"{dataset.name} {variant} {size} {refit} | {estimated:,.0f} | {measured:,.0f} | {error}", flush=True)


if __name__ == "__main__":
    main()
