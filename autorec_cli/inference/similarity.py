"""Similar items and users, by the vectors of scores.

Two items are as similar as their scores are correlated over all users. With v the item vectors of the network that
orders items, and S the covariance of its user vectors,

    similarity(i, j) = v_i' S v_j / sqrt(v_i' S v_i  v_j' S v_j)

A network has the same scores if its user vectors are multiplied by a matrix and its item vectors by the inverse, so
lengths and angles of its vectors mean nothing by themselves; this correlation stays the same. Shifts of users and of
items are left out. For users the sides are swapped: correlated scores over all items.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from autorec_cli.config import require_choice, require_count
from autorec_cli.csr import Array
from autorec_cli.errors import InputDataError, counted, not_finite, settings_of_kind
from autorec_cli.inference.catalog import item_names, rated_positions
from autorec_cli.inference.model import Model
from autorec_cli.inference.ranking.top_k import NO_ITEM, NO_USERS, TopItems, rank_items
from autorec_cli.inference.scorer import Scorer
from autorec_cli.runtime.stages import begin_stage

SIDES = ("items", "users")
DECIMALS = 4
ROWS_AT_ONCE = 1 << 14


@dataclass(frozen=True)
class SimilarSettings:
    """Items or users to find similar ones of.

    Attributes:
        of: "items" or "users".
        ids: In the order wanted, numbers as they are printed; None is all that have training ratings.
        k: Number of similar ones for each.
        min_ratings: Only those with at least this many training ratings are found; vectors of others are noise.

    Raises:
        UsageError: a value is out of range.
    """

    of: str = "items"
    ids: Sequence[str | int] | None = None
    k: int = 10
    min_ratings: int = 10

    def __post_init__(self) -> None:
        require_choice("--of", self.of, SIDES)
        require_count("--top-k", self.k, minimum=1)
        require_count("--min-ratings", self.min_ratings, minimum=1)


def similar(model: Scorer, settings: SimilarSettings | None = None) -> pl.DataFrame:
    """Find similar items or users in one frame; see `similar_batches`."""
    return pl.concat(similar_batches(model, settings))


def similar_batches(model: Scorer, settings: SimilarSettings | None = None) -> Iterator[pl.DataFrame]:
    """Find similar items or users, one block at a time.

    Args:
        model: Its network that orders items decides.
        settings: Default settings if None.

    Returns:
        Frames of item_id and title, rank (from 1), similar_id, similarity (from -1 to 1), and similar_title; of users
        without titles, and with user_id. Titles are null where there are none.

    Raises:
        ArtifactError: the vectors are not finite.
        InputDataError: an id is unknown or has no training rating, or nothing can be found.
    """
    settings = settings_of_kind(SimilarSettings, settings)
    begin_stage("comparing")
    ids, counts = _side(model, settings.of)
    wanted = _wanted(ids, counts, settings)
    candidates = counts >= settings.min_ratings
    if not candidates.any():
        raise InputDataError(
            f"none of {counted(len(ids), settings.of[:-1])} has {settings.min_ratings} training ratings; "
            "lower --min-ratings"
        )
    return _frames(model, similarity_vectors(model, settings.of), wanted, candidates, settings)


def keep_first(model: Scorer, settings: SimilarSettings, n: int) -> tuple[SimilarSettings, int]:
    """Keep the first `n` items or users; also counts those left out."""
    ids: Sequence[str | int] | None = settings.ids
    if ids is None:
        known, counts = _side(model, settings.of)
        ids = [known[index] for index in np.flatnonzero(counts > 0).tolist()]
    return replace(settings, ids=ids[:n]), max(0, len(ids) - n)


def similarity_vectors(model: Scorer, of: str) -> Array:
    """Vectors whose inner products are similarities.

    (n, k) float32 of length 1, or 0 for those that vary nowhere.

    Raises:
        ArtifactError: they are not finite.
    """
    ranker = model.ranker
    sides = [_vectors(network) if of == "items" else _vectors(network)[::-1] for network in ranker.networks]
    catalog = model.catalog
    is_warm = (catalog.user_counts if of == "items" else catalog.item_counts) > 0
    # The score of a blend is a sum, so its vectors are those of its networks in one.
    own = np.concatenate([vectors for vectors, _ in sides], axis=1) if len(sides) > 1 else sides[0][0]
    scales = [weight * network.output_unit for weight, network in zip(ranker.weights, ranker.networks, strict=True)]
    covariance = _covariance([vectors for _, vectors in sides], scales, np.flatnonzero(is_warm))
    if not (np.isfinite(covariance).all() and np.isfinite(own).all()):
        raise not_finite("the model's vectors are not finite")
    # S = A diag(variances) A', so similarities are inner products of the vectors times A sqrt(variances).
    variances, axes = np.linalg.eigh(covariance)  # rounding makes some variances negative
    # In single precision and in place, as items may be many.
    unit: Array = own @ (axes * np.sqrt(np.maximum(variances, 0))).astype(np.float32)
    lengths = np.linalg.norm(unit, axis=1, keepdims=True)
    np.divide(unit, lengths, out=unit, where=lengths > 0)
    return unit


def _vectors(network: Model) -> tuple[Array, Array]:
    """Item vectors (n_items, k) and user vectors (n_users, k)."""
    encoded, decoded = network.codes, network.decoder_weight
    if network.settings.linear_units:
        # The value at 0 of these units is a shift of the items, which is left out.
        encoded = encoded - network.code_at_zero
    return (encoded, decoded) if network.settings.variant == "item" else (decoded, encoded)


def _covariance(vectors: Sequence[Array], scales: Sequence[float], rows: Array) -> Array:
    """Covariance of scaled vectors over some rows, (k, k) float64."""
    k = sum(of_network.shape[1] for of_network in vectors)
    total, products = np.zeros(k), np.zeros((k, k))
    # In blocks: copies of all vectors in double precision would take several times the memory of the model.
    for start in range(0, len(rows), ROWS_AT_ONCE):
        taken = rows[start : start + ROWS_AT_ONCE]
        block = np.concatenate(
            [scale * of_network[taken].astype(np.float64) for of_network, scale in zip(vectors, scales, strict=True)],
            axis=1,
        )
        total += block.sum(axis=0)
        products += block.T @ block
    n = max(len(rows), 1)
    return products / n - np.outer(total, total) / n**2


def _side(model: Scorer, of: str) -> tuple[Sequence[str], Array]:
    """Ids and numbers of training ratings of items or users."""
    catalog = model.catalog
    return (catalog.item_ids, catalog.item_counts) if of == "items" else (catalog.user_ids, catalog.user_counts)


def _wanted(ids: Sequence[str], counts: Array, settings: SimilarSettings) -> Array:
    """Index of each of the ids wanted, once.

    Raises:
        InputDataError: one is unknown or has no training rating.
    """
    if settings.ids is None:
        return np.flatnonzero(counts > 0)
    return rated_positions(ids, counts > 0, settings.ids, settings.of[:-1])


def _frames(
    model: Scorer, unit: Array, wanted: Array, candidates: Array, settings: SimilarSettings
) -> Iterator[pl.DataFrame]:
    columns = _Columns(model, settings.of)

    def score(block: slice) -> Array:
        similarities: Array = unit[wanted[block]] @ unit.T
        return similarities

    def itself(block: slice) -> tuple[Array, Array]:
        index = wanted[block]
        return np.arange(len(index)), index

    if not len(wanted):  # the columns still have names
        yield columns.frame(NO_USERS, wanted)
    for found in rank_items(len(wanted), score, itself, candidates, settings.k):
        yield columns.frame(found, wanted)


class _Columns:
    """Ids and titles of one side as polars columns."""

    def __init__(self, model: Scorer, of: str) -> None:
        self.name = f"{of[:-1]}_id"
        self.ids, self.titles = pl.Series(model.catalog.user_ids, dtype=pl.String), None
        if of == "items":
            self.ids, self.titles = item_names(model.catalog)

    def frame(self, found: TopItems, wanted: Array) -> pl.DataFrame:
        """Make the rows of a block."""
        rows, ranks = np.nonzero(found.items != NO_ITEM)
        own, others = wanted[found.users][rows], found.items[rows, ranks]
        similarities = np.clip(found.scores[rows, ranks].astype(np.float64), -1, 1).round(DECIMALS)
        columns = {self.name: self.ids.gather(own)}
        if self.titles is not None:
            columns["title"] = self.titles.gather(own)
        columns |= {
            "rank": pl.Series((ranks + 1).astype(np.int32)),
            "similar_id": self.ids.gather(others),
            "similarity": pl.Series(similarities),
        }
        if self.titles is not None:
            columns["similar_title"] = self.titles.gather(others)
        return pl.DataFrame(columns)
