"""How good a network is while it is trained, as `evaluate` measures it: RMSE of ratings, or nDCG of lists."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy import sparse

from autorec_cli.baselines import Array
from autorec_cli.config import TrainSettings
from autorec_cli.dataset import row_indices
from autorec_cli.engine import Engine
from autorec_cli.judging import RankingProtocol, UserScorer, default_relevance, judge
from autorec_cli.metrics import RATING_METRICS
from autorec_cli.sparse import codes, transposed
from autorec_cli.task import Task

LIST_LENGTH = 10
METRIC = f"ndcg@{LIST_LENGTH}"
AGREEING = 20
"""Held-out ratings that a network is taken to predict without error, so that few others say little of its scale."""
JUDGED_USERS = 5000
"""Users whose lists are judged after each epoch, at most: enough to tell epochs apart, whatever the dataset's size."""


@dataclass(frozen=True)
class Validated:
    """What held-out ratings say of a network.

    Attributes:
        metric: "rmse" or "ndcg@10", as `evaluate` calls it.
        value: Of the network; NaN if no user has a relevant rating.
        baseline: Of what needs no network: user and item averages, or the most rated items.
        predictions: (n_valid,) float32, the prediction of each held-out rating in the order of the matrix; None where
            outputs are scores and no ratings.
        scale: What these predictions multiply the network's outputs by.
    """

    metric: str
    value: float
    baseline: float
    predictions: Array | None
    scale: float = 1.0

    def is_better_than(self, other: Validated) -> bool:
        """Whether the value is better; among values that could not be measured the later one is."""
        if math.isnan(self.value):
            return True
        return self.value < other.value if self.metric in RATING_METRICS else self.value > other.value


class Validation(Protocol):
    """Measures the network of an engine on held-out ratings."""

    def measure(self, engine: Engine) -> Validated:
        """What they say of the network as it is now."""


def metric_of(objective: str) -> str:
    """What epochs are chosen by."""
    return "rmse" if objective == "rating" else METRIC


def make_validation(task: Task, valid: sparse.csr_array, settings: TrainSettings) -> Validation:
    """What judges a network fitted to `task` by the ratings `valid` (n_users x n_items)."""
    if settings.objective == "ranking":
        return RankingValidation(task, valid, settings)
    return RatingValidation(task, valid, settings)


class RatingValidation:
    """RMSE on held-out pairs: predictions clipped, cold pairs predicted by the baseline."""

    def __init__(self, task: Task, valid: sparse.csr_array, settings: TrainSettings) -> None:
        self._task = task
        self._valid = valid
        users, items = row_indices(valid), valid.indices
        by_baseline = np.clip(task.baseline.predict(users, items), *task.rating_scale).astype(np.float32)
        self._baseline = _rmse(by_baseline - valid.data)
        counts = np.diff(task.ratings.indptr), np.bincount(task.ratings.indices, minlength=valid.shape[1])
        warm = np.flatnonzero((counts[0][users] > 0) & (counts[1][items] > 0))
        self._by_baseline = by_baseline
        users, items = users[warm], items[warm]
        pattern = sparse.csr_array((np.ones(len(users), dtype=np.float32), (users, items)), shape=valid.shape)
        order = np.arange(len(users))
        if settings.variant == "item":
            pattern, order = transposed(pattern)
            pattern.data = np.ones(len(users), dtype=np.float32)
        self._cells, self._order = pattern, warm[order]
        self._offset = task.centering.predict(users, items)[order]
        # Centred by both means, outputs are what a network adds to the baseline, and so can be trusted more or less.
        self._weighs = settings.center == "both" and settings.output_activation == "identity"

    def measure(self, engine: Engine) -> Validated:
        """RMSE in rating units over all pairs, cold ones included, with outputs weighed by least squares on them."""
        outputs = engine.predict(self._task.inputs, self._cells) * np.float32(self._task.unit)
        scale = _slope(outputs, self._valid.data[self._order] - self._offset) if self._weighs else 1.0
        predictions = self._by_baseline.copy()
        predictions[self._order] = np.clip(scale * outputs + self._offset, *self._task.rating_scale)
        return Validated("rmse", _rmse(predictions - self._valid.data), self._baseline, predictions, scale)


class RankingValidation:
    """nDCG@10 of the lists of items that users have not rated in the task, ratings three quarters up being relevant."""

    def __init__(self, task: Task, valid: sparse.csr_array, settings: TrainSettings) -> None:
        self._task = task
        self._protocol = RankingProtocol(LIST_LENGTH, default_relevance(task.rating_scale))
        self._item_variant = settings.variant == "item"
        self._rows_at_once = settings.batch_size
        self._users = _some_users(valid, self._protocol.relevant_from, settings.seed)
        self._valid, self._seen = valid[self._users], task.ratings[self._users]
        self._item_counts = np.bincount(task.ratings.indices, minlength=valid.shape[1])
        popularity = self._item_counts.astype(np.float32)
        self._baseline = self._judge(lambda users: np.tile(popularity, (len(users), 1)))

    def measure(self, engine: Engine) -> Validated:
        """nDCG@10, the mean over the judged users."""
        if len(self._users) == 0:
            return Validated(METRIC, math.nan, math.nan, None)
        network = engine.network()
        rows = None if self._item_variant else self._users
        hidden = codes(network, self._task.inputs, self._rows_at_once, rows).numpy()
        weight, bias = network.decoder_weight.numpy(), network.decoder_bias.numpy()
        if self._item_variant:  # a user's own bias moves the whole list
            users, items, item_bias = weight[self._users], hidden, np.zeros(len(hidden), dtype=np.float32)
        else:
            users, items, item_bias = hidden, weight, bias
        value = self._judge(lambda index: users[index] @ items.T + item_bias)
        return Validated(METRIC, value, self._baseline, None)

    def _judge(self, score: UserScorer) -> float:
        metrics = judge(score, self._valid, self._seen, self._item_counts, self._protocol)
        return float(metrics.get(METRIC, math.nan))


def _some_users(valid: sparse.csr_array, relevant_from: float, seed: int) -> Array:
    """user_index of at most JUDGED_USERS users with a relevant rating, ascending."""
    users = np.unique(row_indices(valid)[valid.data >= relevant_from])
    if len(users) > JUDGED_USERS:
        users = np.sort(np.random.default_rng(seed).choice(users, JUDGED_USERS, replace=False))
    return users


def _slope(outputs: Array, targets: Array) -> float:
    """The least-squares factor of `outputs` (n,), not below 0, as if some more had met their targets."""
    outputs = outputs.astype(np.float64)
    square = float(outputs @ outputs)
    if not 0 < square < math.inf:
        return 1.0
    agreeing = square * AGREEING / len(outputs)
    return max(0.0, float(outputs @ targets) + agreeing) / (square + agreeing)


def _rmse(errors: Array) -> float:
    return math.sqrt(float(np.square(errors, dtype=np.float64).mean()))
