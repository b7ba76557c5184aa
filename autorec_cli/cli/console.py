"""Log records, small tables and progress bars on stderr.

On a terminal Rich draws them (see `terminal`). Elsewhere they are plain lines that begin with a UTC time, fit for a log
file under cron, or JSON objects. The rest of the package only logs to `logging.getLogger("autorec_cli...")`.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Protocol

from autorec_cli.errors import without_passwords
from autorec_cli.runtime.stages import LOGGER_NAME

LOG = logging.getLogger("autorec_cli")
say, detail, warn, fail = LOG.info, LOG.debug, LOG.warning, LOG.error
MARKED = ("warning", "error")
"""Levels that text names before the message."""


def is_terminal() -> bool:
    """True if stderr is a terminal with cursor control.

    FORCE_COLOR and the like do not make it one.
    """
    return sys.stderr.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")


def start(*, quiet: bool = False, verbose: bool = False, as_json: bool = False, speaker: str = "") -> list[str]:
    """Show the log on stderr from now on.

    Args:
        quiet: Show only warnings and errors.
        verbose: Show debug records too.
        as_json: One JSON object per message.
        speaker: Name of this process, put before each message.

    Returns:
        A list to which every warning is appended.
    """
    # A second start, as in tests and after a refused command line, must not double every line.
    for handler in [handler for handler in LOG.handlers if isinstance(handler, StderrHandler | WarningList)]:
        LOG.removeHandler(handler)
    warnings = WarningList()
    LOG.addHandler(StderrHandler(JsonFormatter(speaker) if as_json else TextFormatter(speaker)))
    LOG.addHandler(warnings)
    LOG.setLevel(logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO)
    _show_stages(sys.stderr.isatty() and not quiet and not as_json)
    return warnings.messages


def _show_stages(shown: bool) -> None:
    """Show stages on a terminal.

    It may be a dumb one; elsewhere they are details of the log.
    """
    stages, by_spinner = logging.getLogger(LOGGER_NAME), shown and is_terminal()
    stages.handlers = [StageHandler()] if by_spinner else []
    stages.propagate = not by_spinner
    stages.setLevel(logging.DEBUG if shown else logging.NOTSET)


def end_stage() -> None:
    """Remove the stage from the terminal.

    That comes before anything else is written on it.
    """
    if logging.getLogger(LOGGER_NAME).handlers:
        from autorec_cli.cli import terminal

        terminal.end_stage()


def show_decisions(shown: bool) -> None:
    """Show why readers chose the columns, at any level of the log."""
    logging.getLogger("autorec_cli.data.readers.columns").setLevel(logging.DEBUG if shown else logging.NOTSET)


class TextFormatter(logging.Formatter):
    """Text lines: time, level, message.

    Information has no level, and a record with facts has one line per fact.
    """

    def __init__(self, speaker: str = "") -> None:
        super().__init__()
        self.speaker = speaker

    def format(self, record: logging.LogRecord) -> str:
        """Text of `record`, without a line break at its end."""
        # UTC and to the second: lines of several machines sort together.
        time = f"{datetime.fromtimestamp(record.created, UTC):%Y-%m-%dT%H:%M:%SZ} "
        mark = f"{_level(record)}: " if _level(record) in MARKED else ""
        return "\n".join(f"{time}{mark}{one_line(line)}" for line in self.lines(record))

    def lines(self, record: logging.LogRecord) -> list[str]:
        """Message of `record`, or one per fact."""
        message = _spoken(record, self.speaker)
        return [f"{message}: {name}: {value}" for name, value in _facts(record).items()] or [message]


class JsonFormatter(logging.Formatter):
    """JSON objects: time, level, message, facts if any."""

    def __init__(self, speaker: str = "") -> None:
        super().__init__()
        self.speaker = speaker

    def format(self, record: logging.LogRecord) -> str:
        """JSON text of `record` on one line."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        entry = {"time": time, "level": _level(record), "message": _spoken(record, self.speaker)}
        return json.dumps({**entry, **({"facts": _facts(record)} if _facts(record) else {})})


def _level(record: logging.LogRecord) -> str:
    return record.levelname.lower()


def _spoken(record: logging.LogRecord, speaker: str) -> str:
    message = without_passwords(record.getMessage())
    return f"{speaker}: {message}" if speaker else message


