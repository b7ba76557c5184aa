"""`autorec report` through the program."""

import json
import re

import pytest

from autorec_cli.errors import install_command
from autorec_cli.report import report as reports
from tests.program import SMALL, call, modules_after, run
from tests.report.pages import checked

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")


def test_a_page_on_several_models_and_an_older_one(workshop, tmp_path):
    page = tmp_path / "report.html"
    result = call(
        "report", workshop / "both.model", workshop / "lists.model", "--against", workshop / "item.model", "-o", page
    )
    assert (result.status, result.stdout) == (0, ""), result.stderr
    found = checked(page.read_text(encoding="utf-8"))
    for text in ("both.model", "lists.model", "item.model", "Compared with", "2020-09"):
        assert text in found.text
    # Some film, which the models decide, with its brackets.
    assert re.search(r"Film \d+, the \[red\]movie\[/red\]", found.text)
    assert len(found.figures) == 12
    assert f"{page}: {page.stat().st_size / 1000:.0f} kB" in result.stderr


def test_an_older_model_of_other_data_is_refused(workshop, tmp_path):
    (tmp_path / "other.csv").write_text("user_id,item_id\n" + "".join(f"x{n},y{n % 7}\n" for n in range(40)))
    assert call("prepare", tmp_path / "other.csv", "-o", tmp_path / "data").status == 0
    assert (
        call("train", tmp_path / "data", "-o", tmp_path / "other.model", *SMALL, "--objective", "ranking").status == 0
    )
    result = call("report", workshop / "item.model", "--against", tmp_path / "other.model", "-o", tmp_path / "r.html")
    assert (result.status, result.stdout) == (4, "")
    assert all(text in result.stderr for text in ("--against other.model", "none of the users"))
    assert not (tmp_path / "r.html").exists()


def test_json_has_all_numbers_and_needs_no_packages(workshop, tmp_path, monkeypatch):
    monkeypatch.setattr(reports, "find_spec", lambda name: None)
    result = call("report", workshop / "item.model", "-o", tmp_path / "r.json", "--user", "007,042", "-k", 5)
    assert result.status == 0, result.stderr
    report = json.loads((tmp_path / "r.json").read_text())
    sections = {section["key"]: section for section in report["sections"]}
    assert {"metrics", "training", "curves", "errors", "recommendations", "users", "neighbors"} <= set(sections)
    assert [table["title"].split(":")[0] for table in sections["users"]["tables"][::2]] == ["User 007", "User 042"]
    assert "nDCG@5" in sections["metrics"]["tables"][1]["columns"]


def test_users_of_a_file_and_a_page_in_a_pipe(workshop, tmp_path):
    (tmp_path / "users.txt").write_text("042\n007\n")
    result = call("report", workshop / "user.model", "--users", tmp_path / "users.txt", "-o", "-", "-q")
    assert result.status == 0, result.stderr
    text = checked(result.stdout).text
    assert text.index("User 042") < text.index("User 007")


@pytest.mark.parametrize("name", ["report.html.gz", "report.htm"])
def test_pages_may_be_compressed(workshop, tmp_path, name):
    assert call("report", workshop / "item.model", "-o", tmp_path / name).status == 0
    start = (tmp_path / name).read_bytes()[:2]
    assert start == (b"\x1f\x8b" if name.endswith("gz") else b"<!")


@pytest.mark.parametrize(
    ("arguments", "status", "word"),
    [
        (("--user", "nobody"), 3, "nobody"),
        (("--user", "007", "--users", "x"), 2, "--users"),
        (("-o", "report.csv"), 2, "report.csv"),
        (("--format", "pdf"), 2, "--format"),
        (("--format", "json", "-o", "report.html"), 2, "--format"),
        (("--against", "item.model"), 2, "--against"),
        (("-k", 0), 2, "--top-k"),
        (("--on", "future"), 2, "--on"),
        (("-o", "user.model"), 2, "user.model"),
    ],
)
def test_what_cannot_be_done_is_refused(workshop, tmp_path, monkeypatch, arguments, status, word):
    monkeypatch.chdir(tmp_path)
    for name in ("item.model", "user.model"):
        (tmp_path / name).symlink_to(workshop / name)
    result = call("report", "item.model", *arguments)
    assert (result.status, result.stdout, word in result.stderr) == (status, "", True), result.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"item.model", "user.model"}


@pytest.mark.parametrize("missing", ["matplotlib", "jinja2"])
def test_a_missing_extra_is_named_with_the_command_that_installs_it(workshop, tmp_path, monkeypatch, missing):
    monkeypatch.setattr(reports, "find_spec", lambda name: None if name == missing else object())
    result = call("report", workshop / "item.model", "-o", tmp_path / "report.html")
    assert (result.status, list(tmp_path.iterdir())) == (2, [])
    for text in (missing, install_command("report")):
        assert text in result.stderr


def test_where_the_home_cannot_be_written_nothing_is_left_and_no_line_is_foreign(workshop, tmp_path, monkeypatch):
    for name in ("MPLCONFIGDIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "home").touch()  # no directory: root could write to one
    (tmp_path / "temporary").mkdir()
    homeless = {"HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path / "temporary")}
    result = run(
        "report", workshop / "item.model", "-o", tmp_path / "report.html", "--log-format", "json", env=homeless
    )
    assert result.status == 0, result.stderr
    assert all(json.loads(line)["message"] for line in result.stderr.splitlines())
    assert "<svg" in (tmp_path / "report.html").read_text()
    assert list((tmp_path / "temporary").iterdir()) == []


def test_other_commands_do_not_load_matplotlib(workshop):
    (modules,) = modules_after("info item.model", cwd=workshop).values()
    assert not {"matplotlib", "jinja2"} & modules
