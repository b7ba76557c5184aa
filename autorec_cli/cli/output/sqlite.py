"""Recommendations as an SQLite database, where applications read them."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import IO, TYPE_CHECKING

from autorec_cli.errors import UsageError, listed

if TYPE_CHECKING:
    import sqlite3

    import polars as pl

TABLE = "recommendations"
INDEX = "recommendations_by_user"
KEY = ("user_id", "rank", "reason_rank")
"""Columns that tell rows apart, as far as a table has them."""
CHANGES = ("-wal", "-journal")
"""Ends of the names of files beside a database, whose changes SQLite applies to whatever has the database's name."""


def write_sqlite(blocks: Iterable[pl.DataFrame], stream: IO[bytes]) -> None:
    """Write an SQLite database: the table `recommendations`, in one transaction.

    Raises:
        UsageError: the directory for temporary files has no room.
    """
    import shutil
    import sqlite3
    import tempfile

    # SQLite writes a file by its name, and here and there in it: in a private directory, then copied to the stream.
    with ExitStack() as files:
        file = Path(files.enter_context(tempfile.TemporaryDirectory(prefix="autorec-"))) / "database"
        try:
            with closing(sqlite3.connect(file, isolation_level=None)) as connection:
                written = files.enter_context(file.open("rb"))
                file.unlink()  # open, it needs no name, and a run that is killed leaves nothing
                _fill(connection, blocks)
        except sqlite3.OperationalError as error:
            raise UsageError(
                f"cannot write a temporary database in {tempfile.gettempdir()}: {error}; make room, or set TMPDIR to "
                "another directory"
            ) from error
        shutil.copyfileobj(written, stream)


def _fill(connection: sqlite3.Connection, blocks: Iterable[pl.DataFrame]) -> None:
    # Nobody else reads this file, and a run that is cut off leaves none: no journal is needed.
    for setting in ("journal_mode = OFF", "synchronous = OFF"):
        connection.execute(f"PRAGMA {setting}")
    connection.execute("BEGIN")
    key: list[str] = []
    for number, block in enumerate(blocks):
        if number == 0:
            key = [name for name in KEY if name in block.columns]
            columns = ", ".join(f"{_quoted(name)} {_type_of(dtype)}" for name, dtype in block.schema.items())
            connection.execute(f"CREATE TABLE {TABLE} ({columns})")
        places = ", ".join("?" * block.width)
        connection.executemany(f"INSERT INTO {TABLE} VALUES ({places})", block.iter_rows())
    connection.execute(f"CREATE UNIQUE INDEX {INDEX} ON {TABLE} ({', '.join(key)})")
    connection.execute("COMMIT")


def _type_of(dtype: pl.DataType) -> str:
    return "INTEGER" if dtype.is_integer() else "REAL" if dtype.is_float() else "TEXT"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def check_replaceable(path: Path) -> None:
    """Check that a database may be replaced.

    It holds nothing but recommendations, and no program has left changes of it.

    Raises:
        UsageError: it has other tables, which would be lost; or changes, which would get into the new file.
    """
    import sqlite3

    for changes in (path.resolve().with_name(path.resolve().name + end) for end in CHANGES):
        if _is_applied(changes):
            raise UsageError(
                f"{changes} has changes that SQLite would apply to the new {path}: close the program that has it open, "
                f"or, if that was killed, run sqlite3 {path} .tables"
            )
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


def _is_applied(changes: Path) -> bool:
    """True for changes that SQLite would apply.

    It applies none that are committed, whose first byte is 0.
    """
    if not changes.is_file():
        return False
    try:
        with changes.open("rb") as stream:
            return stream.read(1) not in (b"", b"\0")
    except OSError:  # those of another user may be any
        return True
