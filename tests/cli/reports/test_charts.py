"""Sparklines and bars of intervals, drawn by hand here, and where they are shown."""

import io
import re

import pytest

from autorec_cli.cli.reports.charts import (
    ASCII_HEIGHTS,
    ASCII_STROKES,
    STROKES,
    draws_unicode,
    interval_bars,
    sparkline,
)
from autorec_cli.evaluation.metrics import Estimate
from tests.program import SMALL, on_terminal, run


def test_a_sparkline_goes_from_its_lowest_to_its_highest_value():
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7], 10) == "▁▂▃▄▅▆▇█"
    assert sparkline([0.9, 0.8, 0.7, 0.8], 10) == "█▅▁▅"
    assert sparkline([0, 5, 1], 10, ASCII_HEIGHTS) == "_#."
    assert sparkline([2.0, 2.0], 10) == "▁▁"
    assert sparkline([2.0], 10) == "▁"


def test_a_long_sparkline_shows_the_last_value_of_each_group():
    assert sparkline([0, 0, 3, 3, 7, 7], 3) == "▁▄█"
    assert len(sparkline(range(1000), 20)) == 20
    assert sparkline(range(1000), 20)[-1] == "█"


def test_bars_have_one_axis():
    bars = interval_bars([Estimate(2, 2), Estimate(7, 1), Estimate(10, float("nan"))], (0, 10), 11, STROKES)
    assert bars == ["├─●─┤      ", "      ├●┤  ", "          ●"]
    assert interval_bars([Estimate(5, 2)], (3, 7), 5, ASCII_STROKES) == ["[-o-]"]
    assert interval_bars([Estimate(5, 0)], (5, 5), 3, ASCII_STROKES) == ["o  "]


def plain(text):
    return re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", text)


@pytest.mark.parametrize("width", [60, 80, 200])
def test_training_ends_with_a_curve_of_each_network(workshop, tmp_path, width):
    arguments = ("train", "data", "-o", tmp_path / "m", *SMALL, "--objective", "both", "--variant", "both")
    text, status = on_terminal(arguments, workshop, COLUMNS=str(width))
    assert status == 0
    row = r"│ (item|user) (RMSE|nDCG@10) +│ (\d\.\d{4}) [▁-█]{2,20} best (\d\.\d{4}) "
    curves = re.findall(row, plain(text))
    assert [curve[:2] for curve in curves] == [("item", "RMSE"), ("user", "RMSE"), ("user", "nDCG@10")]
    assert [best <= first for *_, first, best in curves[:2]] == [True, True]


def test_networks_of_one_kind_have_a_curve_each(workshop, tmp_path):
    arguments = ("train", "data", "-o", tmp_path / "m", "--preset", "best", "--objective", "rating", "--epochs", 2)
    text, status = on_terminal(arguments, workshop)
    assert status == 0
    assert re.findall(r"│ (item|user) RMSE (?:\((\d)\))? ", plain(text)).count(("item", "2")) == 1


def test_curves_and_bars_are_ascii_on_a_dumb_terminal(workshop, tmp_path):
    text, _ = on_terminal(["train", "data", "-o", tmp_path / "m", *SMALL], workshop, TERM="dumb")
    assert re.search(r"trained: item RMSE: \d\.\d{4} [_.\-=*#]{15} best", text)
    text, _ = on_terminal(["evaluate", "item.model"], workshop, TERM="dumb", COLUMNS="120")
    assert len(re.findall(r"\[-*o-*\]", text)) == 4
    assert not set(text) & set("●▁█")


UTF8 = [("utf-8", "xterm", True), ("UTF8", "xterm", True), ("utf-8", "dumb", False)]
OTHERS = [("ascii", "xterm", False), ("latin-1", "xterm", False)]


@pytest.mark.parametrize(("encoding", "term", "shown"), [*UTF8, *OTHERS])
def test_who_shows_blocks_and_lines(monkeypatch, encoding, term, shown):
    monkeypatch.setenv("TERM", term)
    assert draws_unicode(io.TextIOWrapper(io.BytesIO(), encoding=encoding)) == shown


def test_bars_of_intervals_where_there_is_room(workshop):
    for width, n_bars in ((60, 0), (100, 4), (200, 4)):
        text, status = on_terminal(["evaluate", "item.model"], workshop, COLUMNS=str(width))
        lines = plain(text).splitlines()
        assert status == 0
        assert len([line for line in lines if re.search(r"├?─*●─*┤?", line) and "●" in line]) == n_bars
        assert max(len(line) for line in lines if "│" in line) <= width


def test_neither_where_nobody_looks(workshop, tmp_path):
    trained = run("train", "data", "-o", tmp_path / "m", *SMALL, cwd=workshop)
    evaluated = run("evaluate", "item.model", "--format", "table", cwd=workshop)
    assert (trained.status, evaluated.status) == (0, 0)
    assert not set(trained.stderr + evaluated.stdout) & set("●▁█")
    text, _ = on_terminal(["train", "data", "-o", tmp_path / "n", *SMALL, "--log-format", "json"], workshop)
    assert "█" not in text
    assert "\\u2588" not in text
