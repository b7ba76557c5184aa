"""Messages of the program, and the summary of a run."""

import json
import os
import re
import subprocess

import pytest

from autorec_cli import __version__
from tests.forking import program
from tests.program import ROOT, SMALL, call, on_terminal, run

STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d"
TINY = ("--epochs", 2, "--hidden-size", 2)


def entries(text):
    return [json.loads(line) for line in text.splitlines()]


# --- quiet, verbose, JSON


def test_quiet_says_warnings_and_errors_only(workshop, tmp_path):
    result = call("train", workshop / "data", "-o", tmp_path / "m", *SMALL, "--epochs", 60, "-q")
    assert (result.status, result.stdout, result.stderr) == (0, "", "")
    result = call("train", workshop / "data", "-o", tmp_path / "m", *SMALL, "-q", "--regularization", 1e6, "--force")
    assert result.status == 0
    assert [line.split(" ", 2)[1] for line in result.stderr.splitlines()] == ["warning:"]
    result = call("train", workshop / "data", "-o", tmp_path / "m", "-q")
    assert result.status == 2
    assert "use --force" in result.stderr


def test_verbose_says_all_options_time_and_memory(item_model):
    result = call("recommend", item_model, "--user", "007", "-v", "-k", 3)
    assert result.status == 0
    assert "option top-k=3 (command line)" in result.stderr
    assert "option min-item-ratings=1 (default)" in result.stderr
    assert "overridden" not in result.stderr
    assert re.search(r"recommend: \d+\.\d s, [\d,]+ MB peak memory$", result.stderr)


def test_quiet_and_verbose_contradict_each_other(item_model):
    result = call("recommend", item_model, "-q", "-v")
    assert (result.status, result.stdout) == (2, "")
    assert "contradict" in result.stderr


def test_json_lines_say_the_same(workshop, tmp_path):
    result = call("train", workshop / "data", "-o", tmp_path / "m", *SMALL, "--epochs", 60, "--log-format", "json")
    assert result.status == 0
    said = entries(result.stderr)
    assert all(re.match(STAMP, entry["time"]) and entry["time"].endswith("+00:00") for entry in said)
    assert {entry["level"] for entry in said} == {"info"}
    assert sum(entry["message"].startswith("epoch ") for entry in said) > 15
    assert said[-1]["message"] == "trained"
    assert said[-1]["facts"]["model"].startswith(str(tmp_path / "m"))
    result = call("train", workshop / "data", "-o", tmp_path / "m", "--log-format", "json")
    assert [(entry["level"], entry["message"]) for entry in entries(result.stderr)] == [
        ("error", call("train", workshop / "data", "-o", tmp_path / "m").stderr.partition(" error: ")[2].rstrip())
    ]


def test_json_lines_hold_any_text(tmp_path):
    name = "naïve\n\x1b[31m 日本.model"
    result = call("recommend", tmp_path / name, "--log-format", "json")
    assert result.status == 4
    assert name in entries(result.stderr)[0]["message"]


def test_an_unknown_log_format_is_refused(item_model):
    result = call("recommend", item_model, "--log-format", "xml")
    assert result.status == 2
    assert all(word in result.stderr for word in ("--log-format", "'xml'", "text, json"))


# --- usage errors


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["recommend", "m", "--usr", "1"],
            ["--usr", "--user", "`autorec recommend --help`"],
        ),
        (["recomend"], ["'recomend'", "'recommend'", "`autorec --help`"]),
        (["train"], ["'DATA'", "`autorec train --help`"]),
        (["train", "data", "-o", "m", "--epochs", "three"], ["--epochs", "whole number", "'three'"]),
        (["train", "data", "-o", "m", "--seed", "1.5"], ["--seed", "whole number", "'1.5'"]),
        (["tune", "data", "--trials", "x" * 80], ["--trials", "whole number", f"'{'x' * 60}'..."]),
        (["recommend", "m", "-k", "x"], ["--top-k", "whole number", "'x'", "`autorec recommend --help`"]),
        (["train", "data", "-o", "m", "--learning-rate", "abc"], ["--learning-rate", "number", "'abc'"]),
        (["train", "data", "-o", "m", "--epoch", "3"], ["--epoch", "--epochs", "`autorec train --help`"]),
    ],
)
def test_a_wrong_command_line_is_one_sentence(arguments, words):
    result = call(*arguments)
    assert (result.status, result.stdout) == (2, "")
    assert " error: " in result.stderr
    assert all(word in result.stderr for word in words), result.stderr
    assert len(result.stderr.splitlines()) == 1


