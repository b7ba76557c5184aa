"""Trained model as numpy arrays, without torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from autorec_cli.config import Hyperparameters
from autorec_cli.csr import Array
from autorec_cli.data.bias import DampedMeans
from autorec_cli.inference.alignment import aligned_model
from autorec_cli.inference.catalog import Catalog
from autorec_cli.inference.fold_in import folder
from autorec_cli.inference.scorer import HistoryScorer, UserScorer, clipped
from autorec_cli.inference.scoring import item_scorer, output, trained_users
from autorec_cli.network.activations import SIGMOID_AT_ZERO
from autorec_cli.network.ordinal import Thresholds

if TYPE_CHECKING:
    import polars as pl

PAIRS_AT_ONCE = 1 << 16


@dataclass(frozen=True)
class Model:
    """Trained model, a `Scorer`.

    The encoded side is items in the item variant and users in the user variant; the decoded side is the other one.
    prediction(e, d) = f(codes[e] . decoder_weight[d] + decoder_bias[d]) * output_unit + centering, clipped to the
    rating scale. An ordinal f depends on e and the centering too; see `network.ordinal`.

    Attributes:
        settings: Hyperparameters of its training.
        encoder_weights: (n_decoded, k1) or, with the implicit channel, (2 n_decoded, k1); then (k1, k2), ...
        encoder_biases: (k1,), (k2,), ...
        codes: (n_encoded, k).
        decoder_weight: (n_decoded, k).
        decoder_bias: (n_decoded,).
        output_range: Ends of a sigmoid output, in units.
        thresholds: Of an ordinal output; None for the others.
        unit: Rating units per unit of the network's input.
        output_unit: Rating units per unit of its output: `unit` times the factor fitted on the validation set.
        input_norm: Euclidean norm that inputs are scaled to; None without normalization.
        centering: Damped means added to a prediction, in rating units.
        baseline: Damped means that predict cold pairs.
        catalog: Users and items.
        provenance: Dataset path and fingerprint, fitted splits, epochs, metrics at training time, versions.
    """

    settings: Hyperparameters
    encoder_weights: tuple[Array, ...]
    encoder_biases: tuple[Array, ...]
    codes: Array
    decoder_weight: Array
    decoder_bias: Array
    output_range: tuple[float, float]
    thresholds: Thresholds[Array] | None
    unit: float
    output_unit: float
    input_norm: float | None
    centering: DampedMeans
    baseline: DampedMeans
    catalog: Catalog
    provenance: dict[str, Any]

    def __repr__(self) -> str:
        settings, n_columns = self.settings, len(self.decoder_bias)
        layers = "-".join(map(str, (n_columns, *settings.layer_sizes, n_columns)))
        return f"Model({settings.objective}, {settings.variant} variant, layers {layers}, {self.catalog})"

    @property
    def code_at_zero(self) -> Array:
        """Code of an example without ratings, in linear units.

        (k,) float32; the other units are 0.
        """
        at_zero = np.zeros(self.codes.shape[1], dtype=np.float32)
        at_zero[len(at_zero) - self.settings.linear_units :] = SIGMOID_AT_ZERO
        return at_zero

    @property
    def decoder_shift(self) -> Array:
        """Decoder bias (n_decoded,) where codes are measured from `code_at_zero`.

        Otherwise large weights of linear units would add, and the biases take off again, many times what these tell.
        """
        n_units = self.settings.linear_units
        return self.decoder_bias + self.decoder_weight @ self.code_at_zero if n_units else self.decoder_bias

    @property
    def predicts_ratings(self) -> bool:
        """True if outputs are predicted ratings.

        False if they only order items.
        """
        return self.settings.objective == "rating"

    @property
    def rater(self) -> Model | None:
        """See `Scorer`."""
        return self if self.predicts_ratings else None

    @property
    def ranker(self) -> Model:
        """See `Scorer`."""
        return self

    @property
    def networks(self) -> tuple[Model, ...]:
        """See `Scorer`."""
        return (self,)

    @property
    def weights(self) -> tuple[float, ...]:
        """See `Scorer`."""
        return (1.0,)

    def user_scorer(self) -> UserScorer:
        """See `Scorer`."""
        score = item_scorer(self)
        return lambda user_index: score(trained_users(self, user_index))

    def history_scorer(self) -> HistoryScorer:
        """See `Scorer`."""
        score, fold = item_scorer(self), folder(self)
        return lambda histories: score(fold(histories))

    def predict_pairs(self, user_index: Array, item_index: Array) -> Array:
        """Predict each pair; cold pairs by the baseline. See `Scorer`."""
        baseline = self.baseline.predict(user_index, item_index)
        offset = self.centering.predict(user_index, item_index)
        by_item = self.settings.variant == "item"
        encoded, decoded = (item_index, user_index) if by_item else (user_index, item_index)
        outputs = np.empty(len(user_index), dtype=np.float32)
        thresholds, centers = self.thresholds, (offset / self.unit).astype(np.float32)
        # Each example's once: pairs are many of few examples, or few of many.
        examples, position = np.unique(encoded, return_inverse=True)
        limits = None if thresholds is None else thresholds.of(self.codes[examples])
        # In blocks: the gathered vectors of all pairs would take k times the memory of the pairs.
        for start in range(0, len(outputs), PAIRS_AT_ONCE):
            block = slice(start, start + PAIRS_AT_ONCE)
            # einsum, because a matrix product would compute all pairs of both sides.
            z = np.einsum("pk,pk->p", self.codes[encoded[block]], self.decoder_weight[decoded[block]])
            z += self.decoder_bias[decoded[block]]
            if thresholds is None or limits is None:
                outputs[block] = output(self, z)
            else:
                expected = thresholds.levels.expected(z + centers[block], limits[position[block]])
                outputs[block] = expected - centers[block]
        predictions = outputs.astype(np.float64) * self.output_unit + offset
        return clipped(self, np.where(self.cold_pairs(user_index, item_index), baseline, predictions))

    def cold_pairs(self, user_index: Array, item_index: Array) -> Array:
        """See `Scorer`."""
        catalog = self.catalog
        cold: Array = (catalog.user_counts[user_index] == 0) | (catalog.item_counts[item_index] == 0)
        return cold

    def aligned(
        self, user_ids: Sequence[str], item_ids: Sequence[str], item_columns: pl.DataFrame | None = None
    ) -> Model:
        """See `Scorer`."""
        return aligned_model(self, user_ids, item_ids, item_columns)
