"""Held-out ratings and predictions of them -> rows of metrics, next to baselines that need no network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy import sparse

from autorec_cli.csr import Array, add_parts, row_indices
from autorec_cli.data.bias import DampedMeans, damped_means
from autorec_cli.data.dataset import Dataset
from autorec_cli.evaluation.metrics import RATING_METRICS
from autorec_cli.evaluation.ranking import RankingProtocol, UserScorer, judge
from autorec_cli.inference.blending import cold_pairs, item_scorer, known_users, predict_pairs
from autorec_cli.inference.model import Predictor
from autorec_cli.runtime.process_group import SINGLE_PROCESS, ProcessGroup

Row = dict[str, Any]
PairPredictor = Callable[[Array, Array], Array]


def rating_rows(
    models: Sequence[tuple[str, Predictor]], dataset: Dataset, part: str, world: ProcessGroup = SINGLE_PROCESS
) -> list[Row]:
    """RMSE and MAE of models and baselines on one part of the dataset.

    Args:
        models: Names and models, all trained on `dataset`.
        dataset: Where the held-out ratings come from.
        part: "train", "valid" or "test"; it has ratings.
        world: The processes that share out the users; all give the same arguments and get the same rows.

    Returns:
        A row for each model, then one for each baseline: `model`, each metric with its `_low` and `_high` ends of the
        95% interval, `n_pairs`, `n_cold` (pairs that the baseline predicted) and the clip range.
    """
    held_out = _own_rows(dataset.part(part), world)
    users, items = row_indices(held_out), held_out.indices
    fitted = fitted_ratings(models, dataset)
    cold = _cold(fitted, users, items)
    rows = [
        _rating_row(name, predict_pairs(model, users, items), held_out, cold_pairs(model, users, items), dataset, world)
        for name, model in models
    ]
    for name, predict in _rating_baselines(fitted).items():
        predictions = np.clip(predict(users, items), *dataset.rating_scale)
        rows.append(_rating_row(name, predictions, held_out, cold, dataset, world))
    return rows


def _own_rows(held_out: sparse.csr_array, world: ProcessGroup) -> sparse.csr_array:
    """The ratings of those users, one after the other, that this process measures; the other rows are empty."""
    bounds = np.searchsorted(held_out.indptr, np.arange(world.size + 1) * held_out.nnz / world.size)
    start, end = held_out.indptr[bounds[world.rank]], held_out.indptr[bounds[world.rank + 1]]
    pointers = np.clip(held_out.indptr, start, end) - start
    return sparse.csr_array((held_out.data[start:end], held_out.indices[start:end], pointers), shape=held_out.shape)


def ranking_rows(
    models: Sequence[tuple[str, Predictor]],
    dataset: Dataset,
    part: str,
    protocol: RankingProtocol,
    world: ProcessGroup = SINGLE_PROCESS,
) -> list[Row]:
    """Metrics of top-k lists on one part of the dataset, for models and for the popularity ranking.

    Each user with a relevant rating in `part` gets a list of the items that the user has not rated in an earlier part
    (train for valid, train and valid for test). Items without a rating in those parts are never listed.

    Returns:
        A row for each model, then one for popularity: `model`, each metric `@k`, `coverage@k`, `mean_popularity@k` and
        `n_users` (how many lists were judged).
    """
    known = {"train": [], "valid": ["train"], "test": ["train", "valid"]}[part]
    seen = _union(dataset, known)
    item_counts = np.bincount(_union(dataset, known or ["train"]).indices, minlength=dataset.n_items)

    def by_popularity(user_index: Array) -> Array:
        return np.tile(item_counts.astype(np.float32), (len(user_index), 1))

    def by_model(model: Predictor) -> UserScorer:
        predict = item_scorer(model)
        return lambda user_index: predict(known_users(model, user_index))

    scorers = {name: by_model(model) for name, model in models} | {"popularity": by_popularity}
    held_out = dataset.part(part)
    return [
        {"model": name, **judge(score, held_out, seen, item_counts, protocol, world)} for name, score in scorers.items()
    ]


def metric_rows(
    models: Sequence[tuple[str, Predictor]],
    dataset: Dataset,
    part: str,
    lists: RankingProtocol | None,
    world: ProcessGroup = SINGLE_PROCESS,
) -> list[Row]:
    """`rating_rows` of the models that predict ratings and, if `lists`, `ranking_rows` of all, joined by name.

    Returns:
        A row for each model, in their order, then one for each baseline.
    """
    raters = [(name, model) for name, model in models if model.predicts_ratings]
    joined: dict[str, Row] = {name: {} for name, _ in models}
    rated = rating_rows(raters, dataset, part, world) if raters else []
    for row in [*rated, *(ranking_rows(models, dataset, part, lists, world) if lists else [])]:
        joined.setdefault(row["model"], {}).update(row)
    return list(joined.values())


def fitted_ratings(models: Sequence[tuple[str, Predictor]], dataset: Dataset) -> sparse.csr_array:
    """The ratings that at least one of `models` was fitted on: what baselines may use too."""
    parts = {part for _, model in models for part in model.provenance["fitted_parts"]}
    return _union(dataset, [name for name in ("train", "valid") if name in parts])


def _union(dataset: Dataset, parts: Sequence[str]) -> sparse.csr_array:
    union = sparse.csr_array(dataset.train.shape, dtype=np.float32)
    for name in parts:
        union = add_parts(union, dataset.part(name)) if union.nnz else dataset.part(name)
    return union


def _rating_baselines(fitted: sparse.csr_array) -> dict[str, PairPredictor]:
    constant = damped_means(fitted, users=False, items=False)
    item = damped_means(fitted, users=False, item_damping=0)
    both: DampedMeans = damped_means(fitted)
    return {"global mean": constant.predict, "item mean": item.predict, "user+item bias": both.predict}


def _cold(fitted: sparse.csr_array, users: Array, items: Array) -> Array:
    item_counts = np.bincount(fitted.indices, minlength=fitted.shape[1])
    cold: Array = (np.diff(fitted.indptr)[users] == 0) | (item_counts[items] == 0)
    return cold


def _rating_row(
    name: str, predictions: Array, held_out: sparse.csr_array, cold: Array, dataset: Dataset, world: ProcessGroup
) -> Row:
    errors = predictions - held_out.data
    row: Row = {"model": name}
    for metric, formula in RATING_METRICS.items():
        estimate = formula(errors, row_indices(held_out), world)
        row[metric] = estimate.value
        row[f"{metric}_low"] = estimate.value - estimate.margin
        row[f"{metric}_high"] = estimate.value + estimate.margin
    row["n_pairs"], row["n_cold"] = map(int, world.sum([held_out.nnz, cold.sum()]))
    row["clip_low"], row["clip_high"] = dataset.rating_scale
    return row
