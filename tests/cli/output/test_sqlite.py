"""Recommendations as an SQLite database."""

import io
import sqlite3
import tempfile
from contextlib import closing

import polars as pl
import pytest

from autorec_cli.cli.output.sqlite import check_replaceable, write_sqlite
from autorec_cli.errors import UsageError
from tests.program import call, on_terminal


def rows_of(path, query="SELECT * FROM recommendations ORDER BY user_id, rank", *values):
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        return connection.execute(query, values).fetchall()


@pytest.mark.parametrize("name", ["top.sqlite", "top.db"])
def test_rows_are_those_of_csv_with_an_index_of_users(workshop, tmp_path, name):
    model = workshop / "both.model"
    assert call("recommend", model, "-o", tmp_path / name).status == 0
    text = {"user_id": pl.String, "item_id": pl.String}
    wanted = pl.read_csv(call("recommend", model).stdout.encode(), schema_overrides=text).sort("user_id", "rank")
    assert rows_of(tmp_path / name) == wanted.rows()
    plan = rows_of(tmp_path / name, "EXPLAIN QUERY PLAN SELECT * FROM recommendations WHERE user_id = ?", "007")
    assert "recommendations_by_user" in plan[0][-1]


def test_a_run_publishes_one(workshop, tmp_path):
    arguments = ("--objective", "ranking", "--hidden-size", 8, "--epochs", 2, "--format", "sqlite")
    result = call("run", workshop / "ratings.csv", "-o", tmp_path / "out", *arguments)
    assert result.status == 0, result.stderr
    assert len(rows_of(tmp_path / "out" / "recommendations.sqlite")) == 800


def test_explanations_have_a_row_for_each_reason(workshop, tmp_path):
    arguments = ("recommend", workshop / "both.model", "--user", "007", "-k", 3, "--explain", 2)
    assert call(*arguments, "-o", tmp_path / "top.sqlite").status == 0
    rows = rows_of(tmp_path / "top.sqlite", "SELECT rank, reason_rank FROM recommendations ORDER BY rank, reason_rank")
    assert rows == [(rank, reason) for rank in (1, 2, 3) for reason in (1, 2)]


def test_changes_of_another_program_do_not_get_into_a_new_database(workshop, tmp_path):
    arguments, path = ("recommend", workshop / "lists.model", "-o"), tmp_path / "top.sqlite"
    (tmp_path / "link.sqlite").symlink_to(path)
    assert call(*arguments, path).status == 0
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = wal")
        connection.execute("UPDATE recommendations SET item_id = 'x'")
        connection.commit()
        for name in ("top.sqlite", "link.sqlite"):
            result = call(*arguments, tmp_path / name)
            assert (result.status, "top.sqlite-wal has changes" in result.stderr) == (2, True)
        assert rows_of(path, "SELECT DISTINCT item_id FROM recommendations") == [("x",)]
    assert call(*arguments, path).status == 0
    assert len(rows_of(path, "SELECT DISTINCT item_id FROM recommendations")) > 1


@pytest.mark.parametrize(("first", "status"), [(b"\xd9", 2), (b"\0", 0), (b"", 0)])
def test_a_journal_that_is_done_with_keeps_nothing(workshop, tmp_path, first, status):
    (tmp_path / "top.sqlite-journal").write_bytes(first + b"\0" * 600 if first else b"")
    result = call("recommend", workshop / "lists.model", "-o", tmp_path / "top.sqlite")
    assert result.status == status
    assert ("top.sqlite-journal has changes" in result.stderr) == (status == 2)


def test_no_recommendations_are_an_empty_table():
    frame = pl.DataFrame(schema={"user_id": pl.String, "rank": pl.Int32, 'odd "name"': pl.Float64})
    stream = io.BytesIO()
    write_sqlite([frame], stream)
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.deserialize(stream.getvalue())
        assert connection.execute("SELECT count(*) FROM recommendations").fetchone() == (0,)
        names = [row[1] for row in connection.execute("PRAGMA table_info(recommendations)")]
    assert names == frame.columns


def test_a_failure_keeps_the_old_file_and_leaves_nothing_behind(workshop, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    (tmp_path / "top.sqlite").write_bytes(b"old")
    result = call("recommend", workshop / "lists.model", "--user", "none", "-o", tmp_path / "top.sqlite")
    assert result.status == 3
    assert (tmp_path / "top.sqlite").read_bytes() == b"old"

    def blocks():
        yield pl.DataFrame({"user_id": ["u"], "rank": [1]})
        (folder,) = (tmp_path / "temporary").iterdir()
        assert list(folder.iterdir()) == []  # a kill would leave no more than this
        raise UsageError("no more")

    with pytest.raises(UsageError, match="no more"):
        write_sqlite(blocks(), io.BytesIO())
    assert list((tmp_path / "temporary").iterdir()) == []


def test_a_database_of_something_else_is_not_replaced(workshop, tmp_path):
    path = tmp_path / "app.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE orders (id)")
    before = path.read_bytes()
    result = call("recommend", workshop / "lists.model", "-o", path)
    assert (result.status, path.read_bytes()) == (2, before)
    assert "app.db" in result.stderr
    assert "orders" in result.stderr


def test_what_may_be_replaced(tmp_path):
    with (tmp_path / "a.sqlite").open("wb") as stream:
        write_sqlite([pl.DataFrame({"user_id": ["u"], "rank": [1]})], stream)
    with closing(sqlite3.connect(tmp_path / "a.sqlite")) as connection:
        connection.execute("ANALYZE")
    (tmp_path / "b.sqlite").write_text("no database, but long enough to be taken for one" * 10)
    for name in ("a.sqlite", "b.sqlite", "none.sqlite"):
        check_replaceable(tmp_path / name)


@pytest.mark.parametrize("command", ["similar", "evaluate", "predict"])
def test_other_commands_write_no_databases(workshop, tmp_path, command):
    result = call(command, workshop / "both.model", "-o", tmp_path / "rows.db")
    assert (result.status, "cannot write .db files" in result.stderr) == (2, True)


def test_no_room_for_temporary_files_is_a_sentence(monkeypatch, tmp_path):
    def full(*_args, **_options):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(sqlite3, "connect", full)
    with pytest.raises(UsageError, match=r"disk is full.*TMPDIR"):
        write_sqlite([], io.BytesIO())


def test_a_terminal_gets_no_database(workshop):
    text, status = on_terminal(["recommend", "lists.model", "--format", "sqlite"], workshop)
    assert (status, "sqlite cannot be shown on a terminal" in text) == (2, True)
