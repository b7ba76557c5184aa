"""Predictions of a model or of a blend of several, by the functions of `scoring`; and how a blend is fitted."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.optimize import nnls

from autorec_cli.csr import Array
from autorec_cli.errors import ArtifactError
from autorec_cli.inference import scoring
from autorec_cli.inference.model import Blend, Model, Predictor

Users = tuple[scoring.Users, ...]
"""The same users as each model sees them."""

ItemScorer = Callable[[Users], Array]
"""B users -> what every item is ranked by for each of them: (B, n_items) float32."""


def parts(predictor: Predictor) -> tuple[Model, ...]:
    """The models of a blend; a model on its own."""
    return predictor.models if isinstance(predictor, Blend) else (predictor,)


def known_users(predictor: Predictor, user_index: Array) -> Users:
    """See `scoring.known_users`."""
    return tuple(scoring.known_users(model, user_index) for model in parts(predictor))


def nameless_users(users: Users, unknown: Array) -> Users:
    """See `scoring.nameless_users`."""
    return tuple(scoring.nameless_users(part, unknown) for part in users)


def fold_in(predictor: Predictor, histories: Sequence[tuple[Array, Array]]) -> Users:
    """See `scoring.fold_in`."""
    return tuple(scoring.fold_in(model, histories) for model in parts(predictor))


def clip(predictor: Predictor, values: Array) -> Array:
    """See `scoring.clip`."""
    return scoring.clip(parts(predictor)[0], values)


def item_scorer(predictor: Predictor) -> ItemScorer:
    """See `scoring.item_scorer`; a blend weighs clipped predictions."""
    if isinstance(predictor, Model):
        score_one = scoring.item_scorer(predictor)
        return lambda users: score_one(users[0])
    scorers = [scoring.item_scorer(model) for model in predictor.models]

    def score(users: Users) -> Array:
        total: Array | None = None
        for weight, one, part in zip(predictor.weights, scorers, users, strict=True):
            scores = one(part)
            np.clip(scores, *predictor.rating_scale, out=scores)
            scores *= np.float32(weight)
            total = scores if total is None else np.add(total, scores, out=total)
        assert total is not None  # a blend has at least one model
        total += np.float32(predictor.intercept)
        return total

    return score


def predict_pairs(predictor: Predictor, user_index: Array, item_index: Array) -> Array:
    """See `scoring.predict_pairs`."""
    if isinstance(predictor, Model):
        return scoring.predict_pairs(predictor, user_index, item_index)
    predictions = np.full(len(user_index), predictor.intercept)
    for weight, model in zip(predictor.weights, predictor.models, strict=True):
        predictions += weight * scoring.predict_pairs(model, user_index, item_index)
    return clip(predictor, predictions)


def cold_pairs(predictor: Predictor, user_index: Array, item_index: Array) -> Array:
    """Whether every model has to do without the user's or the item's ratings, (n_pairs,) bool."""
    cold: Array = np.logical_and.reduce(
        [scoring.cold_pairs(model, user_index, item_index) for model in parts(predictor)]
    )
    return cold


def blend(models: Sequence[tuple[str, Model]], valid_ratings: Array) -> Blend:
    """The blend of `models` with the least squared error on the validation ratings.

    What counts is what each model predicted before it was fitted to those ratings too. Weights are not negative
    (Lawson and Hanson 1974; Breiman, Stacked Regressions, 1996): free ones are no better on ratings that they were not
    fitted to, and hard to read.

    Args:
        models: Names and models of one dataset, which predict ratings.
        valid_ratings: (n_valid,) in the order of the dataset's matrix.

    Raises:
        ArtifactError: a model has no predictions of the validation ratings, or they are of another split.
    """
    for name, model in models:
        if not model.predicts_ratings:
            raise ArtifactError(f"{name} was trained to rank: its scores cannot be blended with predicted ratings")
        if len(model.valid_predictions) != len(valid_ratings) or not len(valid_ratings):
            raise ArtifactError(
                f"{name} has no predictions of this dataset's validation ratings, on which weights are fitted; "
                "train it again on a dataset with a valid part"
            )
    predictions = np.stack([model.valid_predictions for _, model in models], axis=1).astype(np.float64)
    means, mean = predictions.mean(0), float(np.mean(valid_ratings, dtype=np.float64))
    weights, _ = nnls(predictions - means, valid_ratings.astype(np.float64) - mean)
    intercept = mean - float(means @ weights)
    first = models[0][1].provenance
    fitted = [set(model.provenance["fitted_parts"]) for _, model in models]
    rmse = float(np.sqrt(np.mean(np.square(predictions @ weights + intercept - valid_ratings))))
    provenance = {
        "dataset": first["dataset"],
        "fingerprint": first["fingerprint"],
        "fitted_parts": sorted(set.union(*fitted), key=["train", "valid"].index),
        "blend_of": [name for name, _ in models],
        "metrics": {"valid_rmse": rmse},
    }
    return Blend(tuple(model for _, model in models), tuple(map(float, weights)), intercept, provenance)
