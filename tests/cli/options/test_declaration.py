"""Options declared as dataclasses, and what Typer makes of them."""

import importlib
import inspect
import typing
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

import pytest
import typer

from autorec_cli.cli.app import COMMANDS, app
from autorec_cli.cli.options.declaration import (
    ADVANCED,
    PANELS,
    InputFile,
    OneOf,
    OutputFile,
    gather,
    given,
    with_options,
)
from autorec_cli.cli.options.training import TrainingOptions
from autorec_cli.cli.runner import RUN_OPTIONS
from autorec_cli.errors import UsageError
from autorec_cli.training.settings import TrainSettings
from tests.program import call


@dataclass(frozen=True, kw_only=True)
class Inner:
    switch: Annotated[bool, typer.Option("--switch", rich_help_panel=ADVANCED)] = False


@dataclass(frozen=True, kw_only=True)
class Outer:
    inner: Inner
    data: Annotated[Path, typer.Argument(), InputFile()]
    kind: Annotated[str | None, typer.Option(), OneOf(("a", "b"))] = None


def test_fields_become_parameters_in_the_order_of_panels():
    parameters = inspect.signature(with_options(print, Outer)).parameters
    assert list(parameters) == ["context", "data", "kind", "switch"]
    kind, info = typing.get_args(parameters["kind"].annotation)
    assert typing.get_args(typing.get_args(kind)[0]) == ("a", "b")
    assert info.show_envvar is False
    assert parameters["data"].default is inspect.Parameter.empty


def test_values_are_gathered_into_groups_and_given_back():
    options = gather(Outer, {"data": Path("d"), "kind": "a", "switch": True, "quiet": False})
    assert options == Outer(inner=Inner(switch=True), data=Path("d"), kind="a")
    assert [(option.flag, option.value) for option in given(options)] == [
        ("--switch", True), ("--data", Path("d")), ("--kind", "a"),
    ]  # fmt: skip
    assert [mark for option in given(options) for mark in option.marks if isinstance(mark, InputFile)] == [InputFile()]


def test_every_training_setting_has_an_option_and_the_same_default():
    settings = TrainingOptions().settings()
    assert settings.complete((50, 40), 1000) == TrainSettings().complete((50, 40), 1000)
    options = {field.name for field in fields(TrainingOptions)} - {"hidden_size", "threads", "device"}
    # Only a preset has an ensemble.
    assert {"hidden_sizes", "ensemble", *options} == {field.name for field in fields(TrainSettings)}


def test_a_hidden_size_that_is_no_number_is_refused():
    with pytest.raises(UsageError, match="--hidden-size"):
        TrainingOptions(hidden_size="many").settings()


# --- all commands

RUNNING = [name for name in COMMANDS if name != "config"]
OPTIONS = [
    (name, option)
    for name, command in typer.main.get_command(app).commands.items()
    for option in getattr(command, "params", [])
]


@pytest.mark.parametrize("name", RUNNING)
def test_every_file_is_declared_to_be_read_or_written(name):
    """As the help names files: a new option that does not say which it is would never be checked."""
    module = importlib.import_module(f"autorec_cli.cli.commands.{name.replace('-', '_')}")
    hints = typing.get_type_hints(module.COMMAND.options, include_extras=True)
    declared = set()
    for hint in hints.values():
        hint = (
            [*typing.get_type_hints(hint, include_extras=True).values()]
            if hasattr(hint, "__dataclass_fields__")
            else [hint]
        )
        for kind in hint:
            marks = [mark for mark in typing.get_args(kind) if isinstance(mark, InputFile | OutputFile)]
            declared.update(id(mark) for mark in marks)
    n_files = sum(
        option.metavar in ("SOURCE", "FILE", "MODEL", "DATA", "DIR", "PATH", "PAIRS")
        for command, option in OPTIONS
        if command == name and option.name not in RUN_OPTIONS
    )
    assert len(declared) == n_files


def test_every_option_has_a_help_text_and_a_known_panel():
    for name, option in OPTIONS:
        if option.name != "help":
            assert option.help, (name, option.name)
            assert option.help.rstrip(")")[-1] == ".", (name, option.name)
            assert option.rich_help_panel in PANELS, (name, option.name)


CHOICES = {
    ("prepare", "split"), ("prepare", "on_error"), ("prepare", "duplicates"), ("prepare", "format"),
    ("train", "objective"), ("train", "variant"), ("train", "hidden_activation"), ("train", "output_activation"),
    ("train", "center"), ("evaluate", "on"), ("evaluate", "format"), ("recommend", "on_unknown"),
    ("recommend", "on_error"), ("recommend", "format"), ("tune", "variant"), ("tune", "format"), ("tune", "objective"),
    ("cross-validate", "objective"), ("info", "format"), ("doctor", "format"), 
    *((name, "log_format") for name in RUNNING),
}  # fmt: skip


@pytest.mark.parametrize(("command", "option"), sorted(CHOICES))
def test_choices_are_shown_completed_and_enforced(command, option, monkeypatch):
    (parameter,) = (parameter for name, parameter in OPTIONS if (name, parameter.name) == (command, option))
    context = typer.Context(typer.main.get_command(app).commands[command], info_name=command)
    values = [item.value for item in parameter.shell_complete(context, "")]
    assert len(values) > 1
    help_text = call(command, "--help").stdout
    assert values[0] in help_text
    arguments = {"prepare": ["x", "-o", "d"], "train": ["d", "-o", "m"], "doctor": []}.get(command, ["m"])
    result = call(command, *arguments, f"--{option.replace('_', '-')}", "no-such")
    assert (result.status, result.stdout) == (2, "")
    assert len(result.stderr.splitlines()) == 1
    for word in (f"--{option.replace('_', '-')}", "no-such", *values):
        assert word in result.stderr
