"""The error tree and the exit statuses.

    AutoRecError                  1   a bug, if nothing below fits
      UsageError                  2   the command line contradicts itself or the machine
      InputDataError              3   a source of ratings cannot be used
      ArtifactError               4   a prepared dataset or a model cannot be used, or they do not match
      TrainingDivergedError       5   the loss is no longer a number
      NotEnoughMemoryError        6   the run would not fit, or did not
      LockedError                 7   another run holds the output
      QualityGateError            8   the model is worse than what was asked for

Signals keep the shell's numbers: 130 Ctrl-C, 143 SIGTERM, 141 closed pipe.

The message of every error is one sentence that says what is wrong, where, and what to do next.
"""

from __future__ import annotations

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
