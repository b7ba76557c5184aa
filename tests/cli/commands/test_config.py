"""Presets in `autorec config show`."""

import csv
import io

import pytest

from tests.program import call


def shown(*arguments):
    result = call("config", "show", *arguments, "--format", "csv")
    assert result.status == 0, result.stderr
    return list(csv.DictReader(io.StringIO(result.stdout)))


def test_a_preset_is_shown_in_the_place_of_defaults_where_there_is_one():
    rows = shown("--preset", "best")
    changed = {(row["command"], row["option"]): row["value"] for row in rows if row["origin"] == "preset best"}
    assert {command for command, _ in changed} == {"train", "run", "cross-validate"}
    assert changed["train", "variant"] == "both"
    assert '"hidden_sizes": [1000]' in changed["train", "ensemble"]


def test_given_options_override_a_preset(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "autorec.toml").write_text('[train]\npreset = "paper"\nepochs = 7\n')
    rows = {row["option"]: row for row in shown("train")}
    assert (rows["epochs"]["value"], rows["epochs"]["origin"]) == ("7", "autorec.toml")
    assert (rows["regularization"]["value"], rows["regularization"]["origin"]) == ("200.0", "preset paper")
    assert rows["implicit"]["value"] == "false"


def test_options_of_run_are_those_of_its_stages_where_it_has_none_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "autorec.toml").write_text(
        "[train]\nepochs = 7\npatience = 2\n[run]\npatience = 3\n[sample]\nforce = true\n"
    )
    monkeypatch.setenv("AUTOREC_RECOMMEND_TOP_K", "5")
    rows = {row["option"]: (row["value"], row["origin"]) for row in shown("run")}
    assert rows["epochs"] == ("7", "autorec.toml [train]")
    assert rows["patience"] == ("3", "autorec.toml")
    assert rows["top-k"] == ("5", "AUTOREC_RECOMMEND_TOP_K")
    assert rows["seed"] == ("0", "default")
    assert rows["force"] == ("false", "default")


@pytest.mark.parametrize("name", ["papers", ""])
def test_an_unknown_preset_is_refused(name):
    result = call("config", "show", "--preset", name)
    assert (result.status, "--preset" in result.stderr) == (2, True)
