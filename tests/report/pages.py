"""Pages of reports as a browser takes them apart."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

MOST_BYTES = 200_000
FORBIDDEN = {"script", "link", "iframe", "object", "embed", "img", "image", "audio", "video", "source", "base", "form"}
VOID = {"meta", "br"}


@dataclass
class Figure:
    """A figure of the page: its picture's text, and the cells of its table."""

    title: str = ""
    in_picture: str = ""
    rows: list[list[str]] = field(default_factory=list)
    n_pictures: int = 0


class Page(HTMLParser):
    """Elements, text and figures of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str, str]] = []
        self.figures: list[Figure] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == [], "an element is not closed"

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag == "figure":
            self.figures.append(Figure())
        if self._figure and tag == "svg":
            self._figure.n_pictures += 1
        if self._figure and tag == "tr":
            self._figure.rows.append([])
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self._open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)
        if not self._figure:
            return
        if "svg" in self._open:
            self._figure.in_picture += data
        elif self._open[-1] in ("th", "td"):
            self._figure.rows[-1].append(data)
        elif self._open[-1] == "h3":
            self._figure.title += data

    @property
    def _figure(self) -> Figure | None:
        return self.figures[-1] if "figure" in self._open else None

    @property
    def text(self) -> str:
        return "".join(self.texts)


def checked(html: str) -> Page:
    """The page, after checking that it is small, fetches nothing, and has the numbers of every figure."""
    page = Page(html)
    assert len(html.encode()) < MOST_BYTES
    assert not page.tags & FORBIDDEN
    check_policy(page)
    for tag, name, value in page.attributes:
        assert not name.startswith("on"), f"{tag} has a handler"
        assert name != "style", f"the policy forbids the style of {tag}"
        assert "url(" not in value, f"{tag} has {value}"
        if name in ("href", "src", "xlink:href", "srcset", "action", "data"):
            assert value.startswith("#"), f"{tag} fetches {value}"
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)[1]
    assert not re.search(r"url\(|@import|@font-face|http", style)
    for figure in page.figures:
        assert figure.n_pictures == 1
        assert len(figure.rows) > 1, f"{figure.title} has no numbers"
        assert len({len(row) for row in figure.rows}) == 1
    return page


def check_policy(page: Page) -> None:
    """Nothing is allowed but the one style sheet, by its hash."""
    (policy,) = [value for tag, name, value in page.attributes if tag == "meta" and "default-src" in value]
    style = re.search(r"<style>(.*?)</style>", page.html, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    assert page.html.index("Content-Security-Policy") < page.html.index("<style>")
