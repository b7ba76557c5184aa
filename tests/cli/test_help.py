"""Help of every command: complete, quick to show, and with examples that run."""

import re
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import polars as pl
import pytest
import typer

from autorec_cli.cli.app import COMMANDS, app
from tests.encoded import written
from tests.forking import UNDRAWN, WITHOUT_TORCH, program
from tests.program import ROOT, call, modules_after

PROGRAM = typer.main.get_command(app)
OF_PROGRAM = {name: command for name, command in PROGRAM.commands.items() if name != "config"}
OF_PROGRAM["config show"] = PROGRAM.commands["config"].commands["show"]
PARAMETERS = {"": PROGRAM.params, **{name: command.params for name, command in OF_PROGRAM.items()}}
HEAVY = {"torch", "polars", "scipy", "safetensors", "numba"}


@pytest.mark.parametrize("columns", ["80", "200"])
@pytest.mark.parametrize("name", PARAMETERS)
def test_help_names_every_option_fits_and_ends_in_examples(monkeypatch, name, columns):
    monkeypatch.setenv("COLUMNS", columns)
    result = call(*name.split(), "--help")
    assert result.status == 0
    assert max(map(len, result.stdout.splitlines())) <= int(columns)
    assert "bool>" not in result.stdout, "flags take no value"
    for parameter in PARAMETERS[name]:
        if parameter.param_type_name == "option":
            for flag in (*parameter.opts, *parameter.secondary_opts):
                assert re.search(rf"{flag}[ ,]", result.stdout), flag
    assert f"autorec {name or 'prepare'} " in result.stdout.split("\u256f")[-1]


def test_help_of_groups_shows_no_value_of_flags():
    for group in ("--help", "config --help"):
        result = call(*group.split())
        assert (result.status, "--help" in result.stdout, "bool>" in result.stdout) == (0, True, False)


