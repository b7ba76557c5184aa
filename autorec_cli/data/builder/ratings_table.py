"""Ratings of all sources in one table, with ids already turned into indexes."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from autorec_cli.data.builder.buffers import GrowingArray
from autorec_cli.data.builder.sorted_cells import pack_pairs, unpack_pairs
from autorec_cli.data.builder.vocabulary import IdTable
from autorec_cli.data.readers.detection import Layout
from autorec_cli.data.readers.rows import RatingRows


@dataclass(frozen=True)
class SourceFacts:
    """What was read from one source.

    Attributes:
        name: The source as named on the command line, or as the glob found it.
        n_bytes, sha256: Size and hash of the file as stored; no hash of a file that may have been read in part only.
        layout: How it was read.
        n_ratings: Good rows.
        n_skipped: Bad rows left out.
        is_test: Whether its ratings are the test part.
        skipped: What was wrong with the first of the bad rows, each with its place.
        n_outside: Rows outside the period that was asked for.
    """

    name: str
    n_bytes: int
    sha256: str | None
    layout: Layout
    n_ratings: int
    n_skipped: int
    is_test: bool
    skipped: tuple[str, ...] = ()
    n_outside: int = 0


@dataclass
class RatingsTable:
    """Ratings in the order of the sources.

    Attributes:
        users, items: Ids, numbered by first appearance.
        pairs: User index and item index of every rating, packed as `pack_pairs` does.
        ratings: float32.
        timestamps: int32, or float64 where needed; empty without timestamps.
        sources: Account of every source, in order; the test sources come last.
    """

    users: IdTable = field(default_factory=IdTable)
    items: IdTable = field(default_factory=IdTable)
    pairs: GrowingArray = field(default_factory=GrowingArray)
    ratings: GrowingArray = field(default_factory=GrowingArray)
    timestamps: GrowingArray = field(default_factory=GrowingArray)
    sources: list[SourceFacts] = field(default_factory=list)

    def add(self, rows: RatingRows) -> None:
        """Add `rows` to the end, and ids that are new."""
        self.pairs.append(pack_pairs(self.users.indexes(rows.users), self.items.indexes(rows.items)))
        self.ratings.append(rows.ratings)
        if rows.timestamps is not None:
            self.timestamps.append(rows.timestamps)

    @property
    def user_ids(self) -> pl.Series:
        """Ids of users in index order, String."""
        return self.users.ids()

    @property
    def item_ids(self) -> pl.Series:
        """Ids of items in index order, String."""
        return self.items.ids()

    def indexes(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """User index and item index of every rating."""
        return unpack_pairs(self.pairs.values())

    @property
    def n_ratings(self) -> int:
        """Good rows of all sources."""
        return sum(source.n_ratings for source in self.sources)

    @property
    def n_given_test(self) -> int:
        """Ratings of the test sources: the last ones of the table."""
        return sum(source.n_ratings for source in self.sources if source.is_test)

    @property
    def n_skipped(self) -> int:
        """Bad rows left out of all sources."""
        return sum(source.n_skipped for source in self.sources)

    @property
    def n_outside(self) -> int:
        """Rows of all sources outside the period that was asked for."""
        return sum(source.n_outside for source in self.sources)

    def source_of(self, position: int) -> str:
        """The name of the source that rating number `position` (from 0) came from."""
        ends = np.cumsum([source.n_ratings for source in self.sources])
        return self.sources[int(np.searchsorted(ends, position, side="right"))].name
