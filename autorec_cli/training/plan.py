"""Plan of a training run: hyperparameters, size and memory."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from autorec_cli.config import Hyperparameters
from autorec_cli.csr import distinct_values, moments_of, power_sums
from autorec_cli.data.dataset import Dataset
from autorec_cli.defaults import MAX_LEVELS, RatingFacts
from autorec_cli.errors import UsageError
from autorec_cli.network.memory_estimate import Need, Shape, available, require_memory, training_need
from autorec_cli.training.settings import TrainSettings

if TYPE_CHECKING:
    from autorec_cli.network.device import Place

logger = logging.getLogger(__name__)


def complete(settings: TrainSettings, dataset: Dataset) -> Hyperparameters:
    """Fill in the defaults for `dataset`."""
    return settings.complete((dataset.n_users, dataset.n_items), dataset.train.nnz, _facts(dataset))


def _facts(dataset: Dataset) -> RatingFacts:
    ratings = dataset.train.data
    # Levels of both, as the refit learns from both.
    levels = [distinct_values(part.data, MAX_LEVELS) for part in (dataset.train, dataset.valid)]
    n_levels = len(distinct_values(np.concatenate(levels), MAX_LEVELS))
    return RatingFacts(*moments_of(len(ratings), *power_sums(ratings).tolist()), n_levels)


def networks_for(settings: TrainSettings, dataset: Dataset) -> tuple[Hyperparameters, ...]:
    """Fill in the defaults of each network to train on `dataset`.

    Raises:
        UsageError: several networks are to be averaged, and there is no validation set to weigh them on.
    """
    has_validation = dataset.valid.nnz > 0
    if settings.averaged_by and not has_validation:
        raise UsageError(f"{settings.averaged_by} needs validation ratings; give --valid a fraction above 0")
    return complete_networks(settings, shape_of(dataset), _facts(dataset), can_blend=has_validation)


def complete_networks(
    settings: TrainSettings, shape: Shape, facts: RatingFacts, can_blend: bool
) -> tuple[Hyperparameters, ...]:
    """Fill in the defaults of each network to train.

    On interactions, which are ratings of one value, that is only one that ranks.
    """
    suitable = _suitable(settings, shape.n_train, facts)
    if suitable is not settings:  # it is the same object where nothing changes
        logger.info("there are interactions and no ratings to predict: the model only ranks")
    return suitable.networks((shape.n_users, shape.n_items), shape.n_train, facts, can_blend=can_blend)


def objectives_for(settings: TrainSettings, dataset: Dataset) -> tuple[str, ...]:
    """Objectives of the networks to train on `dataset`."""
    return _suitable(settings, dataset.train.nnz, _facts(dataset)).objectives


def _suitable(settings: TrainSettings, n_ratings: int, facts: RatingFacts) -> TrainSettings:
    """Settings without the rating objective for interactions.

    Settings of a single objective stay as they are.
    """
    # A single rating has no deviation either, and may still be one.
    has_ratings = n_ratings < 2 or facts.deviation > 0
    return settings if has_ratings or len(settings.objectives) == 1 else replace(settings, objective="ranking")


def check_memory(dataset: Dataset, networks: Sequence[Hyperparameters], place: Place) -> None:
    """Check that training fits into memory.

    Raises:
        NotEnoughMemoryError: it does not.
    """
    require_memory(training_need(shape_of(dataset), networks, place.engine), available(place.device), networks)


def shape_of(dataset: Dataset) -> Shape:
    """Size of a dataset."""
    n_ratings = (dataset.train.nnz, dataset.valid.nnz, dataset.test.nnz)
    return Shape(dataset.n_users, dataset.n_items, *n_ratings)


@dataclass(frozen=True)
class TrainingPlan:
    """Facts of a run before it starts.

    Attributes:
        networks: Hyperparameters of each network.
        shape: Size of the dataset.
        device: Device and engine: "cpu (compiled)", or "2 x cpu (compiled)" for two processes.
        need: Memory that this process will need.
        free: Memory that is available to it.
        feedback: "ratings" or "interactions".
    """

    networks: Sequence[Hyperparameters]
    shape: Shape
    device: str
    need: Need
    free: Need
    feedback: str = "ratings"

    def n_examples(self, settings: Hyperparameters) -> int:
        """Number of training examples of a network."""
        return self.shape.n_items if settings.variant == "item" else self.shape.n_users

    def layer_sizes(self, settings: Hyperparameters) -> tuple[int, ...]:
        """Units of all layers of a network, input and output included."""
        n_columns = self.shape.n_users if settings.variant == "item" else self.shape.n_items
        return (n_columns, *settings.layer_sizes, n_columns)
