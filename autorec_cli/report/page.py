"""Page: a template filled with the contents of a report."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from importlib import resources

from autorec_cli.report.contents import Cell, Report
from autorec_cli.report.drawing import draw
from autorec_cli.report.text import column, printable


def to_html(report: Report) -> str:
    """One self-contained page: no script, no font, no request.

    Its content security policy allows nothing but its own style sheet, by hash.
    """
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    def clean(value: object) -> object:
        return printable(value) if type(value) is str else value

    environment = Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined, finalize=clean
    )
    environment.filters["with_texts"] = _with_texts
    style = _file("page.css")
    return environment.from_string(_file("page.html.jinja")).render(
        report=report,
        style=Markup(style),
        policy=_policy(style),
        draw=lambda chart: Markup(draw(chart)),
    )


def _with_texts(rows: Sequence[Sequence[Cell]]) -> Iterator[tuple[Sequence[Cell], Sequence[str]]]:
    """Rows of a table, each with the texts of its cells."""
    texts = zip(*map(column, zip(*rows, strict=True)), strict=True)
    return zip(rows, texts, strict=True)


def _policy(style: str) -> str:
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def _file(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
