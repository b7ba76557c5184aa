"""What can be set from outside the command line, and `autorec config show`, which shows it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from autorec_cli.cli.config_file import Known, Value, check_environment, find_file, read_file, variable_of
from autorec_cli.cli.output import choose_format, open_output, writer_for
from autorec_cli.cli.output_options import Format, Output
from autorec_cli.errors import UsageError

EXAMPLES = """
[bold]Examples[/bold]

autorec config show train

AUTOREC_TRAIN_EPOCHS=30 autorec config show --format csv | grep -v ',default$'
"""


NOT_SETTABLE = ("config", "help")


@dataclass(frozen=True)
class Setting:
    """One option of a command.

    Attributes:
        option: Its name without dashes, as settings files have it.
        name: What the command calls it.
        variable: The variable of the environment that sets it.
        repeated: Whether it can be given several times.
        parameter: Typer's object for it.
    """

    option: str
    name: str
    variable: str
    repeated: bool
    parameter: Any


def settings_of(context: typer.Context) -> list[Setting]:
    """What can be set of the command of `context`."""
    return _settings(context.info_name or "", context.command)


def _settings(command_name: str, command: Any) -> list[Setting]:  # noqa: ANN401 - Typer names no type for it
    options = [parameter for parameter in command.params if parameter.param_type_name == "option"]
    return [
        Setting(
            option=max(option.opts, key=len).lstrip("-"),
            name=option.name,
            variable=variable_of(command_name, option.name),
            repeated=option.multiple,
            parameter=option,
        )
        for option in options
        if option.name not in NOT_SETTABLE
    ]


def known_settings(context: typer.Context) -> Known:
    """The settings of all commands of the program, for reading a settings file."""
    program = cast("Any", context.find_root().command)
    return {
        name: {setting.option: setting.repeated for setting in _settings(name, command)}
        for name, command in program.commands.items()
        if not hasattr(command, "commands")
    }


def preferred_by(context: typer.Context, parameter: Any) -> str | None:  # noqa: ANN401 - Typer names no type for it
    """Which variable or settings file gave the value of an option; None if it was typed or is the default."""
    source = getattr(cast("Any", context.get_parameter_source(parameter.name)), "name", "")
    variable = variable_of(context.info_name or "", parameter.name)
    return {"ENVIRONMENT": variable, "DEFAULT_MAP": str(context.params.get("config"))}.get(source)


def set_defaults(context: typer.Context, given: Mapping[str, Mapping[str, Value]]) -> None:
    """Let the command of `context` take its defaults from what a settings file gives, once its variables are checked.

    Raises:
        UsageError: a variable of the environment is named like a setting and is none.
    """
    command = context.info_name or ""
    settings = settings_of(context)
    own = [*(setting.variable for setting in settings), variable_of(command, "config")]
    others = [variable_of(name, option) for name, options in known_settings(context).items() for option in options]
    check_environment(command, own, others, os.environ)
    options = given.get(command, {})
    context.default_map = {setting.name: options[setting.option] for setting in settings if setting.option in options}


def show_command(
    context: typer.Context,
    command: Annotated[str | None, typer.Argument(metavar="COMMAND", help="Only the options of this command.")] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", metavar="FILE", help="Settings file.", show_default="autorec.toml, if there is one"),
    ] = None,
    output: Output = "-",
    format: Format = None,
) -> None:
    """Show what options are here if they are not typed: by the environment, a settings file, or default."""
    import polars as pl

    known = known_settings(context)
    if command is not None and command not in known:
        raise UsageError(f"there is no command {command} with options; name one of {', '.join(known)}")
    write = writer_for(choose_format(format, output))
    program = context.find_root()
    rows = []
    for name in [command] if command else known:
        named = os.environ.get(variable_of(name, "config"))
        file = find_file(config or (Path(named) if named else None))
        given = {} if file is None else read_file(file, known)
        inner = type(context)(cast("Any", program.command).commands[name], info_name=name, parent=program)
        set_defaults(inner, given)
        rows += [_row(inner, setting, file) for setting in settings_of(inner)]
    with open_output(output) as stream:
        write([pl.DataFrame(rows)], stream)


def _row(context: typer.Context, setting: Setting, file: Path | None) -> dict[str, str]:
    value, source = setting.parameter.consume_value(context, {})
    if value is not None:
        value = setting.parameter.process_value(context, value)  # refuses what the command would refuse
    return {
        "command": context.info_name or "",
        "option": setting.option,
        "value": _shown(value, setting.parameter.show_default),
        "origin": {"ENVIRONMENT": setting.variable, "DEFAULT_MAP": str(file)}.get(source.name, "default"),
    }


def _shown(value: object, described: object) -> str:
    """`value` as it would be typed; the default that depends on the data, and so is described only, in brackets."""
    if value is None or value in ((), []):
        return f"({described})" if isinstance(described, str) else ""
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
