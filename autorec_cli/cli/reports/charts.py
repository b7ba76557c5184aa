"""Charts of one line: sparklines and bars of intervals."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, TextIO

if TYPE_CHECKING:
    from autorec_cli.evaluation.metrics import Estimate

HEIGHTS = "▁▂▃▄▅▆▇█"
ASCII_HEIGHTS = "_.-=*#"


def draws_unicode(stream: TextIO) -> bool:
    """True if the terminal of `stream` shows block and line characters."""
    encoding = (stream.encoding or "").lower().replace("-", "")
    return encoding == "utf8" and os.environ.get("TERM") not in ("dumb", "unknown")


def sparkline(values: Sequence[float], width: int, heights: str = HEIGHTS) -> str:
    """Draw values; of more than `width`, the last of each group."""
    n_shown = min(len(values), width)
    shown = [values[(number + 1) * len(values) // n_shown - 1] for number in range(n_shown)]
    low, high = min(values), max(values)
    if high == low:
        return heights[0] * n_shown
    return "".join(heights[round((value - low) / (high - low) * (len(heights) - 1))] for value in shown)


class Strokes(NamedTuple):
    """Characters of an interval: ends, line and value."""

    left: str
    line: str
    right: str
    value: str


STROKES = Strokes("├", "─", "┤", "●")
ASCII_STROKES = Strokes("[", "-", "]", "o")


def interval_bars(intervals: Sequence[Estimate], axis: tuple[float, float], width: int, strokes: Strokes) -> list[str]:
    """Draw intervals on one axis, `width` characters wide."""
    low, high = axis
    scale = (width - 1) / ((high - low) or 1.0)

    def draw(interval: Estimate) -> str:
        middle, cells = round((interval.value - low) * scale), [" "] * width
        half = round(interval.margin * scale) if math.isfinite(interval.margin) else 0
        left, right = max(0, middle - half), min(width - 1, middle + half)
        cells[left : right + 1] = strokes.line * (right + 1 - left)
        cells[left], cells[right], cells[middle] = strokes.left, strokes.right, strokes.value
        return "".join(cells)

    return [draw(interval) for interval in intervals]
