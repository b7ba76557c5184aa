"""Results of SQL queries: SQLite, and PostgreSQL where a server is installed."""

from __future__ import annotations

import glob
import json
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import pytest

from autorec_cli.data.builder.read_ratings import read_ratings
from autorec_cli.data.readers.options import Period, ReadOptions
from autorec_cli.data.readers.tables import database
from autorec_cli.data.readers.tables.database import DatabaseQuery
from autorec_cli.errors import InputDataError, UsageError, install_command
from tests.program import run

ROWS = [(n % 5, f"i{n % 7}", n % 9 / 2, 10**9 + n) for n in range(35)]
EXPECTED = [(str(user), item, rating) for user, item, rating, _ in ROWS]
SELECT = "SELECT user_id, item_id, rating, rated_at FROM ratings"
PASSWORD = "hunt%40er2"


@pytest.fixture
def shop(tmp_path):
    with closing(sqlite3.connect(tmp_path / "shop.db")) as connection, connection:
        connection.execute("CREATE TABLE ratings (user_id INTEGER, item_id TEXT, rating REAL, rated_at INTEGER, note)")
        connection.executemany("INSERT INTO ratings VALUES (?, ?, ?, ?, ?)", [(*row, b"\xff") for row in ROWS])
    return tmp_path / "shop.db"


def read(uri, query=SELECT, **options):
    table = read_ratings(DatabaseQuery(str(uri), query), ReadOptions(**options))
    users, items = table.indexes()
    ids = zip(table.user_ids.gather(users).to_list(), table.item_ids.gather(items).to_list(), strict=True)
    return [(*pair, rating) for pair, rating in zip(ids, table.ratings.values().tolist(), strict=True)], table


@pytest.mark.parametrize("uri", ["sqlite:///{}", "sqlite://{}", "{}"])
@pytest.mark.parametrize("batch", [4, 1000])
def test_sqlite_is_read_in_batches(shop, monkeypatch, uri, batch):
    monkeypatch.setattr(database, "BATCH_ROWS", batch)
    found, table = read(uri.format(shop))
    assert found == EXPECTED
    assert table.timestamps.values().tolist() == [row[3] for row in ROWS]
    assert read(uri.format(shop), "SELECT * FROM ratings")[0] == EXPECTED
    assert read(uri.format(shop), period=Period(since=10**9 + 30))[1].n_outside == 30


def test_the_command_reads_a_database(shop):
    (shop.parent / "items.csv").write_text("item,title\ni0,Zero\n")
    result = run("prepare", "--database", "sqlite:///shop.db", "--query", SELECT, "--items", "items.csv", "-o", "d",
                 "--format", "json", cwd=shop.parent)  # fmt: skip
    assert result.status == 0, result.stderr
    assert json.loads(result.stdout)["n_ratings"] == 35
    (source,) = json.loads((shop.parent / "d" / "dataset.json").read_text())["sources"]
    assert (source["path"], source["delimiter"], source["sha256"]) == ("sqlite:///shop.db", "database", None)
    assert run("info", "d", cwd=shop.parent).status == 0


def test_values_of_any_type_in_one_column_of_sqlite_are_read(tmp_path):
    with closing(sqlite3.connect(tmp_path / "r.db")) as connection, connection:
        connection.execute("CREATE TABLE r (user, item, rating)")
        rows = [(1, 5, 4)] * 300 + [("x", 5.0, 4.5), (2**62, "5", "3"), (None, 5, 1), (1, 5, None)]
        connection.executemany("INSERT INTO r VALUES (?, ?, ?)", rows)
    with pytest.raises(InputDataError, match="row 303, column user"):
        read(tmp_path / "r.db", "SELECT * FROM r")
    found, table = read(tmp_path / "r.db", "SELECT * FROM r", skip_bad_rows=True)
    assert found[299:] == [("1", "5", 4.0), ("x", "5", 4.5), (str(2**62), "5", 3.0)]
    assert table.n_skipped == 2


