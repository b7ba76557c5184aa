"""Report of a training run on stderr: its plan, its epochs and its outcome, and the file of `train --log`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autorec_cli.cli.console import detail, progress, say, show_facts, warn
from autorec_cli.cli.epoch_log import open_log
from autorec_cli.errors import counted

if TYPE_CHECKING:
    from autorec_cli.training.fit import EpochResult
    from autorec_cli.training.plan import TrainingPlan
    from autorec_cli.training.train import TrainedModel
    from autorec_cli.training.validation import ValidationResult

HARDLY_BETTER = 0.999
"""Fraction of the baseline's RMSE above which a model has learned nothing.

A model that diverged may be just below 1, because validation scales its outputs down.
"""


@dataclass(frozen=True)
class TrainingReport:
    """Shows a training run; see `train.Reporter`.

    Attributes:
        log: File for one JSON line per epoch, "-" for stdout; None for no log.
        wait_lock: Seconds to wait while another run writes `log`.
    """

    log: str | None = None
    wait_lock: float = 0.0

    def planned(self, plan: TrainingPlan) -> None:
        """Show network, parameters and memory of a dry run."""
        from autorec_cli.network.memory_estimate import mib, n_parameters
        from autorec_cli.runtime.memory import used_bytes

        settings, used = plan.settings, used_bytes()
        n_steps = -(-plan.n_examples // settings.batch_size)
        facts = [
            ("examples", f"{plan.n_examples:,} ({settings.variant} variant), {plan.shape.n_train:,} training ratings"),
            ("layers", _layers(plan)),
            ("parameters", f"{n_parameters(plan.shape, settings):,}"),
            ("steps", f"{n_steps} per epoch, at most {counted(settings.epochs, 'epoch')}"),
            ("device", plan.device),
            ("memory", f"about {mib(used + plan.need.host)} at the peak, {mib(used + plan.free.host)} available"),
        ]
        if plan.need.device:
            text = f"about {mib(plan.need.device)} at the peak, {mib(plan.free.device)} available"
            facts.append(("device memory", text))
        show_facts("dry run", facts)

    @contextmanager
    def training(
        self, plan: TrainingPlan, earlier: list[Mapping[str, Any]]
    ) -> Iterator[Callable[[EpochResult, Mapping[str, Any]], None]]:
        """Show that training starts, then every epoch; `earlier` ones begin the log."""
        settings, shape = plan.settings, plan.shape
        say(
            f"{settings.variant} variant: {plan.n_examples:,} examples, layers {_layers(plan)}, "
            f"{shape.n_train:,} training and {shape.n_valid:,} validation ratings, device {plan.device}"
        )
        with (
            open_log(self.log, self.wait_lock, map(_log_line, earlier)) as write,
            progress("epoch", settings.epochs) as advance,
        ):

            def show(result: EpochResult, record: Mapping[str, Any]) -> None:
                advance(result.epoch, result.n_epochs, _epoch_text(result))
                if write:
                    write(_log_line(record))

            yield show

    def finished(self, trained: TrainedModel) -> None:
        """Show the outcome, and warn if simple baselines are as good."""
        provenance, validation = trained.provenance, trained.validation
        facts = [
            ("model", f"{trained.output} ({trained.output.stat().st_size / 1e6:.1f} MB)"),
            ("fitted on", f"{' and '.join(provenance['fitted_parts'])}, epochs: {provenance['epochs']}"),
            _validation_fact(validation, "warm_start" in provenance),
            ("time", f"{trained.seconds:.1f} s"),
            ("next", f"autorec evaluate {trained.output}"),
        ]
        show_facts("trained", facts)
        if validation is not None:
            _warn_if_useless(validation)
        for number, process in enumerate(trained.processes, 1):
            detail(f"process {number}: {', '.join(f'{name} {value:,}' for name, value in process.items())}")


def _layers(plan: TrainingPlan) -> str:
    return "-".join(map(str, plan.layer_sizes))


def _epoch_text(result: EpochResult) -> str:
    best, metric = "*" if result.best else " ", metric_label(result.metric)
    valid = "" if result.valid is None else f", valid {metric} {result.valid:.4f}{best}"
    return f"{result.phase}: train RMSE {result.train_rmse:.4f}{valid} {result.seconds:.2f} s"


def _log_line(record: Mapping[str, Any]) -> str:
    return json.dumps(record) + "\n"


def metric_label(metric: str) -> str:
    """Label of "rmse" or "ndcg@10" in messages."""
    return metric.replace("rmse", "RMSE").replace("ndcg", "nDCG")


def _validation_fact(validation: ValidationResult | None, warm: bool) -> tuple[str, str]:
    if validation is None:
        return "valid", "no ratings that the older model cannot know" if warm else "no validation ratings"
    baseline = "bias baseline" if validation.metric == "rmse" else "popularity baseline"
    return (
        f"valid {metric_label(validation.metric)}",
        f"{validation.value:.4f} before the refit ({baseline}: {validation.baseline:.4f})",
    )


def _warn_if_useless(validation: ValidationResult) -> None:
    if validation.metric == "rmse" and validation.value > validation.baseline * HARDLY_BETTER:
        better = "better than" if validation.value > validation.baseline else "as well as"
        warn(
            f"on the validation ratings the bias baseline predicts {better} this model; try a smaller --learning-rate "
            "or a larger --regularization, or leave out --center and --no-implicit if you gave them"
        )
    if validation.metric != "rmse" and validation.value < validation.baseline:
        warn(
            "on the validation ratings this model ranks worse than the popularity baseline; try a smaller "
            "--learning-rate, or another --missing-weight or --regularization"
        )
