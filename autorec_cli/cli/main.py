"""Entry point: standard streams, signals, and the exit status and message for every exception."""

from __future__ import annotations

import gc
import io
import os
import signal
import sys
import threading
import traceback
from contextlib import suppress
from types import FrameType
from typing import Any, NoReturn

import typer

from autorec_cli.cli.app import app
from autorec_cli.cli.config_file import PREFIX, preferred_by
from autorec_cli.cli.console import fail, start
from autorec_cli.cli.output import forget_stdout
from autorec_cli.cli.run_summary import sum_up_refusal
from autorec_cli.errors import EXIT_BUG, EXIT_INTERRUPTED, Stopped, UsageError, describe, quoted

EXIT_TERMINATED = 143
RETRY_SECONDS = 0.1


def main() -> None:
    """Run the program; never returns."""
    gc.set_threshold(50_000, 20, 20)  # importing makes many objects and little garbage: a tenth of the time to start
    _open_closed_streams()
    _buffer_stdout()
    if hasattr(signal, "SIGPIPE"):  # a reader that closes the pipe, as `| head -1` does, ends us silently with 141
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, _unwind)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a shell lets jobs in the background ignore it
        signal.signal(signal.SIGINT, _unwind)
    status = run()
    for number in (signal.SIGINT, signal.SIGTERM):  # all is done that they could end
        signal.signal(number, signal.SIG_IGN)
    leave(status)


def leave(status: int) -> NoReturn:
    """End this process with `status` once what it wrote is out, without taking the interpreter down.

    That takes torch up to a second, in which a signal would end in a traceback; and a thread of gloo that still lets go
    of a tensor of ours aborts the process then (pytorch/pytorch#179291), which torchrun takes for a failed run.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)


def run() -> int:
    """Run the program on `sys.argv` and return its exit status."""
    start()
    for option in ("INSTALL", "SHOW"):  # Typer's own options; as variables they would take the place of every command
        os.environ.pop(f"{PREFIX}_{option}_COMPLETION", None)
    advice = None
    try:
        status = app(standalone_mode=False, prog_name=app.info.name) or os.EX_OK  # Typer has turned Ctrl-C into 130
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else EXIT_BUG
        advice = stop.advice if isinstance(stop, Stopped) else None
    except KeyboardInterrupt:
        status = EXIT_INTERRUPTED
    except typer.TyperException as error:
        return _explain_usage(error)
    except Exception as error:
        return _explain(error)
    if status in SIGNALLED:
        fail(advice or f"{SIGNALLED[status]}; what was being written is as it was before")
    return status


SIGNALLED = {EXIT_INTERRUPTED: "interrupted", EXIT_TERMINATED: "terminated"}


def _explain_usage(error: typer.TyperException) -> int:
    """Say what Typer found wrong with the command line; where it showed the help instead, there is no message."""
    context = getattr(error, "ctx", None)
    message = _of_wrong_kind(error) or " ".join(error.format_message().split())
    if message:
        parameter = getattr(error, "param", None)
        origin = preferred_by(context, parameter.name) if context is not None and parameter is not None else None
        message = f"{message.rstrip('.')}{f' (set by {origin})' if origin else ''}"
        message = f"{message}; try `{context.command_path if context else app.info.name} --help`"
        if context is not None:
            sum_up_refusal(sys.argv[1:], context, message)
        fail(message)
    return UsageError.exit_status


KINDS = {"int": "a whole number", "float": "a number", "bool": "true or false"}
"""What pydantic, which Typer lets read values, calls them in the types of its errors, such as `int_parsing`."""


def _of_wrong_kind(error: typer.TyperException) -> str | None:
    """Which option has a value of the wrong kind, in our words; None where something else is wrong."""
    parameter: Any = getattr(error, "param", None)
    details = getattr(error.__cause__, "errors", None)
    for found in details() if parameter is not None and details is not None else ():
        if kind := KINDS.get(found["type"].partition("_")[0]):
            return f"{max(parameter.opts, key=len)} must be {kind}, not {quoted(found['input'])}"
    return None


def _explain(error: Exception) -> int:
    """Say on stderr what went wrong, in one sentence unless it is a bug; returns the exit status."""
    failure = describe(error)
    if failure.exit_status == EXIT_BUG:
        traceback.print_exc()
    if isinstance(error, OSError):
        forget_stdout()
    fail(failure.message)
    return failure.exit_status


def _unwind(number: int, _frame: FrameType | None) -> None:
    """Leave all that is running, so that temporary files go; but not amid torch's import, which would abort instead."""
    if getattr(getattr(sys.modules.get("torch"), "__spec__", None), "_initializing", False):
        later = threading.Timer(RETRY_SECONDS, os.kill, (os.getpid(), number))
        later.daemon = True
        later.start()
        return
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(EXIT_TERMINATED)


def _buffer_stdout() -> None:
    """Put a buffer before a stdout that has none, as with PYTHONUNBUFFERED: it tells of a disk that takes half a block.

    Without it the other half would be lost in silence. Results are flushed block by block all the same.
    """
    if isinstance(getattr(sys.stdout, "buffer", None), io.RawIOBase):
        encoding, errors = sys.stdout.encoding, sys.stdout.errors
        sys.stdout = open(sys.stdout.fileno(), "w", encoding=encoding, errors=errors, closefd=False)  # noqa: SIM115


def _open_closed_streams() -> None:
    """Give the streams that the caller closed (`>&-`) something to be.

    Otherwise the next file we open would take their number. Reading finds nothing, what is said on stderr is lost, and
    writing results to stdout fails.
    """
    for name, flags, mode in (("stdin", os.O_RDONLY, "r"), ("stdout", os.O_RDONLY, "w"), ("stderr", os.O_WRONLY, "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, flags), mode))
