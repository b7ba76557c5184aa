"""Blends: weighted means of models that predict ratings."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from autorec_cli.csr import Array
from autorec_cli.data.bias import DampedMeans
from autorec_cli.errors import ArtifactError, UsageError
from autorec_cli.inference.catalog import Catalog
from autorec_cli.inference.model import Model
from autorec_cli.inference.scorer import HistoryScorer, Scorer, UserScorer, clipped

logger = logging.getLogger(__name__)

Users = TypeVar("Users")


@dataclass(frozen=True)
class Blend:
    """Weighted mean of models of one dataset, a `Scorer`.

    prediction = intercept + sum of weights[m] * clipped prediction of models[m], clipped to the rating scale.

    Attributes:
        models: At least one; all predict ratings.
        weights: One per model.
        intercept: In rating units.
        provenance: As of a model; fitted splits are those of any model.
    """

    models: tuple[Model, ...]
    weights: tuple[float, ...]
    intercept: float
    provenance: dict[str, Any]

    predicts_ratings = True

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
            total += np.float32(self.intercept)
            return total

        return score

    def predict_pairs(self, user_index: Array, item_index: Array) -> Array:
        """See `Scorer`."""
        predictions = np.full(len(user_index), self.intercept)
        for weight, model in zip(self.weights, self.models, strict=True):
            predictions += weight * model.predict_pairs(user_index, item_index)
        return clipped(self, predictions)

    def cold_pairs(self, user_index: Array, item_index: Array) -> Array:
        """Mark pairs that are cold for every model. See `Scorer`."""
        cold: Array = np.logical_and.reduce([model.cold_pairs(user_index, item_index) for model in self.models])
        return cold

    def aligned(self, user_ids: Sequence[str], item_ids: Sequence[str]) -> Blend:
        """See `Scorer`."""
        return replace(self, models=tuple(model.aligned(user_ids, item_ids) for model in self.models))

    def describe(self) -> dict[str, Any]:
        """See `Scorer`."""
        models = [
            {"weight": weight, **model.describe_network(), **model.provenance}
            for weight, model in zip(self.weights, self.models, strict=True)
        ]
        own = {"intercept": self.intercept, **self.provenance, "models": models}
        return {"kind": "blend", **self.catalog.describe(), **own}


def blend(models: Sequence[tuple[str, Scorer]], valid_ratings: Array) -> Blend:
    """Fit the blend with the least squared validation error.

    It is fitted on each model's predictions before its refit on those ratings. Weights are nonnegative (Lawson and
    Hanson 1974; Breiman, Stacked Regressions, 1996): unconstrained ones are no better on other ratings, and hard to
    interpret.

    Args:
        models: Names and models of one dataset, which predict ratings.
        valid_ratings: (n_valid,) in the order of the dataset's matrix.

    Raises:
        UsageError: there is only one model, or one is a blend.
        ArtifactError: a model only ranks, or has no predictions of these validation ratings.
    """
    from scipy.optimize import nnls  # slow to import

    if len(models) < 2:
        raise UsageError("--blend needs two models or more; name another one")
    single = [_checked(name, model, len(valid_ratings)) for name, model in models]
    predictions = np.stack([model.valid_predictions for model in single], axis=1).astype(np.float64)
    means, mean = predictions.mean(0), float(np.mean(valid_ratings, dtype=np.float64))
    # Centering both sides leaves the intercept out of the constraint.
    weights, _ = nnls(predictions - means, valid_ratings.astype(np.float64) - mean)
    intercept = mean - float(means @ weights)
    rmse = float(np.sqrt(np.mean(np.square(predictions @ weights + intercept - valid_ratings))))
    terms = ", ".join(f"{weight:.3f} {name}" for (name, _), weight in zip(models, weights, strict=True))
    logger.info(f"blend: {terms}, intercept {intercept:+.3f}; validation RMSE {rmse:.4f}")
    fitted = set().union(*(model.provenance["fitted_parts"] for model in single))
    provenance = {
        "dataset": single[0].provenance["dataset"],
        "fingerprint": single[0].provenance["fingerprint"],
        "fitted_parts": [split for split in ("train", "valid") if split in fitted],
        "blend_of": [name for name, _ in models],
        "metrics": {"valid_rmse": rmse},
    }
    return Blend(tuple(single), tuple(map(float, weights)), intercept, provenance)


def _checked(name: str, model: Scorer, n_valid: int) -> Model:
    if not isinstance(model, Model):
        raise UsageError(f"--blend takes single models; {name} is a blend already")
    if not model.predicts_ratings:
        raise ArtifactError(f"{name} was trained to rank: its scores cannot be blended with predicted ratings")
    if len(model.valid_predictions) != n_valid or not n_valid:
        raise ArtifactError(
            f"{name} has no predictions of this dataset's validation set, on which blend weights are fitted; "
            "train it again on a dataset with a validation set"
        )
    return model
