"""Settings of a training, as given, and their completion for a dataset."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from autorec_cli.config import BOTH, OBJECTIVES, VARIANTS, Hyperparameters, require_choice
from autorec_cli.defaults import (
    DEFAULTS,
    NO_FACTS,
    PRESETS,
    RANKING_DEFAULTS,
    RatingFacts,
    default_batch_size,
    default_dropout,
    default_epochs,
    default_hidden_size,
    default_learning_rate,
    default_linear_units,
    default_missing_value,
    default_output_activation,
    default_regularization,
    default_variant,
    default_variants,
    ratings_per_side,
)
from autorec_cli.errors import InputDataError, UsageError

OF_OBJECTIVE = {
    "rating": ("output_activation", "center", "implicit", "decoder_mean", "ensemble"),
    "ranking": ("missing_weight", "missing_value", "linear_units"),
}
"""Hyperparameters that are given for networks of one objective only, where a model has both."""


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """Hyperparameters to train with; None takes the default that suits the data.

    The attributes are those of `Hyperparameters`; `variant` and `objective` may also be "both", the default objective.
    `ensemble` holds hyperparameters of further networks that predict ratings, each trained in each variant; all
    predictions are averaged. `preset` is a name of `defaults.PRESETS`, whose values take the place of those that are
    not given. Values are checked when the settings are made.

    Raises:
        UsageError: a value is out of range; the message names the option.
    """

    preset: str | None = None
    variant: str | None = None
    objective: str | None = None
    hidden_sizes: Sequence[int] | None = None
    ensemble: Sequence[Mapping[str, Any]] | None = None
    hidden_activation: str | None = None
    output_activation: str | None = None
    regularization: float | None = None
    dropout: float | None = None
    implicit: bool | None = None
    normalize: bool | None = None
    decoder_mean: bool | None = None
    missing_weight: float | None = None
    missing_value: float | None = None
    linear_units: int | None = None
    center: str | None = None
    learning_rate: float | None = None
    batch_size: int | None = None
    epochs: int | None = None
    patience: int | None = None
    refit: bool | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        if self.preset is not None:
            require_choice("--preset", self.preset, PRESETS)
            for name, value in PRESETS[self.preset].items():
                if getattr(self, name) is None:
                    object.__setattr__(self, name, value)
            # Or copies with other values would be filled in again.
            object.__setattr__(self, "preset", None)
        if self.variant is not None:
            require_choice("--variant", self.variant, (*VARIANTS, BOTH))
        if self.objective is not None:
            require_choice("--objective", self.objective, (*OBJECTIVES, BOTH))
        # Any dataset does: this checks what was given, before hours are spent on reading.
        self.networks((1, 1), 1)

    def __repr__(self) -> str:
        given = [f"{name}={value!r}" for name, value in vars(self).items() if value is not None]
        return f"TrainSettings({', '.join(given)})"

    @property
    def objectives(self) -> tuple[str, ...]:
        """Objectives of the networks."""
        return OBJECTIVES if self.objective in (None, BOTH) else (str(self.objective),)

    @property
    def averaged_by(self) -> str:
        """Option that asks for an average of networks.

        For messages; empty without one.
        """
        return f"--variant {BOTH}" if self.variant == BOTH else "an ensemble" if self.ensemble else ""

    def of_objective(self, objective: str) -> TrainSettings:
        """Settings of the networks with one of the `objectives`."""
        if len(self.objectives) == 1:
            return self
        others = {name: None for other in OBJECTIVES if other != objective for name in OF_OBJECTIVE[other]}
        # Two variants are for ratings only: scores of rankings cannot be averaged.
        variant = None if objective == "ranking" and self.variant == BOTH else self.variant
        return replace(self, objective=objective, variant=variant, **others)

    def networks(
        self, shape: tuple[int, int], n_ratings: int, ratings: RatingFacts = NO_FACTS, *, can_blend: bool = True
    ) -> tuple[Hyperparameters, ...]:
        """Fill in the defaults for each network to train.

        Those that predict ratings come first.

        Args:
            shape: (n_users, n_items) of the ratings.
            n_ratings: Training ratings.
            ratings: Their distribution.
            can_blend: Train both variants where that is better. It needs a validation set.

        Raises:
            UsageError: both variants are to rank; scores of rankings cannot be averaged.
        """
        networks: list[Hyperparameters] = []
        for objective in self.objectives:
            settings = self.of_objective(objective)
            variants = settings._variants(objective, shape, n_ratings, can_blend)
            for others in ({}, *(settings.ensemble or ())):
                networks += [settings._complete(variant, others, shape, n_ratings, ratings) for variant in variants]
        return tuple(networks)

    def _variants(self, objective: str, shape: tuple[int, int], n_ratings: int, can_blend: bool) -> tuple[str, ...]:
        if self.variant == BOTH:
            if objective == "ranking":
                raise UsageError(f"--variant {BOTH} needs --objective rating: ranking scores cannot be averaged")
            return VARIANTS
        if self.variant is not None:
            return (self.variant,)
        return default_variants(objective, *shape, n_ratings) if can_blend else (default_variant(objective, *shape),)

    def complete(self, shape: tuple[int, int], n_ratings: int, ratings: RatingFacts = NO_FACTS) -> Hyperparameters:
        """Fill in the defaults of a single network.

        It predicts ratings if the objective is "both".

        Args:
            shape: (n_users, n_items) of the ratings.
            n_ratings: Training ratings.
            ratings: Their distribution.
        """
        objective = self.objectives[0]
        settings = self.of_objective(objective)
        variant = settings.variant or default_variant(objective, *shape)
        return settings._complete(variant, {}, shape, n_ratings, ratings)

    def _complete(
        self, variant: str, others: Mapping[str, Any], shape: tuple[int, int], n_ratings: int, ratings: RatingFacts
    ) -> Hyperparameters:
        """Hyperparameters of a network of the given variant.

        `others` are further ones that were given. There is a single objective.
        """
        objective = self.objectives[0]
        given = {**vars(self), **others}
        given = {field.name: given[field.name] for field in fields(Hyperparameters) if given[field.name] is not None}
        if "hidden_sizes" in given:
            given["hidden_sizes"] = _sizes(given["hidden_sizes"])
        defaults = {**DEFAULTS, "epochs": default_epochs(objective, variant)}
        if objective == "rating" and n_ratings > 1 and ratings.deviation == 0:
            raise InputDataError(
                f"all {n_ratings:,} training ratings are {ratings.mean:g}, and equal ratings teach nothing; "
                "learn which items users choose with --objective ranking"
            )
        if objective == "ranking":
            defaults |= {**RANKING_DEFAULTS, "missing_value": default_missing_value(ratings.mean, ratings.deviation)}
        # An ordinal output shrinks toward means in any case, which --no-decoder-mean forbids.
        elif given.get("decoder_mean") is not False:
            defaults["output_activation"] = default_output_activation(ratings.n_levels)
        n_users, n_items = shape
        per_side = ratings_per_side(n_users, n_items, n_ratings)
        # Wrong numbers are refused below; here they only must not break the rules.
        epochs = max(1, given.get("epochs", defaults["epochs"]))
        of_data = {
            "learning_rate": default_learning_rate(epochs),
            "batch_size": default_batch_size(n_items if variant == "item" else n_users, n_ratings, epochs),
            "regularization": default_regularization(per_side),
            "hidden_sizes": (default_hidden_size(per_side),),
            "dropout": default_dropout(variant, n_users, n_items),
        }
        # Fixed defaults win over rules: the ranking objective has a hidden size of its own.
        settings = Hyperparameters(**{**of_data, **defaults, **given, "objective": objective, "variant": variant})
        if settings.lacks_for_linear_units:
            return settings
        # There are no more singular vectors than users or items.
        n_units = min(given.get("linear_units", default_linear_units(*shape)), *shape)
        return replace(settings, linear_units=n_units)


def _sizes(sizes: Sequence[int]) -> tuple[int, ...]:
    if isinstance(sizes, str) or not isinstance(sizes, Iterable):
        raise UsageError(f"hidden_sizes must be a list of whole numbers, such as [500], not {sizes!r}")
    return tuple(sizes)
