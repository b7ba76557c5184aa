"""Entry point: streams, signals, exit status and message of exceptions."""

from __future__ import annotations

import gc
import io
import os
import signal
import sys
import threading
import traceback
import warnings
from contextlib import suppress
from types import FrameType
from typing import Any, NoReturn

import typer

from autorec_cli.cli.app import app
from autorec_cli.cli.console import fail, start
from autorec_cli.cli.options.config_file import PREFIX, preferred_by
from autorec_cli.cli.output.destination import forget_stdout
from autorec_cli.cli.summary import sum_up_refusal
from autorec_cli.errors import EXIT_BUG, Stopped, UsageError, describe, quoted
from autorec_cli.runtime import signals

RETRY_SECONDS = 0.1


def main() -> None:
    """Run the program; never returns."""
    gc.set_threshold(50_000, 20, 20)  # imports make many objects and little garbage; saves a tenth of the startup time
    _open_closed_streams()
    _buffer_stdout()
    if hasattr(signal, "SIGPIPE"):  # so that `| head -1` ends us silently with 141
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    sys.unraisablehook = _send_again
    status = None
    try:
        signals.catch(_unwind)
        status = run()
        signals.ignore(signals.STOPPING)  # the work is done
    except SystemExit as stop:  # a signal before `run` could explain it, or after its end
        status = int(stop.code or 0) if status is None else status
    leave(status)


def leave(status: int) -> NoReturn:
    """Exit at once, without shutting down the interpreter.

    With torch, shutting down takes up to a second in which a signal would end in a traceback, and a gloo thread that
    releases a tensor of ours aborts the process (pytorch/pytorch#179291), which torchrun takes for a failed run.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    # Streams were flushed; everything else that must end has a context manager.
    os._exit(status)


def run() -> int:
    """Run the program on `sys.argv` and return its exit status."""
    start()
    for option in ("INSTALL", "SHOW"):  # options of Typer; as variables they would replace every command
        os.environ.pop(f"{PREFIX}_{option}_COMPLETION", None)
    advice = None
    try:
        with warnings.catch_warnings():
            if not sys.warnoptions:  # results are checked for numbers that overflowed; numpy's lines help nobody
                warnings.simplefilter("ignore", RuntimeWarning)
            status = app(standalone_mode=False, prog_name=app.info.name) or os.EX_OK
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else EXIT_BUG
        advice = stop.advice if isinstance(stop, Stopped) else None
    except typer.TyperException as error:
        return _explain_usage(error)
    except Exception as error:
        return _explain(error)
    if status in signals.MESSAGES:
        fail(advice or f"{signals.MESSAGES[status]}; existing outputs were kept")
    return status


def _explain_usage(error: typer.TyperException) -> int:
    """Log an error in the command line, unless help was shown."""
    context = getattr(error, "ctx", None)
    message = _wrong_value(error) or " ".join(error.format_message().split())
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
"""Start of the error types of pydantic, which reads values for Typer, as in `int_parsing` -> type in our words."""


def _wrong_value(error: typer.TyperException) -> str | None:
    """Message for a value of the wrong type or no choice."""
    parameter: Any = getattr(error, "param", None)
    details = getattr(error.__cause__, "errors", None)
    for found in details() if parameter is not None and details is not None else ():
        kind = KINDS.get(found["type"].partition("_")[0])
        choices = found["msg"].partition(" is not one of ")[2].rstrip(".").replace("'", "")
        if kind or choices:
            wanted = kind or f"one of {choices}"
            return f"{max(parameter.opts, key=len)} must be {wanted}, not {quoted(found['input'])}"
    return None


def _explain(error: Exception) -> int:
    """Log an error and return its exit status."""
    failure = describe(error)
    # A bug is ours: its traceback is what we need in a report. Other errors explain themselves.
    if failure.exit_status == EXIT_BUG:
        traceback.print_exc()
    if isinstance(error, OSError):
        forget_stdout()
    fail(failure.message)
    return failure.exit_status


def _unwind(number: int, _frame: FrameType | None) -> None:
    """Raise from the running code, so that it cleans up.

    While torch is being imported that would abort the process, so retry. For Ctrl-C SystemExit too: unlike
    KeyboardInterrupt, it never ends in a traceback.
    """
    if getattr(getattr(sys.modules.get("torch"), "__spec__", None), "_initializing", False):
        _retry(number)
        return
    signals.ignore_repetitions()  # a second SystemExit would end the cleaning up
    raise SystemExit(signals.exit_status(number))


def _retry(number: int) -> None:
    """Send a signal again a little later.

    By `kill`, as its handler must run in the main thread.
    """
    later = threading.Timer(RETRY_SECONDS, os.kill, (os.getpid(), number))
    later.daemon = True
    later.start()


def _send_again(lost: sys.UnraisableHookArgs) -> None:
    """Send a signal again that came in a destructor.

    There and in callbacks, Python drops what is raised.
    """
    status = lost.exc_value.code if isinstance(lost.exc_value, SystemExit) else None
    if status not in signals.MESSAGES:
        sys.__unraisablehook__(lost)
        return
    signals.catch(_unwind)
    _retry(signals.number_of(status))


def _buffer_stdout() -> None:
    """Buffer an unbuffered stdout to notice a full disk.

    Without a buffer the other half would be lost silently. Results are flushed block by block all the same.
    """
    if isinstance(getattr(sys.stdout, "buffer", None), io.RawIOBase):
        encoding, errors = sys.stdout.encoding, sys.stdout.errors
        sys.stdout = open(sys.stdout.fileno(), "w", encoding=encoding, errors=errors, closefd=False)  # noqa: SIM115


def _open_closed_streams() -> None:
    """Replace closed standard streams, whose numbers files would get.

    stdin is empty then, stderr goes nowhere, and writing results to stdout fails.
    """
    for name, flags, mode in (("stdin", os.O_RDONLY, "r"), ("stdout", os.O_RDONLY, "w"), ("stderr", os.O_WRONLY, "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, flags), mode))
