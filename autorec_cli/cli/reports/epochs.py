"""Report of the epochs on stderr.

It is one bar over all phases of a run, or lines for a log file.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from autorec_cli.cli.console import say
from autorec_cli.cli.reports.progress import Phase, TrainingProgress, metric_in, phases_of
from autorec_cli.errors import error_text

if TYPE_CHECKING:
    from autorec_cli.training.plan import TrainingPlan

ShowEpoch = Callable[[Mapping[str, Any]], None]
"""Shows an epoch by its record, as in `train.Record`."""


@contextmanager
def epoch_bar(plan: TrainingPlan, earlier: list[Mapping[str, Any]]) -> Iterator[ShowEpoch]:
    """Show one bar over all phases of all networks.

    `earlier` are the epochs of a resumed run.
    """
    from autorec_cli.cli.terminal import fraction_bar

    phases = phases_of(plan)
    progress, text = TrainingProgress(phases), EpochText(phases)
    for record in earlier:
        progress.add(record)
        text.add(record)
    with fraction_bar(text.label, text.metric, lambda: progress.remaining) as move:
        move(progress.fraction, text.label, text.metric)

        def show(record: Mapping[str, Any]) -> None:
            progress.add(record)
            text.add(record)
            move(progress.fraction, text.label, text.metric)

        yield show
        progress.finish()
        move(progress.fraction, text.label, text.metric)


@dataclass
class EpochText:
    """Texts before and after the bar, each always of one width.

    Attributes:
        phases: All phases of the run.
        label: Network, by its variant and its validation metric, and epoch of its selection or refit.
        metric: Validation metric of the epoch, and the best of its network so far.
    """

    phases: list[Phase]
    label: str = field(init=False)
    metric: str = field(init=False)
    _best: dict[tuple[str, str], str] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        # Widths of the longest texts to come, so that the bar between them keeps its length.
        self._name = max(len(_name(*phase.key)) for phase in self.phases)
        self._digits = len(str(max(phase.n_epochs for phase in self.phases)))
        self.label = " " * (self._name + 2 * self._digits + 2)
        self.metric = " " * len(self._metric("", ""))

    def add(self, record: Mapping[str, Any]) -> None:
        """Show a completed epoch, as in `train.Record`."""
        metric, digits = metric_in(record), self._digits
        value, network = record[f"valid_{metric}"], (record["variant"], metric)
        text = "" if value is None else metric_text(metric, value)
        if text and record["best"]:
            self._best[network] = text
        name = _name(record["variant"], record["phase"], metric)
        self.label = f"{name:{self._name}} {record['epoch']:{digits}}/{record['n_epochs']:<{digits}}"
        self.metric = self._metric(text, self._best.get(network, ""))

    def _metric(self, value: str, best: str) -> str:
        return f"{value:>6} best {best:>6}"


def _name(variant: str, phase: str, metric: str) -> str:
    """Name of a network, such as "user nDCG", and of its refit."""
    name = f"{variant} {metric_label(metric).partition('@')[0]}"  # k is always the same
    return f"{name} refit" if phase == "refit" else name


@contextmanager
def epoch_lines(plan: TrainingPlan, seconds: float) -> Iterator[ShowEpoch]:
    """Log lines about some epochs.

    They are the first and the last one of each phase, and others after `seconds`.
    """
    held: list[str] = []
    last = -math.inf

    def log(line: str) -> None:
        nonlocal last
        held.clear()
        say(line)
        last = time.monotonic()

    def show(record: Mapping[str, Any]) -> None:
        which = f"{record['objective']}, {record['variant']}, " if len(plan.networks) > 1 else ""
        epoch, n_epochs = record["epoch"], record["n_epochs"]
        line = f"epoch {epoch}/{n_epochs} {which}{_epoch_text(record)}"
        if epoch == 1 and held:  # the last one of a phase that ended early
            log(held[0])
        if epoch in (1, n_epochs) or time.monotonic() - last >= seconds:
            log(line)
        else:
            held[:] = [line]

    try:
        yield show
    finally:
        if held:
            log(held[0])


def _epoch_text(record: Mapping[str, Any]) -> str:
    metric = metric_in(record)
    value, best = record[f"valid_{metric}"], "*" if record["best"] else " "
    valid = "" if value is None else f", valid {metric_label(metric)} {metric_text(metric, value)}{best}"
    return f"{record['phase']}: {train_error(record)}{valid} {record['seconds']:.2f} s"


def train_error(record: Mapping[str, Any]) -> str:
    """Training error for messages.

    Scores that only order items have a loss, and no RMSE.
    """
    if "train_rmse" in record:
        return f"train RMSE {error_text(record['train_rmse'])}"
    return f"train loss {record['train_loss']:.4f}"


def metric_label(metric: str) -> str:
    """Label of "rmse" or "ndcg@10" in messages."""
    return metric.replace("rmse", "RMSE").replace("ndcg", "nDCG")


def metric_text(metric: str, value: float | None) -> str:
    """Value of "rmse" or "ndcg@10" in messages."""
    if value is None:
        return "none"
    return error_text(value) if metric.lower() == "rmse" else f"{value:.4f}"
