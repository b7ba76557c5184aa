"""Validation metrics during training, as `evaluate` measures them.

They are RMSE, or nDCG for the ranking objective. Where columns are partitioned, each process measures its own, and all
get the same value.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy import sparse

from autorec_cli.config import Hyperparameters
from autorec_cli.csr import Array, row_indices, transposed
from autorec_cli.evaluation.metrics import RANKING_METRICS, RATING_METRICS
from autorec_cli.evaluation.ranking import (
    DEFAULT_K,
    RankingProtocol,
    RankingTask,
    measure_rankings,
    popularity_scorer,
    rank_all_users,
)
from autorec_cli.inference.scorer import UserScorer
from autorec_cli.network.engine import Engine
from autorec_cli.runtime.process_group import SINGLE_PROCESS, ProcessGroup
from autorec_cli.training.loop.examples import Examples

METRIC = f"ndcg@{DEFAULT_K}"
PRIOR_RATINGS = 20
"""Imagined validation ratings that are predicted without error; with few real ones the scale stays near 1."""
MAX_USERS = 5000
"""Users whose recommendations are measured after each epoch, at most; enough to tell epochs apart."""


@dataclass(frozen=True)
class ValidationResult:
    """Validation metric of a network.

    Attributes:
        metric: "rmse" or "ndcg@10", as `evaluate` calls it.
        value: Value for the network; NaN if no user has a relevant rating.
        baseline: Value for the bias baseline, or the popularity baseline of the ranking objective.
        predictions: (n_valid,) float32, the prediction of each validation rating of this process in the order of the
            matrix; None where outputs are scores and not ratings.
        scale: Factor applied to the network's outputs in these predictions.
    """

    metric: str
    value: float
    baseline: float
    predictions: Array | None
    scale: float = 1.0

    def is_better_than(self, other: ValidationResult) -> bool:
        """Compare two values."""
        # Where no epoch can be measured, the last one is taken.
        if math.isnan(self.value):
            return True
        return self.value < other.value if self.metric in RATING_METRICS else self.value > other.value


class Validation(Protocol):
    """Measures an engine's network on the validation set."""

    def measure(self, engine: Engine) -> ValidationResult:
        """Measure the current network."""


def metric_of(objective: str) -> str:
    """Validation metric of an objective."""
    return "rmse" if objective == "rating" else METRIC


def make_validation(examples: Examples, valid: sparse.csr_array, settings: Hyperparameters) -> Validation:
    """Validation for networks fitted to `examples`.

    `valid` (n_users x n_items) has the same columns.
    """
    if settings.objective == "ranking":
        by_item = settings.variant == "item"
        return (
            UserColumnsRanking(examples, valid, settings) if by_item else ItemColumnsRanking(examples, valid, settings)
        )
    return RatingValidation(examples, valid, settings)


class RatingValidation:
    """RMSE of clipped predictions; cold pairs are predicted by the baseline."""

    def __init__(self, examples: Examples, valid: sparse.csr_array, settings: Hyperparameters) -> None:
        self._examples = examples
        self._valid = valid
        users, items = row_indices(valid), valid.indices
        by_baseline = np.clip(examples.baseline.predict(users, items), *examples.rating_scale).astype(np.float32)
        self._baseline = self._rmse(by_baseline)
        user_counts, item_counts = examples.counts(settings.variant)
        # The network knows nothing of users or items without training ratings.
        warm = np.flatnonzero((user_counts[users] > 0) & (item_counts[items] > 0))
        self._by_baseline = by_baseline
        users, items = users[warm], items[warm]
        pattern = sparse.csr_array((np.ones(len(users), dtype=np.float32), (users, items)), shape=valid.shape)
        order = np.arange(len(users))
        # The engine predicts in the order of its own matrix: items x users in the item variant.
        if settings.variant == "item":
            pattern, order = transposed(pattern)
            pattern.data = np.ones(len(users), dtype=np.float32)
        self._cells, self._order = pattern, warm[order]
        self._offset = examples.centering.predict(users, items)[order]
        # Centered by both means, outputs are corrections to the baseline, and can be shrunk as a whole.
        self._scales = settings.center == "both" and settings.output_activation != "sigmoid"

    def measure(self, engine: Engine) -> ValidationResult:
        """RMSE in rating units over all pairs, cold ones included.

        Outputs are scaled by least squares first.
        """
        outputs = engine.predict(self._examples.inputs, self._cells) * np.float32(self._examples.unit)
        targets = self._valid.data[self._order] - self._offset
        scale = _least_squares_scale(outputs, targets, self._examples.partition.process_group) if self._scales else 1.0
        # Cold pairs keep the baseline's prediction, as in `evaluate`.
        predictions = self._by_baseline.copy()
        predictions[self._order] = np.clip(scale * outputs + self._offset, *self._examples.rating_scale)
        return ValidationResult("rmse", self._rmse(predictions), self._baseline, predictions, scale)

    def _rmse(self, predictions: Array) -> float:
        """RMSE over the validation ratings of all processes."""
        # Summed in float64: in float32 a million squares lose digits that tell epochs apart.
        squares = np.square(predictions - self._valid.data, dtype=np.float64).sum()
        total, n_ratings = self._examples.partition.process_group.sum(np.array([squares, self._valid.nnz]))
        return math.sqrt(total / n_ratings)


