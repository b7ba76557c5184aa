"""Metrics of models beside those of baselines, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from autorec_cli.evaluation.measurement import Measurement
from autorec_cli.evaluation.metrics import Estimate, rmse
from autorec_cli.report.contents import INTERVALS, Chart, Section, Series, Table
from autorec_cli.report.subject import Subject

LABELS = {
    "rmse": "RMSE",
    "mae": "MAE",
    "ndcg": "nDCG",
    "gini": "Gini",
    "mean_popularity": "mean popularity",
    "unique_items": "items",
}


def label_of(metric: str) -> str:
    """Name of a metric as people write it: nDCG@10."""
    name, at, k = metric.partition("@")
    return f"{LABELS.get(name, name)}{at}{k}"


def metrics_section(subject: Subject) -> Section:
    """Charts of RMSE and nDCG, and tables of all metrics."""
    measured = subject.measured
    protocol = subject.settings.evaluate.protocol(subject.dataset.rating_scale)
    relevant = (
        f"All {subject.split} interactions are relevant"
        if subject.are_interactions
        else f"{subject.split.capitalize()} ratings from {protocol.relevant_from:g} are relevant"
    )
    text = (
        f"Measured on the {subject.split} set, with 95% intervals over users. {relevant}; a user is recommended "
        f"{subject.k} of all items that are new to them."
    )
    charts = [
        _chart("rmse", "RMSE", "Error of predicted ratings; lower is better.", _rmse_of(measured)),
        _chart("ndcg", f"nDCG@{subject.k}", "Quality of recommendations; higher is better.", _ndcg_of(measured)),
    ]
    rows = [of_model.row(subject.dataset.rating_scale) for of_model in measured]
    tables = [_ratings_table(rows), _rankings_table(rows)]
    return Section(
        "metrics",
        "Metrics beside baselines",
        text if measured else "",
        charts=[chart for chart in charts if chart.series[0].x],
        tables=[table for table in tables if table.rows],
    )


def _rmse_of(measured: Sequence[Measurement]) -> dict[str, Estimate]:
    return {of_model.name: rmse(of_model.errors) for of_model in measured if of_model.errors is not None}


def _ndcg_of(measured: Sequence[Measurement]) -> dict[str, Estimate]:
    return {
        of_model.name: of_model.rankings.mean_of("ndcg")
        for of_model in measured
        if of_model.rankings is not None and of_model.rankings.n_relevant.any()
    }


def _chart(key: str, label: str, text: str, estimates: dict[str, Estimate]) -> Chart:
    series = Series.of(label, list(estimates), list(estimates.values()))
    return Chart(f"interval-{key}", label, text, label, "model or baseline", INTERVALS, [series])


def _ratings_table(rows: list[dict[str, Any]]) -> Table:
    columns = ["model", "RMSE", "95% interval", "MAE", "95% interval", "pairs", "cold pairs"]
    cells = [
        (
            row["model"],
            *(cell for name in ("rmse", "mae") for cell in (row[name], _interval(row, name))),
            row["n_pairs"],
            row["n_cold"],
        )
        for row in rows
        if "rmse" in row
    ]
    return Table("Predicted ratings", columns, cells)


def _interval(row: dict[str, Any], name: str) -> str:
    return f"{row[f'{name}_low']:.4f}\u00a0to\u00a0{row[f'{name}_high']:.4f}"


def _rankings_table(rows: list[dict[str, Any]]) -> Table:
    ranked = [row for row in rows if "n_users" in row]
    names = [name for name in (ranked[0] if ranked else ()) if "@" in name]
    columns = ["model", *map(label_of, names), "users"]
    return Table("Recommendations", columns, [(r["model"], *(r.get(n) for n in names), r["n_users"]) for r in ranked])
