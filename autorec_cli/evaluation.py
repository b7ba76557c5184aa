"""Held-out ratings and predictions of them -> rows of metrics, next to baselines that need no network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from autorec_cli.baselines import Array, DampedMeans, damped_means
from autorec_cli.checkpoint import Model
from autorec_cli.dataset import Dataset, add_parts, row_indices
from autorec_cli.lists import ranked_lists
from autorec_cli.metrics import RANKING_METRICS, RATING_METRICS, coverage, mean_popularity
from autorec_cli.scoring import cold_pairs, item_scorer, known_users, predict_pairs

Row = dict[str, Any]
Predictor = Callable[[Array, Array], Array]
BlockScorer = Callable[[Array], Array]


@dataclass(frozen=True)
class RankingProtocol:
    """How lists are judged.

    Attributes:
        k: Length of a list.
        relevant_from: Held-out ratings from here on are relevant.
    """

    k: int
    relevant_from: float


def default_relevance(rating_scale: tuple[float, float]) -> float:
    """Three quarters up the rating scale: 4 on a scale from 1 to 5."""
    low, high = rating_scale
    return low + 0.75 * (high - low)


def rating_rows(models: Sequence[tuple[str, Model]], dataset: Dataset, part: str) -> list[Row]:
    """RMSE and MAE of models and baselines on one part of the dataset.

    Args:
        models: Names and models, all trained on `dataset`.
        dataset: Where the held-out ratings come from.
        part: "train", "valid" or "test"; it has ratings.

    Returns:
        A row for each model, then one for each baseline: `model`, each metric with its `_low` and `_high` ends of the
        95% interval, `n_pairs`, `n_cold` (pairs that the baseline predicted) and the clip range.
    """
    held_out = dataset.part(part)
    users, items = row_indices(held_out), held_out.indices
    fitted = fitted_ratings(models, dataset)
    cold = _cold(fitted, users, items)
    rows = [
        _rating_row(name, predict_pairs(model, users, items), held_out, cold_pairs(model, users, items), dataset)
        for name, model in models
    ]
    for name, predict in _rating_baselines(fitted).items():
        predictions = np.clip(predict(users, items), *dataset.rating_scale)
        rows.append(_rating_row(name, predictions, held_out, cold, dataset))
    return rows


def ranking_rows(
    models: Sequence[tuple[str, Model]], dataset: Dataset, part: str, protocol: RankingProtocol
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

    def by_model(model: Model) -> BlockScorer:
        predict = item_scorer(model)
        return lambda user_index: predict(known_users(model, user_index))

    scorers = {name: by_model(model) for name, model in models} | {"popularity": by_popularity}
    return [
        _ranking_row(name, scorer, dataset.part(part), seen, item_counts, protocol) for name, scorer in scorers.items()
    ]


def join_rows(rating: Sequence[Row], ranking: Sequence[Row]) -> list[Row]:
    """Rows of both kinds as one row a model; who has no rating metrics comes last."""
    by_name = {row["model"]: row for row in ranking}
    joined = [{**row, **by_name.pop(row["model"], {})} for row in rating]
    return joined + list(by_name.values())


def fitted_ratings(models: Sequence[tuple[str, Model]], dataset: Dataset) -> sparse.csr_array:
    """The ratings that at least one of `models` was fitted on: what baselines may use too."""
    parts = {part for _, model in models for part in model.provenance["fitted_parts"]}
    return _union(dataset, [name for name in ("train", "valid") if name in parts])


def _union(dataset: Dataset, parts: Sequence[str]) -> sparse.csr_array:
    union = sparse.csr_array(dataset.train.shape, dtype=np.float32)
    for name in parts:
        union = add_parts(union, dataset.part(name)) if union.nnz else dataset.part(name)
    return union


def _rating_baselines(fitted: sparse.csr_array) -> dict[str, Predictor]:
    constant = damped_means(fitted, users=False, items=False)
    item = damped_means(fitted, users=False, item_damping=0)
    both: DampedMeans = damped_means(fitted)
    return {"global mean": constant.predict, "item mean": item.predict, "user+item bias": both.predict}


def _cold(fitted: sparse.csr_array, users: Array, items: Array) -> Array:
    item_counts = np.bincount(fitted.indices, minlength=fitted.shape[1])
    cold: Array = (np.diff(fitted.indptr)[users] == 0) | (item_counts[items] == 0)
    return cold


def _rating_row(name: str, predictions: Array, held_out: sparse.csr_array, cold: Array, dataset: Dataset) -> Row:
    errors = predictions - held_out.data
    row: Row = {"model": name}
    for metric, formula in RATING_METRICS.items():
        estimate = formula(errors, row_indices(held_out))
        row[metric] = estimate.value
        row[f"{metric}_low"] = estimate.value - estimate.margin
        row[f"{metric}_high"] = estimate.value + estimate.margin
    row["n_pairs"], row["n_cold"] = held_out.nnz, int(cold.sum())
    row["clip_low"], row["clip_high"] = dataset.rating_scale
    return row


def _ranking_row(
    name: str,
    scorer: BlockScorer,
    held_out: sparse.csr_array,
    seen: sparse.csr_array,
    item_counts: Array,
    protocol: RankingProtocol,
) -> Row:
    relevant = _relevant(held_out, protocol.relevant_from)
    n_relevant = np.diff(relevant.indptr)
    judged = np.flatnonzero(n_relevant)
    row: Row = {"model": name}
    if len(judged) == 0:
        return row
    ranked = _ranked(scorer, judged, seen, item_counts > 0, protocol.k)
    hits = _hits(ranked, relevant[judged])
    for metric, formula in RANKING_METRICS.items():
        row[f"{metric}@{protocol.k}"] = float(formula(hits, n_relevant[judged]).mean())
    row[f"coverage@{protocol.k}"] = coverage(ranked, len(item_counts))
    row[f"mean_popularity@{protocol.k}"] = mean_popularity(ranked, item_counts)
    row["n_users"] = len(judged)
    return row


def _relevant(held_out: sparse.csr_array, relevant_from: float) -> sparse.csr_array:
    """The pattern of the relevant cells, all of value True."""
    keep = held_out.data >= relevant_from
    rows, columns = row_indices(held_out)[keep], held_out.indices[keep]
    return sparse.csr_array((np.ones(len(rows), dtype=bool), (rows, columns)), shape=held_out.shape)


def _ranked(scorer: BlockScorer, user_index: Array, seen: sparse.csr_array, listable: Array, k: int) -> Array:
    """(len(user_index), k) item_index of the lists of `user_index`, best first, NO_ITEM where a list is short."""
    seen = seen[user_index]

    def seen_of(users: slice) -> tuple[Array, Array]:
        block = seen[users]
        return row_indices(block), block.indices

    blocks = ranked_lists(len(user_index), lambda users: scorer(user_index[users]), seen_of, listable, k)
    return np.concatenate([block.ranked for block in blocks])


def _hits(ranked: Array, relevant: sparse.csr_array) -> Array:
    """(n_users, k) bool: whether each listed item is relevant to its user."""
    n_items = relevant.shape[1]
    relevant_keys = row_indices(relevant).astype(np.int64) * n_items + relevant.indices
    listed_keys = np.arange(len(ranked), dtype=np.int64)[:, None] * n_items + ranked
    return np.isin(np.where(ranked >= 0, listed_keys, -1), relevant_keys)
