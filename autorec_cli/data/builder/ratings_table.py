"""Table of all ratings, with ids converted to indexes."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from autorec_cli.data.builder.buffers import GrowingArray
from autorec_cli.data.builder.sorted_cells import pack_pairs, unpack_pairs
from autorec_cli.data.builder.vocabulary import IdTable
from autorec_cli.data.readers.layout import Layout
from autorec_cli.data.readers.rows import RatingRows


@dataclass(frozen=True)
class SourceFacts:
    """Facts about one source that was read.

    Attributes:
        name: Name on the command line, or as expanded from a glob.
        n_bytes, sha256: Size and hash of the file as stored; no hash if it may have been read in part only.
        layout: Delimiter, header and columns.
        n_ratings: Good rows.
        n_skipped: Bad rows left out.
        is_test: True if its ratings are the test set.
        skipped: Place and problem of the first bad rows.
        n_outside: Rows outside `--since` and `--until`.
        n_missing: Rows whose rating stands for none.
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
    n_missing: int = 0

    @property
    def n_rows(self) -> int:
        """Rows that were read."""
        return self.n_ratings + self.n_skipped + self.n_outside + self.n_missing


@dataclass
class RatingsTable:
    """Ratings in source order, 12 to 16 bytes each.

    Attributes:
        users, items: Ids, indexed by first appearance.
        pairs: User index and item index of every rating, packed as `pack_pairs` does.
        ratings: float32.
        timestamps: int32, or float64 where needed; empty without timestamps.
        sources: Facts about each source, in order; test sources come last.
    """

    users: IdTable = field(default_factory=IdTable)
    items: IdTable = field(default_factory=IdTable)
    pairs: GrowingArray = field(default_factory=GrowingArray)
    ratings: GrowingArray = field(default_factory=GrowingArray)
    timestamps: GrowingArray = field(default_factory=GrowingArray)
    sources: list[SourceFacts] = field(default_factory=list)

    def add(self, rows: RatingRows) -> None:
        """Append `rows`, and their new ids."""
        self.add_indexed(self.users.indexes(rows.users), self.items.indexes(rows.items), rows.ratings)
        if rows.timestamps is not None:
            self.timestamps.append(rows.timestamps)

    def add_indexed(self, users: NDArray[np.int32], items: NDArray[np.int32], ratings: NDArray[np.float32]) -> None:
        """Append ratings whose ids are known."""
        # One 64-bit number per pair: it is sorted in place later, which two index columns cannot be.
        pack_pairs(users, items, self.pairs.extend(len(users), np.dtype(np.uint64)))
        self.ratings.append(ratings)

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
        """Ratings of the test sources, last in the table."""
        return sum(source.n_ratings for source in self.sources if source.is_test)

    @property
    def n_skipped(self) -> int:
        """Bad rows left out of all sources."""
        return sum(source.n_skipped for source in self.sources)

    @property
    def n_outside(self) -> int:
        """Rows of all sources outside `--since` and `--until`."""
        return sum(source.n_outside for source in self.sources)

    @property
    def n_missing(self) -> int:
        """Rows of all sources whose rating stands for none."""
        return sum(source.n_missing for source in self.sources)

    def source_of(self, position: int) -> str:
        """Name of the source of rating number `position` (from 0)."""
        # Positions are enough to find the source: a column for it would take a byte or more per rating.
        ends = np.cumsum([source.n_ratings for source in self.sources])
        return self.sources[int(np.searchsorted(ends, position, side="right"))].name
