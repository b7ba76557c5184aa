"""Python blocks of README.md and docs/api.md run as they stand, and docs/api.md has every public name."""

from __future__ import annotations

import logging
import re

import pytest

import autorec_cli as autorec
from docs import render
from tests.program import ROOT

PAGE = ROOT / "docs" / "api.md"
BLOCK = re.compile(r"(?<=^```python\n).*?(?=^```$)", flags=re.MULTILINE | re.DOTALL)
SHOWN = re.compile(r"^(.+?)  # -> (.+)$")
"""A line with an expression and its value."""


@pytest.mark.parametrize("path", [render.README, PAGE], ids=lambda path: path.name)
def test_python_blocks_run_and_give_the_values_shown(path, tmp_path, monkeypatch, capfd):
    (tmp_path / "sample_data").symlink_to(ROOT / "sample_data")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logging, "basicConfig", lambda **_: None)
    blocks, names = BLOCK.findall(path.read_text(encoding="utf-8")), {}
    assert blocks
    for block in blocks:
        exec(block, names)
        for expression, value in (shown.groups() for shown in map(SHOWN.match, block.splitlines()) if shown):
            assert repr(eval(expression, names)) == value, expression
    assert capfd.readouterr() == ("", "")


def test_every_public_name_is_on_the_page():
    page = PAGE.read_text(encoding="utf-8")
    missing = [name for name in autorec._MODULES if f"\n### {name}\n" not in page]
    assert missing == []
    for error in autorec.errors.AutoRecError.__subclasses__():
        named = f"| `{error.__name__}` |" in page
        assert named or error.__name__ in ("LockedError", "QualityGateError", "LostPeerError"), error  # of commands
