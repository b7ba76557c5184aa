"""Options of commands that are stages of `autorec run`.

A stage follows the options of its own command in the config file and in environment
variables. An option of the same name that was given to the command that runs is stronger.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import typer

from autorec_cli.cli.console import say, warn
from autorec_cli.cli.options.config_file import (
    context_of,
    preferred_by,
    settings_of,
    source_of,
    value_of,
    without_contradictions,
)
from autorec_cli.cli.options.declaration import Given, declared

Values = Mapping[str, Any]
"""Option name -> value."""


@dataclass(frozen=True)
class Stage:
    """Command whose work is a stage of another one.

    Attributes:
        options: Dataclass of its options.
        shared: Options of the other command that set those of the same name here.
        decided: Options that the other command decides itself.
        defaults: Defaults that differ from those of the command alone.
    """

    options: type
    shared: Collection[str]
    decided: Collection[str]
    defaults: Values = field(default_factory=dict)


def stage_values(context: typer.Context, stages: Mapping[str, Stage], values: Values) -> dict[str, dict[str, Any]]:
    """Values of the options of each stage.

    Args:
        context: Context of the command that runs.
        stages: Its stages by command.
        values: Values of its own options.
    """
    return {name: _values(context, name, stage, values) for name, stage in stages.items()}


def own_options(stages: Mapping[str, Stage], values: Mapping[str, Values]) -> list[Given]:
    """Options that a command leaves to its stages.

    They come with their `stage_values`.
    """
    return [
        Given(name, values[command][name], marks)
        for command, stage in stages.items()
        for name, marks in declared(stage.options)
        if name in values[command] and name not in stage.decided
    ]


def _values(context: typer.Context, command: str, stage: Stage, values: Values) -> dict[str, Any]:
    file: Path | None = context.params.get("config")
    # As if the command ran alone, with its own variables and its table in the file.
    inner = context_of(context, command, file)
    found, preferred = {}, []
    for setting in settings_of(inner):
        name, value = setting.name, value_of(inner, setting)
        origin, default = preferred_by(inner, name), stage.defaults.get(name, setting.parameter.default)
        is_ignored = name in stage.decided
        found[name] = default if origin is None or is_ignored else value
        if origin is None:
            continue
        if is_ignored:
            warn(f"{origin} sets {setting.option} of {command}; ignored, as {context.info_name} decides it")
        elif name not in stage.shared or source_of(context, name) == "DEFAULT":
            preferred.append(f"{setting.option}={value} ({origin})")
    if preferred:
        say(f"options of {command}: {', '.join(preferred)}")
    given = {name for name in stage.shared if source_of(context, name) != "DEFAULT"}
    # What was given to the run itself is stronger; arguments, such as sources, only the run has.
    found |= {name: values[name] for name in stage.shared if name in given or name not in found}
    typed = {name for name in given if source_of(context, name) == "COMMANDLINE"}
    return without_contradictions(found, typed)
