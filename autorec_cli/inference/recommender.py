"""Top-k recommendations as polars frames."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import polars as pl

from autorec_cli.config import require_choice, require_count
from autorec_cli.csr import Array
from autorec_cli.data.readers.options import ReadOptions
from autorec_cli.errors import InputDataError, UsageError, counted, not_finite
from autorec_cli.inference.ranking.exclusions import read_exclusions, with_exclusions
from autorec_cli.inference.ranking.item_rules import fulfilling, item_table, limits_of
from autorec_cli.inference.ranking.limited_top_k import Limit, limited_top_k
from autorec_cli.inference.ranking.reranking import PopularityCorrection, check_strength, parse_rerank, reranker
from autorec_cli.inference.ranking.top_k import NO_ITEM, ScoreBlock, SeenBlock, TopItems, rank_items
from autorec_cli.inference.reasons.explanation import hidden_scorer
from autorec_cli.inference.reasons.frames import ReasonFrames
from autorec_cli.inference.scorer import History, Scorer, clipped
from autorec_cli.inference.users.histories import fitted_histories
from autorec_cli.inference.users.target_users import Shard, TargetUsers, folded_users, known_users
from autorec_cli.runtime.stages import begin_stage

logger = logging.getLogger(__name__)

ON_UNKNOWN = ("error", "skip", "popular")


@dataclass(frozen=True)
class RecommendSettings:
    """Users to recommend to, and items that may be recommended.

    Attributes:
        k: Number of recommendations per user.
        user_ids: In the order wanted, numbers as they are printed; None is every user of the model.
        history: Ratings of users to fold in: a file or a polars or pandas frame. They are added to what the model knows
            of its own users.
        history_options: Format of a history file; None detects everything.
        dataset: The model's dataset or its directory, with the ratings of users that the model knows, for `history` and
            `explain`; None looks where it was at training time.
        include_seen: Recommend rated items too.
        candidates: Recommend only these items, by id; None is all.
        exclude: Never recommend these items.
        exclude_pairs: Never recommend these items to these users: a file, or a polars or pandas frame, with columns
            user_id and item_id.
        where: Recommend only items for which this SQL condition over the columns of the items is true, such as "genre
            LIKE '%Comedy%' AND year >= 1990"; the id is `item_id`.
        max_per: Largest number of items with the same value of a column in a user's recommendations, by column.
        min_item_ratings: Recommend only items with at least this many training ratings.
        on_unknown: Unknown users: "error", "skip", or "popular" (the popularity baseline).
        shard: Only one of several equal shards of the users; None is all of them.
        explain: Largest number of reasons for each recommended item: ratings of the user that moved its score most.
        rerank: "mmr:0.3" trades relevance for diversity, here with a weight of 0.3; see `reranking.more_diverse`.
        popularity_correction: Strength of `reranking.PopularityCorrection`, from 0; 0.1 is mild.

    Raises:
        UsageError: a value is out of range, or two contradict each other.
    """

    k: int = 10
    user_ids: Sequence[str | int] | None = None
    history: Any = None
    history_options: ReadOptions | None = None
    dataset: Any = None
    include_seen: bool = False
    candidates: Sequence[str | int] | None = None
    exclude: Sequence[str | int] = ()
    exclude_pairs: Any = None
    where: str | None = None
    max_per: Mapping[str, int] = field(default_factory=dict)
    min_item_ratings: int = 1
    on_unknown: str = "error"
    shard: Shard | None = None
    explain: int = 0
    rerank: str | None = None
    popularity_correction: float = 0.0

    def __post_init__(self) -> None:
        require_count("--top-k", self.k, minimum=1)
        require_count("--min-item-ratings", self.min_item_ratings, minimum=0)
        require_count("--explain", self.explain, minimum=0)
        check_strength(self.popularity_correction)
        if self.rerank is not None:
            parse_rerank(self.rerank)
        for n in self.max_per.values():
            require_count("--max-per", n, minimum=1)
        require_choice("--on-unknown", self.on_unknown, ON_UNKNOWN)
        if self.history is not None and self.user_ids is not None:
            raise UsageError("--history recommends to the users of its file; leave out --user and --users")
        if self.dataset is not None and self.history is None and not self.explain:
            raise UsageError("--data belongs to --history and --explain; leave it out")

    @property
    def is_first_shard(self) -> bool:
        """True without shards too."""
        return self.shard is None or self.shard.number == 1


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
    settings = settings or RecommendSettings()
    return recommend_to(target_users(model, settings), model, settings)


def recommend_to(users: TargetUsers, model: Scorer, settings: RecommendSettings) -> Iterator[pl.DataFrame]:
    """Recommend to `users`, perhaps not all of `settings`.

    See `recommend_batches`.
    """
    begin_stage("recommending")
    candidates, limits = _candidates(model, settings), _limits(model, settings)
    seen: SeenBlock | None = None if settings.include_seen else users.seen
    if settings.exclude_pairs is not None:
        excluded = read_exclusions(model, settings.exclude_pairs, users.user_ids)
        seen = with_exclusions(seen, excluded, model.catalog.n_items)
    return _frames(users, model, settings, _Choice(seen, candidates, limits))


def target_users(model: Scorer, settings: RecommendSettings) -> TargetUsers:
    """Find the users of `settings`, in its order, each once.

    Raises:
        InputDataError: a user is unknown and that is an error, or the history cannot be used.
    """
    if settings.history is None:
        users = known_users(model, settings.user_ids)
        if settings.explain:
            users = replace(users, ratings_at=fitted_histories(model, settings.dataset))
    else:
        users = folded_users(model, settings.history, settings.history_options, settings.dataset)
    for warning in users.warnings:
        logger.warning(warning)
    users = _handle_unknown(users, settings)
    return users if settings.shard is None else users.shard(settings.shard)


def _handle_unknown(users: TargetUsers, settings: RecommendSettings) -> TargetUsers:
    n_unknown = int(users.unknown.sum())
    if n_unknown == 0:
        return users
    if settings.on_unknown == "error":
        user_id = users.user_ids[int(users.unknown.argmax())]
        more = f" (and {n_unknown - 1:,} more)" if n_unknown > 1 else ""
        whom = "user" if settings.history is None else "any item rated by user"
        advice = ", or --history FILE with their ratings" if settings.history is None else ""
        raise InputDataError(
            f"the model does not know {whom} {user_id!r}{more}; use --on-unknown skip or popular{advice}"
        )
    skip = settings.on_unknown == "skip"
    what = "skipped" if skip else "given the most popular items"
    n_users = counted(len(users.user_ids), "user")
    logger.warning(f"{n_unknown:,} of {n_users} are unknown to the model and were {what}")
    return users.only(np.flatnonzero(~users.unknown)) if skip else users


@dataclass(frozen=True)
class _Choice:
    """Items to choose from: not those that a user has seen, only candidates (n_items,) bool, and within limits."""

    seen: SeenBlock | None
    candidates: Array
    limits: Sequence[Limit]

    def rank(self, n_users: int, score: ScoreBlock, k: int) -> Iterator[TopItems]:
        """Rank the `k` best items of each user."""
        select = partial(limited_top_k, limits=self.limits) if self.limits else None
        return rank_items(n_users, score, self.seen, self.candidates, k, select)


def _frames(users: TargetUsers, model: Scorer, settings: RecommendSettings, choice: _Choice) -> Iterator[pl.DataFrame]:
    popularity = model.catalog.item_counts.astype(np.float32)
    correct = PopularityCorrection(model, settings.popularity_correction) if settings.popularity_correction else None

    def score(block: slice) -> Array:
        scores = users.score(block)
        if correct is not None:
            scores = correct(scores)
        # Ranked by popularity; the rating that is predicted for them is the baseline's (`_ItemColumns`).
        scores[users.unknown[block]] = popularity
        return scores

    columns = _ItemColumns(model, is_corrected=correct is not None)
    reasons = _reasons(model, users, settings, correct) if settings.explain else None
    n_ranked, reranked = reranker(model, settings.rerank, settings.k)

    def frame(block: TopItems) -> pl.DataFrame:
        recommended = columns.frame(block, users)
        return recommended if reasons is None else reasons.frame(recommended, block)

    if not len(users.user_ids):  # the columns still have names
        yield frame(TopItems(slice(0, 0), np.empty((0, 1), dtype=int), np.empty((0, 1))))
    n_without = n_short = 0
    for ranked in choice.rank(len(users.user_ids), score, n_ranked):
        _check_ranked(ranked, choice)
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
    if choice.limits and n_short:
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


def _check_ranked(block: TopItems, choice: _Choice) -> None:
    """Check that no recommendation is missing, as where scores overflowed.

    Raises:
        ArtifactError: one is.
    """
    n_found = (block.items != NO_ITEM).sum(axis=1)
    n_wanted = np.full(len(n_found), choice.candidates.sum())
    if (n_found < block.items.shape[1]).any() and choice.seen is not None:
        rows, items = choice.seen(block.users)
        n_wanted -= np.bincount(rows, choice.candidates[items], minlength=len(n_found)).astype(n_wanted.dtype)
    if choice.limits:  # which may leave one item only
        n_wanted = np.minimum(n_wanted, 1)
    wrong = (n_found < np.minimum(n_wanted, block.items.shape[1])) | np.isinf(block.scores[:, 0]) & (n_found > 0)
    if wrong.any():
        raise not_finite(f"the model's scores are not finite numbers for {counted(int(wrong.sum()), 'user')}")


class _ItemColumns:
    """Ids and titles of items as polars columns."""

    def __init__(self, model: Scorer, is_corrected: bool) -> None:
        catalog = model.catalog
        self.model, self.is_corrected = model, is_corrected
        # Made once: `gather` copies strings without making Python objects of them.
        self.ids = pl.Series("item_id", catalog.item_ids, dtype=pl.String)
        self.titles = pl.Series("title", catalog.titles or [None] * catalog.n_items, dtype=pl.String)

    def frame(self, block: TopItems, users: TargetUsers) -> pl.DataFrame:
        """Make the rows of a block of users."""
        recommended = block.items != NO_ITEM
        rows, ranks = np.nonzero(recommended)
        items, scores = block.items[recommended], block.scores[recommended].astype(np.float64)
        decimals = self.model.catalog.decimals
        predicted = self._predicted(rows + block.users.start, items, scores, users)
        return pl.DataFrame(
            {
                "user_id": pl.Series("user_id", users.user_ids[block.users], dtype=pl.String).gather(rows),
                "rank": (ranks + 1).astype(np.int32),
                "item_id": self.ids.gather(items),
                "score": scores.round(decimals),
                "predicted_rating": pl.Series(
                    [None] * len(items) if predicted is None else predicted.round(decimals), dtype=pl.Float64
                ),
                "title": self.titles.gather(items),
            }
        )

    def _predicted(self, positions: Array, items: Array, scores: Array, users: TargetUsers) -> Array | None:
        """Ratings that the users at `positions` are expected to give; None if the model only ranks."""
        rater = self.model.rater
        if rater is None:
            return None
        by_baseline: Array = rater.baseline.mean + rater.baseline.item_bias[items]
        known = ~users.unknown[positions]
        values = np.where(known, scores, by_baseline)
        if rater is not self.model.ranker or self.is_corrected:
            values[known] = users.rate(positions[known], items[known])
        return clipped(rater, values)


def _candidates(model: Scorer, settings: RecommendSettings) -> Array:
    """Items that may be recommended, (n_items,) bool."""
    candidates = model.catalog.item_counts >= settings.min_item_ratings
    if settings.candidates is not None:
        candidates &= _named_items(model, settings.candidates, "--candidates")
    if settings.exclude:
        candidates &= ~_named_items(model, settings.exclude, "--exclude")
    if settings.where is not None:
        candidates &= fulfilling(settings.where, item_table(model.catalog.item_ids, model.catalog.items))
    if not candidates.any():
        raise InputDataError(
            "no item may be recommended: --candidates, --exclude, --where and --min-item-ratings leave none; loosen "
            "one of them"
        )
    return candidates


def _limits(model: Scorer, settings: RecommendSettings) -> Sequence[Limit]:
    if not settings.max_per:
        return ()
    return limits_of(settings.max_per, item_table(model.catalog.item_ids, model.catalog.items))


def _named_items(model: Scorer, item_ids: Sequence[str | int], flag: str) -> Array:
    named = set(map(str, item_ids))
    unknown = named.difference(model.catalog.item_ids)
    if unknown:
        n_items = counted(len(named), "item")
        logger.warning(f"ignored {len(unknown):,} of {n_items} of {flag} that the model does not know")
    return np.array([identifier in named for identifier in model.catalog.item_ids])
