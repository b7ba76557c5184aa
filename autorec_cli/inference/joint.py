"""Joint model: one part predicts ratings, one ranks items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autorec_cli.csr import Array
from autorec_cli.data.bias import DampedMeans
from autorec_cli.inference.blending import Blend
from autorec_cli.inference.catalog import Catalog
from autorec_cli.inference.model import Model
from autorec_cli.inference.scorer import HistoryScorer, UserScorer

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class JointModel:
    """Predicted ratings of one part, rankings of another: a `Scorer`.

    Attributes:
        rater: Predicts ratings.
        ranker: Scores items; both are of the same users and items.
        provenance: As in a model; its metrics are those of both parts.
    """

    rater: Model | Blend
    ranker: Model
    provenance: dict[str, Any]

    predicts_ratings = True

    def __repr__(self) -> str:
        return f"JointModel(rater={self.rater}, ranker={self.ranker})"

    @property
    def networks(self) -> tuple[Model, ...]:
        """See `Scorer`."""
        return (*self.rater.networks, *self.ranker.networks)

    @property
    def weights(self) -> tuple[float, ...]:
        """See `Scorer`."""
        return (*self.rater.weights, *self.ranker.weights)

    @property
    def catalog(self) -> Catalog:
        """See `Scorer`."""
        return self.ranker.catalog

    @property
    def baseline(self) -> DampedMeans:
        """See `Scorer`."""
        return self.rater.baseline

    def user_scorer(self) -> UserScorer:
        """See `Scorer`."""
        return self.ranker.user_scorer()

    def history_scorer(self) -> HistoryScorer:
        """See `Scorer`."""
        return self.ranker.history_scorer()

    def predict_pairs(self, user_index: Array, item_index: Array) -> Array:
        """See `Scorer`."""
        return self.rater.predict_pairs(user_index, item_index)

    def cold_pairs(self, user_index: Array, item_index: Array) -> Array:
        """See `Scorer`."""
        return self.rater.cold_pairs(user_index, item_index)

    def aligned(
        self, user_ids: Sequence[str], item_ids: Sequence[str], item_columns: pl.DataFrame | None = None
    ) -> JointModel:
        """See `Scorer`."""
        return JointModel(
            self.rater.aligned(user_ids, item_ids, item_columns),
            self.ranker.aligned(user_ids, item_ids, item_columns),
            self.provenance,
        )
