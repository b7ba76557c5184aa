"""Settings as frozen dataclasses: checked where they are made, saved beside the weights they led to."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from autorec_cli.errors import UsageError

VARIANTS = ("item", "user")
HIDDEN_ACTIVATIONS = ("sigmoid", "tanh", "relu", "elu", "identity")
OUTPUT_ACTIVATIONS = ("identity", "sigmoid")
CENTERS = ("none", "global", "item", "user", "both")
OBJECTIVES = ("rating", "ranking")
OBJECTIVE_VARIANTS = {"rating": "item", "ranking": "user"}
"""Which variant suits an objective best."""

DEFAULTS: Mapping[str, Any] = {
    "objective": "rating",
    "hidden_sizes": (500,),
    "hidden_activation": "sigmoid",
    "output_activation": "identity",
    "dropout": 0.0,
    "center": "both",
    "implicit": True,
    "normalize": True,
    "decoder_mean": True,
    "missing_weight": 0.0,
    "missing_value": None,
    "learning_rate": 0.003,
    "epochs": 30,
    "patience": 0,
    "refit": True,
    "seed": 0,
}
"""What is used where the caller says nothing. How it was chosen: docs/notes/defaults.md."""

RANKING_DEFAULTS: Mapping[str, Any] = {
    "regularization": 150.0,
    "dropout": 0.5,
    "center": "none",
    "implicit": False,
    "decoder_mean": False,
    "missing_weight": 0.5,
    "epochs": 30,
}
"""What the ranking objective uses instead."""

WARM_EPOCHS = 10
"""What training that starts from an older model uses instead; docs/benchmarks.md has the measurements."""

MAX_SEED = 2**63 - 1
MAX_BATCH_SIZE = 1024
STEPS_PER_EPOCH = 8
REGULARIZATION = 14.0
"""lambda of a dataset whose examples have one rating each; see `default_regularization`."""


def default_batch_size(n_examples: int) -> int:
    """An eighth of the examples, so that few examples still give enough steps; 1,024 at most."""
    return min(MAX_BATCH_SIZE, -(-n_examples // STEPS_PER_EPOCH))


def default_regularization(ratings_per_example: float) -> float:
    """In proportion to the root of an example's ratings, to two digits.

    The norm of an input grows with that root, so that the weights which make hidden units of one strength of it shrink
    with it, and a penalty that shall weigh as much has to grow.
    """
    return float(f"{REGULARIZATION * math.sqrt(ratings_per_example):.2g}")


@dataclass(frozen=True)
class TrainSettings:
    """Everything that decides what a model becomes, apart from the data.

    Attributes:
        variant: "item" (one example per item, the paper's I-AutoRec) or "user".
        objective: "rating": the paper's loss, over rated cells only; "ranking": every other cell counts too, as a weak
            observation of `missing_value`, so that outputs are scores to rank by and no ratings.
        hidden_sizes: Units of each hidden layer, from input to output.
        hidden_activation: The paper's g.
        output_activation: The paper's f; "sigmoid" is stretched to the range of the training targets.
        regularization: The paper's lambda: loss = sum of squared errors + lambda/2 * (|V|^2 + |W|^2), with ratings
            measured in quarters of the rating scale's width (so that 1 to 5 is taken as it is).
        dropout: Share of an example's ratings hidden from the network's input, drawn anew at each step.
        implicit: Whether the network's input says which cells are rated, besides how; see `inputs.Inputs`.
        normalize: Whether the input of every example is scaled to the same Euclidean norm, so that many ratings do not
            saturate the hidden units.
        decoder_mean: Whether the penalty draws the rows of W to a mean that is learned beside them, and not to 0.
        missing_weight: What a cell without a rating counts beside 1 for a rating; above 0 for "ranking" only.
        missing_value: The rating that such a cell is taken for; None for "rating".
        center: Which damped means are subtracted from the ratings and added back to the predictions.
        learning_rate: Adam's largest step; it rises from 0, then falls to 0 along half a cosine over `epochs`.
        batch_size: Examples (rows) per step.
        epochs: Passes over the examples at most.
        patience: Epochs without a better validation RMSE after which choosing stops; 0 never stops early.
        refit: Whether the final model is fitted on train and valid together once `epochs` is chosen.
        seed: Seeds initial weights and the order of examples.

    Raises:
        UsageError: a value is outside its range; the message names the flag.
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
    center: str
    learning_rate: float
    batch_size: int
    epochs: int
    patience: int
    refit: bool
    seed: int

    def __post_init__(self) -> None:
        _require_choice("--variant", self.variant, VARIANTS)
        _require_choice("--objective", self.objective, OBJECTIVES)
        _require_choice("--hidden-activation", self.hidden_activation, HIDDEN_ACTIVATIONS)
        _require_choice("--output-activation", self.output_activation, OUTPUT_ACTIVATIONS)
        _require_choice("--center", self.center, CENTERS)
        if not self.hidden_sizes or min(self.hidden_sizes) < 1:
            given = ",".join(map(str, self.hidden_sizes))
            raise UsageError(f"--hidden-size must be one or more whole numbers from 1, not {given!r}")
        _require_range("--regularization", self.regularization, minimum=0)
        if not 0 <= self.dropout < 1:
            raise UsageError(f"--dropout must be a share from 0 to less than 1, not {self.dropout}")
        self._check_objective()
        _require_range("--learning-rate", self.learning_rate, minimum=0, exclusive=True)
        _require_count("--batch-size", self.batch_size, minimum=1)
        _require_count("--epochs", self.epochs, minimum=1)
        _require_count("--patience", self.patience, minimum=0)
        _require_count("--seed", self.seed, minimum=0)
        if self.seed > MAX_SEED:
            raise UsageError(f"--seed must be at most {MAX_SEED}, not {self.seed}")

    def _check_objective(self) -> None:
        if self.objective == "rating":
            if self.missing_weight or self.missing_value is not None:
                raise UsageError("--missing-weight and --missing-value need --objective ranking")
            return
        _require_range("--missing-weight", self.missing_weight, minimum=0, exclusive=True)
        if self.missing_value is None or not math.isfinite(self.missing_value):
            raise UsageError(f"--missing-value must be a number, not {self.missing_value}")
        if self.output_activation != "identity":
            raise UsageError("--objective ranking needs --output-activation identity")
        if self.decoder_mean:
            raise UsageError("--decoder-mean is for --objective rating; leave it out, or say --no-decoder-mean")
        if self.center != "none":
            raise UsageError("--objective ranking measures ratings from --missing-value, so --center must be none")

    @property
    def n_channels(self) -> int:
        """Columns of the network's input for each column of its output; see `inputs.Inputs`."""
        return 2 if self.implicit else 1

    def to_document(self) -> dict[str, Any]:
        """The settings as JSON types."""
        return {**asdict(self), "hidden_sizes": list(self.hidden_sizes)}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> TrainSettings:
        """The inverse of `to_document`; models of before there was a `decoder_mean` have none.

        Raises:
            KeyError: a setting is missing.
        """
        document = {"decoder_mean": False, **document}
        values = {field.name: document[field.name] for field in fields(cls)}
        return cls(**{**values, "hidden_sizes": tuple(values["hidden_sizes"])})


def settings_for(
    variant: str | None,
    shape: tuple[int, int],
    n_ratings: int,
    given: Mapping[str, object],
    rating_scale: tuple[float, float] = (1.0, 5.0),
) -> TrainSettings:
    """Settings of `variant`: those in `given` that are not None, defaults for the others.

    Args:
        variant: "item", "user", or None for the one that suits the objective.
        shape: (n_users, n_items) of the ratings, which some defaults depend on.
        n_ratings: Training ratings.
        given: Values by the names of `TrainSettings`.
        rating_scale: Of the dataset; by default a cell without a rating counts as one step, a quarter of the scale's
            width, below its lower end.

    Raises:
        UsageError: a value is outside its range.
    """
    ranking = given.get("objective") == "ranking"
    if variant is None:
        variant = OBJECTIVE_VARIANTS.get(str(given.get("objective", DEFAULTS["objective"])), VARIANTS[0])
    _require_choice("--variant", variant, VARIANTS)
    n_users, n_items = shape
    n_examples = n_items if variant == "item" else n_users
    values: dict[str, Any] = {
        **DEFAULTS,
        "regularization": default_regularization(n_ratings / n_examples),
        "batch_size": default_batch_size(n_examples),
    }
    if ranking:
        low, high = rating_scale
        values |= {**RANKING_DEFAULTS, "missing_value": low - (high - low) / 4}
    values |= {name: value for name, value in given.items() if value is not None}
    return TrainSettings(variant=variant, **values)


def check_given(variant: str | None, given: Mapping[str, object], device: str) -> None:
    """Check what was asked of training before there is a dataset, on which only defaults depend.

    Args:
        variant: As `settings_for` takes it.
        given: The same.
        device: As in `training.resolve_device`.

    Raises:
        UsageError: a value is outside its range.
    """
    settings_for(variant, (1, 1), 1, given)
    check_device(device)


def check_device(name: str) -> None:
    """Check that `name` is that of a device, whether or not it is here.

    Raises:
        UsageError: it is not.
    """
    kind, _, number = name.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (":" in name and (kind != "cuda" or not number.isdigit())):
        raise UsageError(f"--device must be auto, cpu, cuda or cuda:N, not {name!r}")


def parse_hidden_sizes(text: str) -> tuple[int, ...]:
    """Read `500` or `500,250,500`.

    Raises:
        UsageError: it is not a comma list of whole numbers.
    """
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        advice = f"--hidden-size must be a whole number or a comma list such as 500,250,500, not {text!r}"
        raise UsageError(advice) from None


def _require_choice(flag: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UsageError(f"{flag} must be one of {', '.join(choices)}, not {value!r}")


def _require_count(flag: str, value: int, minimum: int) -> None:
    if value < minimum:
        raise UsageError(f"{flag} must be a whole number from {minimum}, not {value}")


def _require_range(flag: str, value: float, minimum: float, exclusive: bool = False) -> None:
    if not math.isfinite(value) or value < minimum or (exclusive and value == minimum):
        raise UsageError(f"{flag} must be a number {'above' if exclusive else 'from'} {minimum}, not {value}")
