"""Encoded ratings: Parquet partitions with indexes in place of ids, as SQL engines and Spark write them.

    users.parquet    index (whole number, from 0 in order), id (string), n_ratings (whole number)
    items.parquet    the same of the items
    ratings/         user int64, item int32, rating float32, perhaps timestamp int64 (seconds since 1970)

Each may be a file or a directory of Parquet files. Ratings are sorted by user. docs/scaling.md has the contract and the
SQL. Nothing is looked up or sorted here, and partitions are read in batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from autorec_cli.csr import Array
from autorec_cli.data.builder.ratings_table import RatingsTable, SourceFacts
from autorec_cli.data.builder.sorted_cells import pack_pairs
from autorec_cli.data.builder.vocabulary import IdTable
from autorec_cli.data.readers.frames import BATCH_ROWS
from autorec_cli.data.readers.layout import ENCODED, Columns, Layout
from autorec_cli.data.readers.parquet import damage_named, scan_file
from autorec_cli.data.readers.source_names import expand_sources
from autorec_cli.data.readers.sources import PARQUET_MAGIC, OpenSource, open_source
from autorec_cli.data.readers.timestamps import narrow
from autorec_cli.errors import InputDataError, counted, quoted

TYPES = {"user": pl.Int64, "item": pl.Int32, "rating": pl.Float32, "timestamp": pl.Int64}
OPTIONAL = "timestamp"

Announce = Callable[[str, Layout], None]


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
    folder, table = encoded.folder, RatingsTable()
    if not folder.is_dir():
        raise InputDataError(f"there is no directory {folder}; docs/scaling.md says how to make one")
    n_ratings = [_read_ids(folder / f"{side}s.parquet", getattr(table, f"{side}s")) for side in ("user", "item")]
    checks = _Checks(*map(len, n_ratings))
    for name in _by_user(expand_sources([str(folder / "ratings")])):
        with _opened(name) as source, damage_named(source):
            scan, n_rows = scan_file(source), 0
            layout = _layout(scan.collect_schema(), name, table)
            if announce is not None:
                announce(name, layout)
            # Batches, as a partition may be larger than the memory.
            for batch in scan.select(layout.header or ()).collect_batches(chunk_size=BATCH_ROWS, maintain_order=True):
                if batch.height:  # Spark writes files without rows
                    checks.add(batch, name, n_rows + 1)
                    _append(table, batch)
                    n_rows += batch.height
            source.digest.finish()
        digest = source.digest
        table.sources.append(SourceFacts(name, digest.n_bytes, digest.sha256, layout, n_rows, 0, is_test=False))
    for side, wanted, found in zip(("user", "item"), n_ratings, (checks.of_users, checks.of_items), strict=True):
        _check_counts(side, wanted, found, folder)
    return table


@contextmanager
def _opened(name: str, in_part: bool = False) -> Iterator[OpenSource]:
    with open_source(name, (PARQUET_MAGIC,), in_part) as source:
        if source.file is None:
            raise InputDataError(f"{name} is not a Parquet file")
        yield source


def _read_ids(path: Path, ids: IdTable) -> Array:
    """Read a table of ids into `ids`; returns their numbers of ratings (n,) int64.

    Raises:
        InputDataError: it is missing, or its columns are not those of the contract.
    """
    n_ratings = [np.empty(0, dtype=np.int64)]
    for name in expand_sources([str(path)]):
        with _opened(name) as source, damage_named(source):
            scan = scan_file(source)
            types = scan.collect_schema()
            if not all(column in types for column in ("index", "id", "n_ratings")):
                raise InputDataError(f"{name} needs the columns index, id and n_ratings, not {', '.join(types)}")
            if types["id"] != pl.String or not (types["index"].is_integer() and types["n_ratings"].is_integer()):
                found = ", ".join(f"{column} {types[column]}" for column in ("index", "id", "n_ratings"))
                raise InputDataError(f"{name}: index and n_ratings must be whole numbers and id a string, not {found}")
            rows = scan.select("index", "id", "n_ratings").collect()
        first = sum(map(len, n_ratings))
        wanted = np.arange(first, first + rows.height)
        if sum(rows.null_count().row(0)) or not np.array_equal(rows["index"].to_numpy(), wanted):
            raise InputDataError(f"{name}: the index must count from 0 without gaps, in order, and no value be null")
        wrong = ids.indexes(rows["id"]) != wanted
        if wrong.any():
            raise InputDataError(f"{name}: the id {quoted(rows['id'][int(wrong.argmax())])} is there twice")
        n_ratings.append(rows["n_ratings"].cast(pl.Int64).to_numpy())
    return np.concatenate(n_ratings)


def _by_user(names: Sequence[str]) -> list[str]:
    """Sort partitions by their first and last user: engines number files, and 10 comes before 2."""
    ends: dict[str, tuple[int, int]] = {}
    for name in names:
        with _opened(name, in_part=True) as source, damage_named(source):
            scan = scan_file(source)
            _layout(scan.collect_schema(), name)
            users = [row["user"].to_list() for row in (scan.head(1).collect(), scan.tail(1).collect())]
        ends[name] = (users[0][0] or 0, users[1][0] or 0) if users[0] else (0, 0)
    return sorted(names, key=lambda name: ends[name])


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


def _append(table: RatingsTable, batch: pl.DataFrame) -> None:
    table.pairs.append(pack_pairs(batch["user"].to_numpy().astype(np.int32), batch["item"].to_numpy()))
    table.ratings.append(batch["rating"].to_numpy())
    if OPTIONAL in batch.columns:
        table.timestamps.append(narrow(batch[OPTIONAL].to_numpy()))


class _Checks:
    """Checks of rows across batches and partitions.

    Attributes:
        of_users, of_items: Numbers of ratings so far, (n_users,) and (n_items,) int64.
    """

    def __init__(self, n_users: int, n_items: int) -> None:
        self._last_user = 0
        self.of_users, self.of_items = (np.zeros(n, dtype=np.int64) for n in (n_users, n_items))

    def add(self, batch: pl.DataFrame, name: str, first_row: int) -> None:
        """Check the next rows, of which the first is number `first_row` of partition `name`.

        Raises:
            InputDataError: one is wrong.
        """
        n_users, n_items = len(self.of_users), len(self.of_items)
        user, item, rating = pl.col("user"), pl.col("item"), pl.col("rating")
        before = user.shift(1, fill_value=self._last_user)
        problems = {
            "a value is null": pl.any_horizontal(pl.all().is_null()),
            f"the user is not one of the {n_users:,} in users.parquet": (user < 0) | (user >= n_users),
            f"the item is not one of the {n_items:,} in items.parquet": (item < 0) | (item >= n_items),
            "the rating is not a number": ~rating.is_finite(),
            "the user comes after one with a larger index; sort the ratings by user": user < before,
        }
        for problem, is_wrong in problems.items():
            wrong = batch.select(is_wrong.fill_null(False)).to_series()
            if wrong.any():
                raise InputDataError(f"{name}, row {first_row + int(wrong.arg_max() or 0):,}: {problem}")
        users, items = batch["user"].to_numpy(), batch["item"].to_numpy()
        # Sorted, so only the users of this batch are counted, however many there are.
        counts = np.bincount(users - users[0])
        self.of_users[users[0] : users[0] + len(counts)] += counts
        self.of_items += np.bincount(items, minlength=n_items)
        self._last_user = int(users[-1])


def _check_counts(name: str, wanted: Array, found: Array, folder: Path) -> None:
    """Check that no partition is missing.

    Raises:
        InputDataError: a user or an item has another number of ratings than its table says, or none.
    """
    wrong = np.flatnonzero((wanted != found) | (found == 0))
    if len(wrong):
        first = int(wrong[0])
        raise InputDataError(
            f"{folder}: {name} {first} has {counted(int(found[first]), 'rating')}, and {int(wanted[first]):,} by "
            f"{name}s.parquet, where each must have one; is a partition missing, or of another run?"
        )
