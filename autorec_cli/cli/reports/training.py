"""Report of a training run on stderr.

It shows plan, epochs and outcome, and writes the file of `train --log`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from autorec_cli.cli.console import detail, draws_bars, draws_charts, say, show_facts, warn
from autorec_cli.cli.output.destination import forget_stdout
from autorec_cli.cli.reports.charts import ASCII_HEIGHTS, HEIGHTS, draws_unicode, sparkline
from autorec_cli.cli.reports.epochs import epoch_bar, epoch_lines, metric_label, metric_text
from autorec_cli.cli.reports.progress import metric_in
from autorec_cli.errors import counted, error_text
from autorec_cli.storage.files import cannot_write, open_special, replace_file
from autorec_cli.storage.locks import hold

if TYPE_CHECKING:
    from autorec_cli.config import Hyperparameters
    from autorec_cli.training.loop.validation import ValidationResult
    from autorec_cli.training.plan import TrainingPlan
    from autorec_cli.training.retraining.promotion import Promotion
    from autorec_cli.training.train import TrainedModel

HARDLY_BETTER = 0.999
"""Fraction of the baseline's RMSE above which a model has learned nothing.

A model that diverged may be just below 1, because validation scales its outputs down.
"""
WIDEST_CURVE = 20
"""Characters of a sparkline; a table of them fits 60 columns."""


@dataclass(frozen=True)
class TrainingReport:
    """Shows a training run; see `train.Reporter`.

    Attributes:
        log: File for one JSON line per epoch, "-" for stdout; None for no log.
        wait_lock: Seconds to wait while another run writes `log`.
        log_every: Least seconds between two lines of epochs where no bar is drawn; 0 shows every epoch.
        advises: Whether the outcome says what to do next with `train` and `evaluate`.
        curves: Variant, metric and validation results so far of each network.
        refits: Epochs of each refit.
    """

    log: str | None = None
    wait_lock: float = 0.0
    log_every: float = 0.0
    advises: bool = True
    curves: list[tuple[str, str, list[float]]] = field(default_factory=list, init=False)
    refits: list[int] = field(default_factory=list, init=False)

    def planned(self, plan: TrainingPlan) -> None:
        """Show network, parameters and memory of a dry run."""
        from autorec_cli.network.memory_estimate import mib, n_parameters, ratings_stay
        from autorec_cli.runtime.memory import used_bytes

        used, facts = used_bytes(), []
        for network in plan.networks:
            n_examples = plan.n_examples(network)
            n_steps = -(-n_examples // network.batch_size)
            of_which = f", {network.objective}, {network.variant}" if len(plan.networks) > 1 else ""
            facts += [
                (
                    f"examples{of_which}",
                    f"{n_examples:,} ({network.variant} variant), {plan.shape.n_train:,} training {plan.feedback}",
                ),
                (f"layers{of_which}", _layers(plan, network)),
                (f"parameters{of_which}", f"{n_parameters(plan.shape, network):,}"),
                (f"steps{of_which}", f"{n_steps} per epoch, at most {counted(network.epochs, 'epoch')}"),
            ]
        facts += [
            ("device", plan.device),
            ("memory", f"about {mib(used + plan.need.host)} at the peak, {mib(used + plan.free.host)} available"),
        ]
        if plan.need.device:
            stay = ratings_stay(plan.need, plan.free.device)
            peak = plan.need.device + (plan.need.ratings if stay else 0)
            facts += [
                ("device memory", f"about {mib(peak)} at the peak, {mib(plan.free.device)} available"),
                ("ratings", f"{mib(plan.need.ratings)}, {'kept on the device' if stay else 'streamed to the device'}"),
            ]
        show_facts("dry run", facts)

    @contextmanager
    def training(
        self, plan: TrainingPlan, earlier: list[Mapping[str, Any]]
    ) -> Iterator[Callable[[Mapping[str, Any]], None]]:
        """Show that training starts, then every epoch; `earlier` ones begin the log."""
        shape = plan.shape
        networks = ", ".join(
            f"{network.objective} by {network.variant} ({plan.n_examples(network):,} examples, layers "
            f"{_layers(plan, network)})"
            for network in plan.networks
        )
        say(
            f"{counted(len(plan.networks), 'network')}: {networks}; {shape.n_users / shape.n_items:.2g} users per "
            f"item, {shape.n_train:,} training and {shape.n_valid:,} validation {plan.feedback}, device {plan.device}"
        )
        show_epoch = epoch_bar(plan, earlier) if draws_bars() else epoch_lines(plan, self.log_every)
        with open_log(self.log, self.wait_lock, map(_log_line, earlier)) as write, show_epoch as show:
            for record in earlier:
                self._keep(record)

            def on_epoch(record: Mapping[str, Any]) -> None:
                self._keep(record)
                show(record)
                if write:
                    write(_log_line(record))

            yield on_epoch

    def _keep(self, record: Mapping[str, Any]) -> None:
        """Add an epoch to the curve of its network."""
        metric = metric_in(record)
        value = record[f"valid_{metric}"]
        if record["phase"] == "refit" and record["epoch"] == 1:
            self.refits.append(record["n_epochs"])
        if value is None:
            return
        if record["epoch"] == 1 or not self.curves:
            self.curves.append((record["variant"], metric, []))
        self.curves[-1][-1].append(value)

    def finished(self, trained: TrainedModel) -> None:
        """Show the outcome, and warn if simple baselines are as good."""
        provenance, validations = trained.provenance, trained.validations
        kept = trained.promotion if trained.promotion is not None and trained.promotion.reason is not None else None
        epochs = _epochs(provenance, bool(validations), self.refits)
        facts = [
            ("model", f"{trained.output} ({trained.output.stat().st_size / 1e6:.1f} MB{', kept' if kept else ''})"),
            ("fitted on", f"{' and '.join(provenance['fitted_parts'])}, {epochs}"),
            *_weights_fact(provenance),
            *_validation_facts(validations, trained.networks, "warm_start" in provenance),
            *(_curve_facts(self.curves) if draws_charts() else []),
            ("time", f"{trained.seconds:.1f} s"),
            *([("next", f"autorec evaluate {trained.output}")] if self.advises else []),
        ]
        show_facts("trained", facts)
        if kept is not None and self.advises:
            warn(f"kept the current model, {trained.output}: {kept.reason}; {_advice(kept)}")
        for validation in validations:
            _warn_if_useless(validation, "the new model" if kept else "this model")
        for number, process in enumerate(trained.processes, 1):
            detail(f"process {number}: {', '.join(f'{name} {value:,}' for name, value in process.items())}")


@contextmanager
def open_log(log: str | None, wait_lock: float, earlier: Iterable[str] = ()) -> Iterator[Callable[[str], None] | None]:
    """Open the log for writing.

    It appears when training ends, with or without an error.

    Args:
        log: File, "-" for stdout, or None. An existing special file, such as /dev/stderr or a named pipe, is written
            to directly.
        wait_lock: Seconds to wait while another run writes the file.
        earlier: Lines of the epochs before a resumed run was interrupted.

    Yields:
        A function that writes one line; None without a log.

    Raises:
        UsageError: the file cannot be written.
        LockedError: another run is writing it.
    """
    if log is None or log == "-":
        yield None if log is None else partial(_write_line, sys.stdout.buffer, "standard output")
        return
    path = Path(log)
    # A device or a pipe cannot be replaced by a rename, and has a reader who waits for lines.
    special = path.exists() and not path.is_file()
    failure: BaseException | None = None
    with nullcontext() if special else hold(path, wait_lock):
        try:
            # Under a temporary name while training runs: a log with this name is complete.
            with open_special(path) if special else replace_file(path) as stream:
                try:
                    if not special:
                        _write_line(stream, log, "".join(earlier))
                    yield partial(_write_line, stream, log)
                except BaseException as error:
                    failure = error  # raised below, after the log has its name
        except OSError as error:
            raise cannot_write(log, error) from error
    if failure is not None:
        raise failure


def _write_line(stream: BinaryIO, name: str, line: str) -> None:
    try:
        stream.write(line.encode())
        stream.flush()
    except OSError as error:
        forget_stdout()
        raise cannot_write(name, error) from error


def _layers(plan: TrainingPlan, network: Hyperparameters) -> str:
    sizes = "-".join(map(str, plan.layer_sizes(network)))
    return f"{sizes} with {counted(network.linear_units, 'linear unit')}" if network.linear_units else sizes


def _epochs(provenance: Mapping[str, Any], are_selected: bool, refits: Sequence[int]) -> str:
    """Number of epochs of each network in the model.

    A refit may take fewer than were selected.
    """
    networks = provenance.get("networks", [{"weight": 1.0, **provenance}])
    numbers = [str(network["epochs"]) for network in networks if network["weight"]]
    if not are_selected:
        return f"epochs: {', '.join(numbers)}"
    best = f"best epoch{'s' if len(numbers) > 1 else ''}: {', '.join(numbers)}"
    return f"{best}; refit: {', '.join(map(str, refits))}" if refits else best


def _weights_fact(provenance: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Weight of each network if there were several.

    Each has its own validation result too.
    """
    if "networks" not in provenance:
        return []
    terms = []
    raters = [network for network in provenance["networks"] if network["settings"]["objective"] == "rating"]
    for network in raters:
        alone = f" (RMSE alone {error_text(network['valid_rmse'])})" if "valid_rmse" in network else ""
        terms.append(f"{network['weight']:.2f} {network['settings']['variant']}{alone}")
    return [("weights", ", ".join(terms))] if len(raters) > 1 else []


