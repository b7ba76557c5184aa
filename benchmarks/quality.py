"""Test RMSE over seconds: `autorec train`, the dense step, and other libraries, each with several budgets.

    python -m benchmarks.quality DATASET [--runs 5] [--only item both ...] [--python ENV/bin/python] [--chart FILE.svg]

DATASET is a directory made by `autorec prepare`. Every contender is fitted on train and valid with each of its settings
in turn, then all of them again, `--runs` times. Ours are whole commands `autorec train`; of a library only the fit
counts, not importing it, reading the ratings, or predicting test, which has a column of its own. The dense step runs
inside `autorec train` in place of our engine, with the same settings, schedule and start, but no ordinal output.

Libraries (benchmarks/libraries.py) run in the interpreter of `--python`; those that it cannot import are left out.
implicit is not among them: it has no model that predicts ratings. The chart shows all rows of the file of `--result`,
and so does the last table, the best RMSE that a contender reaches within 3 to 30 seconds.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks import libraries, results
from benchmarks.libraries import LIBRARIES
from benchmarks.measure import AUTOREC, measure

COLUMNS = {
    "contender": "",
    "setting": "",
    "runs": "{:,}",
    "seconds": "{:.1f}",
    "prediction": "{:.1f}",
    "test RMSE": "{:.4f}",
}
N_KEYS = 2
BUDGETS = (3, 6, 10, 15, 30)
DENSE = (sys.executable, "-m", "benchmarks.quality", "--dense")


@dataclass(frozen=True)
class Ours:
    """A way to train ours.

    Attributes:
        label: Its name in the table.
        program: What runs `train`.
        options: Options of `train` besides the setting.
        settings: More options, such as "--epochs 5".
    """

    label: str
    program: tuple[str, ...]
    options: tuple[str, ...]
    settings: tuple[str, ...]


OURS = {
    "item": Ours(
        "autorec, item variant", AUTOREC, ("--variant", "item"), tuple(f"--epochs {n}" for n in (1, 2, 3, 5, 10, 20))
    ),
    "both": Ours("autorec, both variants", AUTOREC, (), ("",)),
    "dense": Ours(
        "dense step, item variant", DENSE, ("--variant", "item"), tuple(f"--epochs {n}" for n in (5, 10, 20))
    ),
}
CONTENDERS = {**OURS, **LIBRARIES}


def run_dense(arguments: list[str]) -> None:
    """`autorec train` with the dense step in the place of our engine."""
    from autorec_cli.cli import main
    from autorec_cli.training.loop import trainer
    from benchmarks.dense import DenseEngine

    trainer.make_engine = DenseEngine
    sys.argv = ["autorec", *arguments, "--output-activation", "identity"]
    main.main()


def run_ours(ours: Ours, setting: str, data: Path) -> list[float | None]:
    """Seconds of the whole command, None, and the model's test RMSE as `autorec evaluate` gives it."""
    with tempfile.TemporaryDirectory() as folder:
        model = f"{folder}/trained.model"
        options = [*ours.options, *setting.split()]
        trained = measure([*ours.program, "train", data, "-o", model, "--objective", "rating", *options])
        evaluate = [*AUTOREC, "evaluate", model, "--format", "csv"]
        table = subprocess.run(evaluate, check=True, capture_output=True, text=True).stdout.splitlines()
    return [trained.seconds, None, float(dict(zip(table[0].split(","), table[1].split(","), strict=True))["rmse"])]


def run_library(python: str, name: str, setting: str, data: Path) -> list[float | None]:
    """Seconds of fit and prediction, and test RMSE; on all cores."""
    command = [python, libraries.__file__, name, setting, str(data)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(os.cpu_count())}
    process = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if process.returncode:
        raise RuntimeError(f"{name}: exit status {process.returncode}\n{process.stderr[-2000:]}")
    return [float(text) for text in process.stdout.splitlines()[-1].split()]


def is_installed(name: str, python: str) -> bool:
    """True for ours, and for a library that `python` can import."""
    if name in OURS:
        return True
    imports = "; ".join(f"import {module}" for module in LIBRARIES[name].modules)
    found = subprocess.run([python, "-c", imports], capture_output=True, check=False).returncode == 0
    if not found:
        print(f"{name}: not installed", file=sys.stderr)
    return found


def measure_all(asked: argparse.Namespace) -> Iterator[list[results.Cell]]:
    """Rows: medians of runs in turn."""
    names = [name for name in asked.only if is_installed(name, asked.python)]
    measured: dict[tuple[str, str], list[list[float | None]]] = {
        (name, setting): [] for name in names for setting in CONTENDERS[name].settings
    }
    for _ in range(asked.runs):
        for (name, setting), values in measured.items():
            if name in OURS:
                values.append(run_ours(OURS[name], setting, asked.dataset))
            else:
                values.append(run_library(asked.python, name, setting, asked.dataset))
            print(name, setting, *values[-1], file=sys.stderr)
    for (name, setting), values in measured.items():
        medians = (None if None in column else statistics.median(column) for column in zip(*values, strict=True))
        yield [CONTENDERS[name].label, setting, len(values), *medians]


def curves(table: results.Table) -> dict[str, list[tuple[float, float]]]:
    """Contender -> seconds and test RMSE of its settings, by seconds."""
    places = [list(table.columns).index(title) for title in ("contender", "seconds", "test RMSE")]
    found: dict[str, list[tuple[float, float]]] = {}
    for row in table.rows:
        contender, seconds, rmse = (row.cells[place] for place in places)
        found.setdefault(contender, []).append((seconds, rmse))
    return {contender: sorted(points) for contender, points in found.items()}


def within_budgets(table: results.Table) -> str:
    """Best test RMSE that each contender reaches within so many seconds, as a Markdown table."""
    rows = []
    for contender, points in curves(table).items():
        best = (min((rmse for seconds, rmse in points if seconds <= budget), default="-") for budget in BUDGETS)
        rows.append(results.Row([contender, *best], "", "", "", ""))
    return results.to_markdown(results.Table({"contender": "", **{f"{n} s": "{:.4f}" for n in BUDGETS}}, rows))


def budgets() -> str:
    """Test RMSE within seconds for docs/benchmarks.md."""
    return within_budgets(results.load(results.FOLDER / "quality.json"))


def draw(table: results.Table, path: Path) -> None:
    """Draw test RMSE over seconds, a line for each contender."""
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator

    mpl.rcParams["svg.hashsalt"] = "quality"  # the same numbers give the same file
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots()
    for (contender, points), marker in zip(curves(table).items(), itertools.cycle("os^vDPX*"), strict=False):
        axes.semilogx(*zip(*points, strict=True), f"{marker}-", label=contender)
    axes.set(xlabel="seconds", ylabel="test RMSE")
    axes.set_xticks([1, *BUDGETS, 60, 120])
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """The command line."""
    if sys.argv[1:2] == ["--dense"]:
        run_dense(sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, default=list(CONTENDERS), metavar="NAME")
    parser.add_argument("--python", default=sys.executable, help="an interpreter that has the other libraries")
    parser.add_argument("--chart", type=Path, metavar="FILE", help="also draw the rows into FILE, docs/quality.svg")
    results.add_option(parser)
    asked = parser.parse_args()
    rows = [results.Row(cells, **results.this_run()) for cells in measure_all(asked)]
    results.publish(results.Table(COLUMNS, rows, N_KEYS), asked.result)
    table = results.load(asked.result) if asked.result else results.Table(COLUMNS, rows, N_KEYS)
    print(f"\n{within_budgets(table)}")
    if asked.chart:
        draw(table, asked.chart)


if __name__ == "__main__":
    main()
