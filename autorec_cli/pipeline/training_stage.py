"""Training stage of a run.

It makes a new model, or keeps the current one if that is better.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from autorec_cli.config import Hyperparameters
from autorec_cli.data.dataset import Dataset
from autorec_cli.errors import ArtifactError, InputDataError, UsageError
from autorec_cli.inference.scorer import Scorer
from autorec_cli.pipeline.finished_training import Recorder, decision_of, find_decision, training_identity
from autorec_cli.runtime.process_group import SINGLE_PROCESS
from autorec_cli.storage.files import replace_file
from autorec_cli.training.checkpoints.resume import checkpoint_path
from autorec_cli.training.plan import networks_for, objectives_for
from autorec_cli.training.request import Resume, TrainRequest
from autorec_cli.training.retraining.warm_start import OlderModel, load_older_model, require_common_ids
from autorec_cli.training.settings import TrainSettings
from autorec_cli.training.train import Reporter, train_to_file

logger = logging.getLogger(__name__)

LEAST_COMMON = 0.5
"""Fraction of the span of two rating scales that both share; with less, a kept model would predict on another scale."""


@dataclass(frozen=True)
class TrainingStage:
    """Training of a run.

    Attributes:
        request: To `train_to_file`.
        current: Model that the new one is compared with; None if there is none.
        metric: Metric to compare them by.
        identity: See `finished_training.training_identity`.
    """

    request: TrainRequest
    current: Path | None
    metric: str
    identity: Mapping[str, Any]


def plan_training(request: TrainRequest, current: Path | None, dataset: Dataset, warm_start: bool) -> TrainingStage:
    """Decide what to train, to start from and to compare with.

    Args:
        request: Data, output and options; `keep_if_better` is None for the metric that suits the objective, and with
            `force` nothing is compared.
        current: Published model, if any.
        dataset: The data.
        warm_start: Start from the published model, if it can be read and its networks are those of the options.

    Raises:
        UsageError: the options do not suit the dataset.
    """
    settings = request.settings
    older = None if current is None else _load(current)
    if older is not None and (difference := _difference(older.scorer, dataset)) is not None:
        logger.warning(f"training starts from scratch, and the new model replaces the current one: {difference}")
        older = None
    warm_start = warm_start and not settings.ensemble  # whose networks differ in their seeds
    networks = _networks_of(older, settings, dataset) if older is not None and warm_start else None
    # The output is in a new generation, where nothing is replaced; `train_or_keep` sets the comparison.
    training = replace(
        request,
        warm_start=None if networks is None else current,
        resume=Resume.IF_POSSIBLE if checkpoint_path(request.output).exists() else Resume.NO,
        force=True,
        keep_if_better=None,
    )
    completed = networks or networks_for(settings, dataset)
    objectives = {network.objective for network in completed}
    metric = request.keep_if_better or ("rmse" if objectives == {"rating"} else "ndcg@10")
    compares = older is not None and not request.force and bool(dataset.test.nnz)
    comparable = older is not None and ("@" in metric or older.scorer.predicts_ratings)
    compared = current if compares and comparable else None
    uses = (networks is not None, compared is not None, metric, request.tolerance)
    checksum = older.checksum if older is not None and any(uses[:2]) else None
    return TrainingStage(training, compared, metric, training_identity(request.data, completed, checksum, uses))


def _load(current: Path) -> OlderModel | None:
    """Load the published model.

    None if it cannot be used, as after an upgrade.

    Raises:
        ArtifactError: the disk fails or denies it.
    """
    try:
        return load_older_model(current)
    except ArtifactError as problem:
        if isinstance(problem.__cause__, OSError):  # it may be whole, and nothing should be published without it
            raise
        logger.warning(f"training starts from scratch, as the current model cannot be used: {problem}")
        return None


def _difference(current: Scorer, dataset: Dataset) -> str | None:
    """Reason that the published model cannot be kept.

    It is about `dataset`; None if the model can be kept.
    """
    if set(current.catalog.user_ids).isdisjoint(dataset.users["id"].to_list()):
        return "it knows none of these users"
    if set(current.catalog.item_ids).isdisjoint(dataset.items["id"].to_list()):
        return "it knows none of these items"
    if current.rater is None:
        return None
    (low, high), (old_low, old_high) = dataset.rating_scale, current.rater.catalog.rating_scale
    common, whole = min(high, old_high) - max(low, old_low), max(high, old_high) - min(low, old_low)
    if common < LEAST_COMMON * whole:
        return f"its ratings go from {old_low:g} to {old_high:g}, and these from {low:g} to {high:g}"
    return None


def _networks_of(older: OlderModel, settings: TrainSettings, dataset: Dataset) -> tuple[Hyperparameters, ...] | None:
    """Networks of a warm start, if one is possible.

    None if the options, the ids or the objectives are others.
    """
    try:
        for model in older.scorer.networks:
            require_common_ids(model, dataset.users["id"].to_list(), dataset.items["id"].to_list(), older.path)
        networks = older.completed(settings, dataset)
    except (ArtifactError, InputDataError, UsageError) as problem:
        logger.warning(f"training starts from scratch: {problem}")
        return None
    lacking = set(objectives_for(settings, dataset)) - {network.objective for network in networks}
    if lacking:
        logger.warning(f"training starts from scratch: the current model has no network for {lacking.pop()}s")
        return None
    return networks


def train_or_keep(stage: TrainingStage, reporter: Reporter) -> dict[str, Any]:
    """Train a model, or keep the current one if that is better.

    Returns:
        `promoted`, true if the output is the new one, and `promotion`: see `Promotion.to_document`; None if nothing
        was compared.

    Raises:
        Stopped: a signal came; a checkpoint is kept.
    """
    request = stage.request
    decision = find_decision(request.output, stage.identity)
    if decision is None:
        if stage.current is not None:  # it is compared in the place that it loses or keeps
            with stage.current.open("rb") as source, replace_file(request.output) as copy:
                shutil.copyfileobj(source, copy)
            request = replace(request, keep_if_better=stage.metric)
        summary = train_to_file(request, SINGLE_PROCESS, Recorder(stage.identity, reporter))
        decision = {name: summary.get(name, default) for name, default in decision_of(None).items()}
    if not decision["promoted"]:
        promotion = decision["promotion"]
        advice = (
            "check the ratings, or use --force to publish the new model all the same"
            if promotion["metrics"]
            else "use --split stable and a larger --test, and --force once"
        )
        logger.warning(f"kept the model of the last run: {promotion['reason']}; {advice}")
    return decision
