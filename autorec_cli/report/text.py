"""Numbers and foreign text as a page shows them."""

from __future__ import annotations

import html
import itertools
import math
from collections.abc import Sequence
from typing import TypeGuard

from autorec_cli.report.contents import Cell

LONGEST = 1000
"""Characters of a text on the page; longer ones are cut."""
LONGEST_TITLE = 70
"""Characters of a title or id, of which there are hundreds."""
BYTES_OF_TITLES = 220
"""Bytes of a title on a page about one model; a page about more of them has more titles, and is under 200 kB, too."""
NOTHING = "–"
KEPT = "\u200c\u200d\u00a0"
"""Invisible characters that are part of the spelling in Persian, in Indian scripts and in emoji; blanks of ours."""


def number_text(value: float) -> str:
    """Four decimals, or fewer for larger numbers."""
    return f"{value:,.{_decimals(value)}f}" if math.isfinite(value) else NOTHING


def _decimals(value: float) -> int:
    return 0 if abs(value) >= 100 else 2 if abs(value) >= 10 else 4


def shown(value: Cell) -> str:
    """Text of a cell."""
    if value is None:
        return NOTHING
    if isinstance(value, float):
        return f"{value:g}" if value.is_integer() and abs(value) < 1e6 else number_text(value)
    return f"{value:,}" if isinstance(value, int) else printable(value)


def _has_decimals(cell: Cell) -> TypeGuard[float]:
    """True for a finite float; an int has no decimals."""
    return isinstance(cell, float) and math.isfinite(cell)


def column(cells: Sequence[Cell]) -> list[str]:
    """Texts of the cells of a column, all with the decimals of its largest number."""
    numbers = [cell for cell in cells if _has_decimals(cell)]
    if all(number.is_integer() for number in numbers):
        return [shown(cell) for cell in cells]
    decimals = _decimals(max(map(abs, numbers)))
    # Without zeros at the end of all of them, as in the centers of bins.
    while decimals and all(f"{number:.{decimals}f}".endswith("0") for number in numbers):
        decimals -= 1
    return [f"{cell:,.{decimals}f}" if _has_decimals(cell) else shown(cell) for cell in cells]


def short_title(title: str, n_models: int) -> str:
    """Printable title, cut to its share of a page's bytes."""
    text, most = printable(title, LONGEST_TITLE), BYTES_OF_TITLES // n_models
    if len(html.escape(text).encode()) <= most:
        return text
    sizes = itertools.accumulate(len(html.escape(c).encode()) for c in text)
    n_kept = sum(size <= most - len("…".encode()) for size in sizes)
    return f"{text[:n_kept]}…"


def printable(text: str, longest: int = LONGEST) -> str:
    """Text with escaped control characters, cut if it is long."""
    clean = "".join(c if c.isprintable() or c in KEPT else ascii(c)[1:-1] for c in text[: longest + 1])
    return clean if len(clean) <= longest else f"{clean[: longest - 1]}…"
