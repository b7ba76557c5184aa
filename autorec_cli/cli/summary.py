"""File of `--summary`: one JSON object about a run."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import typer

from autorec_cli import __version__
from autorec_cli.cli.console import detail, start, warn
from autorec_cli.cli.options.config_file import variable_of
from autorec_cli.cli.output.destination import open_output, reserve_output
from autorec_cli.errors import AutoRecError, Failure, Stopped, UsageError, describe, without_passwords
from autorec_cli.runtime.memory import used_bytes
from autorec_cli.runtime.signals import MESSAGES
from autorec_cli.runtime.torchrun import rank_and_size

LOCK_SECONDS = 10.0
"""Seconds to wait for another run that writes the same summary, which takes it milliseconds."""


@dataclass(frozen=True)
class Run:
    """One run of a command, with the summary file to write."""

    command: str
    options: Mapping[str, Any]
    warnings: Sequence[str]
    summary: str | None
    started: datetime


def sum_up_failure(run: Run, error: Exception | SystemExit) -> None:
    """Sum up a failed run; problems with that are warnings."""
    try:
        sum_up(run, _failure(error), None)
    except AutoRecError as problem:
        warn(str(problem))


def sum_up(run: Run, failure: Failure, result: object) -> None:
    """Write the summary of a run, with the command's result."""
    ended = datetime.now(UTC)
    seconds = (ended - run.started).total_seconds()
    detail(f"{run.command}: {seconds:.1f} s, {used_bytes() / 1e6:,.0f} MB peak memory")
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
        "error": without_passwords(failure.message) or None,
        "warnings": run.warnings,
        "options": {name: _masked(value) for name, value in run.options.items()},
        "result": result,
    }
    # The lock also removes what a run left that was killed while it wrote its summary.
    with reserve_output(run.summary, LOCK_SECONDS, detail, detail), open_output(run.summary) as stream:
        # Paths and dates as text: a summary must not fail on a type that somebody adds.
        stream.write(json.dumps(document, default=str).encode() + b"\n")


def _masked(value: object) -> object:
    if isinstance(value, list | tuple):
        return [_masked(part) for part in value]
    return without_passwords(value) if isinstance(value, str) else value


def _failure(error: Exception | SystemExit) -> Failure:
    if isinstance(error, Exception):
        return describe(error)
    status = int(error.code or 0)
    return Failure(status, error.advice if isinstance(error, Stopped) else MESSAGES.get(status, ""))


FIRST_BYTES = b'{"command": '
"""Start of every summary."""


def value_in(arguments: Sequence[str], option: str, context: typer.Context) -> str | None:
    """Value of `option` in a command line with an error.

    Else its value in the environment or the config file.
    """
    flag = f"--{option}"
    for number, argument in enumerate(arguments):
        # Read by hand: the parser has refused this command line.
        if argument == flag:
            return arguments[number + 1] if number + 1 < len(arguments) else None
        if argument.startswith(f"{flag}="):
            return argument.removeprefix(f"{flag}=")
    preferred = (context.default_map or {}).get(option.replace("-", "_"))
    return os.environ.get(variable_of(context.info_name or "", option), preferred)


def sum_up_refusal(arguments: Sequence[str], context: typer.Context, message: str) -> None:
    """Log and sum up a refused command line.

    The summary replaces nothing but an older one.

    Nothing in such a command line is known to be right: the file named as the summary may be the model.
    """
    warnings = start(as_json=value_in(arguments, "log-format", context) == "json")
    summary = value_in(arguments, "summary", context)
    if summary is not None and rank_and_size()[0] == 0 and _may_be_replaced(Path(summary)):
        sum_up_failure(Run(context.info_name or "", {}, warnings, summary, datetime.now(UTC)), UsageError(message))


def _may_be_replaced(path: Path) -> bool:
    with suppress(OSError):
        if path.is_file():
            with path.open("rb") as file:
                # Empty files are replaced too: mktemp makes them.
                return file.read(len(FIRST_BYTES)) in (b"", FIRST_BYTES)
    return True
