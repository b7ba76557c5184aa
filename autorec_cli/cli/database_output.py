"""Recommendations as an SQLite database, where applications read them."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import IO, TYPE_CHECKING

from autorec_cli.errors import UsageError, listed

if TYPE_CHECKING:
    import sqlite3

    import polars as pl

TABLE = "recommendations"
INDEX = "recommendations_by_user"


def write_sqlite(blocks: Iterable[pl.DataFrame], stream: IO[bytes]) -> None:
    """Write an SQLite database: the table `recommendations`, in one transaction.

    Raises:
        UsageError: the directory for temporary files has no room.
    """
    import shutil
    import sqlite3
    import tempfile

    # SQLite writes a file by its name, and here and there in it: in a private directory, then copied to the stream.
    with tempfile.TemporaryDirectory(prefix="autorec-") as folder:
        file = Path(folder) / "database"
        try:
            with closing(sqlite3.connect(file, isolation_level=None)) as connection:
                _fill(connection, blocks)
        except sqlite3.OperationalError as error:
            raise UsageError(
                f"cannot write a temporary database in {tempfile.gettempdir()}: {error}; make room, or set TMPDIR to "
                "another directory"
            ) from error
        with file.open("rb") as written:
            shutil.copyfileobj(written, stream)


def _fill(connection: sqlite3.Connection, blocks: Iterable[pl.DataFrame]) -> None:
    # Nobody else reads this file, and a run that is cut off leaves none: no journal is needed.
    for setting in ("journal_mode = OFF", "synchronous = OFF"):
        connection.execute(f"PRAGMA {setting}")
    connection.execute("BEGIN")
    for number, block in enumerate(blocks):
        if number == 0:
            columns = ", ".join(f"{_quoted(name)} {_type_of(dtype)}" for name, dtype in block.schema.items())
            connection.execute(f"CREATE TABLE {TABLE} ({columns})")
        places = ", ".join("?" * block.width)
        connection.executemany(f"INSERT INTO {TABLE} VALUES ({places})", block.iter_rows())
    connection.execute(f"CREATE UNIQUE INDEX {INDEX} ON {TABLE} (user_id, rank)")
    connection.execute("COMMIT")


def _type_of(dtype: pl.DataType) -> str:
    return "INTEGER" if dtype.is_integer() else "REAL" if dtype.is_float() else "TEXT"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def check_replaceable(path: Path) -> None:
    """Check that a database at `path` holds nothing but recommendations.

    Raises:
        UsageError: it has other tables, which would be lost.
    """
    import sqlite3

    if not path.is_file():
        return
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            rows = connection.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')").fetchall()
    except sqlite3.Error:  # no database: replaced, as any other output
        return
    others = [name for (name,) in rows if name != TABLE and not name.startswith("sqlite_")]
    if others:
        raise UsageError(f"{path} has other tables, which would be lost: {listed(others)}; name another file")
