"""Measurement: errors and rankings per user, models and baselines."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from autorec_cli.config import require_choice, require_count
from autorec_cli.csr import Array, add_splits, row_indices
from autorec_cli.data.bias import DampedMeans, damped_means, item_means
from autorec_cli.data.dataset import Dataset
from autorec_cli.defaults import MAX_RANKED_USERS
from autorec_cli.errors import UsageError
from autorec_cli.evaluation.linear_autoencoder import ease
from autorec_cli.evaluation.metrics import RATING_METRICS, UserErrors
from autorec_cli.evaluation.ranking import (
    DEFAULT_K,
    RankingProtocol,
    RankingTask,
    UserRankings,
    measure_rankings,
    popularity_scorer,
)
from autorec_cli.inference.scorer import Scorer
from autorec_cli.inference.similarity import similarity_vectors
from autorec_cli.runtime.stages import begin_stage

Row = dict[str, Any]
Models = Sequence[tuple[str, Scorer]]
"""Names and models, all trained on the dataset that they are evaluated on."""

EARLIER_SPLITS: Mapping[str, Sequence[str]] = {"test": ("train", "valid"), "valid": ("train",), "train": ()}
"""Splits whose items a user is not recommended again, by the split to evaluate on."""
BIAS_BASELINE = "user+item bias"
POPULARITY_BASELINE = "popularity"
EASE_BASELINE = "EASE"
RATING_BASELINES: Mapping[str, Callable[[sparse.csr_array], DampedMeans]] = {
    "global mean": lambda ratings: damped_means(ratings, users=False, items=False),
    "item mean": item_means,
    BIAS_BASELINE: damped_means,
}
"""Predictors to compare with, fitted to ratings."""


@dataclass(frozen=True)
class EvaluateSettings:
    """Options of an evaluation.

    Attributes:
        split: Held-out ratings: "test", "valid" or "train".
        k: Recommendations per user.
        relevant_from: Lowest held-out rating that is relevant; None is three quarters up the rating scale.
        all_users: Measure the recommendations of all users, and not of a sample of `defaults.MAX_RANKED_USERS`.

    Raises:
        UsageError: a value is out of range.
    """

    split: str = "test"
    k: int = DEFAULT_K
    relevant_from: float | None = None
    all_users: bool = False

    def __post_init__(self) -> None:
        require_choice("--on", self.split, tuple(EARLIER_SPLITS))
        require_count("--top-k", self.k, minimum=1)
        if self.relevant_from is not None and math.isnan(self.relevant_from):
            raise UsageError("--relevant-from must be a number, not nan")

    def protocol(self, rating_scale: tuple[float, float]) -> RankingProtocol:
        """Protocol of the ranking metrics."""
        max_users = None if self.all_users else MAX_RANKED_USERS
        return RankingProtocol.for_scale(rating_scale, self.k, self.relevant_from, max_users)


@dataclass(frozen=True)
class Measurement:
    """Errors and rankings per user of a model or baseline.

    Attributes:
        name: Of the model.
        errors: None if it predicts no ratings.
        rankings: None without ranking metrics.
    """

    name: str
    errors: UserErrors | None = None
    rankings: UserRankings | None = None

    def reduced(self, add: Callable[[Array], Array]) -> Measurement:
        """Add up measurements of different users.

        `add` sums an array over all processes.
        """
        errors, rankings = self.errors, self.rankings
        if errors is not None:
            errors = UserErrors(*(add(getattr(errors, field.name)) for field in fields(errors)))
        if rankings is not None:
            values = {name: add(value) for name, value in rankings.values.items()}
            # Users of other processes are zeros here, so sums put the parts together.
            n_relevant = add(rankings.n_relevant)
            rankings = replace(rankings, n_relevant=n_relevant, values=values, times=add(rankings.times))
        return Measurement(self.name, errors, rankings)

    def row(self, rating_scale: tuple[float, float]) -> Row:
        """Metrics by name.

        Those of ratings with the ends of their 95% intervals, then those of rankings.
        """
        row: Row = {"model": self.name}
        if self.errors is not None:
            for name, metric in RATING_METRICS.items():
                row |= metric(self.errors).columns(name)
            row["n_pairs"], row["n_cold"] = int(self.errors.n_pairs.sum()), int(self.errors.n_cold.sum())
            row["clip_low"], row["clip_high"] = rating_scale
        return row | (self.rankings.metrics() if self.rankings is not None else {})


def metric_rows(models: Models, dataset: Dataset, split: str, protocol: RankingProtocol | None = None) -> list[Row]:
    """Metrics of models, then of baselines.

    See `evaluate`. Without a `protocol` there are no ranking metrics.
    """
    return [measured.row(dataset.rating_scale) for measured in measure(models, dataset, split, protocol)]


def measure(
    models: Models,
    dataset: Dataset,
    split: str,
    protocol: RankingProtocol | None,
    partition: tuple[int, int] = (0, 1),
) -> list[Measurement]:
    """Measure models and baselines on a partition of the users.

    Args:
        models: Names and models; only ranking metrics are measured of those that predict no ratings.
        dataset: Held-out ratings.
        split: "train", "valid" or "test".
        protocol: Of the ranking metrics; None measures none.
        partition: Number, from 0, and count of partitions; see `Measurement.reduced`.

    Returns:
        Measurements of the models, in their order, then of the baselines.
    """
    begin_stage("measuring")
    held_out = _partition(dataset.split(split), *partition)
    raters = [(name, model) for name, model in models if model.predicts_ratings]
    # Models come first, in their order; a baseline is added when it is first measured.
    joined = {name: Measurement(name) for name, _ in models}
    for rated in _measure_ratings(raters, dataset, held_out) if raters else []:
        joined[rated.name] = rated
    task = ranking_task(dataset, split, protocol, held_out) if protocol else None
    for ranked in _measure_rankings(models, dataset, task) if task else []:
        before = joined.get(ranked.name, ranked)
        joined[ranked.name] = replace(before, rankings=ranked.rankings)
    return list(joined.values())


def _partition(held_out: sparse.csr_array, number: int, count: int) -> sparse.csr_array:
    """Ratings of one of `count` ranges of users.

    Ranges have about as many ratings each; other rows are empty.
    """
    # Cut between users by ratings: a user's metrics need all of their ratings in one process.
    bounds = np.searchsorted(held_out.indptr, np.arange(count + 1) * held_out.nnz / count)
    start, end = held_out.indptr[bounds[number]], held_out.indptr[bounds[number + 1]]
    pointers = np.clip(held_out.indptr, start, end) - start
    return sparse.csr_array((held_out.data[start:end], held_out.indices[start:end], pointers), shape=held_out.shape)


def _only_users(held_out: sparse.csr_array, users: Array) -> sparse.csr_array:
    """Ratings of some users, ascending; other rows are empty."""
    lengths = np.zeros(held_out.shape[0], dtype=held_out.indptr.dtype)
    lengths[users] = np.diff(held_out.indptr)[users]
    rows = held_out[users]
    return sparse.csr_array((rows.data, rows.indices, np.append(0, np.cumsum(lengths))), shape=held_out.shape)


class Predictions(NamedTuple):
    """Predictions of held-out ratings by a model or baseline.

    Attributes:
        name: Of the model or baseline.
        values: (n_pairs,) predicted ratings.
        cold: (n_pairs,) bool, cold pairs.
    """

    name: str
    values: Array
    cold: Array


def predictions(models: Models, dataset: Dataset, held_out: sparse.csr_array) -> Iterator[Predictions]:
    """Predict held-out ratings by models, then by baselines.

    Baselines are fitted on all ratings that any model was fitted on.
    """
    users, items = row_indices(held_out), held_out.indices
    for name, model in models:
        yield Predictions(name, model.predict_pairs(users, items), model.cold_pairs(users, items))
    fitted = fitted_ratings(models, dataset)
    # Cold for the baselines, which may be fitted on more ratings than a model.
    item_counts = np.bincount(fitted.indices, minlength=fitted.shape[1])
    cold = (np.diff(fitted.indptr)[users] == 0) | (item_counts[items] == 0)
    for name, fit in RATING_BASELINES.items():
        # Clipped as the models' are: an advantage that costs nothing must not be theirs alone.
        yield Predictions(name, np.clip(fit(fitted).predict(users, items), *dataset.rating_scale), cold)


def _measure_ratings(models: Models, dataset: Dataset, held_out: sparse.csr_array) -> list[Measurement]:
    """Errors of models, then of baselines; see `predictions`."""
    users, n_users = row_indices(held_out), held_out.shape[0]
    return [
        Measurement(name, UserErrors.of(values - held_out.data, users, n_users, cold))
        for name, values, cold in predictions(models, dataset, held_out)
    ]


def ranking_task(dataset: Dataset, split: str, protocol: RankingProtocol, held_out: sparse.csr_array) -> RankingTask:
    """Task of recommending to users with relevant held-out ratings.

    `held_out` are all of `split`, or those of some users. Each gets recommendations among the items that they have not
    rated in an earlier split (train for valid, train and valid for test). Items without a rating in those are not
    recommended.
    """
    # Drawn from all users, so that the sample is the same for any number of processes.
    sample = protocol.sample(dataset.split(split))
    seen = united_splits(dataset, EARLIER_SPLITS[split])
    # Items of later splits stay candidates: when they were held out, nobody had rated them.
    known = seen if EARLIER_SPLITS[split] else dataset.train
    item_counts = np.bincount(known.indices, minlength=dataset.n_items)
    return RankingTask(held_out if sample is None else _only_users(held_out, sample), seen, item_counts, protocol)


def _measure_rankings(models: Models, dataset: Dataset, task: RankingTask) -> list[Measurement]:
    """Rankings of models, then of popularity and, if quick, EASE.

    Diversity is measured by the vectors of the first model for all, or rows could not be compared.
    """
    scorers = {name: model.user_scorer() for name, model in models}
    scorers[POPULARITY_BASELINE] = popularity_scorer(task.item_counts)
    if linear := ease(task.seen if task.seen.nnz else dataset.train):
        scorers[EASE_BASELINE] = linear
    vectors = similarity_vectors(models[0][1], "items")
    return [Measurement(name, rankings=measure_rankings(score, task, vectors)) for name, score in scorers.items()]


def fitted_ratings(models: Models, dataset: Dataset) -> sparse.csr_array:
    """Ratings that at least one of `models` was fitted on.

    Baselines use them too.
    """
    splits = {split for _, model in models for split in model.provenance["fitted_parts"]}
    return united_splits(dataset, [name for name in ("train", "valid") if name in splits])


def united_splits(dataset: Dataset, splits: Sequence[str]) -> sparse.csr_array:
    """Ratings of some splits in one matrix."""
    union = sparse.csr_array(dataset.train.shape, dtype=np.float32)
    for name in splits:
        # add_splits keeps explicit zeros, which are ratings; scipy's + would drop them.
        union = add_splits(union, dataset.split(name)) if union.nnz else dataset.split(name)
    return union
