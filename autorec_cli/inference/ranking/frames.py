"""Recommendations as rows: one for each user and item."""

from __future__ import annotations

import numpy as np
import polars as pl

from autorec_cli.csr import Array
from autorec_cli.inference.catalog import item_names
from autorec_cli.inference.ranking.top_k import NO_ITEM, TopItems
from autorec_cli.inference.scorer import Scorer, clipped
from autorec_cli.inference.users.target_users import TargetUsers


class RecommendationFrames:
    """Frames of recommendations.

    Args:
        model: Its ids, titles and decimals.
        users: Users who get recommendations.
        is_corrected: True if scores are not the model's own.
    """

    def __init__(self, model: Scorer, users: TargetUsers, is_corrected: bool) -> None:
        self._model, self._users, self._is_corrected = model, users, is_corrected
        # Made once: `gather` copies strings without making Python objects of them.
        self._ids, self._titles = item_names(model.catalog)

    def frame(self, block: TopItems) -> pl.DataFrame:
        """Make the rows of a block of users."""
        recommended = block.items != NO_ITEM
        rows, ranks = np.nonzero(recommended)
        items, scores = block.items[recommended], block.scores[recommended].astype(np.float64)
        decimals = self._model.catalog.decimals
        predicted = self._predicted(rows + block.users.start, items, scores)
        return pl.DataFrame(
            {
                "user_id": pl.Series("user_id", self._users.user_ids[block.users], dtype=pl.String).gather(rows),
                "rank": (ranks + 1).astype(np.int32),
                "item_id": self._ids.gather(items),
                "score": scores.round(decimals),
                "predicted_rating": pl.Series(
                    [None] * len(items) if predicted is None else predicted.round(decimals), dtype=pl.Float64
                ),
                "title": self._titles.gather(items),
            }
        )

    def _predicted(self, positions: Array, items: Array, scores: Array) -> Array | None:
        """Predicted ratings of users; None if the model only ranks."""
        rater = self._model.rater
        if rater is None:
            return None
        by_baseline: Array = rater.baseline.mean + rater.baseline.item_bias[items]
        known = ~self._users.unknown[positions]
        values = np.where(known, scores, by_baseline)
        if rater is not self._model.ranker or self._is_corrected:
            values[known] = self._users.rate(positions[known], items[known])
        return clipped(rater, values)
