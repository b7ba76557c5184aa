"""README and docs/ are what `make docs` writes, but for rounding."""

import re
import tomllib

import pytest

from benchmarks import results
from docs import reference, render, rooms, tour
from tests.program import ROOT

README = render.README.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", render.PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_tables_are_those_of_the_result_files(path):
    page = path.read_text(encoding="utf-8")
    assert page.count("<!-- table: ") == len(render.TABLE.findall(page)), "a marker is not closed"
    assert render.render_tables(page) == page, "run `make docs`"


def test_every_result_file_is_shown_on_a_page():
    shown = {name for path in render.PAGES for name in render.TABLE.findall(path.read_text(encoding="utf-8"))}
    assert {path.stem for path in results.FOLDER.glob("*.json")} == shown - set(render.SUMMARIES)


def test_the_command_line_reference_is_current():
    page = render.REFERENCE.read_text(encoding="utf-8")
    assert reference.render() == page, "run `make docs`"


def test_the_reference_has_every_command_and_registry():
    page = reference.render()
    for name in ("prepare", "train", "cross-validate", "config show"):
        assert f"\n## autorec {name}\n" in page
    for text in ("AUTOREC_TRAIN_EPOCHS", "`rmse`", "`ndcg@K`", "`leave-last`", "`jsonl`", "| `9` |", "--wait-lock"):
        assert text in page
    assert "AUTOREC_TRAIN_EPOCHS" not in page.partition("\n## autorec evaluate\n")[2].partition("\n## ")[0]


def test_architecture_lists_every_module_by_its_docstring():
    assert not rooms.unplaced(), "add the folder to docs/rooms.py"
    listed = rooms.render()
    modules = [path for path in rooms.PACKAGE.rglob("*.py") if not path.name.startswith("__")]
    assert len(re.findall(r"^- `\w+`: \S", listed, flags=re.MULTILINE)) == len(modules)


@pytest.mark.parametrize("page", ["docs/architecture.md", "docs/glossary.md", "CONTRIBUTING.md"])
def test_files_that_a_page_names_exist(page):
    named = re.findall(r"`((?:[a-z_]+/)+[a-z_]+\.(?:py|md|toml|json))`", (ROOT / page).read_text(encoding="utf-8"))
    assert named
    assert [name for name in named if not any((base / name).exists() for base in (ROOT, rooms.PACKAGE))] == []


@pytest.mark.parametrize("path", [*render.PAGES, ROOT / "CONTRIBUTING.md"], ids=lambda path: path.name)
def test_links_between_pages_lead_somewhere(path):
    page = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\((?!https?:)([^)#]*)", page):
        assert (path.parent / target).exists() or not target, target


NOISE_FLOOR = "0.623"
"""Checked by tests/data/test_sample.py."""


def test_prose_has_no_figures_of_measurements():
    prose = re.sub(r"^```.*?^```$|^\|.*?$|`[^`]*`|\(http[^)]*\)", "", README, flags=re.MULTILINE | re.DOTALL)
    python = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"].lstrip(">=")
    assert set(re.findall(r"(?<![\w-])\d+\.\d+", prose)) == {NOISE_FLOOR, python}


def test_evaluation_quotes_the_result_file():
    table = results.load(results.FOLDER / "ranking-1m.json")
    rating, popularity = (table.value(row, "nDCG@10") for row in ("rating, item", "popularity"))
    page = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
    assert f"nDCG@10 of {rating:.2f} against {popularity:.2f}" in page


def test_a_stale_figure_differs_and_rounding_does_not():
    line = "│ item.model │ 0.6618 ± 0.0094 │ 10,000 │    0 │"
    assert render.alike(line, "│ item.model │ 0.6622 ± 0.0095 │ 10,000 │ 0 │")
    assert not render.alike(line, line.replace("0.6618", "0.6647"))
    assert not render.alike(line, line.replace("10,000", "10,001"))
    assert not render.alike(line, line.replace("item", "user"))
    assert not render.alike(line, line.replace("0.6618", "1"))


def test_seconds_and_widths_of_cells_may_differ():
    assert render.alike("│ time │ 4.2 s                  │", "│ time │ 11.6 s │")
    assert render.alike("╭─────┬────╮", "╭───┬─────╮")
    assert not render.alike("epochs: 30", "epochs: 29")


def test_differences_show_what_is_to_change():
    assert render.differences("a\n0.1234 b\n", "a\n0.1235 b\n") == []
    assert render.differences("a\nb\n", "a\nc\n")[-2:] == ["-b", "+c"]
    assert "+more" in render.differences("a\n", "a\nmore\n")


def test_a_rendering_keeps_lines_that_are_alike():
    page, fresh = "took 4.2 s\n\n0.6647\n", "took 9.9 s\n\n0.6618\n"
    assert render.settle(page, fresh) == "took 4.2 s\n\n0.6618\n"
    assert render.settle(page, fresh + "\nmore\n") == fresh + "\nmore\n"


def test_curves_may_differ():
    assert render.alike("│ 0.9 ██▇▁▁ best 0.7 │", "│ 0.9 █▁ best 0.7 │")
    assert not render.alike("│ 0.9 ██▇▁▁ best 0.7 │", "│ 0.9 █▁ last 0.7 │")


def test_a_block_is_rendered_whole():
    page, fresh = "│ 4.2 s  │\n│ 0.6647 │\n\n1 s\n", "│ 11.9 s   │\n│ 0.6618   │\n\n2 s\n"
    assert render.settle(page, fresh) == "│ 11.9 s   │\n│ 0.6618   │\n\n1 s\n"


def test_a_block_keeps_its_commands_and_gets_their_output():
    page = "x\n```console\n$ one\nold\nolder\n$ two\n$ three\nold\n```\ny\n"
    assert tour.commands_of(page) == ["one", "two", "three"]
    fresh = tour.rerun(page, lambda command: f"{command}: new\n")
    assert fresh == "x\n```console\n$ one\none: new\n$ two\n$ three\nthree: new\n```\ny\n"


def test_a_screen_has_what_a_terminal_is_left_with():
    bar = "epochs \x1b[38;5;237m━━━\x1b[0m 1/2\r\x1b[2Kepochs ━━━ 2/2\n"
    assert tour.screen(f"\x1b[?25lfirst\r\n{bar}\x1b[1A\x1b[2Ksecond  \r\n") == "first\nsecond\n"


def test_a_command_on_a_terminal_shows_results_or_else_messages(tmp_path):
    environment = {"PATH": "/usr/bin:/bin"}
    assert tour.run_on_terminal("echo result; echo message >&2", tmp_path, environment) == "result\n"
    assert tour.run_on_terminal("test -t 2 && echo message >&2", tmp_path, environment) == "message\n"
    with pytest.raises(RuntimeError, match="exit status 3"):
        tour.run_on_terminal("exit 3", tmp_path, environment)
