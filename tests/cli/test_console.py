"""Log records as text and as JSON on stderr, and the silence of the library."""

import json
import logging
import re
import subprocess
import sys

import pytest

from autorec_cli.cli import console
from tests.program import ROOT

LOG = logging.getLogger("autorec_cli.training.somewhere")


def say_one_of_each():
    LOG.debug("a detail")
    LOG.info("a message with 100%% of %s", "it")
    LOG.warning("a warning")
    LOG.error("an error")


@pytest.mark.parametrize(
    ("options", "levels"),
    [
        ({}, ["info", "warning", "error"]),
        ({"quiet": True}, ["warning", "error"]),
        ({"verbose": True}, ["debug", "info", "warning", "error"]),
    ],
)
def test_levels_shown(capsys, options, levels):
    warnings = console.start(**options, as_json=True)
    say_one_of_each()
    assert [json.loads(line)["level"] for line in capsys.readouterr().err.splitlines()] == levels
    assert warnings == ["a warning"]


def test_text_has_a_time_and_names_warnings_and_errors(capsys):
    console.start()
    say_one_of_each()
    lines = capsys.readouterr().err.splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ ", line) for line in lines)
    assert [line.split(" ", 1)[1] for line in lines] == [
        "a message with 100% of it", "warning: a warning", "error: an error",
    ]  # fmt: skip


def test_facts_are_lines_as_text_and_one_object_as_json(capsys):
    console.start()
    console.show_facts("trained", [("model", "m"), ("time", "1 s")])
    assert [line.split(" ", 1)[1] for line in capsys.readouterr().err.splitlines()] == [
        "trained: model: m", "trained: time: 1 s",
    ]  # fmt: skip
    console.start(as_json=True)
    console.show_facts("trained", [("model", "m"), ("time", "1 s")])
    entry = json.loads(capsys.readouterr().err)
    assert (set(entry), entry["message"]) == ({"time", "level", "message", "facts"}, "trained")
    assert entry["facts"] == {"model": "m", "time": "1 s"}


@pytest.mark.parametrize("as_json", [True, False])
def test_one_of_several_processes_names_itself(capsys, as_json):
    console.start(speaker="process 2 of 3", as_json=as_json)
    LOG.error("lost")
    assert "process 2 of 3: lost" in capsys.readouterr().err


def test_starting_again_replaces_what_was_started_before(capsys):
    for _ in range(3):
        console.start()
    LOG.warning("once")
    assert capsys.readouterr().err.count("once") == 1


def test_text_that_would_steer_a_terminal_is_escaped(capsys):
    LOG.info("a\x1b[31m\nb")
    assert r"a\x1b[31m\nb" in capsys.readouterr().err


def test_the_library_is_silent_unless_its_caller_sets_up_logging():
    code = (
        "import logging, sys, autorec_cli\n"
        "log = logging.getLogger('autorec_cli.training.loop.trainer')\n"
        "log.warning('unheard'); log.error('unheard')\n"
        "logging.basicConfig(); log.warning('heard')\n"
    )
    finished = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert (finished.stdout, finished.stderr) == ("", "WARNING:autorec_cli.training.loop.trainer:heard\n")
