"""What training leaves: a model, or a blend of several; read by everything that predicts, without torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from autorec_cli.config import TrainSettings
from autorec_cli.csr import Array
from autorec_cli.data.bias import DampedMeans


@dataclass(frozen=True)
class SeenItems:
    """Which items each user has rated, in any part of the dataset.

    Attributes:
        indptr: (n_users + 1,) int64.
        indices: (n_ratings,) int32 item_index, ascending within a user.
    """

    indptr: Array
    indices: Array

    def of(self, user_index: Array) -> tuple[Array, Array]:
        """Everything that the users at `user_index` (B,) have rated: position in `user_index`, and item_index."""
        starts = self.indptr[user_index]
        counts = self.indptr[user_index + 1] - starts
        rows = np.repeat(np.arange(len(counts)), counts)
        before = np.cumsum(counts) - counts
        return rows, self.indices[np.arange(len(rows)) + (starts - before)[rows]]


@dataclass(frozen=True)
class Model:
    """A trained model as numpy arrays.

    The encoded side is items in the item variant and users in the user variant; the decoded side is the other one.
    prediction(e, d) = f(codes[e] . decoder_weight[d] + decoder_bias[d]) * output_unit + centering, clipped to
    rating_scale.

    Attributes:
        settings: What it was trained with.
        encoder_weights: (n_decoded, k1) or, with the implicit channel, (2 n_decoded, k1); then (k1, k2), ...
        encoder_biases: (k1,), (k2,), ...
        codes: (n_encoded, k).
        decoder_weight: (n_decoded, k).
        decoder_bias: (n_decoded,).
        output_range: Ends of a sigmoid output, in units.
        unit: Rating units per unit of the network's input.
        output_unit: And of its output: `unit` times the trust that valid ratings gave to it, see `validation`.
        input_norm: Euclidean norm that inputs are scaled to; None if they are not.
        centering: What is added to a prediction, in rating units.
        baseline: What predicts cold pairs; see `task.Task`.
        rating_scale: Where predictions are clipped.
        user_ids, item_ids: As in the source, by index.
        titles: By item_index, "" where there is none; None if no titles were given.
        user_counts, item_counts: Ratings of each that the model was fitted on; 0 means cold.
        seen: All ratings of the dataset, held-out ones too: what `recommend` leaves out.
        valid_predictions: (n_valid,) float32, what the network predicted for each validation rating before it was
            fitted to them too: what weights of a blend can be fitted on. Empty where there is none.
        provenance: The dataset's path and fingerprint, fitted parts, epochs, metrics at training time, versions.
    """

    settings: TrainSettings
    encoder_weights: tuple[Array, ...]
    encoder_biases: tuple[Array, ...]
    codes: Array
    decoder_weight: Array
    decoder_bias: Array
    output_range: tuple[float, float]
    unit: float
    output_unit: float
    input_norm: float | None
    centering: DampedMeans
    baseline: DampedMeans
    rating_scale: tuple[float, float]
    user_ids: Sequence[str]
    item_ids: Sequence[str]
    titles: Sequence[str] | None
    user_counts: Array
    item_counts: Array
    seen: SeenItems
    valid_predictions: Array
    provenance: dict[str, Any]

    @property
    def predicts_ratings(self) -> bool:
        """Whether outputs are ratings; if not they are scores, which only order items."""
        return self.settings.objective == "rating"

    @property
    def n_users(self) -> int:
        """Users with an id, cold ones included."""
        return len(self.user_ids)

    @property
    def n_items(self) -> int:
        """Items with an id, cold ones included."""
        return len(self.item_ids)


@dataclass(frozen=True)
class Blend:
    """A weighted mean of models of one dataset that all predict ratings.

    prediction = intercept + sum of weights[m] * clipped prediction of models[m], clipped to the rating scale.

    Attributes:
        models: The models, at least one.
        weights: One a model.
        intercept: In rating units.
        provenance: As of a model; its parts are those that every model was fitted on.
    """

    models: tuple[Model, ...]
    weights: tuple[float, ...]
    intercept: float
    provenance: dict[str, Any]

    predicts_ratings = True

    @property
    def rating_scale(self) -> tuple[float, float]:
        """Where predictions are clipped."""
        return self.models[0].rating_scale

    @property
    def user_ids(self) -> Sequence[str]:
        """By user_index."""
        return self.models[0].user_ids

    @property
    def item_ids(self) -> Sequence[str]:
        """By item_index."""
        return self.models[0].item_ids

    @property
    def titles(self) -> Sequence[str] | None:
        """By item_index; None if no titles were given."""
        return self.models[0].titles

    @property
    def seen(self) -> SeenItems:
        """All ratings of the dataset."""
        return self.models[0].seen

    @property
    def baseline(self) -> DampedMeans:
        """What predicts for users of whom nothing is known."""
        return self.models[0].baseline

    @property
    def user_counts(self) -> Array:
        """Ratings of each user that every model was fitted on."""
        counts: Array = np.minimum.reduce([model.user_counts for model in self.models])
        return counts

    @property
    def item_counts(self) -> Array:
        """Ratings of each item that every model was fitted on."""
        counts: Array = np.minimum.reduce([model.item_counts for model in self.models])
        return counts

    @property
    def n_users(self) -> int:
        """Users with an id, cold ones included."""
        return self.models[0].n_users

    @property
    def n_items(self) -> int:
        """Items with an id, cold ones included."""
        return self.models[0].n_items


Predictor = Model | Blend
"""What predicts: `blending` has the functions that take either."""
