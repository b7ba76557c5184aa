"""What a second model, which predicts ratings, says of the pairs that a first one has listed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import polars as pl

from autorec_cli.errors import ArtifactError, UsageError, counted
from autorec_cli.inference.alignment import UNKNOWN, positions
from autorec_cli.inference.blending import clip, item_scorer
from autorec_cli.inference.model import Predictor
from autorec_cli.inference.recommender import Request, audience_of

COLUMN = "predicted_rating"
LEAST_KNOWN = 0.1
"""Share of the users, and of the items, of lists that a rating model of the same data knows at least: nights apart most
are the same, and those of other data may share some by accident."""


def check_rating_model(model: Predictor, lister: Predictor, request: Request) -> None:
    """Check that `model` can say what it thinks of the lists that `lister` makes for `request`.

    Raises:
        UsageError: it does not predict ratings, or the history can be read only once.
        ArtifactError: it is of other data.
    """
    if not model.predicts_ratings:
        raise UsageError("--rating-model must be a model trained with --objective rating; the one given has scores")
    if request.history == "-":
        raise UsageError("--rating-model reads the ratings of --history a second time, which stdin does not allow")
    sides = [("items", model.item_ids, lister.item_ids)]
    if request.history is None:  # whose users are folded in
        sides.append(("users", model.user_ids, lister.user_ids))
    counts = [(side, len(set(known).intersection(listed)), len(listed)) for side, known, listed in sides]
    if any(n_known < LEAST_KNOWN * n_listed for _, n_known, n_listed in counts):
        told = " and ".join(f"{n_known:,} of {n_listed:,} {side}" for side, n_known, n_listed in counts)
        raise ArtifactError(
            f"--rating-model knows {told} of the model that makes the lists, so it is of other data; name one that was "
            "trained on the same users and items"
        )


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
        model: What predicts; users and items are matched by id, item averages predict for users that it does not know,
            and its mean rating for items.
        request: Whose lists they are; a history is folded into `model` too.
        user_ids: The users of all frames.
        tell: Called with each thing that is worth a warning.
    """
    wanted = replace(request, user_ids=None if request.history else user_ids, on_unknown="popular")
    audience = audience_of(model, wanted, lambda _: None)
    n_unknown = int(audience.unknown.sum())
    if n_unknown:
        n_users = counted(len(audience.user_ids), "user")
        tell(f"unknown to --rating-model, so that item averages predict for them: {n_unknown:,} of {n_users}")
    index_of = {identifier: index for index, identifier in enumerate(audience.user_ids)}
    predict = item_scorer(model)
    n_rows = n_of_unknown = 0
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
            n_rows += frame.height
            n_of_unknown += int((~known).sum())
            ratings = np.where(known, scores[rows, np.where(known, items, 0)], model.baseline.mean)
        yield frame.with_columns(pl.Series(COLUMN, clip(model, ratings).astype(np.float64).round(4), dtype=pl.Float64))
    if n_of_unknown:
        tell(
            "of items unknown to --rating-model, so that its mean rating predicts for them: "
            f"{n_of_unknown:,} of {counted(n_rows, 'row')}"
        )
