"""The error tree and the exit statuses.

    AutoRecError                  1   a bug, if nothing below fits
      UsageError                  2   the command line contradicts itself or the machine
      InputDataError              3   a source of ratings cannot be used
      ArtifactError               4   a prepared dataset or a model cannot be used, or they do not match
      TrainingDivergedError       5   the loss is no longer a number
      NotEnoughMemoryError        6   the run would not fit, or did not
      LockedError                 7   another run holds the output
      QualityGateError            8   the model is worse than what was asked for
      LostPeerError               9   another process of the run has ended or cannot be reached

Signals keep the shell's numbers: 130 Ctrl-C, 143 SIGTERM, 141 closed pipe.

The message of every error is one sentence that says what is wrong, where, and what to do next.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import ClassVar

EXIT_BUG = 1
EXIT_INTERRUPTED = 130


class AutoRecError(Exception):
    """What `autorec` reports as one line on stderr; `exit_status` is what the shell then sees."""

    exit_status: ClassVar[int] = EXIT_BUG


class UsageError(AutoRecError):
    """An option has a value that cannot work, or two options contradict each other."""

    exit_status = 2


class InputDataError(AutoRecError):
    """A source of ratings is missing, empty, broken or not understood."""

    exit_status = 3


class ArtifactError(AutoRecError):
    """A prepared dataset or a model file is missing, damaged, too new, or not the one expected."""

    exit_status = 4


class TrainingDivergedError(AutoRecError):
    """The training loss became infinite or not a number."""

    exit_status = 5


class NotEnoughMemoryError(AutoRecError):
    """The run needs more memory than the machine has."""

    exit_status = 6


class LockedError(AutoRecError):
    """Another run is writing the same output."""

    exit_status = 7


class QualityGateError(AutoRecError):
    """A metric is on the wrong side of the limit that the caller set."""

    exit_status = 8


class LostPeerError(AutoRecError):
    """Another process of the same run has ended, or cannot be reached."""

    exit_status = 9


class Stopped(SystemExit):
    """A signal ends the program after it has put its work in order.

    Attributes:
        code: The exit status.
        advice: One sentence that says how to go on.
    """

    def __init__(self, exit_status: int, advice: str) -> None:
        super().__init__(exit_status)
        self.advice = advice


LONGEST_QUOTE = 60


def quoted(value: object) -> str:
    """`value` as an error message quotes it: in quotes, and not all of it if it is endless."""
    text = str(value)
    return repr(text) if len(text) <= LONGEST_QUOTE else f"{text[:LONGEST_QUOTE]!r}... ({len(text):,} characters)"


def counted(n: int, noun: str) -> str:
    """`n` and its noun: "1 user", "2,000 users"."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


@dataclass(frozen=True)
class Failure:
    """What the shell and the reader get to know of an exception."""

    exit_status: int
    message: str


def describe(error: Exception) -> Failure:
    """The exit status and the one sentence for `error`; what nobody foresaw is a bug."""
    if isinstance(error, AutoRecError):
        return Failure(error.exit_status, str(error))
    if isinstance(error, MemoryError) or _is_memory_of_torch(error):
        advice = "not enough memory; close other programs or use a smaller --hidden-size or --batch-size"
        return Failure(NotEnoughMemoryError.exit_status, advice)
    if isinstance(error, OSError) and error.errno is not None:
        # A stream has no file name; but nothing can be missing about it.
        place = error.filename or ("" if error.errno == errno.ENOENT else "standard output")
        message = f"{place}: {error.strerror}" if place else str(error.strerror)
        advice = "check its permissions" if isinstance(error, PermissionError) else "make room or choose another place"
        return Failure(UsageError.exit_status, f"{message}; {advice}")
    if isinstance(error, UnicodeEncodeError) and error.reason == "surrogates not allowed":
        name = ascii(error.object)[:LONGEST_QUOTE]
        return Failure(UsageError.exit_status, f"{name} has bytes that are not UTF-8 in its name; rename the file")
    name = type(error).__name__
    return Failure(EXIT_BUG, f"this is a bug in autorec ({name}); please report it with the lines above")


def _is_memory_of_torch(error: Exception) -> bool:
    """Whether it is torch's way of saying that memory ran out, on the CPU or on CUDA."""
    text = str(error)
    return isinstance(error, RuntimeError) and ("allocate memory" in text or "out of memory" in text)
