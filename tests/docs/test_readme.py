"""README.md's commands run as they stand, and print what it shows."""

import re
from pathlib import Path

import pytest
import typer

from autorec_cli.cli.app import app
from docs import render, tour
from tests.forking import program
from tests.program import ROOT

README = render.README.read_text(encoding="utf-8")
COMMANDS = tour.commands_of(README)


def options_of(command):
    return {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """README.md with the output of a fresh run, which fails if a command does."""
    return tour.rerun(README, tour.run_in(tmp_path_factory.mktemp("tour"), Path(program())))


def test_console_blocks_show_what_a_fresh_run_prints(fresh):
    assert {command.split()[1] for command in COMMANDS if command.startswith("autorec ")} == {
        "sample",
        "run",
        "prepare",
        "train",
        "evaluate",
        "recommend",
        "similar",
    }
    assert render.differences(README, fresh) == [], "run `make docs`"


def test_the_tour_leaves_no_trace_in_a_clone():
    """Files that its commands write are ignored by git."""
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").split()
    written = {found for command in COMMANDS for found in re.findall(r"(?:-o|>) (\S+)", command)}
    assert {"out", "data", "ratings.model", "top.csv"} <= written
    for name in written:
        assert any(Path(name).match(pattern.strip("/")) for pattern in ignored), name


def test_every_option_that_the_page_names_exists():
    program = typer.main.get_command(app)
    known = options_of(program).union(*(options_of(command) for command in program.commands.values()))
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*[a-z]", README))
    assert {"--preset", "--history", "--force"} <= named
    assert named - {"--nproc-per-node"} <= known  # torchrun's option