def _log_line(record: Mapping[str, Any]) -> str:
    return json.dumps(record) + "\n"


def _validation_facts(
    validations: Sequence[ValidationResult], networks: Sequence[Hyperparameters], warm: bool
) -> list[tuple[str, str]]:
    """Validation result of each objective."""
    if not validations:
        return [("valid", "no ratings that the older model cannot know" if warm else "no validation ratings")]
    facts, has_linear_units = [], any(network.linear_units for network in networks)
    when = ["before the refit"] if all(network.refit for network in networks) else []
    for validation in validations:
        baseline = "bias baseline" if validation.metric == "rmse" else "popularity baseline"
        # Epochs were measured without them.
        units = ["with linear units"] if has_linear_units and validation.metric != "rmse" else []
        value, other = (metric_text(validation.metric, number) for number in (validation.value, validation.baseline))
        how = " ".join(filter(None, [value, ", ".join([*when, *units]), f"({baseline}: {other})"]))
        facts.append((f"valid {metric_label(validation.metric)}", how))
    return facts


def _curve_facts(curves: Sequence[tuple[str, str, Sequence[float]]]) -> list[tuple[str, str]]:
    """Sparkline of each network's validation results, with the first and the best."""
    heights = HEIGHTS if draws_unicode(sys.stderr) else ASCII_HEIGHTS
    facts: list[tuple[str, str]] = []
    for variant, metric, values in curves:
        first, best = (metric_text(metric, value) for value in (values[0], (min if metric == "rmse" else max)(values)))
        line = sparkline(values, WIDEST_CURVE, heights)
        name = f"{variant} {metric_label(metric)}"
        n_alike = sum(other.startswith(name) for other, _ in facts)
        facts.append((f"{name} ({n_alike + 1})" if n_alike else name, f"{first} {line} best {best}"))
    return facts


def _advice(kept: Promotion) -> str:
    """Advice for a user whose new model was not taken."""
    if not kept.comparisons:  # for lack of test ratings, or of relevant ones
        return "prepare with --split stable and a larger --test, then train once with --force, without --keep-if-better"
    return "train with other options, or use --force, without --keep-if-better, to replace it all the same"


def _warn_if_useless(validation: ValidationResult, name: str) -> None:
    if validation.metric == "rmse" and validation.value > validation.baseline * HARDLY_BETTER:
        better = "better than" if validation.value > validation.baseline else "as well as"
        warn(
            f"on the validation ratings the bias baseline predicts {better} {name}; try a smaller --learning-rate "
            "or a larger --regularization, or leave out --center and --no-implicit if you gave them"
        )
    if validation.metric != "rmse" and validation.value < validation.baseline:
        warn(
            f"on the validation ratings {name} ranks worse than the popularity baseline; try a smaller "
            "--learning-rate, or another --missing-weight or --regularization"
        )