def _facts(record: logging.LogRecord) -> dict[str, str]:
    return getattr(record, "facts", {})


def one_line(text: str) -> str:
    """Escape characters of `text` that would move the cursor."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


class StderrHandler(logging.Handler):
    """Handler that writes to the current `sys.stderr`.

    A terminal gets colors and tables.

    That stderr cannot be written is no reason to stop.
    """

    def __init__(self, formatter: TextFormatter | JsonFormatter) -> None:
        super().__init__()
        self.setFormatter(formatter)

    def emit(self, record: logging.LogRecord) -> None:
        """Show one record."""
        with suppress(OSError), _outliving_readers():
            if isinstance(self.formatter, TextFormatter) and is_terminal():
                _draw(record, self.formatter)
            else:
                sys.stderr.write(self.format(record) + "\n")
                sys.stderr.flush()


def _draw(record: logging.LogRecord, formatter: TextFormatter) -> None:
    from autorec_cli.cli import terminal

    if facts := _facts(record):
        rows = [(name, one_line(value)) for name, value in facts.items()]
        terminal.print_table(_spoken(record, formatter.speaker), rows)
        return
    level = _level(record)
    for line in formatter.lines(record):
        terminal.print_line(one_line(line), level if level in MARKED else "")


class StageHandler(logging.Handler):
    """Handler that shows the current stage beside a spinner."""

    def emit(self, record: logging.LogRecord) -> None:
        """Show the stage of `record` until `end_stage`."""
        from autorec_cli.cli import terminal

        terminal.show_stage(one_line(record.getMessage()))


class WarningList(logging.Handler):
    """Collects the text of warnings, for `--summary`."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep `record` if it is a warning."""
        if record.levelno == logging.WARNING:
            self.messages.append(without_passwords(record.getMessage()))


@contextmanager
def _outliving_readers() -> Iterator[None]:
    """Survive a stderr whose reader is gone, as after `2>&1 | head`.

    SIGPIPE, which ends the program where results are written, is kept off this thread meanwhile.
    """
    if not hasattr(signal, "SIGPIPE"):
        yield
        return
    # Blocked for this write only: on stdout SIGPIPE should end the program, as in any pipeline.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGPIPE})
    try:
        yield
    except BrokenPipeError:
        # Taken off the queue, or it would strike when the mask is lifted.
        if signal.SIGPIPE in signal.sigpending():
            signal.sigwait({signal.SIGPIPE})
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stderr.fileno())  # what is left in its buffer would end us when it is flushed
        os.close(null)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def show_facts(title: str, facts: Sequence[tuple[str, str]]) -> None:
    """Log names and values as a table, lines or JSON."""
    LOG.info(title, extra={"facts": dict(facts)})


class Advance(Protocol):
    """Moves a progress bar and replaces the text beside it."""

    def __call__(self, completed: int, total: int, text: str, *, passing: bool = False, lasting: bool = False) -> None:
        """Show progress.

        `passing` text is for the bar only; `lasting` text becomes a line even beside a bar.
        """


@contextmanager
def progress(title: str, total: int) -> Iterator[Advance]:
    """Show a progress bar, or log one line per call."""
    if not draws_bars():

        def log(completed: int, total: int, text: str, *, passing: bool = False, lasting: bool = False) -> None:  # noqa: ARG001
            if not passing:
                say(f"{title} {completed}/{total} {text}")

        yield log
        return
    from autorec_cli.cli.terminal import progress_bar

    with progress_bar(title, total) as move:

        def advance(completed: int, total: int, text: str, *, passing: bool = False, lasting: bool = False) -> None:  # noqa: ARG001
            if lasting:
                say(f"{title} {completed}/{total} {text}")
            move(completed, total, "" if lasting else text)

        yield advance


def draws_bars() -> bool:
    """True if progress is shown by a bar."""
    return draws_charts() and is_terminal()


def draws_charts() -> bool:
    """True if somebody looks at the log, perhaps on a dumb terminal."""
    as_text = any(isinstance(handler.formatter, TextFormatter) for handler in LOG.handlers)
    return as_text and LOG.isEnabledFor(logging.INFO) and sys.stderr.isatty()
