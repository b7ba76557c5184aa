"""Promotion (`train --keep-if-better`): a new model replaces the current one only if it is no worse."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from autorec_cli.data.dataset import Dataset
from autorec_cli.errors import ArtifactError, QualityGateError, UsageError
from autorec_cli.evaluation.gates import check_metric, is_worse
from autorec_cli.evaluation.metrics import LEAST_PAIRS
from autorec_cli.evaluation.ranking import DEFAULT_K, RankingProtocol
from autorec_cli.inference import model_file
from autorec_cli.inference.scorer import Scorer

logger = logging.getLogger(__name__)

FLAG = "--keep-if-better"


def load_current(path: Path, dataset: Dataset, metric: str, objective: str) -> Scorer | None:
    """Load the current model and check that a new one can be compared with it; None if there is none yet.

    Raises:
        UsageError: the metric is unknown or does not suit `objective`, or there is no test set.
        ArtifactError: the current model cannot be read, or has no such metric.
    """
    is_ranking_metric = check_metric(metric, DEFAULT_K, FLAG)
    if objective != "rating" and not is_ranking_metric:
        raise UsageError(f"{FLAG} {metric} needs predicted ratings, a ranking model has scores; use ndcg@{DEFAULT_K}")
    if not dataset.test.nnz:
        raise UsageError(f"{FLAG} compares models on test ratings, and the dataset has none; prepare it with --test")
    current = model_file.load_model(path) if path.exists() else None
    if current is not None and not (current.predicts_ratings or is_ranking_metric):
        raise ArtifactError(
            f"{path} is a ranking model, whose scores have no {metric}; use {FLAG} ndcg@{DEFAULT_K}, or --force"
        )
    return current


def require_no_worse(model: Scorer, current: Scorer, dataset: Dataset, metric: str, path: Path) -> None:
    """Compare both models on test ratings that neither was fitted to; the current one is aligned by ids.

    On a dataset other than its own, the current model may know every rating it has seen. Only unseen pairs count then,
    unless a stable split has kept every rating in its split.

    Raises:
        QualityGateError: the new model is worse, or there are too few such ratings.
    """
    from autorec_cli.evaluation.measurement import metric_rows
    from autorec_cli.inference.alignment import unseen
    from autorec_cli.training.known_ratings import keeps_splits

    user_ids, item_ids = (table["id"].to_list() for table in (dataset.users, dataset.items))
    aligned = current.aligned(user_ids, item_ids)
    models = [("new", model), ("old", aligned)]
    # On ratings that it was trained on, the old model would win every time.
    if not keeps_splits(current.provenance, dataset):
        dataset = replace(dataset, test=unseen(dataset.test, aligned.catalog.seen))
    n_pairs = int(dataset.test.nnz)
    # Rather the model that has proved itself than one chosen by a few ratings.
    if n_pairs < LEAST_PAIRS:
        raise QualityGateError(
            f"{path} was kept: comparing the models needs {LEAST_PAIRS} test ratings that the old one has not seen, "
            f"and there are {n_pairs}; gather more ratings, or use --force instead of {FLAG}"
        )
    is_ranking_metric = check_metric(metric, DEFAULT_K, FLAG)
    protocol = RankingProtocol.for_scale(dataset.rating_scale) if is_ranking_metric else None
    new, old, *_ = metric_rows(models, dataset, "test", protocol)
    values = ", ".join(f"{row['model']} model {row[metric]:.6g}" for row in (new, old) if metric in row)
    if is_worse(metric, new, old):
        raise QualityGateError(
            f"{path} was kept: the new model is worse on the test ratings ({metric}: {values or 'not measured'}); "
            f"train with other options, or use --force instead of {FLAG}"
        )
    logger.info(f"{metric} on {n_pairs:,} test ratings that neither model has seen: {values}; replacing {path}")
