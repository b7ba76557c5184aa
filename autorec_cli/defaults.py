"""Default hyperparameters: fixed ones, and rules for others.

Rules are for those that depend on the dataset.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

DEFAULTS: Mapping[str, Any] = {
    "hidden_activation": "sigmoid",
    "output_activation": "identity",  # "ordinal" where ratings have few levels
    "center": "both",
    "implicit": True,
    "normalize": True,
    "decoder_mean": True,
    "missing_weight": 0.0,
    "missing_value": None,
    "linear_units": 0,
    "epochs": 30,
    "patience": 0,
    "refit": True,
    "seed": 0,
}
"""Defaults for the rating objective. How they were chosen: docs/notes/defaults.md."""

RANKING_DEFAULTS: Mapping[str, Any] = {
    "hidden_sizes": (500,),
    "dropout": 0.5,
    "center": "none",
    "implicit": False,
    "decoder_mean": False,
    "missing_weight": 0.5,
    "patience": 10,
}
"""Defaults for the ranking objective, where they differ."""

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "default": {},
    "paper": {
        "objective": "rating",
        "variant": "item",
        "implicit": False,
        "normalize": False,
        "center": "none",
        "decoder_mean": False,
        "output_activation": "identity",
        "dropout": 0.0,
        "regularization": 200.0,
        "hidden_sizes": (500,),
        "learning_rate": 0.003,
        "epochs": 50,
    },
    "fast": {"epochs": 15},
    "best": {
        "variant": "both",
        "ensemble": (
            {"hidden_sizes": (1000,)},
            {"implicit": False, "normalize": False, "center": "none"},  # the paper's input
        ),
    },
}
"""Presets: hyperparameters in place of the defaults. docs/reproduction.md has what each of them reaches."""

WARM_EPOCHS = 10
"""Default number of epochs of a warm start; docs/benchmarks.md has the measurements."""

ITEM_EPOCHS = 20
"""Default number of epochs of the item variant for ratings."""
CONTINUED_EPOCHS = 0.75
"""Epochs of a refit that continues for each epoch of the selection; see `Hyperparameters.continues`."""
LEARNING_RATES = (0.002, 0.006)
"""Least and largest default learning rate."""

LINEAR_UNITS = 500
"""Default number of linear units; see `network.linear_units`."""
EASE_RIDGE = 4.0
"""Lambda of EASE per rating per root of users x items, times the mean square of a rating.

