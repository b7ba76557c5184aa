"""Time and memory for 10^9 ratings, from the constants that `benchmarks.scale` measured.

    python -m benchmarks.cost [--result FILE]

The constants are slopes between 10 M and 100 M ratings in benchmarks/results/scale.json, so start-up is not in them.
They hold for its shape: 17,770 items, 208 ratings per user, hidden size 256. Machines divide the ratings evenly; the
sums of several machines are those of docs/scaling.md, on a network that is assumed there.
"""

from __future__ import annotations

import argparse
import math

from benchmarks import results
from benchmarks.scale import HIDDEN_SIZE, N_ITEMS, N_RATINGS, N_USERS

LARGE, MACHINES, GIB = 10**9, 16, 24
BATCH, BANDWIDTH, LATENCY = 1024, 1.25e9, 50e-6  # ratings and examples a step; bytes/s and s, assumed
STEPS = {
    "prepare": ("prepare", "prepare, peak", None),
    "an epoch, item variant": ("epoch, item", "train, item, peak", N_ITEMS),
    "an epoch, user variant": ("epoch, user", "train, user, peak", round(N_USERS * LARGE / N_RATINGS)),
}
"""Title -> columns of seconds and of MiB in scale.json, and the examples of an epoch at 10^9 ratings."""
COLUMNS = {
    "step": "",
    "per rating": "{:.0f} ns",
    "memory per rating": "{:.0f} bytes",
    "100 M, measured": "",
    "1,000 M, one machine": "",
    f"1,000 M, {MACHINES} machines": "",
    f"most ratings in {GIB} GiB": "{:,.0f} M",
}


def seconds_of_sums(n_examples: int, machines: int) -> float:
    """Seconds of an epoch in which machines sum two matrices per step, by the formula of docs/scaling.md."""
    others = machines - 1
    per_step = 2 * others / machines * BATCH * 2 * HIDDEN_SIZE * 4 / BANDWIDTH + 4 * others * LATENCY
    return math.ceil(n_examples / BATCH) * per_step


def rows() -> list[list[results.Cell]]:
    """Cells of the table."""
    scale, cells = results.load(results.FOLDER / "scale.json"), []
    for title, (seconds, peak, n_examples) in STEPS.items():
        (time, time_per), (mib, mib_per) = (
            (scale.value("100 M", column), (scale.value("100 M", column) - scale.value("10 M", column)) / 90e6)
            for column in (seconds, peak)
        )
        fixed = mib - 1e8 * mib_per
        alone = f"{time + 9e8 * time_per:,.0f} s, {(mib + 9e8 * mib_per) / 1024:,.0f} GiB"
        shared = None
        if n_examples is not None:
            each = f"{(fixed + LARGE / MACHINES * mib_per) / 1024:.1f} GiB each"
            shared = f"{LARGE / MACHINES * time_per:,.0f} s + {seconds_of_sums(n_examples, MACHINES):.1f} s, {each}"
        measured = f"{time:.1f} s, {mib / 1024:.1f} GiB"
        most = (GIB * 1024 - fixed) / mib_per / 1e6
        cells.append([title, time_per * 1e9, mib_per * 2**20, measured, alone, shared, most])
    return cells


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    results.add_option(parser)
    results.report(COLUMNS, rows(), parser.parse_args().result)


if __name__ == "__main__":
    main()
