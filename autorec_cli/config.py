"""Hyperparameters of a model, and checks of option values.

`TrainSettings` of `training.settings` are what was given; these are completed for a dataset.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from autorec_cli.defaults import CONTINUED_EPOCHS
from autorec_cli.errors import UsageError

VARIANTS = ("item", "user")
BOTH = "both"
"""As a variant: a network of each, whose predictions are averaged. As an objective: networks of each, in one model."""
HIDDEN_ACTIVATIONS = ("sigmoid", "tanh", "relu", "elu", "identity")
OUTPUT_ACTIVATIONS = ("identity", "sigmoid", "ordinal")
CENTERS = ("none", "global", "item", "user", "both")
OBJECTIVES = ("rating", "ranking")
AUTO = "auto"
"""Variant chosen by the shape of the ratings; see `defaults.default_variants`."""

MAX_SEED = 2**63 - 1


def require_choice(flag: str, value: str, choices: Iterable[str]) -> None:
    """Check that the option `flag` has one of its values.

    Raises:
        UsageError: it has not.
    """
    if value not in (choices := tuple(choices)):
        raise UsageError(f"{flag} must be one of {', '.join(choices)}, not {value!r}")


def require_count(flag: str, value: int, minimum: int) -> None:
    """Check that the option `flag` is at least `minimum`.

    Raises:
        UsageError: it is less.
    """
    if value < minimum:
        raise UsageError(f"{flag} must be a whole number from {minimum}, not {value}")


def _require_range(flag: str, value: float, minimum: float, exclusive: bool = False) -> None:
    if not math.isfinite(value) or value < minimum or (exclusive and value == minimum):
        raise UsageError(f"{flag} must be a number {'above' if exclusive else 'from'} {minimum}, not {value}")


@dataclass(frozen=True)
class Hyperparameters:
    """Hyperparameters that, with the data, determine a model.

    Attributes:
        variant: "item" (one example per item, the paper's I-AutoRec) or "user".
        objective: "rating": the paper's loss, over rated cells only; "ranking": every other cell is a weak observation
            of `missing_value`, so outputs are scores that order items, not ratings.
        hidden_sizes: Units of each hidden layer, from input to output.
        hidden_activation: The paper's g.
        output_activation: The paper's f; "sigmoid" is stretched to the range of the training targets; "ordinal" gives
            the expected rating of a model of the rating levels, see `network.ordinal`.
        regularization: The paper's lambda: loss = sum of squared errors + lambda/2 * (|V|^2 + |W|^2), with ratings
            measured in quarters of the rating scale's width (1 to 5 is taken as it is).
        dropout: Fraction of an example's ratings hidden from the input, drawn anew at each step.
        implicit: Feed the network a rated/unrated mask as well; see `network.encoder_input`.
        normalize: Scale every example's input to the same Euclidean norm, so that many ratings do not saturate the
            hidden units.
        decoder_mean: Shrink decoder rows toward a learned mean instead of zero.
        missing_weight: Weight of an unrated cell, where a rating has 1; above 0 for "ranking" only.
        missing_value: Rating imputed for unrated cells; None for "rating".
        linear_units: Hidden units in closed form, added to those of `hidden_sizes` when they are trained; above 0 for
            "ranking" by users only. See `network.linear_units`.
        center: Damped means to subtract from the ratings and add back to the predictions.
        learning_rate: Peak learning rate of Adam (warm-up, then cosine decay over the epochs of a phase).
        batch_size: Examples (rows) per step.
        epochs: Maximum number of epochs.
        patience: Early stopping after this many epochs without a better validation metric; 0 never stops early.
        refit: Fit the final model on the training and validation sets together.
        seed: Seeds initial weights and the order of examples.

    Raises:
        UsageError: a value is out of range; the message names the option.
    """

    variant: str
    objective: str
    hidden_sizes: tuple[int, ...]
    hidden_activation: str
    output_activation: str
    regularization: float
    dropout: float
    implicit: bool
    normalize: bool
    decoder_mean: bool
    missing_weight: float
    missing_value: float | None
    linear_units: int
    center: str
    learning_rate: float
    batch_size: int
    epochs: int
    patience: int
    refit: bool
    seed: int

    def __post_init__(self) -> None:
        require_choice("--variant", self.variant, VARIANTS)
        require_choice("--objective", self.objective, OBJECTIVES)
        require_choice("--hidden-activation", self.hidden_activation, HIDDEN_ACTIVATIONS)
        require_choice("--output-activation", self.output_activation, OUTPUT_ACTIVATIONS)
        require_choice("--center", self.center, CENTERS)
        if not self.hidden_sizes or min(self.hidden_sizes) < 1:
            given = ",".join(map(str, self.hidden_sizes))
            raise UsageError(f"--hidden-size must be one or more whole numbers from 1, not {given!r}")
        _require_range("--regularization", self.regularization, minimum=0)
        if not 0 <= self.dropout < 1:
            raise UsageError(f"--dropout must be in [0, 1), not {self.dropout}")
        self._check_objective()
        _require_range("--learning-rate", self.learning_rate, minimum=0, exclusive=True)
        require_count("--batch-size", self.batch_size, minimum=1)
        require_count("--epochs", self.epochs, minimum=1)
        require_count("--patience", self.patience, minimum=0)
        require_count("--seed", self.seed, minimum=0)
        if self.seed > MAX_SEED:
            raise UsageError(f"--seed must be at most {MAX_SEED}, not {self.seed}")

    def _check_objective(self) -> None:
        require_count("--linear-units", self.linear_units, minimum=0)
        if self.linear_units and self.lacks_for_linear_units:
            raise UsageError(f"--linear-units needs {self.lacks_for_linear_units}")
        if self.objective == "rating":
            if self.output_activation == "ordinal" and not self.decoder_mean:
                raise UsageError("--no-decoder-mean needs --output-activation identity or sigmoid")
            if self.missing_weight or self.missing_value is not None:
                raise UsageError("--missing-weight and --missing-value need --objective ranking")
            return
        _require_range("--missing-weight", self.missing_weight, minimum=0, exclusive=True)
        if self.missing_value is None or not math.isfinite(self.missing_value):
            raise UsageError(f"--missing-value must be a number, not {self.missing_value}")
        if self.output_activation != "identity":
            raise UsageError("--objective ranking needs --output-activation identity")
        if self.decoder_mean:
            raise UsageError("--decoder-mean needs --objective rating; leave it out, or pass --no-decoder-mean")
        if self.center != "none":
            raise UsageError("--objective ranking needs --center none: ratings are measured from --missing-value")

    @property
    def lacks_for_linear_units(self) -> str | None:
        """Requirement of linear units that these settings lack, if any.

        See `network.linear_units`.
        """
        needs = {
            "--objective ranking": self.objective == "ranking",
            "--variant user": self.variant == "user",
            "one hidden layer": len(self.hidden_sizes) == 1,
            "--hidden-activation sigmoid": self.hidden_activation == "sigmoid",
            "--no-implicit": not self.implicit,
        }
        return next((need for need, is_met in needs.items() if not is_met), None)

    @property
    def layer_sizes(self) -> tuple[int, ...]:
        """Units of each hidden layer of the trained model, linear ones included."""
        return (*self.hidden_sizes[:-1], self.hidden_sizes[-1] + self.linear_units)

    @property
    def n_channels(self) -> int:
        """Input channels per output column.

        2 with the implicit channel, else 1.
        """
        return 2 if self.implicit else 1

    @property
    def continues(self) -> bool:
        """True if a refit begins with the selected network.

        The first takes fewer epochs. Recommendations get better by it, and predictions of the item variant are as good,
        but not those of the user variant (docs/notes/defaults.md).
        """
        return self.refit and (self.objective == "ranking" or self.variant == "item")

    def refit_epochs(self, selected: int) -> int:
        """Number of epochs of the refit after the selected epoch."""
        return math.ceil(CONTINUED_EPOCHS * selected) if self.continues else selected

    def to_document(self) -> dict[str, Any]:
        """Convert to JSON types."""
        return {**asdict(self), "hidden_sizes": list(self.hidden_sizes)}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Hyperparameters:
        """Invert `to_document`.

        Raises:
            KeyError: a setting is missing.
        """
        # Models without linear units may come from before there were any.
        document = {"linear_units": 0, **document}
        values = {field.name: document[field.name] for field in fields(cls)}
        return cls(**{**values, "hidden_sizes": tuple(values["hidden_sizes"])})


def check_device(name: str) -> None:
    """Check the name of a device, present or not.

    Raises:
        UsageError: it is not.
    """
    kind, _, number = name.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (":" in name and (kind != "cuda" or not number.isdigit())):
        raise UsageError(f"--device must be auto, cpu, cuda or cuda:N, not {name!r}")


def parse_hidden_sizes(text: str) -> tuple[int, ...]:
    """Parse `500` or `500,250,500`.

    Raises:
        UsageError: it is not a comma-separated list of whole numbers.
    """
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        advice = f"--hidden-size must be a whole number or a list such as 500,250,500, not {text!r}"
        raise UsageError(advice) from None
