"""Learning curves of the models."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from autorec_cli.inference.scorer import Scorer
from autorec_cli.report.contents import LINES, Chart, Section, Series
from autorec_cli.report.sections.metrics import label_of
from autorec_cli.report.subject import Subject

MOST_EPOCHS = 60
"""Points of a curve; of longer ones every second, third, ... epoch is shown."""


def curves_section(subject: Subject) -> Section:
    """Chart for each validation metric."""
    curves = [(name, curve) for name, model in subject.models for curve in _selection(model)]
    metrics = dict.fromkeys(curve["metric"] for _, curve in curves)
    without = [name for name, model in subject.models if not _selection(model)]
    notes = [f"{name} has no learning curves: an older version made it." for name in without]
    charts = [_chart(metric, curves, len(subject.models)) for metric in metrics]
    # Of a ranking network without validation there is nothing to draw.
    return Section("curves", "Learning curves", notes=notes, charts=[chart for chart in charts if chart.series])


def _selection(model: Scorer) -> list[dict[str, Any]]:
    """Curves of the phases with validation, and not of refits."""
    return [curve for curve in model.provenance.get("curves", ()) if curve["phase"] != "refit"]


def _chart(metric: str, curves: list[tuple[str, dict[str, Any]]], n_models: int) -> Chart:
    chosen = [(name, curve) for name, curve in curves if curve["metric"] == metric]
    series = [one for name, curve in chosen for one in _series(name if n_models > 1 else "", curve)]
    text = "Validation metric after each epoch of the phase that selects the number of epochs"
    if metric == "rmse":
        text += "; RMSE on training ratings is measured during the epoch, with dropout"
    return Chart(
        f"curve-{metric.partition('@')[0]}",
        f"{label_of(metric)} by epoch",
        f"{text}.",
        "epoch",
        label_of(metric),
        LINES,
        series,
    )


def _series(model: str, curve: dict[str, Any]) -> Iterator[Series]:
    name = f"{model}: {curve['variant']} network" if model else f"{curve['variant']} network"
    kept = _kept(len(curve["train"]))
    if curve["valid"]:
        yield Series(f"{name}, validation", [n + 1 for n in kept], [curve["valid"][n] for n in kept])
    # The loss of a ranking objective is on another scale than its metric.
    if curve["metric"] == "rmse" and (not model or not curve["valid"]):
        yield Series(f"{name}, training", [n + 1 for n in kept], [curve["train"][n] for n in kept], is_baseline=True)


def _kept(n: int) -> list[int]:
    """Positions of the epochs to show, the last one included."""
    step = -(-n // MOST_EPOCHS)
    return list(range(n - 1, -1, -step))[::-1] if n else []
