"""Result files: rows of figures, each with the date, commit, machine and command that it comes from.

A benchmark hands its rows to `report`, which prints them as a Markdown table and, with `--result FILE`, puts them into
a JSON file of benchmarks/results/. `make docs` renders the tables of the documentation from these files.

A row replaces the one whose first `n_keys` cells are the same, so that a table can be filled by several runs. Rows
marked "transcribed" were copied from documentation older than these files, with the commit that wrote them down; the
next run replaces them.
"""

from __future__ import annotations

import argparse
import json
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

Cell = Any
"""Text, a number, None for an empty cell, or numbers: [value, margin] or [value, low, high]."""
FOLDER = Path(__file__).resolve().parent / "results"


@dataclass(frozen=True)
class Row:
    """Cells of one row, and the run that measured them."""

    cells: list[Cell]
    date: str
    commit: str
    machine: str
    command: str
    transcribed: bool = False


@dataclass(frozen=True)
class Table:
    """Rows under columns; a column is its title and the format of its numbers, such as "{:.4f}"."""

    columns: dict[str, str]
    rows: list[Row]
    n_keys: int = 1

    def cell(self, key: str, column: str) -> Cell:
        """The cell in `column` of the row that begins with `key`."""
        (row,) = (row for row in self.rows if row.cells[0] == key)
        return row.cells[list(self.columns).index(column)]

    def value(self, key: str, column: str) -> float:
        """The number in that cell, without its interval."""
        cell = self.cell(key, column)
        return float(cell[0] if isinstance(cell, list) else cell)


def add_option(parser: argparse.ArgumentParser) -> None:
    """Declare --result."""
    parser.add_argument(
        "--result", type=Path, metavar="FILE", help="also put the rows into FILE, benchmarks/results/*.json"
    )


def report(columns: Mapping[str, str], cells: Sequence[Sequence[Cell]], path: Path | None, n_keys: int = 1) -> None:
    """Print rows as a Markdown table and, where `path` is given, put them into that result file."""
    run = this_run()
    publish(Table(dict(columns), [Row(list(row), **run) for row in cells], n_keys), path)


def publish(table: Table, path: Path | None) -> None:
    """Print a table and, where `path` is given, put its rows into that result file."""
    print(to_markdown(table), flush=True)
    if path is not None:
        save(merge(load(path), table) if path.exists() else table, path)


def this_run() -> dict[str, str]:
    """Date, commit, machine and command of this process."""
    git = ["git", "-C", str(FOLDER), "describe", "--always", "--dirty", "--exclude", "*"]
    described = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    main = sys.modules["__main__"].__spec__
    name = main.name if main is not None else Path(sys.argv[0]).name
    arguments = [Path(part).name if "/" in part else part for part in sys.argv[1:]]  # folders are nobody's business
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "commit": described or "unknown",
        "machine": describe_machine(),
        "command": shlex.join(["python", "-m", name, *arguments]),
    }


def describe_machine() -> str:
    """Threads, processor, and versions of what computes."""
    processor = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = (
            line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        )
        processor = next(names, processor)
    versions = f"Python {platform.python_version()}, PyTorch {torch.__version__}"
    return f"{torch.get_num_threads()} threads, {processor}, {versions}"


def merge(old: Table, new: Table) -> Table:
    """`old` with the rows of `new` in the place of those with the same keys, others at the end."""
    fresh = {_key(row, new.n_keys): row for row in new.rows}
    kept = [fresh.pop(_key(row, new.n_keys), row) for row in old.rows] if old.columns == new.columns else []
    return Table(new.columns, [*kept, *fresh.values()], new.n_keys)


def _key(row: Row, n_keys: int) -> str:
    return json.dumps(row.cells[:n_keys])


def load(path: Path) -> Table:
    """The table in a result file."""
    content = json.loads(path.read_text(encoding="utf-8"))
    return Table(content["columns"], [Row(**row) for row in content["rows"]], content["n_keys"])


def save(table: Table, path: Path) -> None:
    """Write a result file: a line for each row, so that changes are seen in a diff."""
    rows = ",\n".join(f"  {json.dumps(asdict(row), ensure_ascii=False)}" for row in table.rows)
    columns = json.dumps(table.columns, ensure_ascii=False)
    path.write_text(
        f'{{\n "columns": {columns},\n "n_keys": {table.n_keys},\n "rows": [\n{rows}\n ]\n}}\n', encoding="utf-8"
    )


def to_markdown(table: Table) -> str:
    """The table in Markdown, without provenance."""
    formats = list(table.columns.values())
    lines = [list(table.columns), ["---:" if form else "---" for form in formats]]
    lines += [[_shown(cell, form) for cell, form in zip(row.cells, formats, strict=True)] for row in table.rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _shown(cell: Cell, form: str) -> str:
    if isinstance(cell, list):
        value, *bounds = (form.format(number) for number in cell)
        return f"{value} ± {bounds[0]}" if len(bounds) == 1 else f"{value} ({' to '.join(bounds)})"
    if cell is None or isinstance(cell, str):
        return cell or ""
    return (form or "{}").format(cell)


def provenance(table: Table) -> str:
    """A line on when, where and of which version the rows were measured."""
    return f"{'; '.join(_of_machine(table, machine) for machine in sorted({row.machine for row in table.rows}))}."


def _of_machine(table: Table, machine: str) -> str:
    rows = sorted((row for row in table.rows if row.machine == machine), key=lambda row: row.date)
    dates = " to ".join(dict.fromkeys((rows[0].date, rows[-1].date)))
    commits = list(dict.fromkeys(row.commit for row in rows))
    return f"{dates}, commit{'s' if len(commits) > 1 else ''} {', '.join(commits)}, {machine}"
