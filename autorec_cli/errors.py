"""Errors, their exit statuses and messages.

    Exception
    ├── AutoRecError                1   an error without a class of its own: a bug
    │   ├── UsageError              2   options contradict each other or the machine
    │   ├── InputDataError          3   ratings that cannot be read or used
    │   ├── ArtifactError           4   a dataset or model is missing, damaged or does not match
    │   ├── TrainingDivergedError   5   the loss is not finite, or the model is worse than the mean
    │   ├── NotEnoughMemoryError    6   the run does not fit into memory
    │   ├── LockedError             7   another run is writing the output
    │   ├── QualityGateError        8   a metric misses the limit that was set
    │   └── LostPeerError           9   another process of the run ended or is unreachable
    └── SystemExit
        └── Stopped              128+N  signal N ended the run after its work was saved

Exit statuses without an error class: 0 success, 141 closed pipe.

An error's message is one sentence: what is wrong, where, and what to do next.
"""

from __future__ import annotations

import errno
import math
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, TypeVar

EXIT_BUG = 1

CHECKOUT = Path(__file__).parent.parent
"""Of the source code, if that is where the package is."""


def install_command(extra: str) -> str:
    """Command that installs an extra.

    From the checkout, if this is one, else from the package index.
    """
    if (CHECKOUT / "pyproject.toml").is_file():
        return f"pip install -e {shlex.quote(f'{CHECKOUT}[{extra}]')}"
    return f"pip install 'autorec-cli[{extra}]'"


class AutoRecError(Exception):
    """Base class of all errors raised on purpose.

    Attributes:
        exit_status: Status with which `autorec` ends.
    """

    exit_status: ClassVar[int] = EXIT_BUG


class UsageError(AutoRecError):
    """Option with an unusable value, or contradicting options."""

    exit_status = 2


class InputDataError(AutoRecError):
    """Ratings that are missing, empty, broken or not understood."""

    exit_status = 3


class ArtifactError(AutoRecError):
    """Dataset or model that is missing, damaged or not matching."""

    exit_status = 4


class TrainingDivergedError(AutoRecError):
    """Training that diverged, or a model worse than the mean."""

    exit_status = 5


class NotEnoughMemoryError(AutoRecError):
    """Run that needs more memory than is available."""

    exit_status = 6


class LockedError(AutoRecError):
    """Output that another run is writing."""

    exit_status = 7


class QualityGateError(AutoRecError):
    """Metric on the wrong side of a limit."""

    exit_status = 8


class LostPeerError(AutoRecError):
    """Process of the run that ended or is unreachable."""

    exit_status = 9


class Stopped(SystemExit):
    """Exit after a signal, once the work is saved.

    Attributes:
        code: The exit status.
        advice: Sentence that says how to continue.
    """

    def __init__(self, exit_status: int, advice: str) -> None:
        super().__init__(exit_status)
        self.advice = advice


LONGEST_QUOTE = 60
MOST_LISTED = 20


def quoted(value: object) -> str:
    """Quote `value`, shortened if it is long."""
    text = str(value)
    return repr(text) if len(text) <= LONGEST_QUOTE else f"{text[:LONGEST_QUOTE]!r}... ({len(text):,} characters)"


def shortened(name: object) -> str:
    """Text of a column's name, cut if it is long."""
    text = str(name)
    return text if len(text) <= LONGEST_QUOTE else f"{text[:LONGEST_QUOTE]}... ({len(text):,} characters)"


def listed(names: Sequence[str]) -> str:
    """List the first names of columns."""
    return ", ".join(map(shortened, names[:MOST_LISTED])) + (", ..." if len(names) > MOST_LISTED else "")


def readable(name: object) -> str:
    """Text of a file name, with escapes.

    They are for bytes that are not UTF-8.
    """
    text = str(name)
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # half of a pair of surrogates, as JSON may hold
        return text.encode("utf-8", "backslashreplace").decode()


def decimals_of(size: float, usual: int = 4) -> int:
    """Decimals that show numbers below `size`.

    They are the usual ones, or more for sizes below 1.
    """
    return usual if not 0 < size < 1 else usual - math.floor(math.log10(size))


