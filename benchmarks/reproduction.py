"""The paper's experiments and those that go beyond it: test RMSE of whole commands, for docs/reproduction.md.

    python -m benchmarks.reproduction paper ml-1m.data [--repeats 5]
    python -m benchmarks.reproduction hidden-size ml-1m.data
    python -m benchmarks.reproduction activations ml-1m.data
    python -m benchmarks.reproduction sparser small.data tweets.data --name latest-small --name MovieTweetings
    python -m benchmarks.reproduction canonical ml-100k
    python -m benchmarks.reproduction presets ml-1m.data [--preset best]
    python -m benchmarks.reproduction best ml-1m/ratings.csv.gz

The first four run `autorec cross-validate` on prepared datasets, so a cell is a mean and the half width of its 95%
interval. `canonical` prepares u1.base ... u5.base of a folder, `best` five splits of a file; they and `presets` train
and evaluate in a temporary directory.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from autorec_cli.defaults import PRESETS
from benchmarks import results
from benchmarks.measure import AUTOREC

PAPER_INPUT = (
    "--variant item --no-implicit --no-normalize --center none --no-decoder-mean --dropout 0 "
    "--output-activation identity --learning-rate 0.003"
)
PAPER = {
    "AutoRec": (None, ""),
    "I-AutoRec": (0.831, "--variant item"),
    "U-AutoRec": (0.874, "--variant user"),
    "I-AutoRec, the paper's input": (0.831, "$P --regularization 200 --epochs 50"),
    "deep (500,250,500)": (
        0.827,
        "--variant item --hidden-size 500,250,500 --dropout 0.2 --epochs 60 --no-decoder-mean",
    ),
}
HIDDEN_SIZES = {
    20: (0.869, 10, 150),
    50: (0.854, 50, 100),
    80: (0.848, 80, 80),
    100: (0.845, 100, 60),
    200: (0.834, 150, 50),
    300: (0.833, 200, 50),
    400: (0.832, 200, 50),
    500: (0.830, 200, 50),
}
"""Hidden size -> the paper's RMSE, and the penalty and epochs that were best on one validation set."""
IDENTITY = "--hidden-activation identity --regularization 3000 --learning-rate 1e-3 --epochs 50"
ACTIVATIONS = {
    "identity, identity": (0.872, IDENTITY),
    "sigmoid, identity": (0.852, f"--output-activation sigmoid {IDENTITY}"),
    "identity, sigmoid": (0.831, "--regularization 200 --epochs 50"),
    "sigmoid, sigmoid": (0.836, "--output-activation sigmoid --regularization 200 --epochs 50"),
}
"""Output and hidden activation -> the paper's RMSE, and options."""
BOTH_VARIANTS = "both variants"
VARIANTS = {BOTH_VARIANTS: "", "I-AutoRec": "--variant item", "U-AutoRec": "--variant user"}
SIX_MODELS = (0.8137, 0.8160, 0.8150, 0.8151, 0.8113)
"""Test RMSE on five splits of the blend of six models that came before the preset (commit 51c1732)."""
BIAS = "user+item bias"
RMSE = "{:.4f}"
Cells = list[list[results.Cell]]


def autorec(*arguments: object) -> str:
    """Run a command, which shows warnings and errors only; returns its stdout."""
    command = [*AUTOREC, *map(str, arguments), "--quiet"]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def options_of(text: str) -> list[str]:
    """Options as a list, with the paper's input for $P."""
    return text.replace("$P", PAPER_INPUT).split()


def cross_validate(data: Path, repeats: int, options: str) -> dict[str, list[float]]:
    """Test RMSE and its margin by the name of the model, the baselines included."""
    rating = ("--objective", "rating", *options_of(options))
    output = autorec("cross-validate", data, "--repeats", repeats, *rating, "--format", "json")
    rows = [(row["model"], [row["rmse"], row["rmse_margin"]]) for row in json.loads(output)]
    return {"autorec": rows[0][1], **dict(rows)}


def code(options: str) -> str | None:
    """Options in the type of code, or an empty cell."""
    return f"`{options}`" if options else None


def run_paper(asked: argparse.Namespace) -> Cells:
    """Table 1 and the deep form."""
    rows: Cells = []
    measured: dict[str, list[float]] = {}
    for name, (paper, options) in PAPER.items():
        if asked.only and name not in asked.only:
            continue
        measured = cross_validate(asked.sources[0], asked.repeats, options)
        rows.append([name, paper, measured["autorec"], code(options)])
    return [*rows, [BIAS, None, measured[BIAS], None]]


def run_hidden_sizes(asked: argparse.Namespace) -> Cells:
    """Figure 2."""
    rows: Cells = []
    for size, (paper, penalty, epochs) in HIDDEN_SIZES.items():
        options = f"$P --hidden-size {size} --regularization {penalty} --epochs {epochs}"
        measured = cross_validate(asked.sources[0], asked.repeats, options)
        rows.append([size, paper, measured["autorec"], penalty, epochs])
    return rows


def run_activations(asked: argparse.Namespace) -> Cells:
    """Table 1b."""
    return [
        [name, paper, cross_validate(asked.sources[0], asked.repeats, f"$P {options}")["autorec"], code(options)]
        for name, (paper, options) in ACTIVATIONS.items()
    ]


