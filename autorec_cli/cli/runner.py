"""What every command does around its work: find its options, talk as it is told, and sum up the run.

`conversing` adds the options of this module to a command, so that each is declared once and commands know nothing of
them. Options come from the command line, else the environment, else a TOML file, else their defaults.
"""

from __future__ import annotations

import copy
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from glob import glob
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from autorec_cli.cli.commands.config import known_settings, preferred_by, set_defaults, settings_of
from autorec_cli.cli.config_file import find_file, read_file
from autorec_cli.cli.console import detail, say, start
from autorec_cli.cli.output import check_place
from autorec_cli.cli.output_options import UNATTENDED
from autorec_cli.cli.precedence import settle
from autorec_cli.cli.run_summary import Run, sum_up, sum_up_failure, sum_up_refusal
from autorec_cli.errors import Failure, UsageError
from autorec_cli.runtime.memory import check_addresses
from autorec_cli.runtime.process_group import named_world
from autorec_cli.storage.file_kinds import artifact_at
from autorec_cli.storage.files import followed

Command = Callable[..., Any]

LOG_FORMATS = ("text", "json")
OUTPUTS = ("output", "log", "per-split", "storage")
"""Options that name files to write, besides those of this module."""

INPUTS = (
    "sources", "test_file", "titles", "data", "model", "models", "warm_start", "rating_model", "users", "history",
    "candidates", "exclude", "path",
)  # fmt: skip
"""Parameters of commands that name files to read."""

ALONE = {
    "prepare": "",
    "cross-validate": "",
    "tune": "",
    "recommend": ", as often as you like with a --shard each",
}
"""Commands that are the work of one process, and what to do instead of starting several with torchrun."""


def _use_config(context: typer.Context, asked: Path | None) -> Path | None:
    """Make the settings file the source of defaults; this option is parsed before all others."""
    if context.resilient_parsing:  # completing a word in the shell
        return asked
    file = find_file(asked)
    try:
        set_defaults(context, {} if file is None else read_file(file, known_settings(context)))
    except UsageError as error:
        sum_up_refusal(sys.argv[1:], context, str(error))
        raise
    return file


def conversing(command: Command) -> Command:
    """`command` with the options of this module; what it returns becomes the `result` of the summary."""

    def run(**values: Any) -> None:  # noqa: ANN401
        context: typer.Context = values.pop("context")
        own = {name: values.pop(name) for name in OWN}
        _converse(context, command, values, **own)

    declared = inspect.signature(command, eval_str=True).parameters
    context = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
    parameters = [context, *map(_quietly_settable, [*declared.values(), *OWN.values()])]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    run.__doc__ = command.__doc__
    return run


def _quietly_settable(parameter: inspect.Parameter) -> inspect.Parameter:
    """`parameter`, whose variable of the environment is not named in the help: one rule names them all."""
    kind, info = parameter.annotation.__origin__, copy.copy(parameter.annotation.__metadata__[0])
    info.show_envvar = False
    return parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=Annotated[kind, info])


