"""Python blocks of README.md and docs/api.md run as they stand, and docs/api.md has every public name."""

from __future__ import annotations

import importlib
import logging
import re
from unittest.mock import MagicMock

import pytest

import autorec_cli as autorec
from docs import render
from tests.program import ROOT, SMALL, call

PAGE = ROOT / "docs" / "api.md"
BLOCK = re.compile(r"(?<=^```python\n).*?(?=^```$)", flags=re.MULTILINE | re.DOTALL)
SHOWN = re.compile(r"^(.+?)  # -> (.+)$")
"""A line with an expression and its value."""
TRACKERS = {name: MagicMock() for name in ("mlflow", "wandb", "SummaryWriter")}
"""In place of packages that are not installed."""
importlib.import_module("matplotlib.font_manager")  # may log that it lists the fonts, once on a machine


@pytest.mark.parametrize("path", [render.README, PAGE], ids=lambda path: path.name)
def test_python_blocks_run_and_give_the_values_shown(path, workshop, tmp_path, monkeypatch, capfd):
    (tmp_path / "sample_data").symlink_to(ROOT / "sample_data")
    call("train", workshop / "data", "-o", tmp_path / "m", "--log", tmp_path / "epochs.jsonl", *SMALL)
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logging, "basicConfig", lambda **_: None)
    blocks, names = BLOCK.findall(path.read_text(encoding="utf-8")), dict(TRACKERS)
    assert blocks
    for block in blocks:
        exec(block, names)
        for expression, value in (shown.groups() for shown in map(SHOWN.match, block.splitlines()) if shown):
            assert repr(eval(expression, names)) == value, expression
    assert capfd.readouterr() == ("", "")
    if path == PAGE:
        metrics = ["item selection train_rmse", "item selection valid_rmse", "item refit train_rmse"]
        logged = [made.args[0] for made in TRACKERS["mlflow"].log_metric.call_args_list]
        assert list(dict.fromkeys(logged)) == metrics
        assert TRACKERS["SummaryWriter"]().__enter__().add_scalar.call_count == len(logged)
        assert TRACKERS["wandb"].init().__enter__().log.call_count == len(logged)
        assert (tmp_path / "analysis.svg").stat().st_size > 0


def test_every_public_name_is_on_the_page():
    page = PAGE.read_text(encoding="utf-8")
    missing = [name for name in autorec._MODULES if f"\n### {name}\n" not in page]
    assert missing == []
    for error in autorec.errors.AutoRecError.__subclasses__():
        named = f"| `{error.__name__}` |" in page
        assert named or error.__name__ in ("LockedError", "QualityGateError", "LostPeerError"), error  # of commands
