"""Charts drawn by matplotlib, with text as text."""

from __future__ import annotations

import io
import logging
import os
import shutil
import warnings
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from autorec_cli.report.contents import GROUPS, INTERVALS, LINES, Cell, Chart, Series
from autorec_cli.report.inline_svg import inlined
from autorec_cli.report.text import number_text, printable, shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

SIZE = (4.6, 3.1)
"""Inches; a card of the page is about as wide, so that text is about as large as the page's."""
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#7a5c00")
"""Okabe and Ito's, told apart by people who see few colors; the last is darkened to be seen on white."""
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
MARKERS = ("o", "s", "^", "D", "v")
BASELINE_COLORS = ("#555555", "#888888", "#aaaaaa")
BASELINE_MARKERS = ("x", "+", "1")
LONGEST_NAME = 36
MARKED = 16
"""Points of a line, up to which each has a marker."""
STYLE: Mapping[Any, Any] = {
    "svg.fonttype": "none",  # text stays text
    "text.parse_math": False,  # names may hold dollar signs
    "font.size": 9,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#555555",
    "grid.color": "#e2e2e2",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.5,
    "lines.markersize": 4.5,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "legend.handlelength": 3,
}


@cache
def import_matplotlib() -> None:
    """Import matplotlib without its warnings about directories, and without leaving one.

    If it cannot write to its own directory, as where the home is read-only, it makes a temporary one for its list of
    fonts, to be removed when the interpreter shuts down; the program ends without that.
    """
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    before = os.environ.get("MPLCONFIGDIR")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # an older matplotlib calls a newer pyparsing by old names
        import_module("matplotlib.backends.backend_svg")
    made = os.environ.get("MPLCONFIGDIR")
    if made is not None and made != before:
        shutil.rmtree(made, ignore_errors=True)


def draw(chart: Chart) -> str:
    """SVG element of a chart, for a page."""
    import_matplotlib()
    import matplotlib as mpl
    from matplotlib.figure import Figure

    # A salt of its own: two figures of one page must not name their parts alike.
    with mpl.rc_context({**STYLE, "svg.hashsalt": chart.key}), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of glyphs that a font lacks: the browser has them
        figure = Figure(figsize=_size(chart), layout="constrained")
        axes = figure.add_subplot()
        DRAWERS[chart.kind](axes, chart)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return inlined(file.getvalue(), f"{chart.title}; the numbers are in the table below")


def _size(chart: Chart) -> tuple[float, float]:
    if chart.kind != INTERVALS:
        return SIZE
    return SIZE[0], 0.9 + 0.32 * len(chart.series[0].x)


def _draw_over_x(axes: Axes, chart: Chart) -> None:
    """Draw lines over numbers, or over named groups."""
    names = list(dict.fromkeys(shown(x) for series in chart.series for x in series.x))
    lines = []
    for number, series in enumerate(chart.series):
        xs = [names.index(shown(x)) for x in series.x] if chart.kind == GROUPS else list(series.x)
        lines.append(_line(axes, series, np.array(xs, dtype=float), number, len(chart.series)))
    if chart.kind == GROUPS:
        is_long = max(map(len, names)) > 4
        axes.set_xticks(range(len(names)), names, rotation=30 if is_long else 0, ha="right" if is_long else "center")
    elif chart.x_label == "epoch":
        axes.locator_params(axis="x", integer=True)
    if chart.reference == "zero":
        axes.axhline(0, color="#222222", linewidth=0.8)
    if chart.reference == "diagonal":
        axes.plot((0, 100), (0, 100), color="#222222", linewidth=0.8)
    axes.set_xlabel(chart.x_label)
    axes.set_ylabel(chart.y_label)
    _legend(axes, lines, [series.name for series in chart.series])


def _line(axes: Axes, series: Series, xs: np.ndarray, number: int, n_series: int) -> Line2D:
    """Draw one series, beside others if it has intervals."""
    color, dash, marker = _look(number, series.is_baseline)
    if series.margins:
        shift = 0.07 * (number - (n_series - 1) / 2)
        axes.errorbar(xs + shift, series.y, yerr=series.margins, fmt="none", ecolor=color, elinewidth=1)
        xs = xs + shift
    marker = marker if len(xs) <= MARKED else ""
    (line,) = axes.plot(xs, series.y, color=color, linestyle=dash, marker=marker)
    return line


def _draw_intervals(axes: Axes, chart: Chart) -> None:
    """Draw values with intervals, one below the other."""
    (series,) = chart.series
    names = [_name(name) for name in series.x]
    rows = range(len(names))[::-1]
    margins = np.nan_to_num(np.array(series.margins))
    axes.errorbar(series.y, list(rows), xerr=margins, fmt="o", color=COLORS[0], ecolor=COLORS[0], elinewidth=1.5)
    for row, value in zip(rows, series.y, strict=True):
        axes.annotate(number_text(value), (value, row), (0, 5), textcoords="offset points", ha="center", fontsize=8)
    axes.set_yticks(list(rows), names)
    axes.set_ylim(-0.6, len(names) - 0.3)
    axes.margins(x=0.12)
    axes.set_xlabel(chart.x_label)
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="x")


DRAWERS: Mapping[str, Callable[[Axes, Chart], None]] = {
    LINES: _draw_over_x,
    GROUPS: _draw_over_x,
    INTERVALS: _draw_intervals,
}


def _look(number: int, is_baseline: bool) -> tuple[str, object, str]:
    """Color, dashes and marker; series differ without color too."""
    if is_baseline:
        return BASELINE_COLORS[number % 3], DASHES[1 + number % 4], BASELINE_MARKERS[number % 3]
    return COLORS[number % 5], DASHES[number % 5], MARKERS[number % 5]


def _name(name: Cell) -> str:
    """Name of a model, cut to leave the axes room."""
    return printable(shown(name), LONGEST_NAME)


def _legend(axes: Axes, lines: list[Line2D], names: list[str]) -> None:
    """Names below the axes, which may be long."""
    n_columns = 1 if max(map(len, names)) > 24 else 2
    legend = axes.figure.legend(lines, ["n"] * len(lines), loc="outside lower center", ncols=n_columns)
    # Set afterwards: matplotlib leaves out names that begin with an underscore.
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_text(_name(name))
