"""Promotion of a new model (`train --keep-if-better`).

It replaces the current one unless it is worse beyond the noise.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autorec_cli.data.dataset import Dataset
from autorec_cli.errors import ArtifactError, UsageError
from autorec_cli.evaluation.gates import check_metric
from autorec_cli.evaluation.metrics import LEAST_PAIRS
from autorec_cli.evaluation.ranking import DEFAULT_K, RankingProtocol
from autorec_cli.inference.files import model_file
from autorec_cli.inference.scorer import Scorer

if TYPE_CHECKING:
    from autorec_cli.evaluation.comparison import Comparison

logger = logging.getLogger(__name__)

FLAG = "--keep-if-better"

STANDARD_METRICS = {"rating": "rmse", "ranking": f"ndcg@{DEFAULT_K}"}
"""Metric of each objective."""


@dataclass(frozen=True)
class Promotion:
    """Decision between a new model and the current one.

    Attributes:
        reason: Why the current model was kept; None if the new one replaces it. The caller adds what to do about it.
        n_pairs: Test ratings on which both were measured.
        comparisons: By metric.
        deficits: Loss of the new model against the best one ever promoted, by metric.
    """

    reason: str | None = None
    n_pairs: int = 0
    comparisons: Mapping[str, Comparison] = field(default_factory=dict)
    deficits: Mapping[str, float] = field(default_factory=dict)

    def to_document(self) -> dict[str, Any]:
        """Entries of the summary, as JSON types."""
        metrics = {
            metric: {
                "new": found.new,
                "current": found.current,
                "loss": found.loss.value,
                "noise": found.noise,
                "deficit": self.deficits[metric],
            }
            for metric, found in self.comparisons.items()
        }
        return {
            "promoted": self.reason is None,
            "promotion": {"reason": self.reason, "n_pairs": self.n_pairs, "metrics": metrics},
        }


def load_current(path: Path, dataset: Dataset, metric: str, objectives: Collection[str]) -> Scorer | None:
    """Load the current model, to compare a new one with it.

    None if there is none yet.

    Args:
        path: Model file that will be replaced.
        dataset: Its test set is compared on.
        metric: Value of --keep-if-better.
        objectives: "rating", "ranking" or both; those of the new model.

    Raises:
        UsageError: the metric is unknown or does not suit the objectives, or there is no test set.
        ArtifactError: the current model cannot be read, or has no such metric.
    """
    from autorec_cli.evaluation.comparison import has_user_values

    is_ranking_metric = check_metric(metric, DEFAULT_K, FLAG)
    if not has_user_values(metric):
        raise UsageError(f"{FLAG} {metric} cannot be compared user by user; use rmse, mae or ndcg@{DEFAULT_K}")
    if not is_ranking_metric and "rating" not in objectives:
        raise UsageError(f"{FLAG} {metric} needs predicted ratings, a ranking model has scores; use ndcg@{DEFAULT_K}")
    if not dataset.test.nnz:
        raise UsageError(f"{FLAG} compares models on test ratings, and the dataset has none; prepare it with --test")
    current = model_file.load_model(path) if path.exists() else None
    if current is not None and not _metrics(metric, objectives, current):
        raise ArtifactError(
            f"{path} is a ranking model, whose scores have no {metric}; use {FLAG} ndcg@{DEFAULT_K}, or --force"
        )
    return current


def _metrics(metric: str, objectives: Collection[str], current: Scorer) -> Sequence[str]:
    """Metrics to compare both models by.

    They are `metric`, and the standard ones of the other objectives that both have. Empty if the current model has no
    such metric, and no objective in common with a new one of these `objectives`.
    """
    objective = "ranking" if "@" in metric else "rating"
    named = [metric] if objective == "ranking" or current.predicts_ratings else []
    others = sorted((_objectives(current) & set(objectives)) - {objective})
    return [*named, *(STANDARD_METRICS[other] for other in others)]


def _objectives(model: Scorer) -> set[str]:
    return {network.settings.objective for network in model.networks}


def compare_with_current(
    model: Scorer, current: Scorer | None, dataset: Dataset, metric: str, tolerance: float
) -> Promotion:
    """Compare both models on test ratings new to both.

    The current one is aligned by ids.

    Args:
        model: The new model.
        current: The model in use; None if there is none yet.
        dataset: Test ratings, and the users and items of the new model.
        metric: Value of --keep-if-better.
        tolerance: See `decide`.
    """
    from autorec_cli.training.retraining.known_ratings import with_unseen_test

    if current is None:
        return Promotion()
    user_ids, item_ids = (table["id"].to_list() for table in (dataset.users, dataset.items))
    aligned = current.aligned(user_ids, item_ids)
    dataset = with_unseen_test(dataset, aligned)
    n_pairs = int(dataset.test.nnz)
    # Rather the model that has proved itself than one chosen by a few ratings.
    if n_pairs < LEAST_PAIRS:
        return Promotion(
            f"comparing the models needs {LEAST_PAIRS} test ratings that the current one has not seen, and there are "
            f"{n_pairs}",
            n_pairs,
        )
    metrics = _metrics(metric, _objectives(model), current)
    comparisons = _compare(model, aligned, dataset, metrics)
    if not comparisons:
        return Promotion(
            f"none of the {n_pairs:,} test ratings is relevant, so {' and '.join(metrics)} cannot be measured",
            n_pairs,
        )
    return replace(decide(comparisons, current.provenance.get("promotion", {}), tolerance), n_pairs=n_pairs)


def _compare(model: Scorer, current: Scorer, dataset: Dataset, metrics: Sequence[str]) -> dict[str, Comparison]:
    """Compare by each of `metrics` that some user has a value of."""
    from autorec_cli.evaluation.comparison import compare
    from autorec_cli.evaluation.measurement import measure

    protocol = RankingProtocol.for_scale(dataset.rating_scale) if any("@" in metric for metric in metrics) else None
    new, old, *_baselines = measure([("new", model), ("current", current)], dataset, "test", protocol)
    comparisons = {metric: compare(new, old, metric) for metric in metrics}
    return {metric: found for metric, found in comparisons.items() if not math.isnan(found.loss.value)}


def decide(comparisons: Mapping[str, Comparison], before: Mapping[str, float], tolerance: float) -> Promotion:
    """Decide by the losses of the new model, by any metric.

    Args:
        comparisons: By metric.
        before: Losses of the current model against the best one ever promoted, by metric.
        tolerance: Largest such loss of a model that replaces another, as a share of the metric. Losses within the noise
            could otherwise add up night after night.
    """
    # Metrics of different nights' test sets cannot be compared, so differences on the same set are chained.
    deficits = {name: max(0.0, before.get(name, 0.0) + found.loss.value) for name, found in comparisons.items()}
    problems = []
    for name, found in comparisons.items():
        values = f"{name} of the new model is {found.new:.6g}, of the current one {found.current:.6g}"
        if found.is_worse:
            problems.append(f"{values}: worse by {found.loss.value:.2g}, more than chance explains ({found.noise:.2g})")
        # A better model is welcome however good an earlier one was.
        elif found.loss.value > 0 and deficits[name] > tolerance * found.current:
            problems.append(
                f"{values}: {deficits[name]:.2g} worse than the best model so far, more than the tolerance of "
                f"{tolerance:g} allows ({tolerance * found.current:.2g})"
            )
    return Promotion("; ".join(problems) or None, 0, comparisons, {**before, **deficits})


def log_replacement(promotion: Promotion, output: Path) -> None:
    """Log by which metrics the model at `output` is replaced."""
    if promotion.reason is None and promotion.comparisons:
        values = ", ".join(
            f"{name} {found.new:.6g} against {found.current:.6g} of the current model"
            for name, found in promotion.comparisons.items()
        )
        logger.info(f"{values}, on {promotion.n_pairs:,} test ratings that neither has seen: replacing {output}")