def run_sparser(asked: argparse.Namespace) -> Cells:
    """The defaults, each variant and both baselines, a row for each dataset."""
    rows: Cells = []
    for data, name in zip(asked.sources, asked.name or [path.name for path in asked.sources], strict=True):
        both, item, user = (cross_validate(data, asked.repeats, options) for options in VARIANTS.values())
        rows.append([name, *(row["autorec"] for row in (both, item, user)), item[BIAS], item["item mean"]])
    return rows


def train_and_evaluate(data: Path, models: dict[str, str], folder: Path) -> list[dict[str, Any]]:
    """Rows of `evaluate` with the seconds of training; `models` are names and options."""
    rows: list[dict[str, Any]] = []
    for name, options in models.items():
        started = time.perf_counter()
        autorec("train", data, "-o", folder / "m", "--force", *options_of(options))
        seconds = time.perf_counter() - started
        measured = json.loads(autorec("evaluate", folder / "m", "--format", "json"))
        baselines = [row for row in measured if row["model"] == BIAS and name == list(models)[-1]]
        rows += [{**measured[0], "model": name, "seconds": seconds}, *baselines]
    return rows


def interval(row: dict[str, Any]) -> list[float]:
    """RMSE and the ends of its interval."""
    return [row["rmse"], row["rmse_low"], row["rmse_high"]]


def run_canonical(asked: argparse.Namespace) -> Cells:
    """The five canonical splits of MovieLens 100K; the first with its interval."""
    splits = []
    with tempfile.TemporaryDirectory() as scratch:
        for number in range(1, 6):
            base, test = (asked.sources[0] / f"u{number}.{part}" for part in ("base", "test"))
            autorec("prepare", base, "--test-file", test, "-o", Path(scratch) / "data", "--force")
            rating = {name: f"--objective rating {options}" for name, options in VARIANTS.items()}
            splits.append(train_and_evaluate(Path(scratch) / "data", rating, Path(scratch)))
    return [
        [
            rows[0]["model"],
            interval(rows[0]),
            *(row["rmse"] for row in rows[1:]),
            statistics.mean(row["rmse"] for row in rows),
        ]
        for rows in zip(*splits, strict=True)
    ]


def run_presets(asked: argparse.Namespace) -> Cells:
    """A model of each preset: ratings with their interval over users, rankings, seconds of training."""
    with tempfile.TemporaryDirectory() as scratch:
        models = {name: f"--preset {name}" for name in asked.preset or PRESETS}
        rows = train_and_evaluate(asked.sources[0], models, Path(scratch))
    return [
        [f"`{row['model']}`", interval(row), row.get("ndcg@10"), row["seconds"]] for row in rows if row["model"] != BIAS
    ]


def run_best(asked: argparse.Namespace) -> Cells:
    """The preset `best` beside the blend of six models, on splits that no default was chosen on."""
    rows: Cells = []
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch) / "data"
        for seed, six_models in enumerate(SIX_MODELS, 1):
            autorec("prepare", asked.sources[0], "-o", data, "--seed", seed, "--force")
            models = {"best": "--objective rating --preset best"}
            best = train_and_evaluate(data, models, Path(scratch))[0]["rmse"]
            print(f"split {seed}: {best:.4f}", flush=True)
            rows.append([seed, six_models, best, best - six_models])
    means = [statistics.mean(float(row[column]) for row in rows) for column in (1, 2, 3)]  # type: ignore[arg-type]
    return [*rows, ["mean", *means]]


OPTIONS = {"model": "", "paper": "{:.3f}", "here": RMSE, "options": ""}
EXPERIMENTS: dict[str, tuple[Callable[[argparse.Namespace], Cells], dict[str, str]]] = {
    "paper": (run_paper, OPTIONS),
    "hidden-size": (
        run_hidden_sizes,
        {
            "`--hidden-size`": "{:,}",
            "paper": "{:.3f}",
            "here": RMSE,
            "`--regularization`": "{:,}",
            "`--epochs`": "{:,}",
        },
    ),
    "activations": (run_activations, {"output, hidden": "", "paper": "{:.3f}", "here": RMSE, "options": ""}),
    "sparser": (
        run_sparser,
        {"dataset": "", **dict.fromkeys((BOTH_VARIANTS, "I-AutoRec", "U-AutoRec", BIAS, "item mean"), RMSE)},
    ),
    "canonical": (
        run_canonical,
        {"model": "", **dict.fromkeys(("u1 (95% interval over users)", "u2", "u3", "u4", "u5", "mean"), RMSE)},
    ),
    "best": (
        run_best,
        {"split": "", "blend of six models": RMSE, "`--preset best`": RMSE, "difference": "{:+.4f}"},
    ),
    "presets": (
        run_presets,
        {"preset": "", "test RMSE (95% interval over users)": RMSE, "nDCG@10": RMSE, "seconds": "{:.0f}"},
    ),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", choices=EXPERIMENTS)
    parser.add_argument("sources", type=Path, nargs="+")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--preset", action="append", choices=PRESETS, help="a row of `presets`; all if left out")
    parser.add_argument("--name", action="append", help="the name of a dataset in its row")
    parser.add_argument("--only", action="append", choices=PAPER, help="a row of `paper` to measure; all if left out")
    results.add_option(parser)
    asked = parser.parse_args(arguments)
    run, columns = EXPERIMENTS[asked.experiment]
    cells = run(asked)
    results.report(columns, cells, asked.result)


if __name__ == "__main__":
    main()
