"""Figures of benchmarks of whole commands are the command's own."""

import sys

import numpy as np
import pytest

from benchmarks.measure import measure


def test_seconds_are_those_of_the_command():
    assert 0.3 <= measure([sys.executable, "-c", "import time; time.sleep(0.3)"]).seconds < 5


def test_the_peak_is_that_of_the_command_and_not_of_whoever_measures():
    held = np.ones(40_000_000)  # 305 MiB, which a child would inherit
    small = measure([sys.executable, "-c", "pass"]).peak_mib
    large = measure([sys.executable, "-c", "b'x' * (200 << 20)"]).peak_mib
    assert small < held.nbytes / 2**20 / 2
    assert large - small == pytest.approx(200, abs=10)


def test_a_command_that_fails_is_not_measured():
    with pytest.raises(RuntimeError, match=r"exit status 3\nout of order"):
        measure([sys.executable, "-c", "import sys; print('out of order', file=sys.stderr); sys.exit(3)"])


def test_what_a_command_prints_does_not_mix_with_its_figures():
    assert measure([sys.executable, "-c", "print('noise')"]).seconds > 0


def test_commands_may_keep_their_bytecode(monkeypatch):
    """Otherwise this checkout would be compiled anew by every run, as nothing is that pip installed."""
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    measure([sys.executable, "-c", "import sys; sys.exit(sys.dont_write_bytecode)"])
