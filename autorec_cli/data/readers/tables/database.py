"""Reader of the result of an SQL query, in batches.

Its rows are checked as those of text are. SQLite is read with Python's own module, other databases with their ADBC
driver (of Arrow): its batches are Arrow already and stream into polars, which those of connectorx cannot.
`polars.read_database` reads batches of ADBC only with pyarrow, so their stream is scanned instead.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import polars as pl

from autorec_cli.data.readers.layout import Layout
from autorec_cli.data.readers.options import ReadOptions
from autorec_cli.data.readers.rows import RatingRows
from autorec_cli.data.readers.tables.column_types import without_extensions
from autorec_cli.data.readers.tables.frames import SAMPLE_ROWS, detect_typed, typed_rows
from autorec_cli.errors import InputDataError, UsageError, install_command, without_passwords

BATCH_ROWS = 1 << 17
CONNECT_SECONDS = 30
SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.]*):")
DRIVERS = {"postgres": "postgresql"}
"""ADBC drivers with another name than the scheme of their URIs."""
LONGEST_REASON = 300


@dataclass(frozen=True)
class DatabaseQuery:
    """SQL query, and the URI of its database.

    Attributes:
        uri: `sqlite:///FILE`, `postgresql://USER:PASSWORD@HOST/NAME`, or that of another ADBC driver.
        query: A SELECT.
    """

    uri: str = field(repr=False)
    query: str

    def __post_init__(self) -> None:
        if not self.query.strip():
            raise UsageError("--query is empty; give a SELECT of users, items and ratings")
        if not SCHEME.match(self.uri) and not Path(self.uri).is_file():
            raise UsageError(
                "--database is neither a URI, such as sqlite:///shop.db or postgresql://user@host/name, nor an "
                "SQLite file"
            )

    @property
    def scheme(self) -> str:
        """Kind of database."""
        found = SCHEME.match(self.uri)
        return found[1].lower() if found and not Path(self.uri).is_file() else "sqlite"

    @property
    def name(self) -> str:
        """URI without a password, for messages and the dataset."""
        return without_passwords(self.uri)


@contextmanager
def read_database(
    database: DatabaseQuery, options: ReadOptions
) -> Iterator[tuple[Layout, Iterator[RatingRows]] | None]:
    """Layout of a query's result, and its rows; None without rows.

    Raises:
        InputDataError: the database cannot be read, the query is wrong, or its columns cannot be determined.
        UsageError: a driver is not installed.
    """
    with ExitStack() as stack:
        with _named_errors(database):  # not around the caller's block: its errors are not the database's
            batches = stack.enter_context(_batches(database))
            first = next((batch for batch in batches if batch.height), None)
        if first is None:
            yield None
            return
        layout = detect_typed(first.head(SAMPLE_ROWS), options, database.name, "database")
        yield layout, _rows(first, batches, layout, database, options.skip_bad_rows)


def _rows(
    first: pl.DataFrame, later: Iterator[pl.DataFrame], layout: Layout, database: DatabaseQuery, skip_bad_rows: bool
) -> Iterator[RatingRows]:
    """Checked rows of all batches, numbered from 1."""
    n_read = 0
    batch: pl.DataFrame | None = first
    while batch is not None:
        if batch.height:
            yield typed_rows(batch, n_read + 1, layout, database.name, skip_bad_rows)
        n_read += batch.height
        with _named_errors(database):
            batch = next(later, None)


@contextmanager
def _batches(database: DatabaseQuery) -> Iterator[Iterator[pl.DataFrame]]:
    """Batches of a query's result; the connection is closed with the context."""
    if database.scheme == "sqlite":
        with closing(_open_sqlite(_sqlite_file(database))) as connection:
            yield _sqlite_batches(connection, database.query)
        return
    with _connected(database) as connection, connection.cursor() as cursor:
        cursor.execute(database.query)
        stored = without_extensions(pl.scan_arrow_c_stream(cursor.fetch_arrow()))
        yield iter(stored.collect_batches(maintain_order=True))


