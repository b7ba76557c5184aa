"""Similar items that make most sense, and least."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from autorec_cli.csr import Array
from autorec_cli.errors import InputDataError
from autorec_cli.evaluation.neighbors import rating_agreement
from autorec_cli.inference.catalog import positions
from autorec_cli.inference.scorer import Scorer
from autorec_cli.inference.similarity import SimilarSettings, similar
from autorec_cli.report.contents import Cell, Section, Table
from autorec_cli.report.subject import Subject

K = 5
"""Neighbors of each item."""
MOST_ITEMS = 1000
"""Most rated items that are looked at."""
MIN_RATINGS = 10
N_SHOWN = 6


def neighbors_section(subject: Subject) -> Section:
    """Tables of each model's best and worst neighborhoods."""
    tables = [table for name, model in subject.models for table in _tables(subject, name, model)]
    text = (
        f"The {K} items most similar to an item, as autorec similar finds them, among those with at least "
        f"{MIN_RATINGS} ratings. "
        "Agreement is the mean cosine of the ratings of the item and of its neighbors, less user and item bias: above "
        "0 if those who like it more than expected like them more than expected too. The most rated items were looked "
        f"at, up to {MOST_ITEMS:,}."
    )
    return Section("neighbors", "Similar items", text if tables else "", tables=tables)


def _tables(subject: Subject, name: str, model: Scorer) -> Sequence[Table]:
    catalog = model.catalog
    order = np.argsort(-catalog.item_counts, kind="stable")[:MOST_ITEMS]
    items = order[catalog.item_counts[order] >= MIN_RATINGS]
    if len(items) < 2 * N_SHOWN:
        return ()
    ids = [catalog.item_ids[item] for item in items.tolist()]
    try:
        found = similar(model, SimilarSettings(ids=ids, k=K, min_ratings=MIN_RATINGS))
    except InputDataError:  # too few items
        return ()
    of_model = f" ({name})" if len(subject.models) > 1 else ""
    return _best_and_worst(subject, found, of_model)


def _best_and_worst(subject: Subject, found: pl.DataFrame, of_model: str) -> Sequence[Table]:
    ids = subject.dataset.items["id"].to_list()
    items, others = positions(ids, found["item_id"]), positions(ids, found["similar_id"])
    agreement = rating_agreement(subject.fitted, items, others)
    unique, group = np.unique(items, return_inverse=True)
    means = np.bincount(group, weights=agreement) / np.bincount(group)
    order = np.argsort(-means, kind="stable")

    def table(title: str, chosen: Array) -> Table:
        rows = [_row(subject, unique[n], others[group == n], means[n]) for n in chosen.tolist()]
        return Table(f"{title}{of_model}", ("item", "agreement", "most similar items"), rows)

    return (
        table("Neighbors that make most sense", order[:N_SHOWN]),
        table("Neighbors that make least sense", order[::-1][:N_SHOWN]),
    )


def _row(subject: Subject, item: int, others: Array, mean: float) -> tuple[Cell, ...]:
    neighbors = "; ".join(subject.item_names[other] for other in others.tolist())
    return subject.item_names[item], f"{mean:.3f}", neighbors
