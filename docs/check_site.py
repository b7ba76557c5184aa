"""Links of the built documentation site: local ones lead somewhere, and nothing is loaded from another host.

python -m docs.check_site [build/site]
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parent.parent
LOADED = {
    **dict.fromkeys(("script", "img", "source", "iframe", "video", "audio", "embed"), "src"),
    "object": "data",
    "link": "href",
}
"""Element -> attribute whose target a browser loads by itself."""
NOT_LOADED = {"next", "prev", "search", "index", "genindex", "canonical", "author"}
"""Relations of `link` elements that are for following only."""


class _Page(HTMLParser):
    """Anchors, links and loaded files of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attributes}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if given.get(LOADED.get(tag, "")) and given.get("rel") not in NOT_LOADED:
            self.loaded.append(given[LOADED[tag]])
        self.loaded += re.findall(r"url\(['\"]?([^'\")]+)", given.get("style", ""))


@cache
def _page(file: Path) -> _Page:
    return _Page(file.read_text(encoding="utf-8"))


def pages(site: Path) -> list[Path]:
    """Pages of the site, without templates that a theme leaves among its files."""
    return sorted(file for file in site.rglob("*.html") if "_static" not in file.relative_to(site).parts)


def problems(site: Path) -> Iterator[str]:
    """A line for each link that leads nowhere and for each file that comes from another host."""
    for file in pages(site):
        page = _page(file)
        for target in page.links:
            if not urlsplit(target).scheme and not _exists(file, target):
                yield f"{file.relative_to(site)}: {target} leads nowhere"
        yield from _not_here(file, site, page.loaded)
    for file in sorted(site.rglob("*.css")):
        text = re.sub(r"/\*.*?\*/", "", file.read_text(encoding="utf-8"), flags=re.DOTALL)
        yield from _not_here(file, site, re.findall(r"(?:url\(|@import )\s*['\"]?([^'\")\s]+)", text))


def _not_here(file: Path, site: Path, loaded: list[str]) -> Iterator[str]:
    for target in loaded:
        parts = urlsplit(target)
        if parts.scheme == "data":
            continue
        if parts.scheme or parts.netloc:
            yield f"{file.relative_to(site)}: {target} is loaded from another host"
        elif not _exists(file, target):
            yield f"{file.relative_to(site)}: {target} does not exist"


def _exists(file: Path, target: str) -> bool:
    parts = urlsplit(target)
    found = file.parent / unquote(parts.path) if parts.path else file
    if not found.is_file():
        return False
    return not parts.fragment or found.suffix != ".html" or unquote(parts.fragment) in _page(found).anchors


def main() -> int:
    """The command line."""
    site = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build" / "site"
    found = list(problems(site))
    for line in found:
        print(line)
    print(f"{len(pages(site))} pages, {len(found)} problems")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