def error_text(error: float, like: float | None = None) -> str:
    """RMSE or MAE with four decimals, or more below 0.01.

    It has as many as `like`, if given.
    """
    size = error if like is None else like
    return f"{error:.{decimals_of(size, 2) if 0 < size < 0.01 else 4}f}"


# "://user:password@" of a URI, and "password=..." of a connection string.
PASSWORD = re.compile(r"(://[^\s:/@]*):\S*@")
PASSWORD_FIELD = re.compile(r"(?i)\b(\w*(?:password|passwd|pwd|token|secret)\w*=)[^\s&;'\"]+")


def without_passwords(text: str) -> str:
    """Mask the passwords in URIs and connection strings of `text`."""
    return PASSWORD_FIELD.sub(r"\1***", PASSWORD.sub(r"\1:***@", text))


def not_finite(what: str) -> ArtifactError:
    """Error about numbers of a model that are not finite."""
    return ArtifactError(f"{what}; its training has diverged, or it is damaged: train it again with `autorec train`")


def missing_extra(what: str, packages: Sequence[str], extra: str) -> UsageError:
    """Error about missing packages, with the command that installs them."""
    return UsageError(
        f"{what} needs {' and '.join(packages)}, not installed here; install with: {install_command(extra)}"
    )


Settings = TypeVar("Settings")


def settings_of_kind(kind: type[Settings], settings: Settings | None) -> Settings:
    """Default settings if there are none.

    Raises:
        UsageError: they are of another kind.
    """
    if settings is None:
        return kind()
    if not isinstance(settings, kind):
        raise UsageError(f"the settings must be {kind.__name__}(...), not {type(settings).__name__}")
    return settings


def counted(n: int, noun: str) -> str:
    """Format a count with its noun: "1 user", "2,000 users"."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


@dataclass(frozen=True)
class Failure:
    """Exit status and message for an exception."""

    exit_status: int
    message: str


def describe(error: Exception) -> Failure:
    """Find the exit status and message for `error`.

    Users can solve a lack of memory, errors of the operating system and file names that are not UTF-8. Any other
    exception that is not an `AutoRecError` is a bug.
    """
    if isinstance(error, AutoRecError):
        return Failure(error.exit_status, str(error))
    if is_out_of_memory(error):
        return Failure(NotEnoughMemoryError.exit_status, _explain_memory(str(error)))
    if isinstance(error, OSError) and error.errno is not None:
        # An error without a file name is one of standard output, unless a file is missing.
        place = error.filename or ("" if error.errno == errno.ENOENT else "standard output")
        message = f"{place}: {error.strerror}" if place else str(error.strerror)
        advice = "check its permissions" if isinstance(error, PermissionError) else "make room or choose another path"
        return Failure(UsageError.exit_status, f"{message}; {advice}")
    if isinstance(error, UnicodeEncodeError) and error.reason == "surrogates not allowed":
        name = ascii(error.object)[:LONGEST_QUOTE]
        return Failure(UsageError.exit_status, f"{name} has bytes that are not UTF-8 in its name; rename the file")
    name = type(error).__name__
    return Failure(EXIT_BUG, f"this is a bug in autorec ({name}); please report it with the lines above")


def is_out_of_memory(error: BaseException) -> bool:
    """True for Python's and torch's out-of-memory errors, on any device."""
    # By their text: torch takes seconds to import, and only some of its errors have a class of their own.
    signs = ("allocate memory", "out of memory", "ALLOC_FAILED", "resource allocation failed")  # the last is cuSPARSE's
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(sign in str(error) for sign in signs)
    )


def _explain_memory(text: str) -> str:
    """Message for an out-of-memory error.

    It has the size that was asked for if `text` has it.
    """
    requested = re.search(r"[Tt]ried to allocate ([\d.]+ \w+)", text)
    size = f": {requested[1]} could not be allocated" if requested else ""
    if "CUDA" in text:
        return f"not enough memory on the GPU{size}; use a smaller --batch-size or --hidden-size, or --device cpu"
    return f"not enough memory{size}; close other programs, or use a smaller --hidden-size or --batch-size"
