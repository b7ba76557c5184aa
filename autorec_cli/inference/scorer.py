"""Scorer: the interface of models, blends and joint models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from autorec_cli.csr import Array
from autorec_cli.data.bias import DampedMeans
from autorec_cli.errors import not_finite
from autorec_cli.inference.catalog import Catalog

if TYPE_CHECKING:
    import polars as pl

    from autorec_cli.inference.model import Model

History = tuple[Array, Array]
"""One user's ratings: item_index (n,) without repetition, and the ratings (n,)."""

UserScorer = Callable[[Array], Array]
"""user_index (B,) -> (B, n_items) float32 scores, not clipped, which the caller may overwrite."""

HistoryScorer = Callable[[Sequence[History]], Array]
"""Histories of B users -> (B, n_items) float32 scores, not clipped, which the caller may overwrite."""


class Scorer(Protocol):
    """Model, blend of models, or joint model."""

    @property
    def catalog(self) -> Catalog:
        """Users and items by index."""

    @property
    def baseline(self) -> DampedMeans:
        """Predictions for cold pairs."""

    @property
    def provenance(self) -> dict[str, Any]:
        """Dataset, fitted splits, epochs, metrics and versions of the training."""

    @property
    def predicts_ratings(self) -> bool:
        """True if scores are predicted ratings.

        False if they only order items.
        """

    @property
    def rater(self) -> Scorer | None:
        """Part that predicts ratings; None if scores only order items."""

    @property
    def ranker(self) -> Scorer:
        """Part that orders items."""

    @property
    def networks(self) -> Sequence[Model]:
        """All networks, those that predict ratings first."""

    @property
    def weights(self) -> Sequence[float]:
        """Weight of each network among those of its objective."""

    def user_scorer(self) -> UserScorer:
        """Make a function that scores all items for users.

        UNKNOWN users are cold. Item vectors are copied for it, so make it once and call it for every block of users.
        """

    def history_scorer(self) -> HistoryScorer:
        """Make a function that scores items from users' ratings."""

    def predict_pairs(self, user_index: Array, item_index: Array) -> Array:
        """Predict each (user, item) pair.

        (n_pairs,) float64, clipped to the rating scale.
        """

    def cold_pairs(self, user_index: Array, item_index: Array) -> Array:
        """Mark pairs with an unrated user or item: (n_pairs,) bool."""

    def aligned(
        self, user_ids: Sequence[str], item_ids: Sequence[str], item_columns: pl.DataFrame | None = None
    ) -> Scorer:
        """Reorder to the users and items of another dataset.

        They are matched by id; new ones are cold. `item_columns` take the place of the model's columns of items.
        """


def clipped(scorer: Scorer, values: Array) -> Array:
    """Clip predicted ratings to the rating scale.

    Scores that only order items stay as they are.

    Raises:
        ArtifactError: a predicted rating is no number, as where sums overflowed.
    """
    if not scorer.predicts_ratings:
        return values
    if np.isnan(values).any():
        raise not_finite("the model predicts ratings that are not numbers")
    return np.clip(values, *scorer.catalog.rating_scale)
