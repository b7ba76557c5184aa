"""Metrics of groups of users or of items."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

from autorec_cli.csr import Array, row_indices
from autorec_cli.data.dataset import Dataset
from autorec_cli.evaluation.groups.members import ALL, Groups
from autorec_cli.evaluation.measurement import (
    BIAS_BASELINE,
    POPULARITY_BASELINE,
    EvaluateSettings,
    Models,
    Row,
    predictions,
    ranking_task,
)
from autorec_cli.evaluation.metrics import (
    RANKING_METRICS,
    RATING_METRICS,
    UserErrors,
    times_recommended,
)
from autorec_cli.evaluation.ranking import (
    RankingTask,
    measure_ranked,
    popularity_scorer,
    rank_users,
    users_with_relevant,
)


@dataclass(frozen=True)
class _Measured:
    """Errors and recommendations of a model, for all groups.

    Attributes:
        name: Of the model.
        errors: (n_pairs,) of each held-out rating; None if it predicts no ratings.
        ranked: (n, k) recommended items of the users with relevant held-out ratings; None if it ranks nothing.
    """

    name: str
    errors: Array | None = None
    ranked: Array | None = None


@dataclass(frozen=True)
class _HeldOut:
    """Held-out ratings, and the side that is grouped.

    Attributes:
        ratings: All of the split.
        task: Those of the users whose recommendations are measured.
        side: "users" or "items".
    """

    ratings: sparse.csr_array
    task: RankingTask
    side: str


def evaluate_groups(models: Models, dataset: Dataset, settings: EvaluateSettings, groups: Groups) -> list[Row]:
    """Evaluate models and baselines on groups of users or items.

    For items, ratings of the group are predicted, and relevant ratings of the group are looked for among the
    recommendations, which are from all items; `share@k` is the fraction of recommendations that are of the group.

    Args:
        models: Names and models, of this dataset; see `check_models`.
        dataset: Held-out ratings, and those that baselines are fitted on.
        settings: Split and metrics.
        groups: See `groups_by`.

    Returns:
        For each model and baseline a row for all users and items, then one for each group: `model`, `group`,
        `n_users`, `n_items` and `n_pairs` with held-out ratings, and each metric with `_low` and `_high`, the ends of
        its 95% interval over users. Metrics that a group or a model does not have are left out.
    """
    held_out, protocol = dataset.split(settings.split), settings.protocol(dataset.rating_scale)
    compared = _HeldOut(held_out, ranking_task(dataset, settings.split, protocol, held_out), groups.side)
    size = dataset.n_users if groups.side == "users" else dataset.n_items
    members = {ALL: np.ones(size, dtype=bool), **groups.members}
    measured = _measure(models, dataset, compared)
    return [_row(of_model, group, compared, members[group]) for of_model in measured for group in members]


def _measure(models: Models, dataset: Dataset, compared: _HeldOut) -> list[_Measured]:
    task, raters = compared.task, [(name, model) for name, model in models if model.predicts_ratings]
    users = users_with_relevant(task.held_out, task.protocol)
    predicted = predictions(raters, dataset, compared.ratings) if raters else ()
    errors = {name: values - compared.ratings.data for name, values, _ in predicted}
    scorers = {name: model.user_scorer() for name, model in models}
    scorers[POPULARITY_BASELINE] = popularity_scorer(task.item_counts)
    ranked = {name: rank_users(score, task, users) for name, score in scorers.items()}
    baselines = [*([BIAS_BASELINE] if raters else []), POPULARITY_BASELINE]
    names = [*(name for name, _ in models), *baselines]
    return [_Measured(name, errors.get(name), ranked.get(name)) for name in names]


def _row(measured: _Measured, group: str, compared: _HeldOut, members: Array) -> Row:
    is_kept = _kept(compared.ratings, compared.side, members)
    users, n_users = row_indices(compared.ratings)[is_kept], compared.ratings.shape[0]
    row: Row = {
        "model": measured.name,
        "group": group,
        "n_users": len(np.unique(users)),
        "n_items": len(np.unique(compared.ratings.indices[is_kept])),
        "n_pairs": len(users),
    }
    if measured.errors is not None and len(users):
        errors = UserErrors.of(measured.errors[is_kept], users, n_users)
        for name, metric in RATING_METRICS.items():
            row |= metric(errors).columns(name)
    return row if measured.ranked is None else row | _ranking(measured.ranked, compared, members)


def _ranking(ranked: Array, compared: _HeldOut, members: Array) -> Row:
    """Ranking metrics of a group, whose items alone are relevant."""
    task, row = compared.task, Row()
    k, held_out = task.protocol.k, _only(task.held_out, _kept(task.held_out, compared.side, members))
    everybody, users = (users_with_relevant(ratings, task.protocol) for ratings in (task.held_out, held_out))
    if compared.side == "items" and len(ranked):
        times = times_recommended(ranked, len(members))
        row[f"share@{k}"] = float(times[members].sum() / times.sum()) if times.any() else float("nan")
    if len(users):
        # Users with relevant ratings in the group are some of `everybody`, by whom `ranked` goes.
        found = measure_ranked(ranked[np.searchsorted(everybody, users)], replace(task, held_out=held_out))
        for name in RANKING_METRICS:
            row |= found.mean_of(name).columns(f"{name}@{k}")
    return row


def _kept(held_out: sparse.csr_array, side: str, members: Array) -> Array:
    """Ratings by or of the members, (nnz,) bool."""
    kept: Array = members[row_indices(held_out) if side == "users" else held_out.indices]
    return kept


def _only(held_out: sparse.csr_array, is_kept: Array) -> sparse.csr_array:
    pointers = np.append(0, np.cumsum(is_kept))[held_out.indptr]
    return sparse.csr_array((held_out.data[is_kept], held_out.indices[is_kept], pointers), shape=held_out.shape)
