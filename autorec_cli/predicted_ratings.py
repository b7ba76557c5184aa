"""What a second model, which predicts ratings, says of the pairs that a first one has listed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import polars as pl

from autorec_cli.alignment import UNKNOWN, positions
from autorec_cli.blending import clip, item_scorer
from autorec_cli.errors import UsageError
from autorec_cli.predictor import Predictor
from autorec_cli.recommendation import Request, audience_of

COLUMN = "predicted_rating"


def check_rating_model(model: Predictor, request: Request) -> None:
    """Check that `model` can say what it thinks of the lists of `request`.

    Raises:
        UsageError: it does not predict ratings, or the history can be read only once.
    """
    if not model.predicts_ratings:
        raise UsageError("--rating-model must be a model trained with --objective rating; the one given has scores")
    if request.history == "-":
        raise UsageError("--rating-model reads the ratings of --history a second time, which stdin does not allow")


def with_predicted_ratings(
    frames: Iterable[pl.DataFrame],
    model: Predictor,
    request: Request,
    user_ids: Sequence[str],
    tell: Callable[[str], None],
) -> Iterator[pl.DataFrame]:
    """`frames` with one more column, `predicted_rating`.

    Args:
        frames: Tables of lists with user_id and item_id, a block of users each.
        model: What predicts; users and items are matched by id, and the user+item averages of the model predict for
            those that it does not know.
        request: Whose lists they are; a history is folded into `model` too.
        user_ids: The users of all frames.
        tell: Called with each thing that is worth a warning.
    """
    wanted = replace(request, user_ids=None if request.history else user_ids, on_unknown="popular")
    audience = audience_of(model, wanted, lambda _: None)
    n_unknown = int(audience.unknown.sum())
    if n_unknown:
        tell(f"unknown to --rating-model, so that item averages predict for them: {n_unknown:,} users")
    index_of = {identifier: index for index, identifier in enumerate(audience.user_ids)}
    predict = item_scorer(model)
    for frame in frames:
        block = frame["user_id"].unique(maintain_order=True).to_list()
        ratings = np.empty(frame.height)
        if block:
            places = np.array([index_of[identifier] for identifier in block])
            first = int(places.min())
            scores = predict(audience.users(slice(first, int(places.max()) + 1)))[places - first]
            row_of = {identifier: row for row, identifier in enumerate(block)}
            rows = frame["user_id"].replace_strict(row_of, return_dtype=pl.Int64).to_numpy()
            items = positions(model.item_ids, frame["item_id"].to_list())
            known = items != UNKNOWN
            ratings = np.where(known, scores[rows, np.where(known, items, 0)], model.baseline.mean)
        yield frame.with_columns(pl.Series(COLUMN, clip(model, ratings).astype(np.float64).round(4), dtype=pl.Float64))
