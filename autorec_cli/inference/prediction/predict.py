"""Predictions for pairs named by id."""

from __future__ import annotations

from typing import Any

import numpy as np

from autorec_cli.csr import Array
from autorec_cli.errors import InputDataError, UsageError
from autorec_cli.inference.catalog import UNKNOWN, positions
from autorec_cli.inference.scorer import Scorer, clipped


def predict(model: Scorer, pairs: Any) -> Array:  # noqa: ANN401 - a pandas frame, among others
    """Predict the rating of each user-item pair.

    Args:
        model: Predicts ratings.
        pairs: A polars or pandas frame with the columns user_id and item_id, or a sequence of (user_id, item_id). Ids
            are text; numbers are taken as they are printed.

    Returns:
        (n_pairs,) float64, clipped to the rating scale. Cold pairs, unknown ids among them, are predicted from the
        damped means: the mean and the bias of the user or the item that is known.

    Raises:
        UsageError: the model does not predict ratings.
        InputDataError: the frame has no column user_id or item_id.
    """
    user_ids, item_ids = _ids_of(pairs)
    rater = rater_of(model)
    users, items = positions(model.catalog.user_ids, user_ids), positions(model.catalog.item_ids, item_ids)
    return predict_known(rater, users, items)[0]


def rater_of(model: Scorer) -> Scorer:
    """Part of a model that predicts ratings.

    Raises:
        UsageError: there is none.
    """
    if model.rater is None:
        raise UsageError("the model only ranks; predict with one that also rates (--objective both or rating)")
    return model.rater


def predict_known(model: Scorer, user_index: Array, item_index: Array) -> tuple[Array, Array]:
    """Predict pairs by index; UNKNOWN is cold.

    Returns:
        (n_pairs,) float64, clipped to the rating scale, and (n_pairs,) bool, True for cold pairs.
    """
    known = (user_index != UNKNOWN) & (item_index != UNKNOWN)
    biases = _bias(model.baseline.user_bias, user_index) + _bias(model.baseline.item_bias, item_index)
    values, cold = clipped(model, model.baseline.mean + biases), ~known
    # The model is asked about known pairs only, as UNKNOWN is no index.
    values[known] = model.predict_pairs(user_index[known], item_index[known])
    cold[known] = model.cold_pairs(user_index[known], item_index[known])
    return values, cold


def _bias(biases: Array, index: Array) -> Array:
    """Biases (n,) at `index`; 0 for UNKNOWN."""
    # UNKNOWN is -1, the appended last element.
    return np.append(biases, 0.0)[index]


def _ids_of(pairs: Any) -> tuple[list[str], list[str]]:  # noqa: ANN401
    if not hasattr(pairs, "columns"):
        pairs = list(pairs)
        return [str(user_id) for user_id, _ in pairs], [str(item_id) for _, item_id in pairs]
    missing = {"user_id", "item_id"}.difference(pairs.columns)
    if missing:
        raise InputDataError(f"the pairs have no column {min(missing)}; name their columns user_id and item_id")
    return [str(value) for value in pairs["user_id"]], [str(value) for value in pairs["item_id"]]
