"""Predictions of streamed user-item pairs, with the basis of each.

Blocks in, blocks out: memory is bounded by a block and the model, whatever the number of pairs. Rows keep their order,
and repeated pairs stay.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from autorec_cli.csr import Array
from autorec_cli.data.readers.formats import FILE_READERS, read_source
from autorec_cli.data.readers.layout import Layout
from autorec_cli.data.readers.options import ReadOptions
from autorec_cli.data.readers.rows import RatingRows
from autorec_cli.data.readers.source_names import expand_sources
from autorec_cli.data.readers.sources import open_source
from autorec_cli.data.readers.tables.frames import detect_frame, frame_rows, polars_frame
from autorec_cli.errors import InputDataError, UsageError, counted, settings_of_kind
from autorec_cli.inference.catalog import UNKNOWN, index_of, positions_in
from autorec_cli.inference.fold_in import user_bias
from autorec_cli.inference.prediction.predict import predict_known, rater_of
from autorec_cli.inference.scorer import History, Scorer, clipped
from autorec_cli.inference.scoring import SCORES_AT_ONCE
from autorec_cli.inference.users.histories import read_histories

logger = logging.getLogger(__name__)

BASES = ("network", "fold-in", "user bias", "item bias", "global mean")
PAIRS_AT_ONCE = 1 << 16
NETWORK, FOLD_IN, USER_BIAS, ITEM_BIAS, GLOBAL_MEAN = range(len(BASES))


@dataclass(frozen=True)
class PredictSettings:
    """Format of the pairs, and ratings to fold in.

    Attributes:
        read: Format of a file of pairs; None detects everything.
        history: Ratings of users to fold in: a file or a polars or pandas frame, of a format that is detected.
        dataset: The model's dataset or its directory, with the earlier ratings of users in the history that the model
            knows; None looks where it was at training time.

    Raises:
        UsageError: there is a dataset and no history.
    """

    read: ReadOptions | None = None
    history: Any = None
    dataset: Any = None

    def __post_init__(self) -> None:
        if self.dataset is not None and self.history is None:
            raise UsageError("--data belongs to --history; leave it out")


def predict_batches(model: Scorer, source: Any, settings: PredictSettings | None = None) -> Iterator[pl.DataFrame]:  # noqa: ANN401
    """Predict the ratings of streamed pairs, block by block.

    Args:
        model: Predicts ratings.
        source: Users, items and perhaps ratings, in their order: a file that `prepare` reads, "-" for stdin, or a
            polars or pandas frame.
        settings: Default settings if None.

    Returns:
        Frames of user_id, item_id, rating (of the pairs, if they have any), predicted_rating (clipped to the rating
        scale), residual (rating - predicted_rating) and basis, one of `BASES`.

    Raises:
        UsageError: the model does not predict ratings.
        InputDataError: the pairs or the history cannot be used.
        ArtifactError: the dataset is not the model's.
    """
    settings = settings_of_kind(PredictSettings, settings)
    predictor = _PairPredictor(rater_of(model), _folded(model, settings))
    return _frames(predictor, pair_blocks(source, replace(settings.read or ReadOptions(), are_pairs=True)))


def _folded(model: Scorer, settings: PredictSettings) -> dict[str, History]:
    """Users to fold in, who have rated a fitted item."""
    if settings.history is None:
        return {}
    histories = read_histories(model, settings.history, dataset=settings.dataset)
    for warning in histories.warnings:
        logger.warning(warning)
    counts = model.catalog.item_counts
    rated = zip(histories.user_ids, histories.ratings, strict=True)
    return {user_id: (items, ratings) for user_id, (items, ratings) in rated if counts[items].any()}


def pair_blocks(source: Any, options: ReadOptions) -> Iterator[tuple[Layout, RatingRows]]:  # noqa: ANN401
    """Rows of files or a frame, each block with its layout."""
    if not isinstance(source, str | Path):
        frame = polars_frame(source)
        layout = detect_frame(frame, options)
        for rows in frame_rows(frame, layout, options.skip_bad_rows):
            yield layout, rows
        return
    layouts: dict[bytes, Layout] = {}
    for name in expand_sources([str(source)]):
        with (
            open_source(name, tuple(FILE_READERS), in_part=True) as opened,
            read_source(opened, options, layouts.get(opened.magic)) as found,
        ):
            if found is None:
                continue
            layout, blocks = found
            layouts.setdefault(opened.magic, layout)
            logger.info(f"{opened.name}: {layout.describe()}")
            for rows in blocks:
                yield layout, rows


def _frames(predictor: _PairPredictor, blocks: Iterator[tuple[Layout, RatingRows]]) -> Iterator[pl.DataFrame]:
    n_pairs = n_unknown = n_skipped = 0
    first_skipped: Sequence[str] = ()
    have_ratings: bool | None = None
    for layout, rows in blocks:
        has_ratings = layout.columns.rating is not None
        if have_ratings not in (None, has_ratings):
            raise InputDataError("some files of pairs have ratings and others have none; use --columns rating=none")
        have_ratings = has_ratings
        n_skipped += rows.n_skipped
        first_skipped = first_skipped or rows.skipped
        n_pairs += len(rows)
        # A batch of Parquet has a million rows, whose ids as Python strings would take the most memory.
        for start in range(0, len(rows), PAIRS_AT_ONCE):
            pairs = _pairs_of(rows, slice(start, start + PAIRS_AT_ONCE), has_ratings)
            block = predictor.predict(pairs["user_id"], pairs["item_id"])
            n_unknown += block.n_unknown
            yield _with_predictions(pairs, block, predictor.model.catalog.decimals)
    if n_pairs == 0:
        raise InputDataError("there are no pairs to predict")
    if n_skipped:
        logger.warning(f"skipped {counted(n_skipped, 'bad row')}, the first: {first_skipped[0]}")
    if n_unknown:
        logger.warning(
            f"{n_unknown:,} of {counted(n_pairs, 'pair')} have a user or an item that the model does not know; means "
            "predict for them"
        )


@dataclass(frozen=True)
class _Predicted:
    """Predictions of a block of pairs.

    Attributes:
        values: (n,) float64.
        basis: (n,) indices of `BASES`.
        n_unknown: Number of pairs with an unknown id.
    """

    values: Array
    basis: Array
    n_unknown: int


def _pairs_of(rows: RatingRows, part: slice, has_ratings: bool) -> pl.DataFrame:
    columns = {"user_id": rows.users[part].cast(pl.String), "item_id": rows.items[part].cast(pl.String)}
    return pl.DataFrame({**columns, "rating": pl.Series(rows.ratings[part])} if has_ratings else columns)


def _with_predictions(pairs: pl.DataFrame, block: _Predicted, decimals: int) -> pl.DataFrame:
    predicted = block.values.round(decimals)
    columns = [pl.Series("predicted_rating", predicted)]
    if "rating" in pairs.columns:
        ratings = pairs["rating"].to_numpy().astype(np.float64)
        columns.append(pl.Series("residual", (ratings - predicted).round(decimals)))
    return pairs.with_columns(*columns, pl.Series("basis", BASES, dtype=pl.String).gather(block.basis))


class _PairPredictor:
    """Predictions of pairs named by id.

    Args:
        model: Predicts ratings.
        folded: Histories of users to fold in, instead of what the model has learned of them.
    """

    def __init__(self, model: Scorer, folded: Mapping[str, History]) -> None:
        self.model = model
        # Made once: there may be thousands of blocks.
        self._users, self._items = index_of(model.catalog.user_ids), index_of(model.catalog.item_ids)
        self._folded, self._histories = index_of(folded), list(folded.values())
        self._score = model.history_scorer() if folded else None

    def predict(self, user_ids: pl.Series, item_ids: pl.Series) -> _Predicted:
        """Predict pairs of ids (String)."""
        named = user_ids.to_list()
        users, items = positions_in(self._users, named), positions_in(self._items, item_ids.to_list())
        values, is_cold = predict_known(self.model, users, items)
        has_user, has_item = _has(self.model.catalog.user_counts, users), _has(self.model.catalog.item_counts, items)
        # For cold pairs; the others are overwritten.
        basis = np.select([has_user, has_item], [USER_BIAS, ITEM_BIAS], GLOBAL_MEAN)
        basis[~is_cold] = NETWORK
        folded = positions_in(self._folded, named)
        n_unknown = int((((users == UNKNOWN) & (folded == UNKNOWN)) | (items == UNKNOWN)).sum())
        rows = np.flatnonzero(folded != UNKNOWN)
        if len(rows):
            values[rows] = self._predict_folded(folded[rows], items[rows])
            basis[rows] = np.where(has_item[rows], FOLD_IN, USER_BIAS)
        return _Predicted(values, basis, n_unknown)

    def _predict_folded(self, users: Array, items: Array) -> Array:
        """Predict pairs of folded users; items may be UNKNOWN."""
        assert self._score is not None
        values = np.empty(len(users))
        present, position = np.unique(users, return_inverse=True)
        # All items are scored for each user, so a chunk of users bounds the memory.
        at_once = max(1, SCORES_AT_ONCE // self.model.catalog.n_items)
        for start in range(0, len(present), at_once):
            chunk = [self._histories[user] for user in present[start : start + at_once].tolist()]
            pairs = np.flatnonzero((position >= start) & (position < start + at_once))
            scores, biases = self._score(chunk), np.array([self._bias(history) for history in chunk])
            row, item = position[pairs] - start, items[pairs]
            # An UNKNOWN item would index the last one; `where` then takes the mean and the user's bias.
            of_unknown = self.model.baseline.mean + biases[row]
            values[pairs] = np.where(item == UNKNOWN, of_unknown, scores[row, np.maximum(item, 0)])
        return clipped(self.model, values)

    def _bias(self, history: History) -> float:
        items, ratings = history
        rated = self.model.catalog.item_counts[items] > 0
        return user_bias(self.model.baseline, items[rated], ratings[rated].astype(np.float64))


def _has(counts: Array, index: Array) -> Array:
    """Mark users or items with training ratings; UNKNOWN has none."""
    return np.append(counts, 0)[index] > 0
