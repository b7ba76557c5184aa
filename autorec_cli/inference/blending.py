"""Blends: weighted means of models that predict ratings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from autorec_cli.csr import Array
from autorec_cli.data.bias import DampedMeans
from autorec_cli.inference.catalog import Catalog
from autorec_cli.inference.model import Model
from autorec_cli.inference.scorer import HistoryScorer, UserScorer, clipped

if TYPE_CHECKING:
    import polars as pl

Users = TypeVar("Users")


@dataclass(frozen=True)
class Blend:
    """Weighted mean of models of one dataset, a `Scorer`.

    prediction = sum of weights[m] * clipped prediction of models[m]

    Attributes:
        models: At least one; all predict ratings.
        weights: One per model, from 0; their sum is 1.
        provenance: As in a model; fitted splits are those of any model.
    """

    models: tuple[Model, ...]
    weights: tuple[float, ...]
    provenance: dict[str, Any]

    predicts_ratings = True

    def __repr__(self) -> str:
        parts = " + ".join(f"{weight:.2f} {model}" for weight, model in zip(self.weights, self.models, strict=True))
        return f"Blend({parts})"

    @property
    def rater(self) -> Blend:
        """See `Scorer`."""
        return self

    @property
    def ranker(self) -> Blend:
        """See `Scorer`."""
        return self

    @property
    def networks(self) -> tuple[Model, ...]:
        """See `Scorer`."""
        return self.models

    @cached_property
    def catalog(self) -> Catalog:
        """Catalog of the models, with the lowest counts."""
        catalogs = [model.catalog for model in self.models]
        return replace(
            catalogs[0],
            user_counts=np.minimum.reduce([catalog.user_counts for catalog in catalogs]),
            item_counts=np.minimum.reduce([catalog.item_counts for catalog in catalogs]),
        )

    @property
    def baseline(self) -> DampedMeans:
        """See `Scorer`."""
        return self.models[0].baseline

    def user_scorer(self) -> UserScorer:
        """See `Scorer`."""
        return self._blended([model.user_scorer() for model in self.models])

    def history_scorer(self) -> HistoryScorer:
        """See `Scorer`."""
        return self._blended([model.history_scorer() for model in self.models])

    def _blended(self, scorers: Sequence[Callable[[Users], Array]]) -> Callable[[Users], Array]:
        """Make a function that blends the models' scores."""

        def score(users: Users) -> Array:
            total: Array | None = None
            for weight, score_by in zip(self.weights, scorers, strict=True):
                scores = score_by(users)
                # Weights were fitted to clipped predictions.
                np.clip(scores, *self.catalog.rating_scale, out=scores)
                scores *= np.float32(weight)
                # The first block of scores becomes the sum: it may be overwritten, and is the largest array.
                total = scores if total is None else np.add(total, scores, out=total)
            assert total is not None  # a blend has at least one model
            return total

        return score

    def predict_pairs(self, user_index: Array, item_index: Array) -> Array:
        """See `Scorer`."""
        predictions = np.zeros(len(user_index))
        for weight, model in zip(self.weights, self.models, strict=True):
            predictions += weight * model.predict_pairs(user_index, item_index)
        return clipped(self, predictions)

    def cold_pairs(self, user_index: Array, item_index: Array) -> Array:
        """Mark pairs that are cold for every model. See `Scorer`."""
        cold: Array = np.logical_and.reduce([model.cold_pairs(user_index, item_index) for model in self.models])
        return cold

    def aligned(
        self, user_ids: Sequence[str], item_ids: Sequence[str], item_columns: pl.DataFrame | None = None
    ) -> Blend:
        """See `Scorer`."""
        return replace(self, models=tuple(model.aligned(user_ids, item_ids, item_columns) for model in self.models))


def best_weights(predictions: Array, ratings: Array) -> Array:
    """Weights of the mean with the least squared error.

    They are from 0 and of sum 1. A mean cannot be far worse than its best model; free weights and an intercept can, as
    they also fit what is peculiar to these ratings. If weights fitted on one half of the ratings are no better on the
    other half than the best model, that model has all the weight.

    Args:
        predictions: (n, m) of m models.
        ratings: (n,).

    Returns:
        (m,) float64.
    """
    errors = predictions - ratings[:, None]
    halves = slice(0, None, 2), slice(1, None, 2)
    held_out = sum(np.square(errors[there] @ _weights(errors[here])).sum() for here, there in (halves, halves[::-1]))
    squares = np.square(errors).sum(0)
    if held_out >= squares.min():
        best: Array = np.eye(len(squares))[squares.argmin()]
        return best
    return _weights(errors)


def _weights(errors: Array) -> Array:
    """Weights (m,) with the least squared sum of `errors` (n, m).

    They are from 0 and of sum 1. Nonnegative least squares (Lawson and Hanson 1974; Breiman, Stacked Regressions,
    1996), with the sum as one more equation that outweighs all others.
    """
    from scipy.optimize import nnls  # slow to import

    n_models = errors.shape[1]
    # Only the Gram matrix counts; its root has as many rows as there are models.
    root = np.linalg.qr(errors, mode="r")
    large = 1e4 * max(float(np.abs(root).max(initial=0)), 1.0)
    weights, _ = nnls(np.vstack([root, np.full(n_models, large)]), np.append(np.zeros(len(root)), large))
    total: Array = weights / weights.sum()  # nearly 1 already
    return total