def _sqlite_file(database: DatabaseQuery) -> str:
    """File of an SQLite URI, `sqlite:///FILE`.

    It is relative if it exists there, else from the root.
    """
    if Path(database.uri).is_file():
        return database.uri
    path = unquote(re.sub(r"^sqlite:(//)?", "", database.uri, flags=re.IGNORECASE).partition("?")[0])
    places = [path[1:], path] if path.startswith("/") else [path]
    found = next((place for place in places if place and Path(place).is_file()), None)
    if found is None:
        raise InputDataError(f"{database.name}: there is no database file {places[0]}; check the name")
    return found


def _open_sqlite(path: str) -> sqlite3.Connection:
    # Read-only: a query can change nothing, and no database is created.
    connection = sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True, check_same_thread=False)
    # By default, one text that is not UTF-8 would end the reading.
    connection.text_factory = lambda data: data.decode("utf-8", "replace")
    return connection


def _sqlite_batches(connection: sqlite3.Connection, query: str) -> Iterator[pl.DataFrame]:
    # Every batch has types of its own: a column of SQLite may hold any.
    try:
        yield from pl.read_database(
            query, connection, iter_batches=True, batch_size=BATCH_ROWS, infer_schema_length=None
        )
    except TypeError as error:  # polars iterates over a description that is None
        raise InputDataError("the query has no result; give a SELECT") from error


@contextmanager
def _connected(database: DatabaseQuery) -> Iterator[Any]:
    """Connection of the ADBC driver for a URI."""
    driver = DRIVERS.get(database.scheme, database.scheme)
    try:
        module = import_module(f"adbc_driver_{driver}.dbapi")
    except ImportError as error:
        command = install_command("db") if driver == "postgresql" else f"pip install adbc-driver-{driver}"
        raise UsageError(
            f"--database {database.scheme} needs a driver that is not installed; install it with: {command}"
        ) from error
    uri = database.uri
    if driver == "postgresql" and "connect_timeout" not in uri and "PGCONNECT_TIMEOUT" not in os.environ:
        uri += f"{'&' if '?' in uri else '?'}connect_timeout={CONNECT_SECONDS}"
    with module.connect(uri) as connection:
        yield connection


@contextmanager
def _named_errors(database: DatabaseQuery) -> Iterator[None]:
    """Turn errors of drivers and polars into a sentence without the password.

    Raises:
        InputDataError: an error was raised.
    """
    try:
        yield
    except pl.exceptions.DuplicateError as error:
        twice = re.search(r"'(.*?)'", str(error))
        raise InputDataError(
            f"{database.name}: the query has two columns {twice[0] if twice else 'of one name'}; rename one with AS"
        ) from error
    except pl.exceptions.PanicException as error:  # for intervals, among others
        raise InputDataError(
            f"{database.name}: the query has a column of a type that cannot be read; select users, items, ratings and "
            "timestamps only"
        ) from error
    except (pl.exceptions.PolarsError, sqlite3.Error, sqlite3.Warning) as error:
        raise _failure(database, error) from None
    except Exception as error:
        if not type(error).__module__.startswith("adbc_driver"):
            raise
        raise _failure(database, error) from None


def _failure(database: DatabaseQuery, error: BaseException) -> InputDataError:
    text = str(error)
    found = re.search(r"(?:ERROR|FATAL):\s+(.*)", text)
    reason = (found[1] if found else text.strip().partition("\n")[0])[:LONGEST_REASON]
    return InputDataError(f"{database.name}: {_masked(reason, database.uri)}; check --database and --query")


def _masked(text: str, uri: str) -> str:
    """Text without the password of `uri`, however it is written."""
    try:
        password = urlsplit(uri).password
    except ValueError:
        password = None
    for secret in {password, unquote(password or "")} - {None, ""}:
        text = text.replace(secret or "", "***")
    return without_passwords(text)
