"""Man pages are those of the program, as docs/cli.md is, and roff reads them."""

import shutil
import subprocess
import tomllib

import pytest

from docs import manual, reference
from tests.program import ROOT

PAGES = manual.render()


def test_the_man_pages_are_current():
    assert set(manual.FOLDER.iterdir()) == set(PAGES), "remove the page of a command that is no more"
    for path, text in PAGES.items():
        assert path.read_text(encoding="utf-8") == text, "run `make docs`"


def test_every_command_and_option_of_the_reference_has_its_place():
    _, _, commands = reference.declared()
    assert len(PAGES) == 1 + len(commands)
    for command, context in commands:
        text = PAGES[manual.FOLDER / f"{context.command_path.replace(' ', '-')}.1"].replace("\\-", "-")
        for parameters in reference.panels(command).values():
            for parameter in parameters:
                assert "\n\\fB" + reference.described(parameter, context)[0] in text
        assert reference.examples(command)
        assert all(example in text.replace("\\e", "\\") for example in reference.examples(command))


def test_the_page_of_the_program_has_shared_options_and_exit_statuses():
    text = PAGES[manual.FOLDER / "autorec.1"].replace("\\-", "-")
    for part in ("--log-format", "--version", "autorec-cross-validate\\fR(1)", ".SH EXIT STATUS", "\n9\n"):
        assert part in text


@pytest.mark.skipif(not shutil.which("groff"), reason="needs groff")
def test_roff_has_nothing_to_say():
    finished = subprocess.run(
        ["groff", "-man", "-ww", "-Tascii", "-z", *PAGES], capture_output=True, text=True, check=False
    )
    assert (finished.returncode, finished.stderr) == (0, "")


def test_lines_that_look_like_requests_are_text():
    assert manual._escaped(".5 or 'none' \\ --x") == "\\&.5 or 'none' \\e \\-\\-x"


def test_a_wheel_has_them_where_man_looks():
    files = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["data-files"]
    assert files == {"share/man/man1": ["docs/man/*.1"]}
