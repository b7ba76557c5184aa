"""Settings, log and summary around the work of a command.

Commands know nothing of it: `as_typer_app` adds the options of `RunOptions` to each.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from functools import partial
from glob import glob
from inspect import cleandoc
from pathlib import Path
from typing import Annotated, Any

import typer

from autorec_cli.cli.console import detail, end_stage, say, start, warn
from autorec_cli.cli.options.config_file import (
    find_file,
    preferred_by,
    set_defaults,
    settings_of,
    source_of,
    without_contradictions,
)
from autorec_cli.cli.options.declaration import (
    UNATTENDED,
    Given,
    InputFile,
    OneCommand,
    OneOf,
    OutputFile,
    gather,
    given,
    with_options,
)
from autorec_cli.cli.options.stages import Stage, own_options, stage_values
from autorec_cli.cli.output.destination import check_place
from autorec_cli.cli.summary import Run, sum_up, sum_up_failure, sum_up_refusal
from autorec_cli.errors import Failure, UsageError
from autorec_cli.runtime.memory import check_limits
from autorec_cli.runtime.stages import begin_stage
from autorec_cli.runtime.threads import check_variables
from autorec_cli.runtime.torchrun import rank_and_size
from autorec_cli.storage.file_kinds import artifact_at
from autorec_cli.storage.links import followed

WITHOUT_TORCHRUN = "start it without torchrun"


@dataclass(frozen=True)
class Command:
    """One command of the program.

    Attributes:
        run: The function that does it; what it returns becomes the `result` of the summary.
        options: Dataclass of its options, which `run` takes.
        examples: End of its help.
        one_process: Advice for whoever starts it in several processes with torchrun; None if that works.
        stages: Commands whose work it does; `run` takes the values of their options as a second argument.
    """

    run: Callable[..., Any]
    options: type
    examples: str
    one_process: str | None = WITHOUT_TORCHRUN
    stages: Mapping[str, Stage] | None = None


def _use_config(context: typer.Context, asked: Path | None) -> Path | None:
    """Take defaults from the config file, before other options."""
    if context.resilient_parsing:  # completing a word in the shell
        return asked
    try:
        file = find_file(asked)
        set_defaults(context, file)
    except UsageError as error:
        sum_up_refusal(sys.argv[1:], context, str(error))
        raise
    return file


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Options that every command has."""

    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="FILE",
            help="TOML file of options, one table per command. Environment variables such as AUTOREC_TRAIN_EPOCHS "
            "override it; the command line wins.",
            show_default="autorec.toml, if present",
            is_eager=True,
            callback=_use_config,
            rich_help_panel=UNATTENDED,
        ),
        InputFile(),
    ] = None
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print only warnings and errors.", rich_help_panel=UNATTENDED)
    ] = False
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose", "-v", help="Also print all options, and time and memory used.", rich_help_panel=UNATTENDED
        ),
    ] = False
    log_format: Annotated[
        str,
        typer.Option(help="Format of messages on stderr; json is one object per line.", rich_help_panel=UNATTENDED),
        OneOf(("text", "json")),
    ] = "text"
    summary: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Write one JSON object about the run when it ends, even if it fails; - is stdout.",
            rich_help_panel=UNATTENDED,
        ),
        OutputFile(),
    ] = None


def as_typer_app(command: Command, name: str) -> typer.Typer:
    """Typer app of one command, with one parameter per option."""
    function = with_options(partial(_run, command), command.options, RunOptions)
    function.__doc__ = unwrapped(command.run.__doc__)
    app = typer.Typer(add_completion=False, rich_markup_mode="rich")
    app.command(name, cls=OneCommand, epilog=command.examples)(function)
    return app


