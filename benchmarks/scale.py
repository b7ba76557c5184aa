"""Growth of time and memory from 1 M to 100 M ratings, in whole commands.

    python -m benchmarks.scale FOLDER [--ratings 1000000 --ratings 10000000] [--epochs 4]

The shape is that of Netflix, 480,189 x 17,770 with 100 M ratings, and smaller sets have fewer users: the catalogue and
the 208 ratings a user stay as they are, as when a service grows. So every cost of an epoch (cells, rows of weights,
steps of the optimizer) belongs to a user, and its time should grow in proportion to the ratings.

At each size it generates ratings, prepares them, trains both variants at hidden size 256 and makes lists for 10,000
users. FOLDER/scale.csv and FOLDER/scale.svg hold the results; sizes that the CSV has are not measured again.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path

import polars as pl

from autorec_cli.config import VARIANTS
from benchmarks import generate, results
from benchmarks.measure import AUTOREC, measure

N_USERS, N_ITEMS, N_RATINGS = 480_189, 17_770, 100_000_000
SIZES = (1_000_000, 3_000_000, 10_000_000, 30_000_000, 100_000_000)
HIDDEN_SIZE = 256
LISTS = 10_000
COLUMNS = {
    "ratings": ("ratings", "{:,}"),
    "prepare": ("prepare_seconds", "{:.1f} s"),
    "prepare, peak": ("prepare_mib", "{:,.0f} MiB"),
}
for _variant in VARIANTS:
    COLUMNS |= {
        f"epoch, {_variant}": (f"{_variant}_epoch_seconds", "{:.2f} s"),
        f"train, {_variant}, peak": (f"{_variant}_train_mib", "{:,.0f} MiB"),
        f"recommend, {_variant}": (f"{_variant}_recommend_seconds", "{:.1f} s"),
    }
"""Title -> measurement and its format."""


def measure_size(n_ratings: int, n_epochs: int, folder: Path) -> dict[str, float]:
    """All measurements at one size, files in `folder`; seconds and MiB by name."""
    n_users = round(N_USERS * n_ratings / N_RATINGS)
    ratings, data, model = folder / "ratings.csv", folder / "data", folder / "trained.model"
    row: dict[str, float] = {"ratings": generate.write(ratings, n_users, N_ITEMS, n_ratings, seed=0), "users": n_users}
    prepared = measure([*AUTOREC, "prepare", ratings, "-o", data])
    row |= {"prepare_seconds": prepared.seconds, "prepare_mib": prepared.peak_mib}
    ratings.unlink()
    for variant in VARIANTS:
        log = folder / "log.jsonl"
        options = (
            "--objective",
            "rating",
            "--variant",
            variant,
            "--hidden-size",
            str(HIDDEN_SIZE),
            "--epochs",
            str(n_epochs),
            "--no-refit",
        )
        trained = measure([*AUTOREC, "train", data, "-o", model, "--force", *options, "--log", log])
        epochs = [json.loads(line)["seconds"] for line in log.read_text().splitlines()]
        row |= {f"{variant}_epoch_seconds": statistics.median(epochs[1:]), f"{variant}_train_mib": trained.peak_mib}
        row |= {f"{variant}_train_seconds": trained.seconds}
        users = folder / "users"
        users.write_text("\n".join(pl.read_parquet(data / "users.parquet")["id"].head(LISTS)))
        listed = measure([*AUTOREC, "recommend", model, "--users", users, "-o", folder / "top.csv"])
        row |= {f"{variant}_recommend_seconds": listed.seconds, f"{variant}_recommend_mib": listed.peak_mib}
        log.unlink()
    return row


def draw(rows: pl.DataFrame, path: Path) -> None:
    """Draw seconds of an epoch and peak memory over ratings, both axes logarithmic, beside lines of proportion."""
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

    mpl.rcParams["svg.hashsalt"] = "scale"  # the same numbers give the same file
    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    x = rows["ratings"].to_numpy()
    for variant, marker in zip(VARIANTS, "os", strict=True):
        seconds = rows[f"{variant}_epoch_seconds"].to_numpy()
        (line,) = left.loglog(x, seconds, marker, label=f"{variant} variant")
        left.loglog(x, seconds[-1] * x / x[-1], ":", color=line.get_color(), label="in proportion to the last")
        right.loglog(x, rows[f"{variant}_train_mib"] / 1024, f"{marker}-", label=f"train, {variant} variant")
    right.loglog(x, rows["prepare_mib"] / 1024, "^-", label="prepare")
    left.set(title=f"an epoch, hidden size {HIDDEN_SIZE}", xlabel="ratings", ylabel="seconds")
    right.set(title="peak memory of the whole command", xlabel="ratings", ylabel="GiB")
    for axes in (left, right):
        axes.xaxis.set_major_formatter(EngFormatter())
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_minor_formatter(NullFormatter())
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--ratings", type=int, action="append", help="a size; all five if never given")
    parser.add_argument("--epochs", type=int, default=4, help="the first is not counted; the median of the others is")
    results.add_option(parser)
    arguments = parser.parse_args()
    if arguments.epochs < 2:
        parser.error("--epochs must be 2 or more: the first is not counted")
    arguments.folder.mkdir(parents=True, exist_ok=True)
    table = arguments.folder / "scale.csv"
    rows = pl.read_csv(table).to_dicts() if table.exists() else []
    for n_ratings in arguments.ratings or SIZES:
        if any(abs(row["ratings"] / n_ratings - 1) < 0.01 for row in rows):
            continue
        with tempfile.TemporaryDirectory(dir=arguments.folder) as scratch:
            rows.append(measure_size(n_ratings, arguments.epochs, Path(scratch)))
        pl.DataFrame(rows).sort("ratings").write_csv(table)
    measured = pl.read_csv(table)
    cells = [[row[name] for name, _ in COLUMNS.values()] for row in measured.to_dicts()]
    results.report({title: form for title, (_, form) in COLUMNS.items()}, cells, arguments.result)
    draw(measured, arguments.folder / "scale.svg")


if __name__ == "__main__":
    main()
