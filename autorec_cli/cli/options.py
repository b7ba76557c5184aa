"""The options of training, declared once for every command that trains.

A command takes them as one parameter, `training: TrainingOptions`; `with_training_options` puts the options in its
place. To add one, add a field: named like a setting of `TrainSettings`, it reaches that setting.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from autorec_cli import config
from autorec_cli.config import DEFAULTS, MAX_BATCH_SIZE, RANKING_DEFAULTS, REGULARIZATION, parse_hidden_sizes

Threads = Annotated[int, typer.Option(help="CPU threads; 0: one per core.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N; auto takes CUDA if there is one.")]


def _default(name: str) -> str:
    """A default that depends on the objective, for the help."""
    return f"{DEFAULTS[name]:g}; {RANKING_DEFAULTS[name]:g} for ranking"


@dataclass(frozen=True)
class TrainingOptions:
    """What was asked of training, as it was typed; None is what was left to the data."""

    objective: Annotated[
        str,
        typer.Option(
            help="rating: predict ratings, the paper's loss; ranking: make lists, cells without a rating count as weak "
            "observations and outputs are scores."
        ),
    ] = DEFAULTS["objective"]
    variant: Annotated[
        str | None,
        typer.Option(
            help="item: one example per item (the paper's I-AutoRec); user: one per user.",
            show_default="item; user for the ranking objective",
        ),
    ] = None
    hidden_size: Annotated[
        str, typer.Option(help="Units of the hidden layer; a comma list such as 500,250,500 is the deep form.")
    ] = ",".join(map(str, DEFAULTS["hidden_sizes"]))
    hidden_activation: Annotated[str, typer.Option(help=f"The paper's g: {', '.join(config.HIDDEN_ACTIVATIONS)}.")] = (
        DEFAULTS["hidden_activation"]
    )
    output_activation: Annotated[
        str, typer.Option(help=f"The paper's f: {', '.join(config.OUTPUT_ACTIVATIONS)} (stretched to the scale).")
    ] = DEFAULTS["output_activation"]
    regularization: Annotated[
        float | None,
        typer.Option(
            help="The paper's lambda: sum of squared errors + lambda/2 (|V|^2 + |W|^2), ratings in quarters of their "
            "scale's width, so that 1 to 5 is taken as it is.",
            show_default=f"{REGULARIZATION:g} times the root of an example's ratings; "
            f"{RANKING_DEFAULTS['regularization']:g} for ranking",
        ),
    ] = None
    dropout: Annotated[
        float | None,
        typer.Option(
            help="Share of an example's ratings hidden from the network's input, drawn anew in each step.",
            show_default=_default("dropout"),
        ),
    ] = None
    normalize: Annotated[
        bool | None,
        typer.Option(
            "--normalize/--no-normalize",
            help="Scale the input of every example to the same length.",
            show_default="yes",
        ),
    ] = None
    implicit: Annotated[
        bool | None,
        typer.Option(
            "--implicit/--no-implicit",
            help="Show the network which cells are rated, besides how, as SVD++ does.",
            show_default="yes; no for ranking",
        ),
    ] = None
    decoder_mean: Annotated[
        bool | None,
        typer.Option(
            "--decoder-mean/--no-decoder-mean",
            help="Draw the rows of W to a mean learned beside them, and not to 0.",
            show_default="yes; no for ranking",
        ),
    ] = None
    missing_weight: Annotated[
        float | None,
        typer.Option(
            help="Ranking: what a cell without a rating counts, beside 1 for a rating.",
            show_default=f"{RANKING_DEFAULTS['missing_weight']:g} for ranking",
        ),
    ] = None
    missing_value: Annotated[
        float | None,
        typer.Option(
            help="Ranking: the rating that such a cell is taken for.",
            show_default="a quarter of the scale's width below its lower end: 0 for 1 to 5",
        ),
    ] = None
    center: Annotated[
        str | None,
        typer.Option(
            help=f"Damped means to subtract from the input and add back: {', '.join(config.CENTERS)}.",
            show_default=f"{DEFAULTS['center']}; {RANKING_DEFAULTS['center']} for ranking",
        ),
    ] = None
    learning_rate: Annotated[
        float, typer.Option(help="Adam's largest step; it rises from 0, then falls to 0 along a cosine.")
    ] = DEFAULTS["learning_rate"]
    batch_size: Annotated[
        int | None,
        typer.Option(help="Examples per step.", show_default=f"an eighth of the examples, {MAX_BATCH_SIZE:,} at most"),
    ] = None
    epochs: Annotated[
        int | None, typer.Option(help="Passes over the data at most.", show_default=_default("epochs"))
    ] = None
    patience: Annotated[
        int, typer.Option(help="Epochs without a better validation result before choosing stops; 0: never.")
    ] = DEFAULTS["patience"]
    refit: Annotated[
        bool,
        typer.Option(
            "--refit/--no-refit", help="Fit the final model on train and valid together for the epochs chosen."
        ),
    ] = DEFAULTS["refit"]
    seed: Annotated[int, typer.Option(help="Seed of initial weights and of the order of examples.")] = DEFAULTS["seed"]
    threads: Threads = 0
    device: Device = "auto"

    def given(self) -> dict[str, object]:
        """The settings among them by the names of `TrainSettings`, without the variant.

        Raises:
            UsageError: --hidden-size is not a comma list of whole numbers.
        """
        settings = {name: getattr(self, name) for name in OPTIONS if name not in NO_SETTINGS}
        return {"hidden_sizes": parse_hidden_sizes(self.hidden_size), **settings}


OPTIONS = inspect.signature(TrainingOptions, eval_str=True).parameters
NO_SETTINGS = ("variant", "hidden_size", "threads", "device")
"""Options that are no setting of the same name."""


def with_training_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """`command` with one parameter an option in place of its parameter `training`."""

    def run(**values: Any) -> Any:  # noqa: ANN401
        asked = {name: values.pop(name) for name in OPTIONS}
        return command(training=TrainingOptions(**asked), **values)

    declared = inspect.signature(command, eval_str=True).parameters
    parameters: list[inspect.Parameter] = []
    for name, parameter in declared.items():
        parameters += OPTIONS.values() if name == "training" else [parameter]
    keyword_only = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
    run.__signature__ = inspect.Signature(keyword_only)  # type: ignore[attr-defined]
    run.__doc__ = command.__doc__
    return run