def unwrapped(docstring: str | None) -> str:
    """Paragraphs of a docstring, each on one line.

    Rich breaks help at every newline of the source.
    """
    paragraphs = cleandoc(docstring or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _run(command: Command, context: typer.Context, values: dict[str, Any]) -> None:
    """Run `command` with `values` and sum it up."""
    own = gather(RunOptions, values)
    options = {name: value for name, value in values.items() if name not in RUN_OPTIONS}
    _check_places(own, gather(command.options, values))
    # Only the command line wins over contradictions; config files and variables give way.
    typed = {name for name in values if source_of(context, name) == "COMMANDLINE"}
    own = _quiet_or_verbose(own, typed)
    warnings, (rank, size) = _start_log(own), rank_and_size()
    _warn_about_outputs(context, (*given(gather(command.options, values)), *given(own)))
    summary = own.summary if rank == 0 else None
    run = Run(context.info_name or "", options, warnings, summary, datetime.now(UTC))
    try:
        if size > 1 and command.one_process is not None:
            raise UsageError(f"{run.command} runs in one process, but torchrun started {size}; {command.one_process}")
        if own.quiet and own.verbose:
            raise UsageError("--quiet and --verbose contradict each other; leave out one of them")
        run = replace(run, options=without_contradictions(options, typed))
        _log_settings(context, {**run.options, "quiet": own.quiet, "verbose": own.verbose})
        begin_stage("starting")
        check_limits()
        check_variables()
        stages = [] if command.stages is None else [stage_values(context, command.stages, run.options)]
        if command.stages is not None:
            _check_places(own, gather(command.options, run.options), own_options(command.stages, stages[0]))
        result = command.run(gather(command.options, run.options), *stages)
    # SystemExit too: a signal's exit belongs in the summary.
    except (Exception, SystemExit) as error:
        sum_up_failure(run, error)
        raise
    finally:
        end_stage()
    sum_up(run, Failure(os.EX_OK, ""), result)


def _quiet_or_verbose(own: RunOptions, typed: set[str]) -> RunOptions:
    """Let a typed --quiet or --verbose override the other one."""
    if own.quiet and own.verbose and len(typed & {"quiet", "verbose"}) == 1:
        return replace(own, quiet="quiet" in typed, verbose="verbose" in typed)
    return own


def _start_log(own: RunOptions) -> list[str]:
    """Log to stderr; returns the list that collects warnings.

    Of several processes only the first logs more than warnings.
    """
    (rank, size), as_json = rank_and_size(), own.log_format == "json"
    if rank == 0:
        return start(quiet=own.quiet, verbose=own.verbose, as_json=as_json)
    return start(quiet=True, as_json=as_json, speaker=f"process {rank + 1} of {size}")


def _check_places(own: RunOptions, options: Any, of_stages: Sequence[Given] = ()) -> None:  # noqa: ANN401
    """Check that outputs overwrite no input, output or model.

    Raises:
        UsageError: one is, or it cannot.
    """
    everything = [option for option in (*given(options), *given(own), *of_stages) if option.value is not None]
    outputs = [(option, mark) for option in everything for mark in option.marks if isinstance(mark, OutputFile)]
    # Two results in one stream could not be told apart.
    to_stdout = [option.flag for option, _ in outputs if str(option.value) == "-"]
    if len(to_stdout) > 1:
        raise UsageError(f"only one of {' and '.join(to_stdout)} can be standard output; name a file for the others")
    taken, replaceable = (
        {followed(Path(name)): f"the input {name}" for name in _inputs(everything, kind)} for kind in (False, True)
    )
    reserved = [(option, followed(Path(option.value)) / name) for option, mark in outputs for name in mark.inside]
    for option, mark in outputs:
        if str(option.value) == "-":
            continue
        # Compared by their targets: two names may be links to one file.
        place = followed(Path(option.value))
        # --output alone may replace such an input, which has been read by then.
        clash = taken.get(place) or (None if option.name == "output" else replaceable.get(place))
        found = artifact_at(place)
        if found is not None and not mark.may_replace(options, found):
            clash = clash or found
        owner = next((owner for owner, taken_by in reserved if taken_by in (place, *place.parents)), None)
        if owner is not None:
            clash = f"results in {owner.value}"
        if clash is not None:
            raise UsageError(f"{option.flag} {option.value} would overwrite {clash}; name another file")
        taken[place] = f"the {option.flag} of this command"
    if own.summary is not None:
        check_place(own.summary)


def _warn_about_outputs(context: typer.Context, everything: Sequence[Given]) -> None:
    """Name outputs that a config file sets which nobody has named."""
    if source_of(context, "config") != "DEFAULT":
        return
    for option in everything:
        is_output = any(isinstance(mark, OutputFile) for mark in option.marks)
        if is_output and source_of(context, option.name) == "DEFAULT_MAP" and str(option.value) != "-":
            warn(f"{context.params.get('config')} in the current directory sets {option.flag} to {option.value}")


def _inputs(everything: Sequence[Given], replaceable: bool) -> list[str]:
    """Names of input files, with matches of globs, without stdin."""
    names: list[str] = []
    for option in everything:
        if any(isinstance(mark, InputFile) and mark.replaceable == replaceable for mark in option.marks):
            names += map(str, option.value if isinstance(option.value, list | tuple) else [option.value])
    names = [name for name in names if name != "-"]
    return [file for name in names for file in ([name, *glob(name)] if set(name) & set("*?[") else [name])]  # noqa: PTH207 (absolute patterns too)


def _log_settings(context: typer.Context, values: Mapping[str, Any]) -> None:
    """Log options set by a file or a variable."""
    preferred = []
    for setting in settings_of(context):
        value, origin = context.params[setting.name], preferred_by(context, setting.name)
        if origin is None:
            if setting.name not in RUN_OPTIONS:
                typed = source_of(context, setting.name) == "COMMANDLINE"
                detail(f"option {setting.option}={value} ({'command line' if typed else 'default'})")
        elif values.get(setting.name, value) == value:
            preferred.append(f"{setting.option}={value} ({origin})")
        else:
            detail(f"option {setting.option}={value} ({origin}) is overridden by the command line")
    if preferred:
        say(f"settings: {', '.join(preferred)}")


RUN_OPTIONS = frozenset(field.name for field in fields(RunOptions))
