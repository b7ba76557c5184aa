"""Search space: hyperparameters that `tune` tries, and their ranges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from autorec_cli.config import CENTERS, Hyperparameters, require_count
from autorec_cli.data.dataset import Dataset
from autorec_cli.defaults import MAX_BATCH_SIZE
from autorec_cli.training.plan import check_memory, complete
from autorec_cli.training.settings import TrainSettings

if TYPE_CHECKING:
    from autorec_cli.network.device import Place

LEAST_BATCH = 16


@dataclass(frozen=True)
class Limits:
    """Bounds of the search.

    Attributes:
        objective: "rating", which minimizes RMSE, or "ranking", which maximizes nDCG@10.
        variants: "item", "user" or both.
        max_hidden_size: Largest hidden layer.
        max_epochs: Maximum number of epochs of a trial.
        seed: Seed of the proposals and of every training.
    """

    objective: str
    variants: tuple[str, ...]
    max_hidden_size: int
    max_epochs: int
    seed: int

    def __post_init__(self) -> None:
        require_count("--max-hidden-size", self.max_hidden_size, minimum=1)
        require_count("--max-epochs", self.max_epochs, minimum=1)


def space(limits: Limits, dataset: Dataset) -> dict[str, BaseDistribution]:
    """Names of hyperparameters, and their ranges.

    `hidden_size` stands for a single hidden layer.
    """
    batch = _max_batch(dataset)
    typical = complete(TrainSettings(objective=limits.objective), dataset).regularization
    of_objective: dict[str, BaseDistribution] = {"center": CategoricalDistribution(CENTERS)}
    if limits.objective == "ranking":
        of_objective = {"missing_weight": FloatDistribution(0.02, 2, log=True)}
    return {
        "variant": CategoricalDistribution(limits.variants),
        "hidden_size": IntDistribution(min(16, limits.max_hidden_size), limits.max_hidden_size, log=True),
        # Logarithmic where factors matter and not differences.
        "regularization": FloatDistribution(typical / 30, typical * 30, log=True),
        "dropout": FloatDistribution(0, 0.8),
        **of_objective,
        "learning_rate": FloatDistribution(3e-4, 3e-2, log=True),
        "batch_size": IntDistribution(min(LEAST_BATCH, batch), batch, log=True),
        "epochs": IntDistribution(min(10, limits.max_epochs), limits.max_epochs),
    }


def to_settings(params: Mapping[str, Any], dataset: Dataset, limits: Limits) -> Hyperparameters:
    """Hyperparameters of a trial, rounded to three digits."""
    given: dict[str, Any] = {
        # Three digits are all that a search can tell, and a command that one can read.
        name: float(f"{value:.3g}") if isinstance(value, float) else value
        for name, value in params.items()
    }
    hidden_sizes = (given.pop("hidden_size"),)
    settings = TrainSettings(objective=limits.objective, hidden_sizes=hidden_sizes, seed=limits.seed, **given)
    return complete(settings, dataset)


def largest(dataset: Dataset, limits: Limits) -> list[Hyperparameters]:
    """Hyperparameters of each variant that need the most memory."""
    maximum = {"hidden_size": limits.max_hidden_size, "batch_size": _max_batch(dataset)}
    return [to_settings({"variant": variant, **maximum}, dataset, limits) for variant in limits.variants]


def check_memory_of_largest(dataset: Dataset, limits: Limits, place: Place) -> None:
    """Check that every trial will fit into memory.

    Raises:
        NotEnoughMemoryError: one may not.
    """
    for settings in largest(dataset, limits):
        check_memory(dataset, [settings], place)


def default_values(variant: str, dataset: Dataset, limits: Limits) -> dict[str, Any]:
    """Defaults of a variant, clipped to the limits."""
    settings = TrainSettings(variant=variant, objective=limits.objective)
    epochs = min(complete(settings, dataset).epochs, limits.max_epochs)
    # Learning rate and batch size follow the number of epochs.
    defaults = complete(replace(settings, epochs=epochs), dataset)
    rating = limits.objective == "rating"
    return {
        "variant": variant,
        "hidden_size": min(defaults.hidden_sizes[0], limits.max_hidden_size),
        "regularization": defaults.regularization,
        "dropout": defaults.dropout,
        **({"center": defaults.center} if rating else {"missing_weight": defaults.missing_weight}),
        "learning_rate": defaults.learning_rate,
        "batch_size": min(max(defaults.batch_size, LEAST_BATCH), _max_batch(dataset)),
        "epochs": epochs,
    }


def _max_batch(dataset: Dataset) -> int:
    return min(MAX_BATCH_SIZE, max(dataset.n_users, dataset.n_items))