class UserColumnsRanking:
    """nDCG@10 of recommendations where users are columns.

    Each process ranks items for its own users. Relevant are validation ratings from three quarters up the scale; items
    rated in the examples are excluded.
    """

    def __init__(self, examples: Examples, valid: sparse.csr_array, settings: Hyperparameters) -> None:
        self._examples, self._process_group = examples, examples.partition.process_group
        protocol = RankingProtocol.for_scale(examples.rating_scale)
        users = _with_relevant(valid, protocol.relevant_from)
        self._users, self._n_sampled = self._sample_users(users, settings.seed)
        _, item_counts = examples.counts(settings.variant)
        self._task = RankingTask(valid[self._users], examples.ratings[self._users], item_counts, protocol)
        self._baseline = self._ndcg(popularity_scorer(item_counts))

    def measure(self, engine: Engine) -> ValidationResult:
        """Mean nDCG@10 over the sampled users."""
        if self._n_sampled == 0:
            return ValidationResult(METRIC, math.nan, math.nan, None)
        items = engine.codes(self._examples.inputs)
        users = engine.decoder()[0][self._users]  # a user's own bias does not change the order
        return ValidationResult(METRIC, self._ndcg(lambda index: users[index] @ items.T), self._baseline, None)

    def _sample_users(self, users: Array, seed: int) -> tuple[Array, int]:
        """Sample MAX_USERS users of all processes.

        Returns:
            Those of `users` that are in the sample, and the size of all of it.
        """
        partition = self._examples.partition
        # By runs of columns, so that the sample is the same for any number of processes.
        in_runs = np.bincount(partition.runs_of(partition.columns[users]), minlength=len(partition.owners))
        in_runs = self._process_group.sum(in_runs).astype(np.int64)
        sampled = _sample(int(in_runs.sum()), seed)
        # Places of the users of each run among those of all.
        starts = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(in_runs)])
        own = [
            np.arange(starts[run], starts[run + 1])
            for run in np.flatnonzero(partition.owners == self._process_group.rank)
        ]
        return users[np.isin(np.concatenate([np.empty(0, dtype=np.int64), *own]), sampled)], len(sampled)

    def _ndcg(self, score: UserScorer) -> float:
        # Means weighted by users, as each process has ranked for some of them.
        metrics = measure_rankings(score, self._task).metrics()
        n_users = metrics.get("n_users", 0)
        total, n_measured = self._process_group.sum(np.array([metrics.get(METRIC, 0.0) * n_users, n_users]))
        return float(total / n_measured) if n_measured else math.nan


class ItemColumnsRanking:
    """nDCG@10 where items are columns.

    Each process ranks its own items, and the top-k lists are merged.
    """

    def __init__(self, examples: Examples, valid: sparse.csr_array, settings: Hyperparameters) -> None:
        self._examples, self._process_group = examples, examples.partition.process_group
        protocol = RankingProtocol.for_scale(examples.rating_scale)
        relevant = np.zeros(valid.shape[0])
        relevant[_with_relevant(valid, protocol.relevant_from)] = 1
        users = np.flatnonzero(self._process_group.max(relevant))  # with relevant items in any process
        self._users = users[_sample(len(users), settings.seed)]
        _, item_counts = examples.counts(settings.variant)
        self._task = RankingTask(valid[self._users], examples.ratings[self._users], item_counts, protocol)
        self._baseline = self._ndcg(popularity_scorer(item_counts))

    def measure(self, engine: Engine) -> ValidationResult:
        """Mean nDCG@10 over the sampled users."""
        if len(self._users) == 0:
            return ValidationResult(METRIC, math.nan, math.nan, None)
        users = engine.codes(self._examples.inputs, self._users)
        weight, bias = engine.decoder()

        def score(index: Array) -> Array:
            scores = users[index] @ weight.T
            scores += bias  # in place: new memory takes as long as a third of the product
            return scores

        return ValidationResult(METRIC, self._ndcg(score), self._baseline, None)

    def _ndcg(self, score: UserScorer) -> float:
        if len(self._users) == 0:
            return math.nan
        own = rank_all_users(score, self._task)
        # Lists hold local positions; ties are broken by the global index, as in a single process.
        numbers = np.append(self._examples.partition.columns, 0).astype(np.int64)  # the last is for NO_ITEM
        scores, items, hits = (
            np.concatenate(self._process_group.all_gather(part), axis=1)
            for part in (own.scores, numbers[own.items], own.hits)
        )
        order = np.lexsort((items, -scores), axis=1)[:, :DEFAULT_K]  # the order of `top_k`
        merged = np.take_along_axis(hits, order, axis=1)
        return float(RANKING_METRICS["ndcg"](merged, self._process_group.sum(own.n_relevant).astype(np.int64)).mean())


def _with_relevant(valid: sparse.csr_array, relevant_from: float) -> Array:
    """user_index of users with a relevant rating, ascending."""
    return np.unique(row_indices(valid)[valid.data >= relevant_from])


def _sample(n_users: int, seed: int) -> Array:
    """Random sample of at most MAX_USERS of `n_users` users, ascending."""
    if n_users <= MAX_USERS:
        return np.arange(n_users)
    return np.sort(np.random.default_rng(seed).choice(n_users, MAX_USERS, replace=False))


def _least_squares_scale(outputs: Array, targets: Array, process_group: ProcessGroup = SINGLE_PROCESS) -> float:
    """Least-squares factor of the outputs of all processes, at least 0.

    `outputs` and `targets` are (n,), those of this process.
    """
    outputs = outputs.astype(np.float64)
    square, product, n_outputs = process_group.sum(
        np.array([outputs @ outputs, outputs @ targets, len(outputs)])
    ).tolist()
    # Outputs that are all zero, or overflow, have no best factor; divergence is reported elsewhere.
    if not 0 < square < math.inf:
        return 1.0
    # As if PRIOR_RATINGS more outputs, of the average square, were right with a factor of 1.
    prior = square * PRIOR_RATINGS / n_outputs
    return float(max(0.0, product + prior) / (square + prior))
