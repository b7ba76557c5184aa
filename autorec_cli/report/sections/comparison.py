"""Comparison with an older model, for the night."""

from __future__ import annotations

import math

import numpy as np

from autorec_cli.evaluation.comparison import Comparison, compare
from autorec_cli.evaluation.measurement import Measurement
from autorec_cli.inference.ranking.settings import RecommendSettings
from autorec_cli.inference.recommender import recommend
from autorec_cli.inference.scorer import Scorer
from autorec_cli.report.contents import Cell, Section, Table
from autorec_cli.report.sections.metrics import label_of
from autorec_cli.report.subject import Older, Subject

MOST_USERS = 1000
"""Users whose recommendations by both models are compared."""


def comparison_section(subject: Subject) -> Section:
    """Differences to the older model; empty without one."""
    if subject.older is None:
        return Section("older", "Compared with the older model")
    older = subject.older
    notes = [note for name, model in subject.models if (note := _overlap(subject, name, model, older))]
    return Section(
        "older",
        "Compared with the older model",
        f"Paired differences to {older.name} on the {subject.split} ratings that neither model has seen "
        f"({subject.held_out.nnz:,}), with 95% intervals over users.",
        notes=notes,
        tables=[table for table in [_table(subject, older)] if table.rows],
    )


def _table(subject: Subject, older: Older) -> Table:
    measured = {of_model.name: of_model for of_model in subject.measured}
    rows = [
        row
        for name, _ in subject.models
        for metric in ("rmse", "mae", f"ndcg@{subject.k}", f"recall@{subject.k}")
        if measured and (row := _row(name, measured[name], measured[older.name], metric))
    ]
    return Table("", ("model", "metric", "new", "older", "new is better by", "interval", "verdict"), rows)


def _row(name: str, new: Measurement, old: Measurement, metric: str) -> tuple[Cell, ...] | None:
    if "@" not in metric and (new.errors is None or old.errors is None):
        return None
    found = compare(new, old, metric)
    if math.isnan(found.loss.value):
        return None
    return (
        name,
        label_of(metric),
        found.new,
        found.current,
        0.0 - found.loss.value,  # and not -0
        f"±\u00a0{found.loss.margin:.4f}",
        verdict(found),
    )


def verdict(found: Comparison) -> str:
    """Words for a difference, clear if its interval leaves out 0."""
    if abs(found.loss.value) <= np.nan_to_num(found.loss.margin):
        return "no clear difference"
    return "worse" if found.loss.value > 0 else "better"


def _overlap(subject: Subject, name: str, model: Scorer, older: Older) -> str | None:
    """Sentence on how many recommendations both models have in common."""
    known = np.flatnonzero((model.catalog.user_counts > 0) & (older.model.catalog.user_counts > 0))
    if not len(known):
        return None
    # Every n-th of them, MOST_USERS at most.
    users = known[:: -(-len(known) // MOST_USERS)]
    ids = [subject.dataset.users["id"][user] for user in users.tolist()]
    new, old = (recommend(each, RecommendSettings(k=subject.k, user_ids=ids)) for each in (model, older.model))
    common = new.join(old, on=["user_id", "item_id"], how="inner").height
    return (
        f"{100 * common / max(new.height, 1):.0f}% of the recommendations by {name} to {len(users):,} users whom both "
        f"models know are also those of {older.name}; {new['item_id'].n_unique():,} different items are recommended, "
        f"{old['item_id'].n_unique():,} before."
    )
