"""Training of the networks of a model, and their combination.

Those that predict ratings become a weighted mean; the one that ranks stands beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import sparse

from autorec_cli.config import Hyperparameters
from autorec_cli.csr import Array
from autorec_cli.evaluation.metrics import LEAST_PAIRS
from autorec_cli.inference.blending import Blend, best_weights
from autorec_cli.inference.joint import JointModel
from autorec_cli.inference.model import Model
from autorec_cli.inference.scorer import Scorer
from autorec_cli.training.checkpoints.checkpoint import Selection
from autorec_cli.training.export import metrics_of, to_model
from autorec_cli.training.loop.epoch_result import EpochResult
from autorec_cli.training.loop.phases import Fitted, NetworkTraining
from autorec_cli.training.loop.validation import ValidationResult

Provenance = dict[str, Any]


@dataclass(frozen=True)
class TrainedNetworks:
    """Model of one or more networks.

    Attributes:
        model: A `Model`, a `Blend` of several, or a `JointModel` of both objectives.
        validations: Result of each objective before the refit; none without validation ratings.
    """

    model: Scorer
    validations: tuple[ValidationResult, ...]


def fit_networks(
    trainings: Sequence[NetworkTraining],
    describe: Callable[[Fitted], Provenance],
    weights: Sequence[float] | None = None,
) -> Generator[EpochResult, None, TrainedNetworks]:
    """Train the networks of a model, first those that predict ratings.

    Args:
        trainings: One for each network, all of one dataset; at most one ranks, and it is the last.
        describe: Makes the provenance of a fitted network.
        weights: Weights of the networks if validation ratings are too few to fit them to; by default equal ones.

    Yields:
        One result after each epoch of each network.

    Raises:
        TrainingDivergedError: the loss is not finite.
        UsageError: the train split is empty.
    """
    raters = [training for training in trainings if training.settings.objective == "rating"]
    if len(raters) in (0, len(trainings)):
        return (yield from _fit_part(trainings, describe, weights))
    # The network that ranks is the last, and has no part in the mean that the weights are for.
    rating = yield from _fit_part(raters, describe, weights and weights[: len(raters)])
    ranking = yield from _fit_part(trainings[len(raters) :], describe, None)
    return _joined(rating, ranking)


def _joined(rating: TrainedNetworks, ranking: TrainedNetworks) -> TrainedNetworks:
    rater, ranker = rating.model.rater, ranking.model
    assert isinstance(rater, Model | Blend)
    assert isinstance(ranker, Model)
    provenance = joint_provenance([(part.provenance, part.networks[0].settings) for part in (rater, ranker)])
    # As it will be read: a file has one provenance for all its networks.
    if isinstance(rater, Blend):
        rater = replace(rater, provenance=provenance)
    return TrainedNetworks(JointModel(rater, ranker, provenance), rating.validations + ranking.validations)


def joint_provenance(parts: Sequence[tuple[Mapping[str, Any], Hyperparameters]]) -> Provenance:
    """Provenance of a joint model.

    `parts` are the provenance of each, and the settings of its first network.
    """
    joined = {
        **parts[0][0],
        "metrics": {name: value for provenance, _ in parts for name, value in provenance["metrics"].items()},
        "networks": [network for part in parts for network in networks_of(*part)],
    }
    joined.pop("epochs", None)  # each network has its own
    return joined


def _fit_part(
    trainings: Sequence[NetworkTraining],
    describe: Callable[[Fitted], Provenance],
    weights: Sequence[float] | None,
) -> Generator[EpochResult, None, TrainedNetworks]:
    """Train networks of one objective and average their predictions.

    Weights are fitted on the validation set between the phases, as the refit learns from its ratings. A network without
    weight is not refitted, and is no part of the model.
    """
    selections = []
    for training in trainings:
        selections.append((yield from training.select()))
    dataset = trainings[0].dataset
    validations = [selection.validation for selection in selections if selection.validation]
    # From fewer ratings chance would choose the weights.
    if validations and len(trainings) > 1 and dataset.valid.nnz >= LEAST_PAIRS:
        weights = best_weights(_predictions(validations), dataset.valid.data).tolist()
    weights = weights or [1 / len(trainings)] * len(trainings)
    models: list[Model] = []
    for training, selection, weight in zip(trainings, selections, weights, strict=True):
        if weight:
            fitted = yield from training.finish(selection)
            models.append(to_model(fitted, dataset, training.settings, describe(fitted)))
            del fitted  # the next network needs its memory
    blended = (_blended(validations, weights, dataset.valid),) if validations else ()
    if len(trainings) == 1:
        return TrainedNetworks(models[0], blended)
    facts = [
        _facts(training, selection, weight)
        for training, selection, weight in zip(trainings, selections, weights, strict=True)
    ]
    provenance = {**models[0].provenance, "metrics": metrics_of(*blended), "networks": facts}
    if len(models) == 1:
        return TrainedNetworks(replace(models[0], provenance=provenance), blended)
    del provenance["epochs"]
    blend = Blend(tuple(models), tuple(weight for weight in weights if weight), provenance)
    return TrainedNetworks(blend, blended)


def networks_of(provenance: Mapping[str, Any], settings: Hyperparameters) -> list[dict[str, Any]]:
    """Facts of the networks that were trained for a model.

    They are weight, epochs, validation metric and settings.

    Args:
        provenance: Of the model.
        settings: Of its network, if only one was trained.
    """
    if "networks" in provenance:
        networks: list[dict[str, Any]] = provenance["networks"]
        return networks
    return [
        {"weight": 1.0, "epochs": provenance["epochs"], **provenance["metrics"], "settings": settings.to_document()}
    ]


def _facts(training: NetworkTraining, selection: Selection, weight: float) -> dict[str, Any]:
    metrics = metrics_of(selection.validation)
    return {"weight": weight, "epochs": selection.epoch, **metrics, "settings": training.settings.to_document()}


def _blended(
    validations: Sequence[ValidationResult], weights: Sequence[float], valid: sparse.csr_array
) -> ValidationResult:
    """Result of the weighted mean of networks."""
    if len(validations) == 1:
        return validations[0]
    predictions = _predictions(validations) @ np.array(weights)
    rmse = float(np.sqrt(np.mean(np.square(predictions - valid.data))))
    return ValidationResult("rmse", rmse, validations[0].baseline, predictions.astype(np.float32))


def _predictions(validations: Sequence[ValidationResult]) -> Array:
    """Predictions of the validation ratings, (n_valid, n_networks) float64."""
    columns = [result.predictions for result in validations if result.predictions is not None]
    return np.stack(columns, axis=1).astype(np.float64)
