"""Test RMSE over seconds: libraries are fitted and measured apart from the package, and curves are read off right."""

import subprocess
import sys

import numpy as np
import pytest
from scipy import sparse

from benchmarks import libraries, quality
from benchmarks.results import Row, Table
from tests.program import ROOT

RUN = {"date": "2026-01-02", "commit": "abc1234", "machine": "2 threads", "command": "python -m benchmarks.quality"}
CELLS = [
    ["ours", "--epochs 1", 3, 2.5, None, 0.9],
    ["ours", "--epochs 9", 3, 12.0, None, 0.8],
    ["slow", "n=1", 3, 20.0, 4.0, 0.85],
    ["ours", "--epochs 5", 3, 7.0, None, 0.82],
    ["slow", "n=2", 3, 30.0, 4.0, 0.86],
]
TABLE = Table(quality.COLUMNS, [Row(cells, **RUN) for cells in CELLS], quality.N_KEYS)


def test_a_budget_has_the_best_rmse_reached_within_it():
    assert quality.within_budgets(TABLE).splitlines()[2:] == [
        "| ours | 0.9000 | 0.9000 | 0.8200 | 0.8000 | 0.8000 |",
        "| slow | - | - | - | - | 0.8500 |",
    ]


def test_curves_are_in_the_order_of_seconds():
    assert quality.curves(TABLE)["ours"] == [(2.5, 0.9), (7.0, 0.82), (12.0, 0.8)]


def test_the_chart_names_every_contender_and_is_the_same_for_the_same_rows(tmp_path):
    for name in ("a.svg", "b.svg"):
        quality.draw(TABLE, tmp_path / name)
    drawn = (tmp_path / "a.svg").read_text(encoding="utf-8")
    assert drawn == (tmp_path / "b.svg").read_text(encoding="utf-8")
    assert all(f"<!-- {text} -->" in drawn for text in ("ours", "slow", "seconds", "test RMSE", "30"))


def test_a_library_is_fitted_to_train_and_valid_and_its_predictions_are_clipped(tmp_path):
    for name, cells in {"train": [(0, 0, 1), (1, 2, 4)], "valid": [(0, 1, 0)], "test": [(1, 0, 2), (1, 1, 4)]}.items():
        rows, columns, values = np.array(cells).T
        matrix = sparse.csr_array((values.astype(np.float32), (rows, columns)), shape=(2, 3))
        sparse.save_npz(tmp_path / f"{name}.npz", matrix)

    def fit(ratings, factor):
        assert sorted(ratings.data.tolist()) == [0, 1, 4]
        assert ratings.shape == (2, 3)
        return lambda users, items: factor * (users + items)  # 3 and 6, which is clipped to 4

    library = libraries.Library("mine", ("json",), fit, ("factor=3",))
    *seconds, rmse = libraries.measure(library, "factor=3", tmp_path)
    assert len(seconds) == 2
    assert min(seconds) >= 0
    assert rmse == pytest.approx(np.sqrt(0.5))


def test_libraries_need_nothing_of_this_repository():
    code = "import runpy, sys; runpy.run_path(sys.argv[1]); print(*{name.partition('.')[0] for name in sys.modules})"
    process = subprocess.run(
        [sys.executable, "-c", code, libraries.__file__], cwd=ROOT.parent, capture_output=True, text=True, check=True
    )
    loaded = set(process.stdout.split())
    assert "scipy" in loaded
    assert not loaded & {"autorec_cli", "benchmarks", "polars", "torch", "pandas"}


@pytest.mark.parametrize("name", quality.CONTENDERS)
def test_settings_of_a_contender_differ(name):
    settings = quality.CONTENDERS[name].settings
    assert len(set(settings)) == len(settings) > 0
