"""Candidates: items that may be recommended, and to whom."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from autorec_cli.csr import Array
from autorec_cli.data.readers.options import one_id_per_line
from autorec_cli.errors import InputDataError, counted, not_finite
from autorec_cli.inference.catalog import did_you_mean
from autorec_cli.inference.ranking.item_rules import fulfilling, item_table, limits_of
from autorec_cli.inference.ranking.limited_top_k import Limit, limited_top_k
from autorec_cli.inference.ranking.top_k import NO_ITEM, ScoreBlock, SeenBlock, TopItems, rank_items
from autorec_cli.inference.scorer import Scorer

if TYPE_CHECKING:
    import polars as pl

    from autorec_cli.inference.ranking.settings import RecommendSettings
    from autorec_cli.inference.users.target_users import TargetUsers

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Candidates:
    """Items to recommend to some users.

    Attributes:
        seen: Items that are not recommended to a user; None recommends rated items too.
        allowed: (n_items,) bool, items that may be recommended at all.
        limits: Limits of a user's recommendations.
    """

    seen: SeenBlock | None
    allowed: Array
    limits: Sequence[Limit]

    def rank(self, n_users: int, score: ScoreBlock, k: int) -> Iterator[TopItems]:
        """Rank the `k` best items of each user.

        Raises:
            ArtifactError: scores are not finite.
        """
        select = partial(limited_top_k, limits=self.limits) if self.limits else None
        for block in rank_items(n_users, score, self.seen, self.allowed, k, select):
            self._check(block)
            yield block

    def _check(self, block: TopItems) -> None:
        """Check that no recommendation is missing, as where scores overflowed."""
        # NaN is never ranked, so a user with such scores has fewer items than candidates.
        n_found = (block.items != NO_ITEM).sum(axis=1)
        n_wanted = np.full(len(n_found), self.allowed.sum())
        # Seen items are counted only if somebody got fewer.
        if (n_found < block.items.shape[1]).any() and self.seen is not None:
            rows, items = self.seen(block.users)
            n_wanted -= np.bincount(rows, self.allowed[items], minlength=len(n_found)).astype(n_wanted.dtype)
        if self.limits:  # which may leave one item only
            n_wanted = np.minimum(n_wanted, 1)
        has_too_few = n_found < np.minimum(n_wanted, block.items.shape[1])
        is_infinite = np.isinf(block.scores[:, 0]) & (n_found > 0)
        wrong = has_too_few | is_infinite
        if wrong.any():
            raise not_finite(f"the model's scores are not finite numbers for {counted(int(wrong.sum()), 'user')}")


def candidates_for(users: TargetUsers, model: Scorer, settings: RecommendSettings) -> Candidates:
    """Find the items that may be recommended to `users`.

    Raises:
        InputDataError: there are none, or exclusions cannot be read.
        UsageError: a rule is not about columns of the items.
    """
    table = item_table(model.catalog.item_ids, model.catalog.items)
    allowed, limits = _allowed(model, settings, table), limits_of(settings.max_per, table)
    seen: SeenBlock | None = None if settings.include_seen else users.seen
    if settings.exclude_pairs is not None:
        from autorec_cli.inference.ranking.exclusions import read_exclusions, with_exclusions

        pairs, options = settings.exclude_pairs, settings.history_options
        excluded = read_exclusions(model, pairs, users.user_ids, options)
        seen = with_exclusions(seen, excluded, model.catalog.n_items)
    return Candidates(seen, allowed, limits)


def _allowed(model: Scorer, settings: RecommendSettings, table: pl.DataFrame) -> Array:
    """Items that may be recommended, (n_items,) bool.

    Raises:
        InputDataError: there are none, or a list has no item of the model.
    """
    allowed = model.catalog.item_counts >= settings.min_item_ratings
    if settings.candidates is not None:
        allowed &= _named_items(model, settings.candidates, "--candidates")
    if settings.exclude:
        allowed &= ~_named_items(model, settings.exclude, "--exclude")
    if settings.where is not None:
        allowed &= fulfilling(settings.where, table)
    if not allowed.any():
        raise InputDataError(
            "no item may be recommended: --candidates, --exclude, --where and --min-item-ratings leave none; loosen "
            "one of them"
        )
    return allowed


def _named_items(model: Scorer, item_ids: Sequence[str | int], flag: str) -> Array:
    named = set(map(str, item_ids))
    unknown = named.difference(model.catalog.item_ids)
    if unknown:
        n_items = counted(len(named), "item")
        advice = one_id_per_line(unknown)
        # Excluded items may be new to the model; then they are not recommended anyway.
        if len(unknown) == len(named) and (advice or flag == "--candidates"):
            advice = advice or did_you_mean(model.catalog.item_ids, min(unknown)) or "; check the ids"
            raise InputDataError(f"the model knows none of {n_items} of {flag}{advice}")
        logger.warning(f"ignored {len(unknown):,} of {n_items} of {flag} that the model does not know{advice}")
    return np.array([identifier in named for identifier in model.catalog.item_ids])
