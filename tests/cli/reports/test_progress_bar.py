"""One bar over a whole training at any width, stages before it, and lines where there is no terminal."""

import io
import re

import pytest
from rich.console import Console

from autorec_cli.cli import terminal
from tests.program import SMALL, on_terminal, run

TWO_NETWORKS = ("--variant", "both", "--hidden-size", 8, "--epochs", 12, "--patience", 0, "--batch-size", 16,
                "--learning-rate", 0.02)  # fmt: skip


def drawings(text):
    """The bar as drawn each time, without colors."""
    plain = re.sub(r"\x1b\[[\d;?]*[a-jl-zA-JL-Z]", "", text)  # all but K, which erases a line
    return [line for line in re.split(r"\r\x1b\[2K|[\r\n]+", plain) if "━" in line]


def unfolded(table):
    """Text of a table whose cells were folded at blanks."""
    plain = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", table)
    return re.sub(r"\s*│\s*│\s*│\s*", " ", plain.replace("\r\n", ""))


@pytest.mark.parametrize("width", [60, 80, 200])
def test_one_bar_of_one_width_over_all_phases(workshop, tmp_path, width):
    text, status = on_terminal(
        ["train", "data", *TWO_NETWORKS, "-o", tmp_path / "m"], workshop, COLUMNS=str(width)
    )  # fmt: skip
    assert status == 0
    bars = drawings(text)
    assert {len(bar) for bar in bars} == {width - len("^C ")}
    assert "\x1b[2K" in text[text.rindex("━") : text.index("trained")], "the bar is gone"
    assert len({(bar.index("━"), bar.rindex("━")) for bar in bars if "╸" not in bar and "╺" not in bar}) == 1
    assert all(re.search(r" (-|\d+):(--|\d\d)$", bar) for bar in bars)
    last = bars[-1]
    refit = re.search(r"user nDCG refit +(\d+)/(\d+) +━+ +best 0\.\d{4} +0:00$", last)
    assert refit is not None
    assert refit[1] == refit[2]
    told = re.search(
        rf"best epochs: \d+, \d+, \d+; refit: \d+, \d+, {refit[2]}\b", unfolded(text[text.index("trained") :])
    )
    assert told is not None
    assert text.count("\x1b[?25h") == text.count("\x1b[?25l")  # the cursor is back


def test_a_stage_takes_the_place_of_the_epoch_and_its_results(monkeypatch):
    screen = io.StringIO()
    monkeypatch.setattr(terminal, "_console", lambda: Console(file=screen, force_terminal=True, width=80))
    with terminal.fraction_bar("user nDCG  3/20", "0.2980 best 0.2980", lambda: 9) as move:
        move(0.5, "user nDCG  3/20", "0.2980 best 0.2980")
        terminal.show_stage("compiling")
        during = drawings(screen.getvalue())[-1]
        move(0.6, "user nDCG  4/20", "0.3000 best 0.3000")
    after = drawings(screen.getvalue())[-1]
    assert (during.startswith("compiling"), "best" in during, "0:09" in during) == (True, False, True)
    assert ("nDCG  4/20" in after, "0.3000 best" in after, len(after)) == (True, True, len(during))


def test_stages_on_the_screen_before_the_bar(workshop, tmp_path):
    text, status = on_terminal(["train", "data", *TWO_NETWORKS, "-o", tmp_path / "m"], workshop)
    assert status == 0
    places = [text.index(stage) for stage in ("starting", "reading dataset", "loading libraries", "━", "trained")]
    assert places == sorted(places)


@pytest.mark.parametrize("arguments", ["evaluate item.model", "recommend item.model --user 007", "info item.model"])
def test_results_on_a_terminal_are_not_mixed_with_stages(workshop, arguments):
    text, status = on_terminal(arguments.split(), workshop)
    assert status == 0
    table = text[text.rindex("╭") if "╭" in text else 0 :]
    assert "reading" not in table
    assert "\r\x1b[2K" not in table


def test_a_dumb_terminal_gets_stages_as_lines(workshop, tmp_path):
    text, status = on_terminal(["train", "data", *SMALL, "-o", tmp_path / "m"], workshop, TERM="dumb")
    assert status == 0
    assert "\x1b" not in text
    assert re.search(r"Z reading dataset data\r\n", text)
    assert len(re.findall(r"epoch \d+/\d+ selection", text)) == 15


@pytest.mark.parametrize("option", ["-q", "--log-format=json"])
def test_no_stages_where_they_are_not_wanted(workshop, tmp_path, option):
    text, status = on_terminal(["train", "data", *SMALL, "-o", tmp_path / "m", option], workshop)
    assert status == 0
    assert "reading dataset" not in text
    assert "━" not in text


def test_elsewhere_stages_are_details(workshop, tmp_path):
    command = ("train", "data", *SMALL, "-o", tmp_path / "m", "--dry-run")
    assert "reading dataset" not in run(*command, cwd=workshop).stderr
    assert "reading dataset data" in run(*command, "-v", cwd=workshop).stderr


def epochs_of(stderr):
    return [(phase, int(number)) for number, phase in re.findall(r"epoch (\d+)/\d+ (\w+):", stderr)]


def test_log_every_leaves_the_first_and_last_epoch_of_each_phase(workshop, tmp_path):
    stops_early = (*SMALL, "--patience", 2, "--learning-rate", 0.2)
    every = run("train", "data", *stops_early, "-o", tmp_path / "m", cwd=workshop)
    some = run("train", "data", *stops_early, "-o", tmp_path / "n", "--log-every", 3600, cwd=workshop)
    shown = epochs_of(every.stderr)
    n_selected, n_refitted = (
        max(number for phase, number in shown if phase == name) for name in ("selection", "refit")
    )
    assert 2 < n_selected < 15
    assert shown == [("selection", number) for number in range(1, n_selected + 1)] + [
        ("refit", number) for number in range(1, n_refitted + 1)
    ]
    assert epochs_of(some.stderr) == list(
        dict.fromkeys([("selection", 1), ("selection", n_selected), ("refit", 1), ("refit", n_refitted)])
    )


def test_log_every_is_no_negative_number(workshop, tmp_path):
    result = run("train", "data", "-o", tmp_path / "m", "--log-every", "-1", cwd=workshop)
    assert result.status == 2
    assert "--log-every" in result.stderr
