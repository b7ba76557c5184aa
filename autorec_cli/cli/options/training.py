"""Options of every command that trains, declared once.

To add one, add a field: named like one of `TrainSettings`, it sets that one.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated

import typer

from autorec_cli.cli.options.declaration import ADVANCED, NETWORK, OPTIMIZER, OneOf
from autorec_cli.cli.options.shared import Device, Threads, Variant
from autorec_cli.config import (
    AUTO,
    BOTH,
    CENTERS,
    HIDDEN_ACTIVATIONS,
    OBJECTIVES,
    OUTPUT_ACTIVATIONS,
    parse_hidden_sizes,
)
from autorec_cli.defaults import (
    DEFAULTS,
    DROPOUTS,
    ITEM_EPOCHS,
    LEARNING_RATES,
    LINEAR_UNITS,
    MAX_BATCH_SIZE,
    MAX_HIDDEN_SIZE,
    MAX_LEVELS,
    MAX_USERS_PER_ITEM,
    PRESETS,
    RANKING_DEFAULTS,
)
from autorec_cli.training.settings import TrainSettings


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """Values as given; None is derived from the data."""

    preset: Annotated[
        str | None,
        typer.Option(
            help="Hyperparameters in place of the defaults, which other options override. paper: the published model. "
            "fast: fewer epochs. best: networks of both variants in several sizes and inputs, averaged. "
            "`autorec config show train --preset NAME` shows the values.",
            show_default="default",
        ),
        OneOf(tuple(PRESETS)),
    ] = None
    objective: Annotated[
        str | None,
        typer.Option(
            help="rating: predict ratings, with the paper's loss. ranking: score items for recommendations; unrated "
            "cells count as weak observations. both: networks of each in one model, which rates and ranks.",
            show_default=BOTH,
        ),
        OneOf((BOTH, *OBJECTIVES)),
    ] = None
    variant: Variant = AUTO
    seed: Annotated[
        int, typer.Option(metavar="N", help="Random seed for initial weights and the order of examples.")
    ] = DEFAULTS["seed"]
    threads: Threads = 0
    device: Device = "auto"
    hidden_size: Annotated[
        str | None,
        typer.Option(
            metavar="N[,N...]",
            help="Units of the hidden layer, or of several layers: 500,250,500.",
            show_default=f"{MAX_HIDDEN_SIZE}; for ratings fewer if they are few",
            rich_help_panel=NETWORK,
        ),
    ] = None
    hidden_activation: Annotated[
        str,
        typer.Option(help="Activation of the hidden layers (g in the paper).", rich_help_panel=NETWORK),
        OneOf(HIDDEN_ACTIVATIONS),
    ] = DEFAULTS["hidden_activation"]
    output_activation: Annotated[
        str | None,
        typer.Option(
            help="Activation of the output layer (f in the paper); sigmoid is stretched to the rating scale, ordinal "
            "gives the expected rating of a model of the levels.",
            show_default=f"ordinal for ratings of at most {MAX_LEVELS} levels, else identity",
            rich_help_panel=NETWORK,
        ),
        OneOf(OUTPUT_ACTIVATIONS),
    ] = None
    center: Annotated[
        str | None,
        typer.Option(
            help="Damped means to subtract from the input and add back to the output.",
            show_default=f"{DEFAULTS['center']}; {RANKING_DEFAULTS['center']} for rankings",
            rich_help_panel=NETWORK,
        ),
        OneOf(CENTERS),
    ] = None
    dropout: Annotated[
        float | None,
        typer.Option(
            metavar="FRACTION",
            help="Fraction of an example's ratings hidden from the input, redrawn at each step.",
            show_default=f"{DROPOUTS[0]}; {DROPOUTS[1]} by user with over {MAX_USERS_PER_ITEM} users per item; "
            f"{RANKING_DEFAULTS['dropout']} for rankings",
            rich_help_panel=NETWORK,
        ),
    ] = None
    regularization: Annotated[
        float | None,
        typer.Option(
            metavar="LAMBDA",
            help="L2 penalty (lambda in the paper): loss = sum of squared errors + lambda/2 (|V|^2 + |W|^2), with "
            "ratings in quarters of the scale's width, so that 1 to 5 stays as it is.",
            show_default="ratings / sqrt(users x items)",
            rich_help_panel=OPTIMIZER,
        ),
    ] = None
    learning_rate: Annotated[
        float | None,
        typer.Option(
            metavar="RATE",
            help="Peak learning rate of Adam (warm-up, then cosine decay).",
            show_default="0.1 / epochs, from {} to {}".format(*LEARNING_RATES),
            rich_help_panel=OPTIMIZER,
        ),
    ] = None
    batch_size: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Examples per step.",
            show_default=f"1/8 of the examples or less, {MAX_BATCH_SIZE:,} at most, or more with few ratings each",
            rich_help_panel=OPTIMIZER,
        ),
    ] = None
    epochs: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Maximum number of epochs.",
            show_default=f"{DEFAULTS['epochs']}; {ITEM_EPOCHS} for ratings by item",
            rich_help_panel=OPTIMIZER,
        ),
    ] = None
    patience: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Stop the early-stopping phase after this many epochs without a better validation result; 0 never "
            "stops early.",
            show_default=f"{DEFAULTS['patience']}; {RANKING_DEFAULTS['patience']} for rankings",
            rich_help_panel=OPTIMIZER,
        ),
    ] = None
    refit: Annotated[
        bool | None,
        typer.Option(
            "--refit/--no-refit",
            help="Refit on the training and validation sets together, as long as the best epoch tells.",
            show_default="yes",
            rich_help_panel=OPTIMIZER,
        ),
    ] = None
    normalize: Annotated[
        bool | None,
        typer.Option(
            "--normalize/--no-normalize",
            help="Scale the input of every example to the same length.",
            show_default="yes",
            rich_help_panel=ADVANCED,
        ),
    ] = None
    implicit: Annotated[
        bool | None,
        typer.Option(
            "--implicit/--no-implicit",
            help="Also feed the network a rated/unrated mask, as SVD++ does.",
            show_default="yes; no for rankings",
            rich_help_panel=ADVANCED,
        ),
    ] = None
    decoder_mean: Annotated[
        bool | None,
        typer.Option(
            "--decoder-mean/--no-decoder-mean",
            help="Shrink decoder rows toward a learned mean instead of zero.",
            show_default="yes; no for rankings",
            rich_help_panel=ADVANCED,
        ),
    ] = None
    missing_weight: Annotated[
        float | None,
        typer.Option(
            metavar="WEIGHT",
            help="Ranking: weight of an unrated cell, where a rating has 1.",
            show_default=f"{RANKING_DEFAULTS['missing_weight']:g} for rankings",
            rich_help_panel=ADVANCED,
        ),
    ] = None
    missing_value: Annotated[
        float | None,
        typer.Option(
            metavar="RATING",
            help="Ranking: value imputed for unrated cells.",
            show_default="3.2 standard deviations below the mean rating",
            rich_help_panel=ADVANCED,
        ),
    ] = None

    linear_units: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Ranking by users: hidden units computed in closed form when the others are trained; 0 for none.",
            show_default=f"{LINEAR_UNITS}; as many as users or items if one of these is at most {2 * LINEAR_UNITS:,}",
            rich_help_panel=ADVANCED,
        ),
    ] = None

    def settings(self) -> TrainSettings:
        """Hyperparameters as given.

        Raises:
            UsageError: a value is out of range.
        """
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in NO_SETTINGS}
        values["variant"] = None if self.variant == AUTO else self.variant
        sizes = None if self.hidden_size is None else parse_hidden_sizes(self.hidden_size)
        return TrainSettings(hidden_sizes=sizes, **values)


NO_SETTINGS = ("hidden_size", "threads", "device")
"""Options of training that are not settings of the same name."""
