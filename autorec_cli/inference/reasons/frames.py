"""Reasons of recommendations as rows, one for each reason.

A long format has the same columns in every output format, without cells that hold lists, and joins with other tables by
`reason_item_id`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import nullcontext

import numpy as np
import polars as pl

from autorec_cli.csr import Array
from autorec_cli.inference.catalog import item_names
from autorec_cli.inference.ranking.top_k import NO_ITEM, TopItems
from autorec_cli.inference.reasons.explanation import HiddenScorer, Reasons, explain
from autorec_cli.inference.scorer import History, Scorer
from autorec_cli.inference.users.target_users import TargetUsers
from autorec_cli.runtime.threads import in_order, one_thread_per_product

logger = logging.getLogger(__name__)

EXTRA_DECIMALS = 2
"""Decimals of effects beyond those of scores, as one rating of many moves a score little."""


class ReasonFrames:
    """Frames of recommendations with the reasons of each.

    Args:
        model: Its ids, titles and decimals.
        score: See `hidden_scorer`.
        users: Users who get recommendations; with their ratings.
        n_reasons: Largest number of reasons for each recommended item.
    """

    def __init__(self, model: Scorer, score: HiddenScorer, users: TargetUsers, n_reasons: int) -> None:
        catalog = model.catalog
        self._score, self._users, self._n_reasons = score, users, n_reasons
        self._decimals = catalog.decimals
        self._ids, self._titles = item_names(catalog)
        self._differences: list[Array] = []

    def frame(self, recommended: pl.DataFrame, block: TopItems) -> pl.DataFrame:
        """Repeat the rows of a block for each of their reasons.

        An item without reasons keeps one row: the user has no ratings, or none of them raised its score.
        """
        assert self._users.ratings_at is not None
        histories = self._users.ratings_at(self._users.index[block.users])
        lists = [(history, row[row != NO_ITEM]) for history, row in zip(histories, block.items, strict=True)]
        # Each thread explains a user; products that split their work would compete with them.
        with one_thread_per_product() or nullcontext(), in_order(self._explain, lists) as found:
            reasons = list(found)
        rows, cells = self._cells(lists, reasons)
        explained = np.concatenate([of_user.scores for of_user in reasons]) if reasons else np.empty(0)
        self._differences.append((explained - block.scores[block.items != NO_ITEM])[np.isfinite(explained)])
        columns = {"explained_score": pl.Series(explained.round(self._decimals)).fill_nan(None)}
        return recommended.with_columns(**columns)[rows].hstack(cells)

    def log_difference(self) -> None:
        """Log the distance of scores computed again from the model's.

        Only if it shows in their digits.
        """
        differences = np.abs(np.concatenate([*self._differences, np.empty(0)]))
        if differences.max(initial=0.0) >= 10.0**-self._decimals:  # smaller ones are rounding
            logger.info(
                f"reasons: scores computed again from the users' ratings (explained_score) differ from the model's by "
                f"{differences.mean():.{self._decimals}f} on average, by {differences.max():.{self._decimals}f} at most"
            )

    def _explain(self, of_user: tuple[History, Array]) -> Reasons:
        history, items = of_user
        if len(history[0]) == 0:
            nothing = np.empty((len(items), 0))
            return Reasons(np.full(len(items), np.nan), nothing.astype(np.int64), nothing)
        least = 0.5 * 10.0 ** -(self._decimals + EXTRA_DECIMALS)  # smaller ones would be written as 0
        return explain(self._score, history, items, self._n_reasons, least)

    def _cells(self, lists: Sequence[tuple[History, Array]], reasons: Sequence[Reasons]) -> tuple[Array, pl.DataFrame]:
        """Row of each reason among the recommendations, and its columns."""
        found = [of_user.ratings != NO_ITEM for of_user in reasons]
        n_of_items = _joined([of_user.sum(axis=1) for of_user in found]).astype(np.int64)
        n_rows = np.maximum(n_of_items, 1)
        rows = np.repeat(np.arange(len(n_rows)), n_rows)
        # Counted from 1 within each item.
        ranks = np.arange(len(rows)) - np.repeat(np.cumsum(n_rows) - n_rows, n_rows) + 1
        has_reason = np.repeat(n_of_items > 0, n_rows)
        # Zeros for items without a reason, whose cells are emptied at the end.
        items, ratings, effects = np.zeros(len(rows), dtype=np.int64), np.zeros(len(rows)), np.zeros(len(rows))
        at = [of_user.ratings[is_reason] for of_user, is_reason in zip(reasons, found, strict=True)]
        for cells, column in ((items, 0), (ratings, 1)):
            cells[has_reason] = _joined([of[0][column][at_user] for of, at_user in zip(lists, at, strict=True)])
        effects[has_reason] = _joined(
            [of_user.effects[is_reason] for of_user, is_reason in zip(reasons, found, strict=True)]
        )
        columns = pl.DataFrame(
            {
                "reason_rank": ranks.astype(np.int32),
                "reason_item_id": self._ids.gather(items),
                "reason_rating": ratings,
                "effect": effects.round(self._decimals + EXTRA_DECIMALS),
                "reason_title": self._titles.gather(items),
            }
        )
        missing = pl.Series(~has_reason)
        return rows, columns.select(pl.when(missing).then(None).otherwise(pl.all()).name.keep())


def _joined(arrays: Sequence[Array]) -> Array:
    return np.concatenate([*(array.ravel() for array in arrays), np.empty(0)])
