"""`autorec config show`: option values and where they come from."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from autorec_cli.cli.commands.run import STAGES
from autorec_cli.cli.options.config_file import (
    KnownSettings,
    Setting,
    context_of,
    find_file,
    settings_of,
    source_of,
    value_of,
    variable_of,
)
from autorec_cli.cli.options.declaration import CommandGroup, OneCommand, OneOf, gather, with_options
from autorec_cli.cli.options.shared import Format, Output
from autorec_cli.cli.output.destination import open_output, reserve_output
from autorec_cli.cli.output.formats import choose_format, writer_for
from autorec_cli.defaults import PRESETS
from autorec_cli.errors import UsageError, without_passwords

EXAMPLES = """
[bold]Examples[/bold]

autorec config show train

AUTOREC_TRAIN_EPOCHS=30 autorec config show --format csv | grep -v ',default$'
"""


@dataclass(frozen=True, kw_only=True)
class ShowOptions:
    """Options of `autorec config show`."""

    command: Annotated[str | None, typer.Argument(metavar="COMMAND", help="Show the options of this command only.")] = (
        None
    )
    config: Annotated[
        Path | None,
        typer.Option("--config", metavar="FILE", help="Config file.", show_default="autorec.toml, if present"),
    ] = None
    preset: Annotated[
        str | None, typer.Option(help="Show the values of this preset of `autorec train`."), OneOf(tuple(PRESETS))
    ] = None
    output: Output = "-"
    format: Format = None


def show_command(context: typer.Context, options: ShowOptions) -> None:
    """Show the value of every option that is not on the command line, and where it comes from."""
    import polars as pl

    known = KnownSettings(context)
    if options.command is not None and options.command not in known:
        raise UsageError(f"unknown command {options.command}; choose from {', '.join(known)}")
    write = writer_for(choose_format(options.format, options.output))
    commands = [options.command] if options.command else list(known)
    rows = [row for name in commands for row in _with_preset(_rows(context, name, options.config), options.preset)]
    with reserve_output(options.output), open_output(options.output) as stream:
        write([pl.DataFrame(rows)], stream)


def _rows(context: typer.Context, command: str, config: Path | None) -> list[dict[str, str]]:
    """One row per option of `command`."""
    named = os.environ.get(variable_of(command, "config"))
    file = find_file(config or (Path(named) if named else None))
    rows = _own_rows(context, command, file)
    for name, stage in STAGES.items() if command == "run" else ():
        of_stage = {row["option"]: row for row in _own_rows(context, name, file) if row["origin"] != "default"}
        for row in rows:
            if row["origin"] == "default" and row["option"].replace("-", "_") in stage.shared:
                found = of_stage.get(row["option"], row)
                table = f" [{name}]" if found["origin"] == str(file) else ""
                row |= {"value": found["value"], "origin": f"{found['origin']}{table}"}
    return rows


def _own_rows(context: typer.Context, command: str, file: Path | None) -> list[dict[str, str]]:
    """One row per option of `command` alone, without a run."""
    inner = context_of(context, command, file)
    return [_row(inner, setting, file) for setting in settings_of(inner)]


def _with_preset(rows: list[dict[str, str]], name: str | None) -> list[dict[str, str]]:
    """Put the values of a preset in place of defaults.

    It is that of `name`, or the one that the rows set.
    """
    known = {row["option"]: row["value"] for row in rows}
    if "preset" not in known:
        return rows
    name = name or known["preset"]
    values = {
        option.replace("_", "-").replace("hidden-sizes", "hidden-size"): _shown(value, None)
        for option, value in PRESETS.get(name, {}).items()
    }
    # An ensemble has no option of its own.
    more = [{**rows[-1], "option": option, "value": value} for option, value in values.items() if option not in known]
    return [
        {**row, "value": values[row["option"]], "origin": f"preset {name}"}
        if row["origin"] == "default" and row["option"] in values
        else row
        for row in rows
    ] + [{**row, "origin": f"preset {name}"} for row in more]


def _row(context: typer.Context, setting: Setting, file: Path | None) -> dict[str, str]:
    value = value_of(context, setting)
    return {
        "command": context.info_name or "",
        "option": setting.option,
        "value": without_passwords(_shown(value, setting.parameter.show_default)),
        "origin": {"ENVIRONMENT": setting.variable, "DEFAULT_MAP": str(file)}.get(
            source_of(context, setting.name), "default"
        ),
    }


def _shown(value: Any, described: object) -> str:  # noqa: ANN401
    """Text of a value; data-dependent defaults are described in brackets."""
    if value is None or value in ((), []):
        return f"({described})" if isinstance(described, str) else ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple) and isinstance(value[0], dict):
        return json.dumps(value)
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _show(context: typer.Context, values: dict[str, Any]) -> None:
    show_command(context, gather(ShowOptions, values))


APP = typer.Typer(
    name="config",
    cls=CommandGroup,
    help="Show options set by a config file or environment variables.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
)
APP.command("show", cls=OneCommand, epilog=EXAMPLES, help=show_command.__doc__)(with_options(_show, ShowOptions))


@APP.callback()
def options() -> None:
    """Keep `show` a subcommand.

    Without a callback Typer takes an app of one command for that command.
    """
