"""What every command does around its work: find its options, talk as it is told, and sum up the run.

`conversing` adds the options of this module to a command, so that each is declared once and commands know nothing of
them. Options come from the command line, else the environment, else a TOML file, else their defaults.
"""

from __future__ import annotations

import copy
import inspect
import json
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from autorec_cli import __version__
from autorec_cli.commands.options import UNATTENDED
from autorec_cli.commands.settings import known_settings, set_defaults, settings_of
from autorec_cli.console import Voice, detail, say, talk, warn
from autorec_cli.errors import EXIT_INTERRUPTED, AutoRecError, Failure, Stopped, UsageError, describe
from autorec_cli.files import followed
from autorec_cli.memory import used_bytes
from autorec_cli.output import open_output
from autorec_cli.preferences import find_file, read_file

Command = Callable[..., Any]

LOG_FORMATS = ("text", "json")
OUTPUTS = ("output", "log", "per-split")
"""Options that name files to write, besides those of this module."""


@dataclass(frozen=True)
class Run:
    """One run of a command, as its summary tells it: `options` are the command's own, `summary` is where to write."""

    command: str
    options: Mapping[str, Any]
    voice: Voice
    summary: str | None
    started: datetime


def _use_config(context: typer.Context, asked: Path | None) -> Path | None:
    """Make the settings file the source of defaults; this option is parsed before all others."""
    if context.resilient_parsing:  # completing a word in the shell
        return asked
    file = find_file(asked)
    set_defaults(context, {} if file is None else read_file(file, known_settings(context)))
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
    if log_format not in LOG_FORMATS:
        raise UsageError(f"--log-format must be one of {', '.join(LOG_FORMATS)}, not {log_format!r}")
    if quiet and verbose:
        raise UsageError("--quiet and --verbose contradict each other; leave out one of them")
    named = {"summary": summary, **{option: values.get(option.replace("-", "_")) for option in OUTPUTS}}
    outputs = {option: name for option, name in named.items() if name is not None}
    if list(outputs.values()).count("-") > 1:
        both = " and ".join(f"--{option}" for option, name in outputs.items() if name == "-")
        raise UsageError(f"only one of {both} can be standard output; name a file for the others")
    _check_places(outputs, [values.get("data"), values.get("model"), *(values.get("models") or ())])
    voice = Voice(quiet=quiet, verbose=verbose, as_json=log_format == "json")
    talk(voice)
    _tell_settings(context, values, config)
    run = Run(context.info_name or "", values, voice, summary, datetime.now(UTC))
    try:
        result = command(**values)
    except (Exception, KeyboardInterrupt, SystemExit) as error:
        _sum_up_failure(run, error)
        raise
    _sum_up(run, Failure(os.EX_OK, ""), result)


def _check_places(outputs: Mapping[str, str | Path], inputs: Sequence[Path | None]) -> None:
    """Check that no file that a command writes is another one, or one that it reads."""
    taken = {followed(Path(path)): str(path) for path in inputs if path is not None}
    for name, output in outputs.items():
        if str(output) == "-":
            continue
        place = followed(Path(output))
        if place in taken:
            raise UsageError(f"--{name} {output} would replace {taken[place]}; name another file")
        taken[place] = f"--{name} of this command"


OWN = {
    name: parameter
    for name, parameter in inspect.signature(_converse, eval_str=True).parameters.items()
    if parameter.kind is inspect.Parameter.KEYWORD_ONLY
}


def _tell_settings(context: typer.Context, values: Mapping[str, Any], config: Path | None) -> None:
    """Say which options were neither typed nor left alone: whoever set them may have forgotten it."""
    told = []
    for setting in settings_of(context):
        source = cast("Any", context.get_parameter_source(setting.name)).name
        value = context.params[setting.name]
        if source == "ENVIRONMENT":
            told.append(f"{setting.option}={value} ({setting.variable})")
        elif source == "DEFAULT_MAP":
            told.append(f"{setting.option}={value} ({config})")
        elif setting.name in values:
            detail(f"option {setting.option}={value} ({'typed' if source == 'COMMANDLINE' else 'default'})")
    if told:
        say(f"settings: {', '.join(told)}")


def _sum_up_failure(run: Run, error: BaseException) -> None:
    """Sum up a run that ended in `error`; that this cannot be written is only worth a warning then."""
    try:
        _sum_up(run, _failure(error), None)
    except AutoRecError as problem:
        warn(str(problem))


def _sum_up(run: Run, failure: Failure, result: object) -> None:
    """Write the summary of a run that ended this way, with what the command returned."""
    ended = datetime.now(UTC)
    seconds = (ended - run.started).total_seconds()
    detail(f"{run.command}: {seconds:.1f} s, {used_bytes() / 1e6:,.0f} MB of memory at most")
    if run.summary is None:
        return
    document = {
        "command": run.command,
        "version": __version__,
        "host": platform.node(),
        "process": os.getpid(),
        "started": run.started.isoformat(timespec="milliseconds"),
        "finished": ended.isoformat(timespec="milliseconds"),
        "seconds": round(seconds, 3),
        "peak_memory_bytes": used_bytes(),
        "exit_status": failure.exit_status,
        "error": failure.message or None,
        "warnings": run.voice.warnings,
        "options": run.options,
        "result": result,
    }
    with open_output(run.summary) as stream:
        stream.write(json.dumps(document, default=str).encode() + b"\n")


def _failure(error: BaseException) -> Failure:
    if isinstance(error, SystemExit) and isinstance(error.code, int):
        word = "interrupted" if error.code == EXIT_INTERRUPTED else "terminated"
        return Failure(error.code, error.advice if isinstance(error, Stopped) else word)
    if isinstance(error, Exception):
        return describe(error)
    return Failure(EXIT_INTERRUPTED, "interrupted")
