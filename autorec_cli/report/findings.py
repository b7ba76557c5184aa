"""Warnings in words: what a reader should be careful about."""

from __future__ import annotations

from collections.abc import Iterator

from autorec_cli.errors import counted
from autorec_cli.evaluation.evaluate import findings, no_better
from autorec_cli.evaluation.metrics import coverage
from autorec_cli.inference.scorer import Scorer
from autorec_cli.report.sections.metrics import label_of
from autorec_cli.report.subject import Subject

FEW_PAIRS = 1000
"""Held-out ratings below which metrics are mostly noise."""
MANY_COLD = 0.1
"""Share of cold pairs that is worth a word."""
LOW_COVERAGE = 0.1
LATE_GAIN = 0.01
"""Share of all improvement that a last epoch brings only to a training that is cut short.

Learning rates fall to nothing, so the last epoch is often the best, by next to nothing.
"""


def warnings_of(subject: Subject) -> list[str]:
    """Sentences on everything that makes metrics or recommendations doubtful."""
    found = [*_of_held_out(subject), *_of_baselines(subject), *_of_coverage(subject), *_of_cold_pairs(subject)]
    found += [sentence for name, model in subject.models for sentence in _of_training(name, model)]
    return [f"{sentence}." for sentence in found]


def _of_held_out(subject: Subject) -> Iterator[str]:
    n = subject.held_out.nnz
    if not n:
        yield f"The {subject.split} set has no ratings, so nothing was measured"
    elif n < FEW_PAIRS:
        yield f"The {subject.split} set has only {counted(n, 'rating')}: small differences are chance"
    for name, model in subject.models:
        if subject.split != "train" and subject.split in model.provenance["fitted_parts"]:
            yield f"{name} was fitted on the {subject.split} ratings too: its metrics are training errors"


def _of_baselines(subject: Subject) -> Iterator[str]:
    measured, n_models = subject.measured, len(subject.models)
    if not measured:
        return
    yield from no_better(measured, n_models)
    rows = [of_model.row(subject.dataset.rating_scale) for of_model in measured]
    for _, sentence in findings(rows, n_models, subject.settings.evaluate):
        yield sentence


def _of_coverage(subject: Subject) -> Iterator[str]:
    for of_model in subject.measured[: len(subject.models)]:
        if of_model.rankings is not None and of_model.rankings.times.any():
            covered = coverage(of_model.rankings.times)
            if covered < LOW_COVERAGE:
                yield (
                    f"{of_model.name} recommends only {100 * covered:.1f}% of all items to the measured users: most "
                    "items are never shown"
                )


def _of_cold_pairs(subject: Subject) -> Iterator[str]:
    for of_model in subject.measured[: len(subject.models)]:
        errors = of_model.errors
        if errors is not None and errors.n_cold.sum() > MANY_COLD * errors.n_pairs.sum():
            share = 100 * errors.n_cold.sum() / errors.n_pairs.sum()
            yield (
                f"{share:.0f}% of the {subject.split} ratings are of users or items without training ratings, which "
                f"{of_model.name} predicts by the user+item bias alone"
            )


def _of_training(name: str, model: Scorer) -> Iterator[str]:
    for curve in model.provenance.get("curves", ()):
        values, metric = curve["valid"], label_of(curve["metric"])
        if curve["phase"] != "selection" or len(values) < 2:
            continue
        sign = -1 if metric == "RMSE" else 1  # so that more is better
        last, all_of_it = sign * (values[-1] - values[-2]), sign * (values[-1] - values[0])
        if values[-1] == sign * max(sign * value for value in values) and last > LATE_GAIN * all_of_it:
            yield (
                f"The {curve['variant']} network of {name} was still getting better by {metric} in its last epoch, "
                f"{len(values)}: train with more --epochs"
            )
