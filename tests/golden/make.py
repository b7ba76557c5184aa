"""Small files of every kind that lasts, made once and read by every run of the tests for ever.

    python -m tests.golden.make

writes tests/golden/VERSION, where VERSION is that of the package, and the hashes of its files into SHA256SUMS. It
refuses to touch a folder that is there. CONTRIBUTING.md says when to run it; no test does. Training need not give
these weights again.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl

from autorec_cli import __version__
from tests.golden.facts import EXPECTED, MODELS, ROOT, SUMS, facts_of_dataset, facts_of_model, sums_of
from tests.program import run

FOLDER = ROOT / __version__
SCRATCH = Path("/tmp/golden")
"""Directory where the files are made; models keep its name."""

N_USERS, N_ITEMS = 36, 24
FIRST_DAY = 1_600_000_000
USERS = [f"u{index:02}" for index in range(N_USERS - 2)] + ["Zoë, \"Z\"", "学"]  # fmt: skip
ITEMS = [f"i{index:02}" for index in range(N_ITEMS)]
SMALL = ("--hidden-size", 3, "--epochs", 12, "--learning-rate", 0.05, "--regularization", 0.5, "--dropout", 0, "-q")
RATING = ("--objective", "rating")

DATASETS = {
    "ratings": ("ratings.csv", "--test-file", "test.csv", "--valid", 0.25),
    "columns": (
        *("ratings.csv", "--items", "items.csv", "--split", "leave-last", "--since", "2020-09-14"),
        *("--missing-rating", "99", "--exclude-users", "excluded.csv"),
    ),
    "interactions": ("interactions.csv",),
}
"""Dataset -> arguments of `prepare`."""

PLAIN = ("--no-implicit", "--no-normalize", "--no-decoder-mean", "--center", "none")
OPTIONS = {
    "item": (*RATING, "--variant", "item", "--output-activation", "identity"),
    "user": (*RATING, "--variant", "user", "--output-activation", "sigmoid", *PLAIN, "--hidden-size", "4,3"),
    "ordinal": (*RATING, "--variant", "item", "--output-activation", "ordinal"),
    "blend": (*RATING, "--variant", "both"),
    "ranking": ("--objective", "ranking"),
    "both": ("--objective", "both"),
    "interactions": ("--objective", "ranking", "--variant", "user"),
    "columns": (*RATING, "--variant", "user", "--center", "user"),
}
"""Model -> options of `train`."""


def write_sources(folder: Path) -> None:
    """Write ratings of two factors, what belongs to them, and interactions."""
    rng = np.random.default_rng(3)
    liking = 3.2 + rng.normal(0, 0.4, (N_USERS, 1)) + rng.normal(0, 0.5, N_ITEMS)
    liking = liking + rng.normal(0, 1, (N_USERS, 2)) @ rng.normal(0, 1, (2, N_ITEMS))
    ratings = np.clip(np.round(2 * liking) / 2, 1, 5)
    users, items = np.nonzero(rng.random(liking.shape) < 0.6)
    rows = pl.DataFrame(
        {
            "user": [USERS[user] for user in users],
            "item": [ITEMS[item] for item in items],
            "rating": ratings[users, items],
            "timestamp": FIRST_DAY + 3600 * (7 * users + 11 * items),
        }
    )
    is_test = rng.random(len(rows)) < 0.1
    new = pl.DataFrame({"user": [USERS[0], "new"], "item": ["new", ITEMS[0]], "rating": [4.0, 2.5]})
    new = new.with_columns(timestamp=pl.lit(FIRST_DAY, dtype=pl.Int64))
    rows.filter(~is_test).write_csv(folder / "ratings.csv")
    pl.concat([rows.filter(is_test), new]).write_csv(folder / "test.csv")
    rows.filter(pl.col("rating") >= 3).select("user", "item").write_csv(folder / "interactions.csv")
    (folder / "excluded.csv").write_text("user\nu05\n")
    described = {
        "item": ITEMS[:-1],  # nothing is known of the last one
        "title": [None if index == 3 else f"Title {index}, é" for index in range(N_ITEMS - 1)],
        "genre": [(None, "Comedy", "Drama")[index % 3] for index in range(N_ITEMS - 1)],
        "year": [None if index == 1 else 1990 + index for index in range(N_ITEMS - 1)],
        "price": [None if index == 2 else index / 4 for index in range(N_ITEMS - 1)],
        "available": [(True, False, None)[index % 3] for index in range(N_ITEMS - 1)],
    }
    pl.DataFrame(described).write_csv(folder / "items.csv")


def autorec(*arguments: object, cwd: Path) -> None:
    """Run a command, which must succeed."""
    result = run(*arguments, cwd=cwd)
    if result.status:
        raise SystemExit(f"{arguments} ended with status {result.status}:\n{result.stderr}")


def make(folder: Path) -> None:
    """Make all files in an empty folder."""
    write_sources(folder)
    for name in ("datasets", "models"):
        (folder / name).mkdir()
    for name, arguments in DATASETS.items():
        autorec("prepare", *arguments, "-o", f"datasets/{name}", cwd=folder)
    for name, data in MODELS.items():
        arguments = ("train", f"datasets/{data}", "-o", f"models/{name}.model", *SMALL, *OPTIONS[name])
        autorec(*arguments, cwd=folder)
    # Once more over the last one, so that it has the fields of a warm start and of a promotion.
    warm = ("--warm-start", "models/columns.model", "--keep-if-better", "rmse", "--tolerance", 1)
    autorec(*arguments, *warm, cwd=folder)
    options = ("--items", "items.csv", "-k", 3, "--format", "csv")
    autorec("run", "ratings.csv", "-o", "out", *options, *SMALL, *RATING, "--variant", "item", cwd=folder)
    shutil.move(folder / "out" / "generations" / "0001", folder / "generation")
    (folder / "generation" / "report.html").unlink()
    shutil.rmtree(folder / "out")
    facts = {
        "datasets": {name: facts_of_dataset(folder / "datasets" / name) for name in DATASETS},
        "models": {name: facts_of_model(folder, name) for name in MODELS},
    }
    (folder / EXPECTED).write_text(json.dumps(facts, ensure_ascii=False) + "\n", encoding="utf-8")


def main() -> None:
    """The command line, which has no options."""
    if FOLDER.exists():
        raise SystemExit(f"{FOLDER} is there: golden files are never made again; raise the version first")
    SCRATCH.mkdir()
    try:
        make(SCRATCH)
        shutil.copytree(SCRATCH, FOLDER)
        with SUMS.open("a", encoding="utf-8") as file:
            file.writelines(f"{digest}  {name}\n" for name, digest in sums_of(FOLDER).items())
    finally:
        shutil.rmtree(SCRATCH)


if __name__ == "__main__":
    main()