WRONG = {
    "SELECT * FROM nosuch": "no such table: nosuch",
    "SELEC 1": "syntax error",
    "SELECT 1 AS user, 2 AS user, 3 AS rating": "two columns 'user'",
    "SELECT 1 AS user, 2 AS item; SELECT 3": "one statement",
    "DELETE FROM ratings": "not valid|readonly database",
    "SELECT * FROM ratings WHERE 0": "has no rows",
    "SELECT x'ff00' AS user, 1 AS item, 2 AS rating": r"column user \(user\) is of type Binary",
}


@pytest.mark.parametrize(("query", "message"), WRONG.items(), ids=range(len(WRONG)))
def test_a_wrong_query_is_a_sentence(shop, query, message):
    before = shop.read_bytes()
    with pytest.raises(InputDataError, match=message):
        read(f"sqlite:///{shop}", query)
    assert shop.read_bytes() == before


def test_a_database_that_does_not_exist_is_not_created(tmp_path):
    result = run("prepare", "--database", "sqlite:///none.db", "--query", "SELECT 1", "-o", "d", cwd=tmp_path)
    assert (result.status, result.stdout) == (3, "")
    assert "there is no database file none.db" in result.stderr
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "text.db").write_text("user,item,rating\n")
    with pytest.raises(InputDataError, match="not a database"):
        read(tmp_path / "text.db")


@pytest.mark.parametrize(
    "arguments",
    [
        ("--database", "sqlite:///shop.db"),
        ("--query", "SELECT 1"),
        ("shop.db", "--database", "sqlite:///shop.db", "--query", "SELECT 1"),
        (),
        ("--database", "shop", "--query", "SELECT 1"),
        ("--database", "sqlite:///shop.db", "--query", " "),
    ],
)
def test_options_of_databases_need_each_other(shop, arguments):
    result = run("prepare", *arguments, "-o", "d", cwd=shop.parent)
    assert (result.status, result.stdout) == (2, "")
    assert "--database" in result.stderr or "--query" in result.stderr


def test_a_driver_that_is_not_installed_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "adbc_driver_postgresql.dbapi", None)
    with pytest.raises(UsageError, match=re.escape(install_command("db"))):
        read("postgresql://me@localhost/shop")
    with pytest.raises(UsageError, match=r"^--database oracle needs a driver .* pip install adbc-driver-oracle"):
        read("oracle://me@localhost/shop")


def test_passwords_reach_no_log_summary_or_config(tmp_path):
    uri = f"postgresql://me:{PASSWORD}@127.0.0.1:1/shop?password=hunt%40er2"
    pytest.importorskip("adbc_driver_postgresql")
    for form in ("text", "json"):
        result = run("prepare", "--query", "SELECT 1", "-o", "d", "--summary", "run.json", "-v", "--log-format", form,
                     cwd=tmp_path, env={"AUTOREC_PREPARE_DATABASE": uri})  # fmt: skip
        assert (result.status, result.stdout) == (3, "")
        assert "refused" in result.stderr
        assert "127.0.0.1:1/shop" in result.stderr
        assert "er2" not in result.stderr + (tmp_path / "run.json").read_text()
    shown = run("config", "show", "prepare", cwd=tmp_path, env={"AUTOREC_PREPARE_DATABASE": uri})
    assert "127.0.0.1:1/shop" in shown.stdout
    assert "er2" not in shown.stdout