def _converse(
    context: typer.Context,
    command: Command,
    values: dict[str, Any],
    *,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="FILE",
            help="A TOML file of options, a table a command. Variables such as AUTOREC_TRAIN_EPOCHS are stronger than "
            "it, and what is typed is strongest.",
            show_default="autorec.toml, if there is one",
            is_eager=True,
            callback=_use_config,
            rich_help_panel=UNATTENDED,
        ),
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Say nothing but warnings and errors.", rich_help_panel=UNATTENDED)
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option("--verbose", "-v", help="Also say all options, time and memory used.", rich_help_panel=UNATTENDED),
    ] = False,
    log_format: Annotated[
        str,
        typer.Option(help="How to talk on stderr: text, or json for an object a line.", rich_help_panel=UNATTENDED),
    ] = "text",
    summary: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Write one JSON object about the run when it ends, however it ends; - is stdout.",
            rich_help_panel=UNATTENDED,
        ),
    ] = None,
) -> None:
    """Run `command` with `values` and tell of it."""
    _check_places(summary, values, config)
    typed = {name for name in context.params if _source(context, name) == "COMMANDLINE"}
    talking = settle({"quiet": quiet, "verbose": verbose}, typed)
    world, as_json = named_world(), log_format == "json"
    if world.is_first:
        warnings = start(**talking, as_json=as_json)
    else:
        warnings = start(quiet=True, as_json=as_json, speaker=f"process {world.rank + 1} of {world.size}")
    run = Run(context.info_name or "", values, warnings, summary if world.is_first else None, datetime.now(UTC))
    try:
        if world.size > 1 and run.command in ALONE:
            raise UsageError(
                f"{run.command} is the work of one process, and torchrun has started {world.size}: start it without "
                f"torchrun{ALONE[run.command]}"
            )
        if log_format not in LOG_FORMATS:
            raise UsageError(f"--log-format must be one of {', '.join(LOG_FORMATS)}, not {log_format!r}")
        if all(talking.values()):
            raise UsageError("--quiet and --verbose contradict each other; leave out one of them")
        settled = settle(values, typed)
        run = replace(run, options=settled)
        _tell_settings(context, {**settled, **talking})
        check_addresses()
        result = command(**settled)
    except (Exception, KeyboardInterrupt, SystemExit) as error:
        sum_up_failure(run, error)
        raise
    sum_up(run, Failure(os.EX_OK, ""), result)


def _source(context: typer.Context, name: str) -> str:
    """Where the value of an option comes from: COMMANDLINE, ENVIRONMENT, DEFAULT_MAP (a settings file) or DEFAULT."""
    return str(cast("Any", context.get_parameter_source(name)).name)


def _check_places(summary: str | None, values: Mapping[str, Any], config: Path | None) -> None:
    """Check that no file that a command writes is another one, or one that it reads, and that its summary can be."""
    named = {"summary": summary, **{option: values.get(option.replace("-", "_")) for option in OUTPUTS}}
    outputs = {option: str(name) for option, name in named.items() if name is not None}
    if list(outputs.values()).count("-") > 1:
        both = " and ".join(f"--{option}" for option, name in outputs.items() if name == "-")
        raise UsageError(f"only one of {both} can be standard output; name a file for the others")
    taken = {followed(Path(name)): name for name in _files_read(values, config)}
    for option, output in outputs.items():
        if output == "-":
            continue
        place = followed(Path(output))
        if place in taken and not (option == "output" and taken[place] == str(values.get("warm_start"))):
            raise UsageError(f"--{option} {output} would replace {taken[place]}; name another file")
        taken[place] = f"--{option} of this command"
        found = None if option == "output" and "force" in values else artifact_at(place)
        if found is not None and not (found == "a blend" and values.get("blend")):
            raise UsageError(f"--{option} {output} would replace {found}; name another file")
    if summary is not None:
        check_place(summary)


def _files_read(values: Mapping[str, Any], config: Path | None) -> list[str]:
    """The files that a command reads, as they are named; "-" is none, and a glob stands for what it matches."""
    named: list[Any] = [config]
    for parameter in INPUTS:
        value = values.get(parameter)
        named += value if isinstance(value, list | tuple) else [value]
    names = [str(name) for name in named if name is not None and str(name) != "-"]
    return [file for name in names for file in ([name, *glob(name)] if set(name) & set("*?[") else [name])]  # noqa: PTH207 (absolute patterns too)


OWN = {
    name: parameter
    for name, parameter in inspect.signature(_converse, eval_str=True).parameters.items()
    if parameter.kind is inspect.Parameter.KEYWORD_ONLY
}


def _tell_settings(context: typer.Context, values: Mapping[str, Any]) -> None:
    """Say which options were neither typed nor left alone: whoever set them may have forgotten it."""
    told = []
    for setting in settings_of(context):
        value, origin = context.params[setting.name], preferred_by(context, setting.parameter)
        if origin is None:
            if setting.name not in OWN:
                typed = _source(context, setting.name) == "COMMANDLINE"
                detail(f"option {setting.option}={value} ({'typed' if typed else 'default'})")
        elif values.get(setting.name, value) == value:
            told.append(f"{setting.option}={value} ({origin})")
        else:
            detail(f"option {setting.option}={value} ({origin}) gives way to what is typed")
    if told:
        say(f"settings: {', '.join(told)}")
