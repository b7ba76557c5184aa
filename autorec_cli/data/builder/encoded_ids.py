"""Tables of ids beside encoded ratings: users.parquet and items.parquet, read in batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import polars as pl
from polars import selectors as cs

from autorec_cli.csr import Array
from autorec_cli.data.builder.vocabulary import IdTable
from autorec_cli.data.readers.source_names import expand_sources
from autorec_cli.data.readers.sources import PARQUET_MAGIC, OpenSource, open_source
from autorec_cli.data.readers.tables.frames import BATCH_ROWS
from autorec_cli.data.readers.tables.parquet import damage_named, scan_file
from autorec_cli.errors import InputDataError, quoted
from autorec_cli.storage.files import is_special


@contextmanager
def open_parquet(name: str, in_part: bool = False) -> Iterator[OpenSource]:
    """Open a Parquet file; `in_part` as of `open_source`.

    Raises:
        InputDataError: it is missing or of another format, or a pipe or device, as every file is read more than once.
    """
    if is_special(Path(name)):
        raise InputDataError(f"{name} is not a Parquet file, but a pipe or a device")
    with open_source(name, (PARQUET_MAGIC,), in_part) as source:
        if source.file is None:
            raise InputDataError(f"{name} is not a Parquet file")
        yield source


def id_files(folder: Path, side: str) -> list[str]:
    """Files of the table of "user" or "item"."""
    return expand_sources([str(folder / f"{side}s.parquet")])


def read_counts(folder: Path, side: str) -> Array:
    """Number of ratings of each user or item, (n,) int64."""
    counts = [rows["n_ratings"].to_numpy() for _, rows in _rows(folder, side, "n_ratings")]
    return np.concatenate([np.empty(0, dtype=np.int64), *counts])


def read_ids(folder: Path, side: str) -> pl.Series:
    """Ids of all users or items, in order.

    Raises:
        InputDataError: one is there twice.
    """
    ids = pl.concat([pl.Series("id", [], dtype=pl.String), *(rows["id"] for _, rows in _rows(folder, side, "id"))])
    if ids.n_unique() < len(ids):
        raise _repeated(str(folder / f"{side}s.parquet"), ids.filter(ids.is_duplicated())[0])
    return ids


def add_ids(folder: Path, side: str, runs: Sequence[tuple[int, int]], ids: IdTable) -> None:
    """Read the ids of some runs of indexes into `ids`.

    A run is its first index and its end.

    Raises:
        InputDataError: one is there twice.
    """
    for name, rows in _rows(folder, side, "id"):
        is_own = (pl.col("index").is_between(start, stop - 1) for start, stop in runs)
        own = rows.filter(pl.any_horizontal(pl.lit(False), *is_own))["id"]
        n_before = len(ids)
        # A new id gets the next index; another one was there before.
        wrong = ids.indexes(own) != np.arange(n_before, n_before + len(own))
        if wrong.any():
            raise _repeated(name, own[int(wrong.argmax())])


def _rows(folder: Path, side: str, column: str) -> Iterator[tuple[str, pl.DataFrame]]:
    """Yield file, and index and `column` of its next rows.

    Raises:
        InputDataError: its columns or indexes are not those of the contract.
    """
    first = 0
    for name in id_files(folder, side):
        with open_parquet(name, in_part=True) as source, damage_named(source):
            scan = scan_file(source)
            _check_types(scan.collect_schema(), name)
            # What does not fit becomes null.
            numbers = scan.select("index", column).with_columns(cs.integer().cast(pl.Int64, strict=False))
            for batch in numbers.collect_batches(chunk_size=BATCH_ROWS, maintain_order=True):
                wanted = np.arange(first, first + batch.height)
                if sum(batch.null_count().row(0)) or not np.array_equal(batch["index"].to_numpy(), wanted):
                    raise InputDataError(
                        f"{name}: the index must count from 0 without gaps, in order, and no value be null or too large"
                    )
                if column == "id" and (batch["id"] == "").any():
                    raise InputDataError(f"{name}: an id is empty; leave out its ratings, and encode them again")
                first += batch.height
                yield name, batch


def _check_types(types: pl.Schema, name: str) -> None:
    """Check the columns of a table of ids.

    Raises:
        InputDataError: they are not those of the contract.
    """
    if not all(column in types for column in ("index", "id", "n_ratings")):
        raise InputDataError(f"{name} needs the columns index, id and n_ratings, not {', '.join(types)}")
    if types["id"] != pl.String or not (types["index"].is_integer() and types["n_ratings"].is_integer()):
        found = ", ".join(f"{column} {types[column]}" for column in ("index", "id", "n_ratings"))
        raise InputDataError(f"{name}: index and n_ratings must be whole numbers and id a string, not {found}")


def _repeated(name: str, identifier: str) -> InputDataError:
    return InputDataError(f"{name}: the id {quoted(identifier)} is there twice")
