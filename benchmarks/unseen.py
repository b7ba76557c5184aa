"""Accuracy on public data of many shapes, beside other libraries.

    python -m benchmarks.unseen [NAME=]DATASET... [--python ENV/bin/python] [--only NAMES]
        [--anchors benchmarks/results/unseen-anchors.json] [--result benchmarks/results/unseen.json]

`autorec train` without options is compared with baselines and other libraries. DATASET is a directory made by
`autorec prepare`; NAME is its name in the table. All contenders are fitted on train and valid together and measured on
the same test ratings; predictions are clipped to the rating scale, and recommendations are measured as
`autorec evaluate --ranking` does.

Anchors (benchmarks/anchors.py) run in the interpreter of `--python`, without the libraries that are not installed
there. They are measured once: rows that the file of `--anchors` has already are taken from it, others are added. Ours
are whole commands `autorec train` and run each time; `--result` records their rows. `--only` takes names of contenders,
"ours" and "anchors".

Seconds are of CPU, for choosing hyperparameters and fitting; ours include the start-up of the command.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from autorec_cli.data.dataset import read_document
from benchmarks import anchors, results
from benchmarks.measure import AUTOREC

METRICS = {
    "RMSE": ("rmse", "{:.4f}"),
    "MAE": ("mae", "{:.4f}"),
    "nDCG@10": ("ndcg@10", "{:.4f}"),
    "recall@10": ("recall@10", "{:.4f}"),
    "coverage": ("coverage@10", "{:.3f}"),
    "CPU s": ("seconds", "{:,.1f}"),
}
"""Column -> the key of its values, and their format."""
COLUMNS = {
    "dataset": "",
    "split": "",
    "contender": "",
    **{title: form for title, (_, form) in METRICS.items()},
    "chosen": "",
}
N_KEYS = 3
LABELS = {
    "popularity": "popularity",
    "bias": "tuned bias",
    "svd": "Surprise SVD",
    "knn": "item-kNN",
    "myfm": "myFM",
    "myfm-implicit": "myFM, implicit",
    "myfm-stopped": "myFM, implicit, stopped",
    "als": "implicit ALS",
    "ease": "EASE",
    "ease-ratings": "EASE of ratings",
    "ease-denoising": "EASE, denoising",
    "default": "autorec",
    "rating": "autorec, rating",
    "item": "autorec, item",
    "user": "autorec, user",
    "ranking": "autorec, ranking",
}
OURS: dict[str, list[str]] = {
    "default": [],
    "rating": ["--objective", "rating"],
    "item": ["--objective", "rating", "--variant", "item"],
    "user": ["--objective", "rating", "--variant", "user"],
    "ranking": ["--objective", "ranking"],
}
"""Name -> options of `autorec train`."""
RATERS = ("bias", "svd", "knn", "myfm", "myfm-implicit", "myfm-stopped", "default", "rating", "item", "user")
RANKERS = (
    "popularity",
    "als",
    "ease",
    "ease-ratings",
    "ease-denoising",
    "myfm-implicit",
    "default",
    "ranking",
)
ANCHORS_FILE, OURS_FILE = (results.FOLDER / f"{name}.json" for name in ("unseen-anchors", "unseen"))


def run_anchor(python: str, name: str, folder: Path) -> dict[str, Any]:
    """Metrics of an anchor; see `anchors.measure`. Or `note`, why it was left out; or `missing`, its library."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent)}
    command = [python, "-m", "benchmarks.anchors", name, str(folder)]
    process = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if process.returncode == -signal.SIGXCPU:
        return {"note": f"left out: it takes more than {anchors.CPU_LIMIT // 60} minutes"}
    if process.returncode:
        raise RuntimeError(f"{name}: exit status {process.returncode}\n{process.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(process.stdout.splitlines()[-1])
    return found


def run_ours(names: Sequence[str], folder: Path) -> list[dict[str, Any]]:
    """Metrics of models trained with the options of `OURS`, as `autorec evaluate` gives them."""
    with tempfile.TemporaryDirectory() as scratch:
        models = [str(Path(scratch) / f"{name}.model") for name in names]
        seconds = [
            cpu_seconds([*AUTOREC, "train", str(folder), "-o", model, *OURS[name], "--quiet"])
            for name, model in zip(names, models, strict=True)
        ]
        evaluate = [*AUTOREC, "evaluate", *models, "--data", str(folder), "--format", "json", "--quiet"]
        output = subprocess.run(evaluate, check=True, stdout=subprocess.PIPE, text=True).stdout
    rows = json.loads(output)[: len(names)]
    return [{**row, "seconds": took} for row, took in zip(rows, seconds, strict=True)]


def cpu_seconds(command: Sequence[str]) -> float:
    """Run a command; CPU seconds, user and system, of all its threads and processes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure_set(
    key: tuple[str, str], folder: Path, asked: argparse.Namespace
) -> Iterator[tuple[list[results.Cell], Path | None]]:
    """Rows of the contenders on one dataset, each with the file to put it into."""
    kept = {tuple(row.cells[:N_KEYS]): row.cells for row in load(asked.anchors).rows}
    for name in anchors.ANCHORS:
        if name not in asked.only:
            continue
        if cells := kept.get((*key, LABELS[name])):
            yield cells, None
            continue
        found = run_anchor(asked.python, name, folder)
        if "missing" in found:
            print(f"{LABELS[name]}: {found['missing']} is not installed in {asked.python}", file=sys.stderr)
        else:
            yield to_cells(key, name, found), asked.anchors
    ours = [name for name in OURS if name in asked.only]
    for name, found in zip(ours, run_ours(ours, folder) if ours else [], strict=True):
        yield to_cells(key, name, found), asked.result


def to_cells(key: tuple[str, str], name: str, found: dict[str, Any]) -> list[results.Cell]:
    """A row of the table."""
    return [*key, LABELS[name], *(found.get(metric) for metric, _ in METRICS.values()), found.get("note")]


def load(path: Path | None) -> results.Table:
    """The table in a result file, empty if there is no file."""
    return results.load(path) if path is not None and path.exists() else results.Table(COLUMNS, [], N_KEYS)


def keep(cells: list[results.Cell], path: Path) -> None:
    """Put a row into a result file."""
    row = results.Table(COLUMNS, [results.Row(cells, **results.this_run())], N_KEYS)
    results.save(results.merge(load(path), row), path)


def line(cells: list[results.Cell]) -> str:
    """A row in Markdown."""
    return results.to_markdown(results.Table(COLUMNS, [results.Row(cells, "", "", "", "")])).splitlines()[-1]


def beside(metric: str, names: Sequence[str], tables: Sequence[results.Table]) -> str:
    """A column of several tables in Markdown: a row for each dataset, a column for each contender, the best in bold."""
    title, (key, form) = metric, METRICS[metric]
    column = list(COLUMNS).index(title)
    values = {tuple(row.cells[:N_KEYS]): row.cells[column] for table in tables for row in table.rows}
    datasets = dict.fromkeys(each[:2] for each in values)
    best_of = min if key in ("rmse", "mae", "seconds") else max
    lines = [["dataset", *(LABELS[name] for name in names)], ["---", *["---:"] * len(names)]]
    for dataset in datasets:
        found = [values.get((*dataset, LABELS[name])) for name in names]
        shown = ["" if value is None else form.format(value) for value in found]
        best = form.format(best_of((value for value in found if value is not None), default=0.0))
        lines.append([dataset[0], *(f"**{text}**" if text == best else text for text in shown)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def ratings() -> str:
    """Test RMSE for docs/benchmarks.md."""
    return beside("RMSE", RATERS, [load(ANCHORS_FILE), load(OURS_FILE)])


def rankings() -> str:
    """NDCG@10 for docs/benchmarks.md."""
    return beside("nDCG@10", RANKERS, [load(ANCHORS_FILE), load(OURS_FILE)])


def parse_names(text: str) -> list[str]:
    """Names of contenders, "ours" and "anchors" written out.

    Raises:
        argparse.ArgumentTypeError: a name is unknown.
    """
    groups = {"ours": list(OURS), "anchors": list(anchors.ANCHORS)}
    names = [name for part in text.split(",") for name in groups.get(part, [part])]
    if unknown := sorted(set(names) - set(LABELS)):
        raise argparse.ArgumentTypeError(f"{unknown[0]} is none of {', '.join((*LABELS, *groups))}")
    return names


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", nargs="+", metavar="[NAME=]DATASET")
    parser.add_argument("--python", default=sys.executable, help="an interpreter that has the other libraries")
    parser.add_argument("--only", type=parse_names, default=list(LABELS), metavar="NAMES")
    parser.add_argument("--anchors", type=Path, metavar="FILE", help="where rows of anchors are kept")
    results.add_option(parser)
    asked = parser.parse_args()
    print(results.to_markdown(results.Table(COLUMNS, [])), flush=True)
    for dataset in asked.datasets:
        name, _, folder = dataset.rpartition("=")
        split = read_document(Path(folder))["fingerprint"][:7]
        for cells, path in measure_set((name or Path(folder).name, split), Path(folder), asked):
            print(line(cells), flush=True)
            if path is not None:
                keep(cells, path)


if __name__ == "__main__":
    main()
