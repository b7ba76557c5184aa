"""Every benchmark starts: what it imports of the package is there, and its help says how it is run."""

import importlib
import sys

import pytest

from tests.program import ROOT

WITH_COMMAND_LINE = [
    path.stem
    for path in sorted((ROOT / "benchmarks").glob("*.py"))
    if "argparse" in path.read_text(encoding="utf-8") and path.stem != "results"
]


@pytest.mark.parametrize("name", WITH_COMMAND_LINE)
def test_help_shows_how_to_run_it(name, monkeypatch, capsys):
    module = importlib.import_module(f"benchmarks.{name}")
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with pytest.raises(SystemExit) as left:
        module.main()
    assert left.value.code == 0
    assert f"python -m benchmarks.{name}" in capsys.readouterr().out