def test_paragraphs_break_at_the_margin_and_not_where_the_source_does(monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    lines = call("run", "--help").stdout.splitlines()
    (line,) = [line for line in lines if "Run it again" in line]
    assert line.rstrip().endswith("stay.")


def test_help_imports_nothing_heavy():
    # These show names of metrics or splits, from tables of functions; they come last, as a module is imported once.
    with_numpy = ("prepare", "evaluate", "cross-validate", "run", "config show")
    names = [name for name in PARAMETERS if name not in with_numpy]
    imported = modules_after(*(f"{name} {'-h' if name == 'train' else '--help'}" for name in (*names, *with_numpy)))
    assert len(imported) == len(PARAMETERS)
    for number, (command_line, modules) in enumerate(imported.items()):
        assert not modules & HEAVY, command_line
        assert "numpy" not in modules or number >= len(names), command_line


@pytest.mark.parametrize(
    ("command_line", "commands"),
    [("--help", set()), ("--version", set()), ("train --help", {"train"}), ("info lists.model", {"info"})],
)
def test_only_the_command_that_runs_is_imported(workshop, command_line, commands):
    modules = modules_after(command_line, cwd=workshop)[command_line]
    prefix = "autorec_cli.cli.commands."
    assert {name.removeprefix(prefix) for name in modules if name.startswith(prefix)} == commands


def test_a_list_of_commands_has_the_first_paragraph_of_the_help_of_each():
    helps = {name: command.help.split("\n\n")[0] for name, command in PROGRAM.commands.items()}
    assert helps == COMMANDS


@pytest.mark.parametrize("flag", ["--version", "-V"])
def test_version(flag):
    result = call(flag)
    assert (result.status, result.stderr) == (0, "")
    assert re.fullmatch(r"autorec \d+\.\d+\.\d+\n", result.stdout)


EXAMPLES = {name: command.epilog for name, command in OF_PROGRAM.items()}


@pytest.fixture
def examples_folder(workshop, tmp_path):
    """A folder with every file that an example reads, and the program on the PATH."""
    ratings = pl.read_csv(workshop / "ratings.csv", infer_schema=False)
    for name in ("ratings.csv", "item.model", "user.model", "lists.model"):
        shutil.copy(workshop / name, tmp_path)
    for name in ("ratings.model", "last-night.model"):
        shutil.copy(workshop / "both.model", tmp_path / name)
    shutil.copy(workshop / "items.csv", tmp_path / "movies.csv")
    shutil.copytree(workshop / "data", tmp_path / "data")
    ratings[::2].write_csv(tmp_path / "part-1.csv")
    ratings[1::2].write_csv(tmp_path / "part-2.csv")
    ratings.write_csv(tmp_path / "ratings.tsv", separator="\t")
    subprocess.run("gzip part-*.csv ratings.tsv", shell=True, cwd=tmp_path, check=True)
    (tmp_path / "warehouse" / "ratings" / "day=1").mkdir(parents=True)
    recent = ratings.with_columns((pl.col("timestamp").cast(pl.Int64) + 200_000_000), pl.col("rating").cast(pl.Float64))
    recent.write_parquet(tmp_path / "warehouse" / "ratings" / "day=1" / "a.parquet")
    ratings[10:].write_csv(tmp_path / "u1.base")
    ratings[:10].write_csv(tmp_path / "u1.test")
    ratings.select("user", "item").write_csv(tmp_path / "pairs.csv")
    ratings[:5].with_columns(user=pl.lit("later")).write_csv(tmp_path / "later.csv")
    ratings[:5].with_columns(user=pl.lit("new")).write_csv(tmp_path / "new-users.csv")
    with closing(sqlite3.connect(tmp_path / "shop.db")) as shop, shop:
        shop.execute("CREATE TABLE ratings (user, item, rating)")
        shop.executemany("INSERT INTO ratings VALUES (?, ?, ?)", ratings.select("user", "item", "rating").rows())
    written(tmp_path / "encoded")
    (tmp_path / "active.tsv").write_text("007\tx\n011\ty\n")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "jq").write_text("#!/bin/sh\ncat > /dev/null\n")
    (tmp_path / "bin" / "jq").chmod(0o755)
    return tmp_path


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_run(examples_folder, monkeypatch, name):
    monkeypatch.setenv("PATH", f"{examples_folder / 'bin'}:{Path(program()).parent}:/usr/bin:/bin")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for variable in ("AUTOREC_TRAIN_EPOCHS", "AUTOREC_CROSS_VALIDATE_EPOCHS", "AUTOREC_TUNE_MAX_EPOCHS"):
        monkeypatch.setenv(variable, "2")
    for variable in ("AUTOREC_TRAIN_HIDDEN_SIZE", "AUTOREC_CROSS_VALIDATE_HIDDEN_SIZE", "AUTOREC_TUNE_MAX_HIDDEN_SIZE"):
        monkeypatch.setenv(variable, "16")
    monkeypatch.setenv("AUTOREC_PREPARE_FORCE", "true")
    monkeypatch.setenv("AUTOREC_RECOMMEND_ON_UNKNOWN", "skip")  # ids here have leading zeros
    monkeypatch.setenv("TESTS_FIRST", WITHOUT_TORCH if name == "doctor" else UNDRAWN)
    examples = [line for line in EXAMPLES[name].splitlines() if line and not line.startswith("[bold]")]
    assert len(examples) >= 2
    for example in examples:
        for model in ("ratings.model", "user.model"):
            if name == "train":
                (examples_folder / model).unlink(missing_ok=True)
        example = example.replace("--shards 16", "--shards 2")  # each is a process of its own
        example = example.replace("--epochs 20", "--epochs 2")
        script = f"set -o pipefail; {example}"
        finished = subprocess.run(["bash", "-c", script], cwd=examples_folder, capture_output=True, text=True)
        assert finished.returncode == 0, (example, finished.stderr)
        assert "Traceback" not in finished.stderr