On eight datasets its nDCG@10 is at most 4% below the best."""
MAX_HIDDEN_SIZE = 500
MIN_HIDDEN_SIZE = 64
UNITS_PER_RATING = 32
"""Hidden units for each rating per root of users x items; see `default_hidden_size`."""
MAX_BATCH_SIZE = 1024
MIN_BATCH_RATINGS = 1 << 16
STEPS_PER_EPOCH = (8, 32)
"""Fewest steps of an epoch, and most of a short training."""
MIN_STEPS = 160
"""Steps of a whole training below which it ends before the objective is minimized."""
MAX_USERS_PER_ITEM = 10  # up to which the item variant is the default for ratings
MAX_LOPSIDED = 20
"""Users per item, or items per user, up to which both variants are trained."""
MIN_RATINGS = 5
"""Mean ratings per user, and per item, from which on both variants are trained."""
DROPOUTS = (0.3, 0.5)
"""Default dropout for ratings, and that of the user variant with more users than `MAX_USERS_PER_ITEM`."""
MAX_LEVELS = 20
"""Distinct ratings up to which outputs can be ordinal; their cost grows with them."""
MISSING_DEVIATIONS = 3.2
"""Standard deviations from the mean rating down to the value imputed for unrated cells."""


MAX_RANKED_USERS = 20_000
"""Users whose recommendations are measured unless all are wanted."""


class RatingFacts(NamedTuple):
    """Distribution of the training ratings that defaults depend on.

    Attributes:
        mean: Mean rating.
        deviation: Standard deviation.
        n_levels: Number of distinct ratings, or more than MAX_LEVELS; 0 if it is not known.
    """

    mean: float
    deviation: float
    n_levels: int


NO_FACTS = RatingFacts(3.0, 1.0, 0)
"""Facts to check options with, before there are ratings."""


def default_variant(objective: str, n_users: int, n_items: int) -> str:
    """Variant that suits the shape of the ratings.

    Items are the better examples of ratings on most datasets. But with many users per item there are few examples, with
    weights for every user.
    """
    if objective == "ranking":
        return "user"
    return "user" if n_users > MAX_USERS_PER_ITEM * n_items else "item"


def default_variants(objective: str, n_users: int, n_items: int, n_ratings: int) -> tuple[str, ...]:
    """Variants to train: both, or the one that suits.

    The mean of both predicts better than either. One is enough where the other has many times its weights, or few
    ratings for the weights of a user or an item: it would take most of the time, and the mean gain nothing
    (docs/notes/defaults.md).
    """
    larger, smaller = max(n_users, n_items), min(n_users, n_items)
    if objective == "ranking" or larger > MAX_LOPSIDED * smaller or n_ratings < MIN_RATINGS * larger:
        return (default_variant(objective, n_users, n_items),)
    return ("item", "user")


def default_output_activation(n_levels: int) -> str:
    """Ordinal where ratings have few levels, identity for finer scales.

    The ordinal output predicts better on nearly every dataset tried (docs/notes/outputs.md).
    """
    return "ordinal" if 2 <= n_levels <= MAX_LEVELS else "identity"


def default_dropout(variant: str, n_users: int, n_items: int) -> float:
    """Dropout for ratings: 0.5 for the user variant with many users per item, else 0.3.

    Such a network learns to copy its input (docs/notes/defaults.md).
    """
    usual, many_users = DROPOUTS
    return many_users if variant == "user" and n_users > MAX_USERS_PER_ITEM * n_items else usual


def default_epochs(objective: str, variant: str) -> int:
    """Number of epochs of the selection phase, at most."""
    return ITEM_EPOCHS if (objective, variant) == ("rating", "item") else DEFAULTS["epochs"]


def default_learning_rate(epochs: int) -> float:
    """Peak learning rate for a number of epochs.

    The fewer, the higher (docs/notes/defaults.md).
    """
    least, largest = LEARNING_RATES
    return min(max(least, float(f"{0.1 / epochs:.1g}")), largest)


def default_batch_size(n_examples: int, n_ratings: int, epochs: int) -> int:
    """One eighth of the examples, at most 1,024.

    Or as many as have 65,536 ratings. Small datasets and short trainings still give enough steps. A step updates all
    weights, so it should not rest on few ratings.
    """
    fewest, most = STEPS_PER_EPOCH
    n_steps = min(max(fewest, -(-MIN_STEPS // epochs)), most)
    enough = -(-MIN_BATCH_RATINGS * n_examples // max(n_ratings, 1))
    return min(max(MAX_BATCH_SIZE, enough), -(-n_examples // n_steps))


def ratings_per_side(n_users: int, n_items: int, n_ratings: int) -> float:
    """Ratings per user and per item in one number.

    It is their geometric mean, ratings / sqrt(users x items).
    """
    return n_ratings / math.sqrt(max(n_users * n_items, 1))


def default_regularization(per_side: float) -> float:
    """Lambda, the ratings per root of users x items.

    The code of an example rests on its own ratings, a decoder row on those of its column. A penalty in proportion to
    the geometric mean of both weighs as much in all datasets, and so do both variants (docs/notes/defaults.md).
    """
    return float(f"{per_side:.2g}")


def default_hidden_size(per_side: float) -> int:
    """500 units, or fewer where ratings are few.

    Few ratings could not tell more units apart. In steps of 64, which is what the compiled engine computes at once.
    """
    units = int(UNITS_PER_RATING * per_side) // MIN_HIDDEN_SIZE * MIN_HIDDEN_SIZE
    return min(max(units, MIN_HIDDEN_SIZE), MAX_HIDDEN_SIZE)


def default_linear_units(n_users: int, n_items: int) -> int:
    """Default number of linear units.

    One for each singular vector of the ratings if these are at most 1,000, else 500. They make better lists on nearly
    every dataset tried (docs/notes/ranking.md).
    """
    smaller = min(n_users, n_items)
    return smaller if smaller <= 2 * LINEAR_UNITS else LINEAR_UNITS


def default_missing_value(mean: float, deviation: float) -> float:
    """Value imputed for unrated cells: 3.2 standard deviations below the mean rating.

    This is 0 on MovieLens 1M. Ratings that are all equal say only what was rated; any value below them does.
    """
    if deviation == 0:
        return mean - 1
    # Rounded to two digits of the deviation.
    step = 10 ** (math.floor(math.log10(deviation)) - 1)
    return float(round(round((mean - MISSING_DEVIATIONS * deviation) / step) * step, 12))
