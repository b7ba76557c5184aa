"""Encoded ratings: Parquet partitions with indexes in place of ids.

SQL engines and Spark write them:

    users.parquet    index (whole number, from 0 in order), id (string), n_ratings (whole number)
    items.parquet    the same of the items
    ratings/         user int64, item int32, rating float32, perhaps timestamp int64 (seconds since 1970)

Each may be a file or a directory of Parquet files. Ratings are sorted by user. docs/scaling.md has the contract and the
SQL. Nothing is looked up or sorted here, and partitions are read in batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from autorec_cli.csr import Array
from autorec_cli.data.builder.encoded_ids import add_ids, open_parquet, read_counts
from autorec_cli.data.builder.ratings_table import RatingsTable, SourceFacts
from autorec_cli.data.readers.layout import ENCODED, Columns, Layout
from autorec_cli.data.readers.source_names import expand_sources
from autorec_cli.data.readers.sources import OpenSource
from autorec_cli.data.readers.tables.frames import BATCH_ROWS
from autorec_cli.data.readers.tables.parquet import damage_named, scan_file
from autorec_cli.data.readers.timestamps import narrow
from autorec_cli.errors import InputDataError, counted

TYPES = {"user": pl.Int64, "item": pl.Int32, "rating": pl.Float32, "timestamp": pl.Int64}
OPTIONAL = "timestamp"

Announce = Callable[[str, Layout], None]
Runs = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class EncodedRatings:
    """Ratings that a SQL engine or Spark has encoded, as docs/scaling.md specifies.

    Attributes:
        folder: Directory of users.parquet, items.parquet and ratings.
    """

    folder: Path


def read_encoded(encoded: EncodedRatings, announce: Announce | None = None) -> RatingsTable:
    """Read and check encoded ratings.

    Raises:
        InputDataError: a file is missing or damaged, a column is missing or of another type, rows are not sorted by
            user, an index is not in its table, or the numbers of ratings are not those of the tables.
    """
    tables = EncodedTables(encoded.folder)
    table, of_items = tables.read(read_ends(tables.partitions), [(0, tables.n_users)], announce)
    tables.check_items(of_items)
    return table


class EncodedTables:
    """Directory of encoded ratings.

    Only the numbers of ratings are in memory.

    Attributes:
        folder: The directory.
        partitions: Files of ratings, in any order.
        n_ratings: Of each "user" and each "item", by its table, (n,) int64.
    """

    def __init__(self, folder: Path) -> None:
        """Find the files and read the numbers of ratings.

        Raises:
            InputDataError: a file is missing or damaged, or breaks the contract.
        """
        if not folder.is_dir():
            raise InputDataError(f"there is no directory {folder}; docs/scaling.md says how to make one")
        self.folder = folder
        self.partitions = expand_sources([str(folder / "ratings")])
        self.n_ratings = {side: read_counts(folder, side) for side in ("user", "item")}
        for side, counts in self.n_ratings.items():
            if not len(counts):
                raise InputDataError(f"{folder / f'{side}s.parquet'} has no rows; there must be one for each {side}")

    @property
    def n_users(self) -> int:
        """Rows of the table of users."""
        return len(self.n_ratings["user"])

    @property
    def n_items(self) -> int:
        """Rows of the table of items."""
        return len(self.n_ratings["item"])

    def read(self, ends: Array, runs: Runs, announce: Announce | None = None) -> tuple[RatingsTable, Array]:
        """Read the ratings of some users, who get indexes from 0.

        Only partitions with these users are opened, and rows checked up to the last of these users.

        Args:
            ends: First and last user, and rows, of each partition; see `read_ends`.
            runs: First user and end of each run of users, ascending.
            announce: Called with the name and layout of each partition.

        Returns:
            Ratings, and their number per item (n_items,) int64.

        Raises:
            InputDataError: a row breaks the contract, or a user has another number of ratings than by its table.
        """
        table, checks = RatingsTable(), _Checks(self.n_users, self.n_items)
        add_ids(self.folder, "user", runs, table.users)
        add_ids(self.folder, "item", [(0, self.n_items)], table.items)
        users = np.concatenate([np.empty(0, dtype=np.int64), *(np.arange(*run) for run in runs)])
        of_users, of_items = (np.zeros(n, dtype=np.int64) for n in (len(users), self.n_items))
        for name, end in self._with_users(ends, runs):
            # Read to its end, for the hash, where no other process reads it too.
            with open_parquet(name, in_part=len(users) < self.n_users) as source, damage_named(source):
                layout, n_rows = _layout(scan_file(source).collect_schema(), name, table), 0
                if announce is not None:
                    announce(name, layout)
                for batch in checks.checked(source, layout):
                    for own, indexes in _rows_of(batch, runs):
                        _append(table, own, indexes)
                        of_items += np.bincount(own["item"].to_numpy(), minlength=self.n_items)
                        _count_sorted(indexes, of_users)
                        n_rows += own.height
                    if batch["user"][-1] >= end:  # rows are sorted: the rest is for others
                        break
                source.digest.finish()
            digest = source.digest
            table.sources.append(SourceFacts(name, digest.n_bytes, digest.sha256, layout, n_rows, 0, is_test=False))
        self._check_counts("user", users, of_users)
        return table, of_items

    def _with_users(self, ends: Array, runs: Runs) -> Iterator[tuple[str, int]]:
        """Yield the partitions with users of `runs`, in order.

        Each comes with the user before whom to stop in it.
        """
        # Engines number files, and 10 comes before 2.
        for (first, last, _), name in sorted(zip(ends.tolist(), self.partitions, strict=True)):
            low, high = min(first, last), max(first, last)
            own = [stop for start, stop in runs if start <= high and low < stop]
            # Users that no table has are for every process to find.
            if own or low < 0 or high >= self.n_users:
                yield name, max(own, default=self.n_users)

    def check_items(self, of_items: Array) -> None:
        """Check the numbers of ratings of all items, (n_items,).

        Raises:
            InputDataError: one is not that of the table.
        """
        self._check_counts("item", np.arange(self.n_items), of_items)

    def check_rows(self, ends: Array) -> None:
        """Check the number of all rows.

        One that is out of order may be none that any process looks for.

        Raises:
            InputDataError: it is not that of the table of users.
        """
        found, wanted = int(ends[:, 2].sum()), int(self.n_ratings["user"].sum())
        if found != wanted:
            raise InputDataError(
                f"{self.folder}: ratings have {counted(found, 'row')}, and {wanted:,} by users.parquet; is a partition "
                "of another run?"
            )

    def _check_counts(self, side: str, indexes: Array, found: Array) -> None:
        """Check that no partition is missing.

        Raises:
            InputDataError: a user or an item has another number of ratings than by its table, or none.
        """
        wanted = self.n_ratings[side][indexes]
        wrong = np.flatnonzero((wanted != found) | (found == 0))
        if len(wrong):
            first = int(wrong[0])
            raise InputDataError(
                f"{self.folder}: {side} {indexes[first]} has {counted(int(found[first]), 'rating')}, and "
                f"{int(wanted[first]):,} by {side}s.parquet, where each must have one; is a partition missing, or of "
                "another run?"
            )


def read_ends(partitions: Sequence[str]) -> Array:
    """First and last user of each partition, and its rows.

    (n, 3) int64; the users of one without rows are -1.
    """
    ends = np.full((len(partitions), 3), -1, dtype=np.int64)
    for number, name in enumerate(partitions):
        with open_parquet(name, in_part=True) as source, damage_named(source):
            scan = scan_file(source)
            _layout(scan.collect_schema(), name)
            ends[number, 2] = scan.select(pl.len()).collect().item()
            for end, rows in enumerate((scan.head(1), scan.tail(1))):
                # A null is found when the rows are read.
                ends[number, end] = next((user or 0 for user in rows.select("user").collect()["user"]), -1)
    return ends


def _layout(types: pl.Schema, name: str, table: RatingsTable | None = None) -> Layout:
    """Layout of a partition, like that of the first.

    Raises:
        InputDataError: a column is missing or of another type.
    """
    for column, dtype in TYPES.items():
        if column not in types and column != OPTIONAL:
            raise InputDataError(f"{name} has no column {column}, but {', '.join(types)}")
        if types.get(column, dtype) != dtype:
            raise InputDataError(f"{name}: the column {column} must be {dtype}, not {types[column]}; cast it")
    header = [column for column in TYPES if column in types]
    if table is not None and table.sources and table.sources[0].layout.header != header:
        raise InputDataError(f"{name} has the columns {', '.join(header)}, unlike {table.sources[0].name}")
    return Layout(None, header, Columns(0, 1, 2, 3 if OPTIONAL in header else None), len(header), kind=ENCODED)


def _rows_of(batch: pl.DataFrame, runs: Runs) -> Iterator[tuple[pl.DataFrame, Array]]:
    """Yield the rows of each run in a sorted batch.

    They come with the new indexes of their users, which count on from run to run.
    """
    users, n_before = batch["user"].to_numpy(), 0
    for start, stop in runs:
        first, last = np.searchsorted(users, [start, stop]).tolist()
        yield batch[first:last], users[first:last] - (start - n_before)
        n_before += stop - start


def _append(table: RatingsTable, rows: pl.DataFrame, users: Array) -> None:
    table.add_indexed(users.astype(np.int32), rows["item"].to_numpy(), rows["rating"].to_numpy())
    if OPTIONAL in rows.columns:
        table.timestamps.append(narrow(rows[OPTIONAL].to_numpy()))


def _count_sorted(values: Array, counts: Array) -> None:
    """Add the number of each of `values`, ascending, to `counts`."""
    if len(values):
        # Not as long as `counts`, which may be of many millions, for each batch.
        found = np.bincount(values - values[0])
        counts[values[0] : values[0] + len(found)] += found


class _Checks:
    """Checks of rows across batches and partitions."""

    def __init__(self, n_users: int, n_items: int) -> None:
        self._n_users, self._n_items, self._last_user = n_users, n_items, 0

    def checked(self, source: OpenSource, layout: Layout) -> Iterator[pl.DataFrame]:
        """Yield the rows of a partition in batches.

        It may be larger than the memory.

        Raises:
            InputDataError: a row is wrong.
        """
        rows, first_row = scan_file(source).select(layout.header or ()), 1
        for batch in rows.collect_batches(chunk_size=BATCH_ROWS, maintain_order=True):
            if batch.height:  # Spark writes files without rows
                self._check(batch, source.name, first_row)
                first_row += batch.height
                yield batch

    def _check(self, batch: pl.DataFrame, name: str, first_row: int) -> None:
        user, item, rating = pl.col("user"), pl.col("item"), pl.col("rating")
        before = user.shift(1, fill_value=self._last_user)
        problems = {
            "a value is null": pl.any_horizontal(pl.all().is_null()),
            f"the user is not one of the {self._n_users:,} in users.parquet": (user < 0) | (user >= self._n_users),
            f"the item is not one of the {self._n_items:,} in items.parquet": (item < 0) | (item >= self._n_items),
            "the rating is not a number": ~rating.is_finite(),
            "the user comes after one with a larger index; sort the ratings by user": user < before,
        }
        for problem, is_wrong in problems.items():
            wrong = batch.select(is_wrong.fill_null(False)).to_series()
            if wrong.any():
                raise InputDataError(f"{name}, row {first_row + int(wrong.arg_max() or 0):,}: {problem}")
        self._last_user = int(batch["user"][-1])