# --- summaries


def test_a_summary_of_each_command(workshop, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs = {
        "prepare": [workshop / "ratings.csv", "-o", "data"],
        "train": ["data", "-o", "m", *TINY],
        "evaluate": ["m", "-o", "rows.json"],
        "recommend": ["m", "-k", 3, "-o", "lists.csv"],
    }
    results = {}
    for command, arguments in runs.items():
        assert call(command, *arguments, "--summary", "run.json").status == 0
        (summary,) = entries((tmp_path / "run.json").read_text())
        assert (summary["command"], summary["version"], summary["process"]) == (command, __version__, os.getpid())
        assert (summary["exit_status"], summary["error"]) == (0, None)
        assert re.match(STAMP, summary["started"])
        assert summary["started"] < summary["finished"]
        assert summary["seconds"] > 0
        assert summary["peak_memory_bytes"] > 1e7
        assert summary["options"]["output"] == str(arguments[arguments.index("-o") + 1])
        results[command] = summary["result"]
    assert results["prepare"]["n_users"] == 80
    assert results["train"]["valid_rmse"] > 0
    assert {network["epochs"] for network in results["train"]["networks"]} <= {1, 2}
    assert results["train"]["n_train"] == results["prepare"]["n_train"]
    assert results["evaluate"] == json.loads((tmp_path / "rows.json").read_text())
    assert results["recommend"] == {"n_users": 80, "n_rows": (tmp_path / "lists.csv").read_text().count("\n") - 1}


def test_a_failed_run_is_summed_up_too(workshop, tmp_path):
    summary = tmp_path / "run.json"
    result = call("train", workshop / "data", "-o", tmp_path / "m", *TINY, "--device", "tpu", "--summary", summary)
    assert result.status == 2
    (told,) = entries(summary.read_text())
    assert (told["exit_status"], told["result"]) == (2, None)
    assert all(word in told["error"] for word in ("--device", "tpu"))


@pytest.mark.parametrize(
    "arguments",
    [
        ("recommend", "m", "--usr", "1", "--summary", "run.json"),
        ("recommend", "--summary=run.json"),
        ("train", "d", "-o", "m", "--summary", "run.json", "--epochs", "x"),
        ("recommend", "m", "-q", "-v", "--summary", "run.json"),
        ("recommend", "m", "--log-format", "xml", "--summary", "run.json"),
        ("recommend", "m", "--config", "none.toml", "--summary", "run.json"),
    ],
)
def test_a_refused_command_line_is_summed_up_too(tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        result = call(*arguments)
        assert (result.status, result.stdout) == (2, "")
        (told,) = entries((tmp_path / "run.json").read_text())
        assert (told["command"], told["exit_status"], told["result"]) == (arguments[0], 2, None)
        assert result.stderr.endswith(f"error: {told['error']}\n")


@pytest.mark.parametrize("rank", [0, 1])
def test_a_refused_command_line_under_torchrun_is_summed_up_by_the_first_process(monkeypatch, rank):
    for name, value in {"TORCHELASTIC_RUN_ID": "t", "WORLD_SIZE": "2", "RANK": str(rank)}.items():
        monkeypatch.setenv(name, value)
    result = call("train", "d", "-o", "m", "--epochs", "two", "--summary", "-")
    assert result.status == 2
    assert len(entries(result.stdout)) == (rank == 0)


def test_the_summary_of_a_refused_command_line_may_be_a_setting(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "autorec.toml").write_text('recommend.summary = "file.json"\nrecommend.log-format = "json"\n')
    (entry,) = entries(call("recommend", "m", "--top-k", "x").stderr)
    assert all(word in entry["message"] for word in ("--top-k", "'x'"))
    assert (tmp_path / "file.json").exists()
    monkeypatch.setenv("AUTOREC_RECOMMEND_SUMMARY", "variable.json")
    call("recommend", "m", "--usr", "1")
    assert (tmp_path / "variable.json").exists()


def test_the_summary_of_a_refused_command_line_replaces_no_other_file(tmp_path):
    model = tmp_path / "m"
    model.write_text("a model")
    assert call("recommend", model, "--summary", model, "--usr", "1").status == 2
    assert model.read_text() == "a model"


def test_warnings_are_in_the_summary(lists_model):
    arguments = ("--user", "nobody", "--user", "007", "--on-unknown", "skip", "-o", "/dev/null", "--summary", "-")
    result = call("recommend", lists_model, *arguments)
    assert result.status == 0
    (told,) = entries(result.stdout)
    assert len(told["warnings"]) == 1
    assert "1 of 2 users" in told["warnings"][0]


def test_a_terminated_run_is_summed_up(workshop, tmp_path):
    process = subprocess.Popen(
        [program(), "train", workshop / "data", "-o", tmp_path / "m", *map(str, SMALL),
         "--epochs", "1000000", "--summary", tmp_path / "run.json"],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        for _ in range(3):
            process.stderr.readline()
        process.terminate()
        process.communicate(timeout=30)
    finally:
        process.kill()
    (told,) = entries((tmp_path / "run.json").read_text())
    assert (process.returncode, told["exit_status"]) == (143, 143)
    assert all(word in told["error"] for word in ("terminated", "--resume"))


def test_a_summary_that_cannot_be_written_is_status_2_and_a_warning_after_another_failure(item_model):
    nowhere = "/proc/run.json"  # a folder, but not for files
    result = call("recommend", item_model, "--user", "007", "--summary", nowhere)
    assert result.status == 2
    assert "error: cannot write" in result.stderr
    result = call("recommend", item_model, "--user", "nobody", "--summary", nowhere)
    assert result.status == 3
    assert "warning: cannot write" in result.stderr


def test_two_outputs_cannot_share_stdout(item_model):
    result = call("recommend", item_model, "--summary", "-")
    assert (result.status, result.stdout) == (2, "")
    assert all(word in result.stderr for word in ("--summary", "--output", "standard output"))


# --- surroundings


@pytest.mark.parametrize(("environment", "bar"), [({"NO_COLOR": "1"}, True), ({"TERM": "dumb"}, False)])
def test_bars_without_colours_where_none_are_wanted(workshop, tmp_path, environment, bar):
    text, status = on_terminal(["train", "data", *SMALL, "-o", tmp_path / "m"], workshop, **environment)
    assert status == 0
    assert not re.search(r"\x1b\[[\d;]*3\dm", text)  # a foreground colour
    assert ("━" in text) == bar
    assert ("\x1b" in text) == bar


@pytest.mark.parametrize(("environment", "colour"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)])
def test_errors_in_colour_only_where_it_is_wanted(workshop, environment, colour):
    text, _ = on_terminal(["recommend", "none.model"], workshop, **environment)
    assert ("\x1b[1;31m" in text) == colour
    assert "none.model" in text


@pytest.mark.parametrize("arguments", ["--help", "recommend item.model --user 007", "evaluate item.model"])
def test_a_dumb_terminal_gets_no_escapes(workshop, arguments):
    text, status = on_terminal(arguments.split(), workshop, TERM="dumb")
    assert status == 0
    assert "\x1b" not in text


READABLE = {"0", "1", "3", "4", "31", "35", "39", "49"}
"""Codes of what can be read on black and on white: bold, italic, underlined, red, magenta, and how they end."""


@pytest.mark.parametrize("width", ["80", "200"])
def test_colours_can_be_read_on_black_and_on_white(workshop, tmp_path, width):
    for arguments in (
        ["prepare", "ratings.csv", "--items", "items.csv", "-o", tmp_path / "d"],
        ["train", "data", *SMALL, "--regularization", "1e6", "-o", tmp_path / "m"],
        ["evaluate", "item.model"],
        ["recommend", "item.model", "--user", "007"],
        ["recommend", "none.model"],
    ):
        text, _ = on_terminal(arguments, workshop, COLUMNS=width)
        text = re.sub(r"\x1b\[38;5;244m[━╸╺]*", "", text)  # the empty part of a bar, half way between black and white
        codes = {code for codes in re.findall(r"\x1b\[([\d;]*)m", text) for code in codes.split(";")}
        assert codes <= READABLE, codes - READABLE
        plain = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", text)
        assert all(len(line) <= int(width) for line in re.split(r"[\r\n]+", plain))


@pytest.mark.parametrize(
    "environment", [{"HOME": ""}, {"HOME": "/nonexistent"}, {"LANG": "C", "LC_ALL": "C"}, {"LC_ALL": "xx_YY.UTF-8"}]
)
def test_home_and_locale_do_not_matter(workshop, environment):
    """Titles and ids are UTF-8 in files and pipes, whatever the locale."""
    plain = {**environment, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    usual = run("recommend", "lists.model", "--user", "007", cwd=workshop)
    result = run("recommend", "lists.model", "--user", "007", cwd=workshop, env=plain)
    assert (result.status, result.stdout, result.stderr) == (0, usual.stdout, "")


ALONE_WITH = {"prepare": "r.csv", "cross-validate": "data", "tune": "data", "recommend": "m"}


@pytest.mark.parametrize("rank", [0, 1])
def test_the_work_of_one_process_is_refused_under_torchrun(tmp_path, monkeypatch, rank):
    """One sentence each, and nothing written but the summary of the first."""
    for name, value in {"TORCHELASTIC_RUN_ID": "t", "WORLD_SIZE": "2", "RANK": str(rank)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    for command, source in ALONE_WITH.items():
        result = call(command, source, *(["-o", "out"] if command != "tune" else []), "--summary", "run.json")
        assert (result.status, result.stdout) == (2, ""), result.stderr
        (said,) = result.stderr.splitlines()
        assert all(word in said for word in (command, "one process", "torchrun started 2"))
        assert ("--shard" in said) == (command == "recommend")
        assert ("process 2 of 2: " in said) == (rank == 1)
        assert [path.name for path in tmp_path.iterdir()] == (["run.json"] if rank == 0 else [])
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert call("recommend", "no.model").status == 4


# --- what a command reads is never what it writes


@pytest.mark.parametrize(
    "arguments",
    [
        ("prepare", "a.csv", "-o", "d", "--summary", "a.csv"),
        ("prepare", "*.csv", "-o", "d", "--summary", "a.csv"),
        ("prepare", "a.csv", "-o", "d", "--items", "t.csv", "--summary", "t.csv"),
        ("prepare", "a.csv", "-o", "d", "--test-file", "t.csv", "--summary", "t.csv"),
        ("train", "d", "-o", "m", "--warm-start", "w", "--summary", "w"),
        ("train", "d", "-o", "c.toml", "--force", "--config", "c.toml"),
        ("recommend", "m", "--users", "a.csv", "-o", "a.csv"),
        ("recommend", "m", "--history", "a.csv", "-o", "a.csv"),
        ("recommend", "m", "--candidates", "a.csv", "-o", "a.csv"),
        ("recommend", "m", "--exclude", "a.csv", "-o", "./a.csv"),
        ("info", "m", "-o", "m"),
    ],
)
def test_what_is_read_is_not_replaced(tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    for name in ("a.csv", "t.csv", "m", "w", "c.toml"):
        (tmp_path / name).write_text("")
    result = call(*arguments)
    assert result.status == 2
    assert "would overwrite" in result.stderr
    assert all(path.read_text() == "" for path in tmp_path.iterdir())
