"""How good a network is while it is trained, as `evaluate` measures it: RMSE of ratings, or nDCG of lists.

Where several processes hold some of the columns each, every one measures what it can with them, and all get one value.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy import sparse

from autorec_cli.config import TrainSettings
from autorec_cli.csr import Array, row_indices
from autorec_cli.evaluation.metrics import RANKING_METRICS, RATING_METRICS
from autorec_cli.evaluation.ranking import RankingProtocol, UserScorer, default_relevance, judge, list_items
from autorec_cli.network.engine import Engine
from autorec_cli.network.torch_engine import codes, transposed
from autorec_cli.runtime.process_group import SINGLE_PROCESS, ProcessGroup
from autorec_cli.training.examples import Task

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
        predictions: (n_valid,) float32, the prediction of each held-out rating of this process in the order of the
            matrix; None where outputs are scores and no ratings.
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
    """What judges a network fitted to `task` by the ratings `valid` (n_users x n_items), of the columns of `task`."""
    if settings.objective == "ranking":
        by_item = settings.variant == "item"
        return UserColumnsRanking(task, valid, settings) if by_item else ItemColumnsRanking(task, valid, settings)
    return RatingValidation(task, valid, settings)


class RatingValidation:
    """RMSE on held-out pairs: predictions clipped, cold pairs predicted by the baseline."""

    def __init__(self, task: Task, valid: sparse.csr_array, settings: TrainSettings) -> None:
        self._task = task
        self._valid = valid
        users, items = row_indices(valid), valid.indices
        by_baseline = np.clip(task.baseline.predict(users, items), *task.rating_scale).astype(np.float32)
        self._baseline = self._rmse(by_baseline)
        user_counts, item_counts = task.counts(settings.variant)
        warm = np.flatnonzero((user_counts[users] > 0) & (item_counts[items] > 0))
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
        wanted = self._valid.data[self._order] - self._offset
        scale = _slope(outputs, wanted, self._task.share.process_group) if self._weighs else 1.0
        predictions = self._by_baseline.copy()
        predictions[self._order] = np.clip(scale * outputs + self._offset, *self._task.rating_scale)
        return Validated("rmse", self._rmse(predictions), self._baseline, predictions, scale)

    def _rmse(self, predictions: Array) -> float:
        """Over the held-out ratings of all processes."""
        squares = np.square(predictions - self._valid.data, dtype=np.float64).sum()
        total, n_ratings = self._task.share.process_group.sum(np.array([squares, self._valid.nnz]))
        return math.sqrt(total / n_ratings)


class UserColumnsRanking:
    """nDCG@10 of the lists of items that users have not rated in the task, ratings three quarters up being relevant.

    Users are the columns: the lists of a user are made where his or her column is.
    """

    def __init__(self, task: Task, valid: sparse.csr_array, settings: TrainSettings) -> None:
        self._task, self._process_group = task, task.share.process_group
        self._protocol = RankingProtocol(LIST_LENGTH, default_relevance(task.rating_scale))
        self._rows_at_once = settings.batch_size
        users = _with_relevant(valid, self._protocol.relevant_from)
        self._users, self._n_judged = self._some_users(users, settings.seed)
        self._valid, self._seen = valid[self._users], task.ratings[self._users]
        _, self._item_counts = task.counts(settings.variant)
        popularity = self._item_counts.astype(np.float32)
        self._baseline = self._judge(lambda users: np.tile(popularity, (len(users), 1)))

    def measure(self, engine: Engine) -> Validated:
        """nDCG@10, the mean over the judged users."""
        if self._n_judged == 0:
            return Validated(METRIC, math.nan, math.nan, None)
        network = engine.network()
        items = codes(network, self._task.inputs, self._rows_at_once, process_group=self._process_group).numpy()
        users = network.decoder_weight.numpy()[self._users]  # a user's own bias moves the whole list
        return Validated(METRIC, self._judge(lambda index: users[index] @ items.T), self._baseline, None)

    def _some_users(self, users: Array, seed: int) -> tuple[Array, int]:
        """Those of `users` that are among at most JUDGED_USERS of all processes, and how many these are."""
        share = self._task.share
        in_runs = np.bincount(share.runs_of(share.columns[users]), minlength=len(share.owners))
        in_runs = self._process_group.sum(in_runs).astype(np.int64)
        judged = _some(int(in_runs.sum()), seed)
        starts = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(in_runs)])
        own = [
            np.arange(starts[run], starts[run + 1]) for run in np.flatnonzero(share.owners == self._process_group.rank)
        ]
        return users[np.isin(np.concatenate([np.empty(0, dtype=np.int64), *own]), judged)], len(judged)

    def _judge(self, score: UserScorer) -> float:
        metrics = judge(score, self._valid, self._seen, self._item_counts, self._protocol)
        n_users = metrics.get("n_users", 0)
        total, n_judged = self._process_group.sum(np.array([metrics.get(METRIC, 0.0) * n_users, n_users]))
        return float(total / n_judged) if n_judged else math.nan


class ItemColumnsRanking:
    """The same where items are the columns: each process lists its own items, and the lists are merged."""

    def __init__(self, task: Task, valid: sparse.csr_array, settings: TrainSettings) -> None:
        self._task, self._process_group = task, task.share.process_group
        self._protocol = RankingProtocol(LIST_LENGTH, default_relevance(task.rating_scale))
        self._rows_at_once = settings.batch_size
        relevant = np.zeros(valid.shape[0])
        relevant[_with_relevant(valid, self._protocol.relevant_from)] = 1
        users = np.flatnonzero(self._process_group.max(relevant))
        self._users = users[_some(len(users), settings.seed)]
        self._valid, self._seen = valid[self._users], task.ratings[self._users]
        _, self._item_counts = task.counts(settings.variant)
        popularity = self._item_counts.astype(np.float32)
        self._baseline = self._judge(lambda users: np.tile(popularity, (len(users), 1)))

    def measure(self, engine: Engine) -> Validated:
        """nDCG@10, the mean over the judged users."""
        if len(self._users) == 0:
            return Validated(METRIC, math.nan, math.nan, None)
        network = engine.network()
        users = codes(network, self._task.inputs, self._rows_at_once, self._users, self._process_group).numpy()
        weight, bias = network.decoder_weight.numpy(), network.decoder_bias.numpy()
        value = self._judge(lambda index: users[index] @ weight.T + bias)
        return Validated(METRIC, value, self._baseline, None)

    def _judge(self, score: UserScorer) -> float:
        if len(self._users) == 0:
            return math.nan
        own = list_items(score, self._valid, self._seen, self._item_counts, self._protocol)
        names = np.append(self._task.share.columns, 0).astype(np.int64)  # the last is that of NO_ITEM
        scores, numbers, hits = (
            np.concatenate(self._process_group.all_gather(part), axis=1)
            for part in (own.scores, names[own.items], own.hits)
        )
        order = np.lexsort((numbers, -scores), axis=1)[:, :LIST_LENGTH]  # as `lists.top_k` orders
        merged = np.take_along_axis(hits, order, axis=1)
        return float(RANKING_METRICS["ndcg"](merged, self._process_group.sum(own.n_relevant).astype(np.int64)).mean())


def _with_relevant(valid: sparse.csr_array, relevant_from: float) -> Array:
    """user_index of the users with a relevant rating, ascending."""
    return np.unique(row_indices(valid)[valid.data >= relevant_from])


def _some(n_users: int, seed: int) -> Array:
    """Which of `n_users` users are judged, at most JUDGED_USERS, ascending."""
    if n_users <= JUDGED_USERS:
        return np.arange(n_users)
    return np.sort(np.random.default_rng(seed).choice(n_users, JUDGED_USERS, replace=False))


def _slope(outputs: Array, targets: Array, process_group: ProcessGroup = SINGLE_PROCESS) -> float:
    """The least-squares factor of all processes' `outputs` (n,), not below 0, as if some more had met their targets."""
    outputs = outputs.astype(np.float64)
    square, product, n_outputs = process_group.sum(
        np.array([outputs @ outputs, outputs @ targets, len(outputs)])
    ).tolist()
    if not 0 < square < math.inf:
        return 1.0
    agreeing = square * AGREEING / n_outputs
    return float(max(0.0, product + agreeing) / (square + agreeing))