def postgresql():
    """Folder of the programs of PostgreSQL, if there is one."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(map(Path, glob.glob("/usr/lib/postgresql/*/bin")), reverse=True)  # noqa: PTH207
    return next((folder for folder in folders if (folder / "pg_ctl").exists()), None)


@pytest.fixture(scope="module")
def server():
    """URI of a fresh server, with a password."""
    programs = postgresql()
    if programs is None:
        pytest.skip("no PostgreSQL server: neither initdb on the PATH nor /usr/lib/postgresql")
    pytest.importorskip("adbc_driver_postgresql", reason="no driver: pip install 'autorec-cli[db]'")
    user = {"user": "nobody"} if os.getuid() == 0 else {}  # the server does not run as root
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        if user:
            shutil.chown(folder, **user)
        secret, data = Path(folder, "password"), Path(folder, "data")
        secret.write_text("hunt@er2")
        secret.chmod(0o644)
        quiet = {"cwd": folder, "stdout": subprocess.DEVNULL, "check": True, "timeout": 60, **user}
        subprocess.run([programs / "initdb", "-D", data, "-U", "rater", "-A", "scram-sha-256", "--pwfile", secret,
                        "-E", "UTF8", "--no-sync"], **quiet)  # fmt: skip
        options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        control = [programs / "pg_ctl", "-D", data, "-w", "-t", "30"]
        subprocess.run([*control, "-o", options, "-l", Path(folder, "log"), "start"], **quiet)
        try:
            yield f"postgresql://rater:{PASSWORD}@127.0.0.1:{port}/postgres"
        finally:
            subprocess.run([*control, "-m", "immediate", "stop"], **quiet)


@pytest.fixture(scope="module")
def filled(server):
    from adbc_driver_postgresql import dbapi

    with dbapi.connect(server) as connection, connection.cursor() as cursor:
        cursor.execute(
            "CREATE TABLE ratings AS SELECT n % 5 AS user_id, 'i' || n % 7 AS item_id, (n % 9 / 2.0)::numeric(3, 1) AS "
            "rating, to_timestamp(1000000000 + n) AS rated_at, md5((n % 5)::text)::uuid AS uuid, n::numeric AS number, "
            "'{1,2}'::int[] AS tags, '{}'::jsonb AS more, '10.0.0.1'::inet AS ip "
            "FROM generate_series(0, 34) AS n"
        )
        connection.commit()
    return server


def test_postgresql_is_read(filled):
    found, table = read(filled)
    assert found == EXPECTED
    assert table.timestamps.values().tolist() == [row[3] for row in ROWS]
    assert read(filled, "SELECT * FROM ratings")[0] == EXPECTED
    assert PASSWORD not in repr(table.sources[0])
    uuids = read(filled, "SELECT uuid AS user_id, number AS item_id, rating FROM ratings")[1]
    assert uuids.user_ids[0] == "cfcd2084-95d5-65ef-66e7-dff9f98764da"
    assert uuids.item_ids.to_list() == [str(n) for n in range(35)]


def test_postgresql_streams(filled):
    found, _ = read(
        filled, "SELECT n % 1000 AS user_id, n % 77 AS item_id, n % 5 AS rating FROM generate_series(1, 200000) n"
    )
    assert len(found) == 200_000
    assert found[-1] == ("0", str(200_000 % 77), 0.0)


def test_the_command_reads_postgresql_without_telling_the_password(filled, tmp_path):
    result = run("prepare", "--database", filled, "--query", SELECT, "-o", "d", "--summary", "run.json", "-v",
                 cwd=tmp_path)  # fmt: skip
    assert result.status == 0, result.stderr
    written = result.stderr + (tmp_path / "run.json").read_text() + (tmp_path / "d" / "dataset.json").read_text()
    assert "rater:***@127.0.0.1" in written
    assert "er2" not in written


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("SELECT * FROM nothing", 'relation "nothing" does not exist'),
        ("SELEC 1", "syntax error"),
        ("SELECT 1 AS a, 2 AS a", "two columns 'a'"),
        ("SELECT user_id, item_id, 1 / (number - 30) AS rating FROM ratings", "division by zero"),
        ("DELETE FROM ratings", "no rows|no column"),
        ("SELECT *, interval '1 day' AS pause FROM ratings", "of a type that cannot be read; select"),
        ("SELECT * FROM ratings WHERE false", "has no rows"),
    ],
)
def test_a_wrong_query_of_postgresql_is_a_sentence(filled, query, message):
    with pytest.raises(InputDataError, match=message) as raised:
        read(filled, query)
    assert "er2" not in str(raised.value)
    assert len(read(filled)[0]) == 35


def test_a_wrong_password_is_refused(filled):
    with pytest.raises(InputDataError, match="password authentication failed") as raised:
        read(filled.replace(PASSWORD, "letmein"))
    assert "letmein" not in str(raised.value)
