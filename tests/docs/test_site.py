"""The documentation site has every page, and its checker finds what it is for; `make site` builds it."""

import runpy
import tomllib

import pytest

from docs import check_site, render
from tests.program import ROOT

SITE = ROOT / "docs" / "site"


@pytest.fixture(scope="module")
def settings():
    return runpy.run_path(str(SITE / "conf.py"))


def test_the_navigation_has_every_page_once(settings):
    named = [ROOT / "docs" / f"{name}.md" for pages in settings["NAVIGATION"].values() for name in pages]
    wanted = {*render.PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"} - {render.README}
    assert len(named) == len(wanted)
    assert {path.resolve() for path in named} == wanted


def test_the_navigation_is_put_into_the_first_page_only(settings):
    source = ["# autorec\n"]
    settings["_navigate"](None, "docs/cli", source)
    assert source == ["# autorec\n"]
    settings["_navigate"](None, settings["root_doc"], source)
    for name in ("docs/cli", "CONTRIBUTING", "docs/notes/speed"):
        assert f"\n{name}\n" in source[0]


def test_browsers_are_told_to_load_nothing_from_other_hosts():
    layout = (SITE / "templates" / "layout.html").read_text()
    policy = layout.partition('content="')[2].partition('"')[0]
    assert policy.split()[0] == "default-src"
    assert not set(policy.split()[1:]) - {"'self'", "file:", "data:", "'unsafe-inline'"}


def test_what_builds_the_site_is_pinned():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {requirement.partition(">")[0] for requirement in extras["docs"]} == {
        "sphinx",
        "myst-parser",
        "pydata-sphinx-theme",
    }


PAGE = '<h1 id="top">A</h1><a href="b.html#there">b</a><a href="https://example.org">c</a><script src="a.js"></script>'
PROBLEMS = {
    '<a href="none.html">x</a>': "none.html leads nowhere",
    '<a href="b.html#nowhere">x</a>': "b.html#nowhere leads nowhere",
    '<a href="#nowhere">x</a>': "#nowhere leads nowhere",
    '<img src="none.svg">': "none.svg does not exist",
    '<img src="https://example.org/badge.svg">': "https://example.org/badge.svg is loaded from another host",
    '<script src="//example.org/x.js"></script>': "//example.org/x.js is loaded from another host",
    '<link rel="stylesheet" href="https://example.org/x.css">': "https://example.org/x.css is loaded from another host",
    '<p style="background: url(https://example.org/x.png)">': "https://example.org/x.png is loaded from another host",
}


@pytest.fixture
def site(tmp_path):
    (tmp_path / "a.html").write_text(PAGE)
    (tmp_path / "b.html").write_text('<h2 id="there">B</h2><link rel="next" href="elsewhere.html">')
    (tmp_path / "a.js").touch()
    (tmp_path / "a.css").write_text(
        "/* url(https://example.org) */ p { background: url('a.js') url(data:image/png,x) }"
    )
    return tmp_path


def test_a_whole_site_has_no_problems(site):
    assert list(check_site.problems(site)) == []


@pytest.mark.parametrize("element", PROBLEMS)
def test_a_broken_link_or_foreign_file_is_named(site, element):
    (site / "c.html").write_text(element)
    assert list(check_site.problems(site)) == [f"c.html: {PROBLEMS[element]}"]


def test_styles_from_another_host_are_named(site):
    (site / "b.css").write_text('@import "https://example.org/fonts.css";')
    assert list(check_site.problems(site)) == ["b.css: https://example.org/fonts.css is loaded from another host"]
