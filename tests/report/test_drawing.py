"""Charts as SVG elements, and as tables."""

import re

import pytest

from autorec_cli.report.contents import GROUPS, INTERVALS, LINES, Chart, Series
from autorec_cli.report.drawing import draw
from autorec_cli.report.text import column, number_text, printable, shown

pytest.importorskip("matplotlib")


def chart_of(kind, *series, **given):
    return Chart("key", "Title", "Text.", "x label", "y label", kind, series, **given)


def test_a_table_has_a_row_for_each_x_and_a_column_for_each_series_and_its_margins():
    chart = chart_of(GROUPS, Series("a", ("1–2", "3"), (0.5, 0.25), (0.1, 0.2)), Series("b", ("3", "4"), (7, 8)))
    table = chart.table()
    assert table.columns == ["x label", "a", "± (95%)", "b"]
    assert table.rows == [["1–2", 0.5, 0.1, None], ["3", 0.25, 0.2, 7], ["4", None, None, 8]]


def test_text_stays_text_and_keeps_its_decimals():
    svg = draw(chart_of(INTERVALS, Series("RMSE", ("a.model", "b <&> $x$"), (0.87654, 1.25), (0.01, 0.02))))
    for text in ("0.8765", "1.2500", "a.model", "b &lt;&amp;&gt; $x$", "x label"):
        assert f">{text}</text>" in svg
    assert svg.startswith('<svg viewBox="')
    assert not re.search(r"style=|xmlns|http|url\(|<metadata|<!", svg)


def test_every_series_has_dashes_and_markers_of_its_own():
    series = [Series(f"m{n}", (1.0, 2.0, 3.0), (n, n + 1, n)) for n in range(5)]
    svg = draw(chart_of(LINES, *series))
    dashes = re.findall(r'stroke-dasharray="([^"]+)"', svg)
    assert len(set(dashes)) == 4, "and one solid line"
    markers = set(re.findall(r'href="(#m\w+)"', svg))
    assert len(markers) == 5


def test_the_same_chart_is_drawn_alike():
    chart = chart_of(GROUPS, Series("a", ("1", "2"), (1.0, float("nan")), (0.1, float("nan"))), reference="zero")
    assert draw(chart) == draw(chart)


def test_long_names_leave_room_for_the_axes():
    svg = draw(chart_of(LINES, Series("_" + "n" * 500, (1.0, 2.0), (1.0, 2.0))))
    assert re.search(r">_n{34}…</text>", svg)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (float("nan"), "–"),
        (0.12345, "0.1235"),
        (12.345, "12.35"),
        (2294.2, "2,294"),
        (3.0, "3"),
        (7000, "7,000"),
    ],
)
def test_numbers_are_shown_with_the_digits_that_matter(value, text):
    assert shown(value) == text


@pytest.mark.parametrize(
    ("cells", "texts"),
    [
        ((2.5, 12.5, 10.164, 7.28), ["2.50", "12.50", "10.16", "7.28"]),
        ((0.81234, 1.0, None, float("nan")), ["0.8123", "1.0000", "–", "–"]),
        ((-4.5, 0.0, 4.5), ["-4.5", "0.0", "4.5"]),
        ((1.0, 1000.0, 3, "4"), ["1", "1000", "3", "4"]),
        ((0.00001, 0.5), ["0.0", "0.5"]),
        ((2, 2.0, 0.25), ["2", "2.00", "0.25"]),
        ((), []),
    ],
)
def test_numbers_of_a_column_have_the_same_decimals(cells, texts):
    assert column(cells) == texts


def test_characters_that_steer_are_escaped_and_long_texts_are_cut():
    assert printable("a\x1b[0m\u202eb\u200dc\n") == "a\\x1b[0m\\u202eb\u200dc\\n"
    assert printable("x" * 50, 10) == "x" * 9 + "…"
    assert number_text(-0.5) == "-0.5000"
