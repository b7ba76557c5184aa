"""Top-k recommendations as polars frames."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import polars as pl

from autorec_cli.csr import Array
from autorec_cli.data.readers.options import one_id_per_line
from autorec_cli.errors import InputDataError, counted, settings_of_kind
from autorec_cli.inference.catalog import did_you_mean
from autorec_cli.inference.ranking.candidates import Candidates, candidates_for
from autorec_cli.inference.ranking.frames import RecommendationFrames
from autorec_cli.inference.ranking.reranking import PopularityCorrection, reranker
from autorec_cli.inference.ranking.settings import RecommendSettings
from autorec_cli.inference.ranking.top_k import NO_ITEM, NO_USERS, TopItems
from autorec_cli.inference.reasons.explanation import hidden_scorer
from autorec_cli.inference.reasons.frames import ReasonFrames
from autorec_cli.inference.scorer import History, Scorer
from autorec_cli.inference.users.target_users import TargetUsers, folded_users, known_users
from autorec_cli.runtime.stages import begin_stage

logger = logging.getLogger(__name__)


def recommend(model: Scorer, settings: RecommendSettings | None = None) -> pl.DataFrame:
    """Recommend items to users, all in one frame; see `recommend_batches`."""
    return pl.concat(recommend_batches(model, settings))


def recommend_batches(model: Scorer, settings: RecommendSettings | None = None) -> Iterator[pl.DataFrame]:
    """Recommend items, one block of users at a time.

    Args:
        model: Scores the items.
        settings: Default settings if None.

    Returns:
        Frames of user_id, rank (from 1), item_id, score (which orders the items: a predicted rating before it is
        clipped, if the model only predicts ratings; the number of ratings for an unknown user who gets the most popular
        items), predicted_rating (clipped to the rating scale; null if the model only ranks) and title (null without
        titles). With `explain`, a row for each reason, with explained_score (computed from the user's ratings),
        reason_rank, reason_item_id, reason_rating, effect (explained_score less the score without that rating) and
        reason_title. The first is empty if there are no users.

    Raises:
        InputDataError: a user is unknown, the history cannot be used, or no item may be recommended.
    """
    settings = settings_of_kind(RecommendSettings, settings)
    return recommend_to(target_users(model, settings), model, settings)


def recommend_to(users: TargetUsers, model: Scorer, settings: RecommendSettings) -> Iterator[pl.DataFrame]:
    """Recommend to `users`, perhaps not all of `settings`.

    See `recommend_batches`.
    """
    begin_stage("recommending")
    return _frames(users, model, settings, candidates_for(users, model, settings))


def target_users(model: Scorer, settings: RecommendSettings) -> TargetUsers:
    """Find the users of `settings`, in its order, each once.

    Raises:
        InputDataError: a user is unknown and that is an error, or the history cannot be used.
    """
    if settings.history is None:
        users = known_users(model, settings.user_ids)
        if settings.explain:
            from autorec_cli.inference.users.histories import fitted_histories

            users = replace(users, ratings_at=fitted_histories(model, settings.dataset))
    else:
        users = folded_users(model, settings.history, settings.history_options, settings.dataset)
    for warning in users.warnings:
        logger.warning(warning)
    users = _handle_unknown(users, model, settings)
    return users if settings.shard is None else users.shard(settings.shard)


def _handle_unknown(users: TargetUsers, model: Scorer, settings: RecommendSettings) -> TargetUsers:
    n_unknown = int(users.unknown.sum())
    if n_unknown == 0:
        return users
    rows = ""
    if settings.history is None:  # else the ids are in a column of a table
        rows = one_id_per_line([users.user_ids[position] for position in np.flatnonzero(users.unknown).tolist()])
    if settings.on_unknown == "error":
        user_id = users.user_ids[int(users.unknown.argmax())]
        more = f" (and {n_unknown - 1:,} more)" if n_unknown > 1 else ""
        whom, advice = "any item rated by user", "; use --on-unknown skip or popular"
        if settings.history is None:
            whom = "user"
            like = did_you_mean(model.catalog.user_ids, user_id)
            advice = f"{advice}, or --history FILE with their ratings{rows or like}"
        raise InputDataError(f"the model does not know {whom} {user_id!r}{more}{advice}")
    skip = settings.on_unknown == "skip"
    what = "skipped" if skip else "given the most popular items"
    n_users = counted(len(users.user_ids), "user")
    logger.warning(f"{n_unknown:,} of {n_users} are unknown to the model and were {what}{rows}")
    return users.only(np.flatnonzero(~users.unknown)) if skip else users


def _frames(
    users: TargetUsers, model: Scorer, settings: RecommendSettings, candidates: Candidates
) -> Iterator[pl.DataFrame]:
    popularity = model.catalog.item_counts.astype(np.float32)
    correct = PopularityCorrection(model, settings.popularity_correction) if settings.popularity_correction else None

    def score(block: slice) -> Array:
        scores = users.score(block)
        if correct is not None:
            scores = correct(scores)
        # Ranked by popularity; the rating that is predicted for them is the baseline's (`RecommendationFrames`).
        scores[users.unknown[block]] = popularity
        return scores

    recommendations = RecommendationFrames(model, users, is_corrected=correct is not None)
    reasons = _reasons(model, users, settings, correct) if settings.explain else None
    n_ranked, reranked = reranker(model, settings.rerank, settings.k)

    def frame(block: TopItems) -> pl.DataFrame:
        recommended = recommendations.frame(block)
        return recommended if reasons is None else reasons.frame(recommended, block)

    if not len(users.user_ids):  # the columns still have names
        yield frame(NO_USERS)
    n_without = n_short = 0
    for ranked in candidates.rank(len(users.user_ids), score, n_ranked):
        block = reranked(ranked)
        # Counted along the way and told at the end, when all rows have left.
        n_without += int((block.items == NO_ITEM).all(axis=1).sum())
        n_short += int((block.items == NO_ITEM).any(axis=1).sum())
        yield frame(block)
    if reasons is not None:
        reasons.log_difference()
    if n_without:
        n_users = counted(len(users.user_ids), "user")
        logger.warning(f"no unrated candidate items for {n_without:,} of {n_users}")
    if candidates.limits and n_short:
        n_users = counted(len(users.user_ids), "user")
        logger.warning(f"fewer than {settings.k} items for {n_short:,} of {n_users}: --max-per admits no more")


def _reasons(
    model: Scorer, users: TargetUsers, settings: RecommendSettings, correct: PopularityCorrection | None
) -> ReasonFrames:
    computed = hidden_scorer(model)

    def score(history: History, items: Array) -> Array:
        scores = computed(history, items)
        return scores if correct is None else correct(scores, items)

    return ReasonFrames(model, score, users, settings.explain)
