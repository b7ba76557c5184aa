"""The paper's experiments and those that go beyond it: test RMSE of whole commands, for docs/reproduction.md.

    python -m benchmarks.reproduction paper ml-1m.data [--repeats 5]
    python -m benchmarks.reproduction hidden-size ml-1m.data
    python -m benchmarks.reproduction activations ml-1m.data
    python -m benchmarks.reproduction sparser small.data tweets.data --name latest-small --name MovieTweetings
    python -m benchmarks.reproduction canonical ml-100k
    python -m benchmarks.reproduction blend ml-1m/ratings.csv.gz [--seeds 1,2,3,4,5]

The first four run `autorec cross-validate` on prepared datasets, so a cell is a mean and the half width of its 95%
interval. `canonical` prepares u1.base ... u5.base of a folder, `blend` a file of ratings with each seed; both train
and evaluate in a temporary directory.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from autorec_cli.evaluation.cross_validation import average
from benchmarks import results
from benchmarks.measure import AUTOREC

PAPER_INPUT = "--variant item --no-implicit --no-normalize --center none --no-decoder-mean --dropout 0"
PAPER = {
    "AutoRec": (None, ""),
    "I-AutoRec": (0.831, "--variant item"),
    "U-AutoRec": (0.874, "--variant user"),
    "I-AutoRec, the paper's input": (0.831, "$P --regularization 200"),
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
    "identity, sigmoid": (0.831, "--regularization 200"),
    "sigmoid, sigmoid": (0.836, "--output-activation sigmoid --regularization 200 --epochs 50"),
}
"""Output and hidden activation -> the paper's RMSE, and options."""
BLENDED = {
    "i.model": "--variant item",
    "u.model": "--variant user",
    "i1000.model": "--variant item --hidden-size 1000 --dropout 0.3 --epochs 40",
    "ip.model": "--variant item --no-implicit --center none",
    "up.model": "$P --variant user --regularization 200",
    "deep.model": "$P --hidden-size 500,250,500 --dropout 0.1 --epochs 60 --regularization 200",
}
PAIR = {"I-AutoRec": "--variant item", "U-AutoRec": "--variant user"}
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
    output = autorec("cross-validate", data, "--repeats", repeats, *options_of(options), "--format", "json")
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
        both, item, user = (cross_validate(data, asked.repeats, options) for options in ("", *PAIR.values()))
        rows.append([name, *(row["autorec"] for row in (both, item, user)), item[BIAS], item["item mean"]])
    return rows


def train_and_blend(data: Path, models: dict[str, str], folder: Path) -> list[dict[str, Any]]:
    """Rows of `evaluate`, the blend as "the blend"; `models` are names and options."""
    paths = [folder / f"{name}.trained" for name in models]
    for path, options in zip(paths, models.values(), strict=True):
        autorec("train", data, "-o", path, "--force", *options_of(options))
    blend = folder / "blend.model"
    output = autorec("evaluate", *paths, "--blend", "-o", blend, "--format", "json")
    weights = [part["weight"] for part in json.loads(autorec("info", blend, "--format", "json"))["models"]]
    blend.unlink()
    names = [*models, "the blend"]
    rows: list[dict[str, Any]] = json.loads(output)
    for row, name in zip(rows, names, strict=False):
        row["model"] = name
    for row, weight in zip(rows, weights, strict=False):
        row["weight"] = weight
    return [row for row in rows if row["model"] in (*names, BIAS)]


def label(row: dict[str, Any]) -> str:
    """The name of a row's model: a file in the type of code."""
    return f"`{row['model']}`" if row["model"] in BLENDED else row["model"]


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
            splits.append(train_and_blend(Path(scratch) / "data", PAIR, Path(scratch)))
    names = {"the blend": "their blend"}
    return [
        [
            names.get(rows[0]["model"], rows[0]["model"]),
            interval(rows[0]),
            *(row["rmse"] for row in rows[1:]),
            statistics.mean(row["rmse"] for row in rows),
        ]
        for rows in zip(*splits, strict=True)
    ]


def run_blend(asked: argparse.Namespace) -> Cells:
    """Six models and their blend: on one split with intervals over users, on several with means over splits."""
    splits = []
    with tempfile.TemporaryDirectory() as scratch:
        for seed in asked.seeds.split(","):
            autorec("prepare", asked.sources[0], "-o", Path(scratch) / "data", "--seed", seed, "--force")
            splits.append(train_and_blend(Path(scratch) / "data", BLENDED, Path(scratch)))
    if len(splits) == 1:
        return [[label(row), row.get("weight"), interval(row)] for row in splits[0] if row["model"] != BIAS]
    means = average([[{"model": row["model"], "rmse": row["rmse"]} for row in rows] for rows in splits])
    rows: Cells = []
    for mean, of_model in zip(means, zip(*splits, strict=True), strict=True):
        weights = [row["weight"] for row in of_model if "weight" in row]
        spread = f"{min(weights):.2f} to {max(weights):.2f}" if weights else None
        rows.append([label(mean), [mean["rmse"], mean["rmse_margin"]], spread])
    return rows


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
        {"dataset": "", **dict.fromkeys(("both variants", "I-AutoRec", "U-AutoRec", BIAS, "item mean"), RMSE)},
    ),
    "canonical": (
        run_canonical,
        {"model": "", **dict.fromkeys(("u1 (95% interval over users)", "u2", "u3", "u4", "u5", "mean"), RMSE)},
    ),
    "blend": (
        run_blend,
        {"model": "", "weight in the blend": "{:.3f}", "test RMSE (95% interval over users)": RMSE},
    ),
}
SEVERAL_SPLITS = {"model": "", "test RMSE": RMSE, "weight in the blend": ""}


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", choices=EXPERIMENTS)
    parser.add_argument("sources", type=Path, nargs="+")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seeds", default="0", help="seeds of the splits of `blend`")
    parser.add_argument("--name", action="append", help="the name of a dataset in its row")
    parser.add_argument("--only", action="append", choices=PAPER, help="a row of `paper` to measure; all if left out")
    results.add_option(parser)
    asked = parser.parse_args(arguments)
    run, columns = EXPERIMENTS[asked.experiment]
    cells = run(asked)
    if asked.experiment == "blend" and "," in asked.seeds:
        columns = SEVERAL_SPLITS
    results.report(columns, cells, asked.result)


if __name__ == "__main__":
    main()
