"""Sphinx' settings for the documentation site; `make site` builds it from the Markdown as it stands.

The source folder is the repository, so links between pages are those that a Markdown viewer follows. The navigation is
here and not in a page; a test checks that it has them all.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from pygments.lexers.special import TextLexer

import autorec_cli

if TYPE_CHECKING:
    from sphinx.application import Sphinx

NAVIGATION = {
    "Guides": ["installing", "evaluation", "report", "reproduction", "operations", "scaling", "export", "security"],
    "Reference": ["cli", "api", "formats", "benchmarks", "glossary"],
    "Development": ["../CONTRIBUTING", "../CHANGELOG", "architecture", "dependencies"],
    "Notes": ["notes/defaults", "notes/outputs", "notes/ranking", "notes/speed"],
}
"""Caption -> pages, from docs/."""

project = "autorec"
version = release = autorec_cli.__version__
html_title = f"{project} {version}"
language = "en"
smartquotes = False  # "--" is how options begin
root_doc = "README"
include_patterns = ["*.md", "docs/**.md"]
exclude_patterns = [".*", "build", "autorec_cli", "tests", "benchmarks", "sample_data", "demo", "bench", "look", "out"]
extensions = ["myst_parser"]
myst_heading_anchors = 4
templates_path = ["templates"]

html_theme = "pydata_sphinx_theme"
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_sidebars = {"**": ["all-pages"]}
html_show_sourcelink = html_copy_source = False
html_theme_options = {
    "logo": {"text": project},
    "navbar_center": [],
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": [],
    "footer_end": [],
    "show_toc_level": 2,
    "show_prev_next": False,
}


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.add_lexer("crontab", TextLexer)
    app.connect("source-read", _navigate)
    app.connect("build-finished", _make_index)


def _navigate(_app: Sphinx, page: str, source: list[str]) -> None:
    """Append the navigation to the first page, invisibly."""
    if page == root_doc:
        for caption, pages in NAVIGATION.items():
            names = "\n".join(name.removeprefix("../") if name.startswith("../") else f"docs/{name}" for name in pages)
            source[0] += f"\n\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{names}\n```\n"


def _make_index(app: Sphinx, failure: Exception | None) -> None:
    if failure is None and app.builder.name == "html":
        shutil.copy(app.outdir / f"{root_doc}.html", app.outdir / "index.html")
