"""Predictions for pairs named by id, and for recommendations."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from autorec_cli.csr import Array
from autorec_cli.errors import ArtifactError, InputDataError, UsageError, counted
from autorec_cli.inference.catalog import UNKNOWN, positions
from autorec_cli.inference.scorer import Scorer, clipped

if TYPE_CHECKING:
    from autorec_cli.inference.recommender import RecommendSettings

logger = logging.getLogger(__name__)

COLUMN = "predicted_rating"
MIN_KNOWN = 0.1
"""Smallest fraction of users, and of items, that a rating model must know.

Models of successive nights have most of them in common; models of other data may have some by accident."""


def predict(model: Scorer, pairs: Any) -> Array:  # noqa: ANN401 - a pandas frame, among others
    """Predict the rating or score of each user-item pair.

    Args:
        model: A model or a blend.
        pairs: A polars or pandas frame with the columns user_id and item_id, or a sequence of (user_id, item_id). Ids
            are text; numbers are taken as they are printed.

    Returns:
        (n_pairs,) float64, clipped to the rating scale. Cold pairs, unknown ids among them, are predicted from the
        damped means: the mean and the bias of the user or the item that is known.

    Raises:
        InputDataError: the frame has no column user_id or item_id.
    """
    user_ids, item_ids = _ids_of(pairs)
    users, items = positions(model.catalog.user_ids, user_ids), positions(model.catalog.item_ids, item_ids)
    known = (users != UNKNOWN) & (items != UNKNOWN)
    values = clipped(
        model, model.baseline.mean + _bias(model.baseline.user_bias, users) + _bias(model.baseline.item_bias, items)
    )
    # The model is asked about known pairs only, as UNKNOWN is no index.
    values[known] = model.predict_pairs(users[known], items[known])
    return values


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


def check_rating_model(model: Scorer, ranker: Scorer, settings: RecommendSettings) -> None:
    """Check that `model` can predict ratings of what `ranker` recommends.

    Raises:
        UsageError: it does not predict ratings, or the history can be read only once.
        ArtifactError: it is of other data.
    """
    if not model.predicts_ratings:
        raise UsageError("--rating-model must be a model trained with --objective rating; this one outputs scores")
    if isinstance(settings.history, str) and settings.history == "-":
        raise UsageError("--rating-model reads --history a second time, which is not possible from stdin")
    sides = [("items", model.catalog.item_ids, ranker.catalog.item_ids)]
    if settings.history is None:  # users of a history are folded in, so they need not be known
        sides.append(("users", model.catalog.user_ids, ranker.catalog.user_ids))
    counts = [(side, len(set(known).intersection(wanted)), len(wanted)) for side, known, wanted in sides]
    if any(n_known < MIN_KNOWN * n_wanted for _, n_known, n_wanted in counts):
        overlap = " and ".join(f"{n_known:,} of {n_wanted:,} {side}" for side, n_known, n_wanted in counts)
        raise ArtifactError(
            f"--rating-model knows only {overlap} of the model that ranks, so it is of other data; name one that was "
            "trained on the same users and items"
        )


def with_predicted_ratings(
    frames: Iterable[pl.DataFrame], model: Scorer, settings: RecommendSettings, user_ids: Sequence[str]
) -> Iterator[pl.DataFrame]:
    """Add the column `predicted_rating` to frames of recommendations.

    Args:
        frames: Recommendations with user_id and item_id, one block of users each.
        model: Predicts the ratings. Users and items are matched by id; item averages predict for users that it does not
            know, its mean rating for items.
        settings: Of the recommendations; a history is folded into `model` too.
        user_ids: Users of all frames.
    """
    from autorec_cli.inference.recommender import find_users

    # Once for all frames: a history is read and folded in a single time.
    users = find_users(model, replace(settings, user_ids=user_ids if settings.history is None else None))
    n_unknown_users = int(users.unknown.sum())
    if n_unknown_users:
        logger.warning(
            f"{n_unknown_users:,} of {counted(len(users.user_ids), 'user')} are unknown to --rating-model; item "
            "averages predict for them"
        )
    index_of = {identifier: index for index, identifier in enumerate(users.user_ids)}
    n_rows = n_unknown = 0
    for frame in frames:
        block = frame["user_id"].unique(maintain_order=True).to_list()
        ratings = np.empty(frame.height)
        if block:
            # A block is nearly consecutive, so scoring the whole range wastes little.
            places = np.array([index_of[identifier] for identifier in block])
            first = int(places.min())
            scores = users.score(slice(first, int(places.max()) + 1))[places - first]
            row_of = {identifier: row for row, identifier in enumerate(block)}
            rows = frame["user_id"].replace_strict(row_of, return_dtype=pl.Int64).to_numpy()
            items = positions(model.catalog.item_ids, frame["item_id"].to_list())
            known = items != UNKNOWN
            # Counted over all frames for one warning at the end, not one per block.
            n_rows += frame.height
            n_unknown += int((~known).sum())
            ratings = np.where(known, scores[rows, np.where(known, items, 0)], model.baseline.mean)
        ratings = clipped(model, ratings).astype(np.float64).round(model.catalog.decimals)
        yield frame.with_columns(pl.Series(COLUMN, ratings, dtype=pl.Float64))
    if n_unknown:
        logger.warning(
            f"{n_unknown:,} of {counted(n_rows, 'row')} are of items that --rating-model does not know; its mean "
            "rating predicts for them"
        )
