"""The whole pipeline where little is given: as under cron, in a container, in a pipe, on a poor terminal."""

import csv
import os
import re
import subprocess
import sys

import pytest

from tests.forking import program
from tests.program import ROOT

BARE = {"PYTHONPATH": str(ROOT)}
NO_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
ENVIRONMENTS = {
    "empty": BARE,
    "cron, unknown locale": {
        **BARE,
        "HOME": "",
        "PATH": "/usr/bin:/bin",
        "SHELL": "/bin/sh",
        "LOGNAME": "nobody",
        "LANG": "xx_YY.UTF-8",
    },
    "no home, no locale": {**BARE, **NO_LOCALE, "HOME": "/nonexistent"},
    "dumb": {**os.environ, **BARE, "TERM": "dumb", "NO_COLOR": "1"},
    "colours forced": {**os.environ, **BARE, "FORCE_COLOR": "1", "TERM": "xterm-256color"},
}
PIPELINE = (
    "prepare r.csv --items t.csv -o data",
    "train data -o m --epochs 2 --hidden-size 4 --threads 1 --log log.jsonl",
    "evaluate m --format table -o table.txt",
    "recommend m -k 20 --include-seen -o lists.csv",
    "info m -o info.json --format json",
)
ONE_AFTER_THE_OTHER = """
import sys
from autorec_cli.cli import main
for arguments in sys.argv[1:]:
    sys.argv = ["autorec", *arguments.split()]
    if main.run():
        sys.exit(arguments)
"""
"""All commands in one Python, which takes longer to start and to import than each of them."""
LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ \S.*")


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_the_pipeline_says_plain_lines_and_writes_the_same(tmp_path, name):
    """Ids and titles are not ASCII; nothing is a terminal; warnings of Python would be errors."""
    with (tmp_path / "r.csv").open("w", encoding="utf-8") as file:
        rows = [(f"ü{user}", f"電影{item}", 1 + (user * item) % 5) for user in range(30) for item in range(20)]
        csv.writer(file).writerows([("user", "item", "rating"), *rows])
    (tmp_path / "t.csv").write_text("item,title\n電影3,Ünïcödé\n", encoding="utf-8")
    poor_terminal = "TERM" in ENVIRONMENTS[name]  # read when it is wanted, and not when Python starts
    commands = [[program(), *arguments.split()] for arguments in PIPELINE]
    if not poor_terminal:
        commands = [[sys.executable, "-W", "error", "-c", ONE_AFTER_THE_OTHER, *PIPELINE]]
    for command in commands:
        finished = subprocess.run(
            command, env=ENVIRONMENTS[name], cwd=tmp_path, capture_output=True, text=True, encoding="utf-8", check=False
        )
        assert (finished.returncode, finished.stdout) == (0, ""), finished.stderr
        assert all(LINE.fullmatch(line) for line in finished.stderr.splitlines()), finished.stderr
        assert "\x1b" not in finished.stderr
    lists = (tmp_path / "lists.csv").read_text(encoding="utf-8")
    assert ",電影3," in lists
    assert lists.count("Ünïcödé\n") == 30
    assert "±" in (tmp_path / "table.txt").read_text(encoding="utf-8")
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]
