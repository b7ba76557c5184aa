"""Request for a training run, from dataset to model file."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

from autorec_cli.config import check_device
from autorec_cli.errors import UsageError
from autorec_cli.runtime.torchrun import restart_count
from autorec_cli.training.settings import TrainSettings

TOLERANCE = 0.01
"""Default of `--tolerance`."""

SAVE_EVERY = 30.0
"""Minimum seconds between two regular checkpoints."""


class Resume(IntEnum):
    """Policy for an earlier run's checkpoint."""

    NO = 0
    IF_POSSIBLE = 1
    """A checkpoint of another run, or a corrupted one, is no reason to stop: for `autorec run`, and where torchrun has
    restarted all processes."""
    YES = 2


@dataclass(frozen=True)
class TrainRequest:
    """A training run from a prepared dataset to a model file.

    Attributes:
        data: Prepared dataset, or encoded ratings.
        output: Model file.
        settings: Hyperparameters that were given.
        threads: CPU threads, 0 for one per core.
        device: See `device.resolve_device`.
        force: Replace an existing `output`.
        dry_run: Stop before training.
        keep_if_better: Metric by which `output` is kept if the new model is clearly worse on the test set.
        tolerance: See `promotion.decide`.
        warm_start: Older model to start from; it also decides some of the defaults.
        resume: Continue from the checkpoint of an interrupted run.
        save_every: Minimum seconds between two checkpoints; 0 saves one per epoch.
        wait_lock: Seconds to wait while another run writes `output`.

    Raises:
        UsageError: a value is out of range.
    """

    data: Path
    output: Path
    settings: TrainSettings = field(default_factory=TrainSettings)
    threads: int = 0
    device: str = "auto"
    force: bool = False
    dry_run: bool = False
    keep_if_better: str | None = None
    tolerance: float = TOLERANCE
    warm_start: Path | None = None
    resume: bool | Resume = False
    save_every: float = SAVE_EVERY
    wait_lock: float = 0.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.save_every) and self.save_every >= 0):
            raise UsageError(f"--save-every must be a number of seconds from 0, not {self.save_every}")
        check_device(self.device)
        if not 0 <= self.tolerance <= 1:
            raise UsageError(f"--tolerance must be in [0, 1], not {self.tolerance:g}")

    @property
    def may_replace(self) -> bool:
        """True if an existing output is no error."""
        return self.force or self.dry_run or self.keep_if_better is not None

    @property
    def resume_policy(self) -> Resume:
        """Policy of `resume`; a run that torchrun restarted resumes if it can."""
        if isinstance(self.resume, Resume):
            return self.resume
        if self.resume:
            return Resume.YES
        return Resume.IF_POSSIBLE if restart_count() else Resume.NO


def check_output(output: Path, may_replace: bool) -> None:
    """Check before hours of training that a model can be written.

    Raises:
        UsageError: it cannot be written to `output`, or that exists and must not be replaced.
    """
    if str(output) == "-":
        raise UsageError("a model cannot be written to standard output; name a file with --output")
    if output.is_dir():
        raise UsageError(f"{output} is a directory; name a file for the model")
    if output.exists() and not output.is_file():
        raise UsageError(f"{output} is not a regular file; name one for the model")
    if output.exists() and not may_replace:
        raise UsageError(f"{output} exists; use --force to replace it or name another file")
