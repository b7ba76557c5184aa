"""Tables of many files, as Spark and Hive write them, and ratings of one period only."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest

from autorec_cli.data.builder.read_ratings import read_ratings
from autorec_cli.data.readers.options import Period, ReadOptions
from autorec_cli.data.readers.tables.parquet import partitions_of
from autorec_cli.data.readers.timestamps import parse_moment
from autorec_cli.errors import InputDataError, UsageError
from tests.program import call

DAYS = ("2024-01-01", "2024-01-02", "2024-01-03")
NEW_YEAR = 1704067200
"""2024-01-01T00:00:00Z"""


def rows_of(*names, since=-np.inf, until=np.inf, **options):
    """Rows that were read, as (user_id, item_id, rating[, timestamp]) in order, and the table."""
    read = read_ratings([str(name) for name in names], ReadOptions(period=Period(since, until), **options))
    columns = [*read.indexes(), read.ratings.values(), read.timestamps.values()]
    flat = [column.tolist() for column in columns if len(column)]
    users, items = read.user_ids.to_list(), read.item_ids.to_list()
    return [(users[u], items[i], *rest) for u, i, *rest in zip(*flat, strict=True)], read


def ratings_of(day, moments=True):
    """Four ratings of a day, one every six hours."""
    when = [NEW_YEAR + 86400 * day + 21600 * n for n in range(4)]
    columns = {"user": [f"u{n}" for n in range(4)], "item": [10 + day] * 4, "rating": [1.0, 2.0, 3.0, 4.0]}
    return pl.DataFrame(columns | ({"timestamp": when} if moments else {}))


def expected(days, moments=True):
    return [row for day in days for row in ratings_of(day, moments).with_columns(pl.col("item").cast(pl.String)).rows()]


@pytest.fixture
def warehouse(tmp_path):
    """Files that Spark leaves: a folder a day, marks, checksums, and a file without rows."""
    folder = tmp_path / "ratings"
    for number, day in enumerate(DAYS):
        part = folder / f"day={day}" / "part-00000.snappy.parquet"
        part.parent.mkdir(parents=True)
        ratings_of(number).write_parquet(part, compression="snappy")
        (part.parent / f".{part.name}.crc").write_bytes(b"crc\0")
    ratings_of(0).clear().write_parquet(folder / f"day={DAYS[0]}" / "part-00001.snappy.parquet")
    (folder / "_SUCCESS").touch()
    (folder / "_temporary").mkdir()
    (folder / "_temporary" / "part-00000.parquet").write_bytes(b"PAR1 half written")
    return folder


def test_a_folder_a_glob_of_files_one_of_folders_and_names_are_the_same_table(warehouse):
    names = sorted(warehouse.glob("day=*/part-00000*"))
    for sources in ([warehouse], [warehouse / "day=*" / "*.parquet"], [warehouse / "**"], [warehouse / "day=*"], names):
        found, read = rows_of(*sources)
        assert found == expected(range(3))
        assert [source.n_ratings for source in read.sources] == [4, 4, 4]
    assert rows_of(warehouse / "day=2024-01-0[23]" / "*")[0] == expected([1, 2])


def test_columns_of_the_path_are_columns(tmp_path):
    for user, items in (("a%20b", ["x", "y"]), ("c", ["x"])):
        part = tmp_path / f"user={user}" / "date=2024-01-02" / "000000_0"
        part.parent.mkdir(parents=True)
        pl.DataFrame({"item": items, "rating": [3.0] * len(items)}).write_parquet(part)
    found, read = rows_of(tmp_path)
    assert found == [(user, item, 3.0, NEW_YEAR + 86400) for user, item in (("a b", "x"), ("a b", "y"), ("c", "x"))]
    assert read.sources[0].layout.column_choices()["user"] == "user"
    assert partitions_of("t/k=__HIVE_DEFAULT_PARTITION__/d=1=2/x=y.parquet") == {
        "k": None,
        "d": "1=2",
    }


def test_a_column_of_the_file_is_stronger_than_one_of_its_path(tmp_path):
    part = tmp_path / "user=path" / "p.parquet"
    part.parent.mkdir()
    ratings_of(0).write_parquet(part)
    assert rows_of(tmp_path)[0] == expected([0])


def test_days_of_the_path_are_the_timestamps_where_there_are_no_others(warehouse):
    for file in warehouse.glob("day=*/part-00000*"):
        pl.read_parquet(file, hive_partitioning=False).drop("timestamp").write_parquet(file)
    days = [NEW_YEAR + 86400 * day for day in (0, 1, 2) for _ in range(4)]
    assert [row[3] for row in rows_of(warehouse)[0]] == days
    assert rows_of(warehouse, columns={"timestamp": "none"})[0] == expected(range(3), moments=False)
    for part in warehouse.glob("day=2024-01-03/part-00000*"):  # of a file outside nothing but the schema is read
        data = part.read_bytes()
        part.write_bytes(data[:4] + b"\xff" * 200 + data[204:])
    found, read = rows_of(warehouse, since=NEW_YEAR + 1, until=NEW_YEAR + 2 * 86400, columns={"timestamp": "day"})
    assert [row[:2] for row in found] == [(f"u{n}", "11") for n in range(4)]
    assert read.n_outside == 8


@pytest.mark.parametrize("kind", ["int", "small int", "float", "text", "ms", "us", "ns", "zone", "date", "csv"])
def test_a_period_has_its_first_moment_and_not_its_last(tmp_path, kind):
    """Whatever the type of the timestamps is, and a row without one is bad as ever."""
    when = pl.Series([NEW_YEAR + 86400 * day for day in range(6)])
    moments = (when * 1_000_000).cast(pl.Datetime("us"))
    made = {
        "int": when, "small int": when.cast(pl.Int32), "float": when.cast(pl.Float64), "csv": when,
        "text": moments.dt.strftime("%Y-%m-%dT%H:%M:%SZ"), "date": moments.cast(pl.Date), "us": moments,
        "ms": moments.cast(pl.Datetime("ms")), "ns": moments.cast(pl.Datetime("ns")),
        "zone": moments.dt.replace_time_zone("UTC").dt.convert_time_zone("America/New_York"),
    }[kind]  # fmt: skip
    frame = pl.DataFrame(
        {"user": list("abcdef"), "item": list("xyxyxy"), "rating": [1, 2, 3, 4, 5, 6], "timestamp": made}
    )
    file = tmp_path / "ratings"
    frame.write_csv(file) if kind == "csv" else frame.write_parquet(file)
    since, until = NEW_YEAR + 86400, NEW_YEAR + 3 * 86400
    found, read = rows_of(file, since=since, until=until)
    assert found == [("b", "y", 2.0, since), ("c", "x", 3.0, since + 86400)]
    assert read.user_ids.to_list() == ["b", "c"]
    assert (read.n_ratings, read.n_outside) == (2, 4)
    assert len(rows_of(file, since=since + 0.25)[0]) == 4
    assert len(rows_of(file, until=until + 0.25)[0]) == 4
    assert rows_of(file, since=-1e10, until=1e10)[1].n_outside == 0
    if kind != "csv":
        frame.with_columns(timestamp=pl.when(pl.col("user") == "f").then(None).otherwise("timestamp")).write_parquet(
            file
        )
        with pytest.raises(InputDataError, match="row 6, column timestamp"):
            rows_of(file, until=until)


@pytest.mark.parametrize("kind", ["int", "date", "us"])
def test_row_groups_outside_the_period_are_not_read(tmp_path, kind):
    n_rows = 8000
    when = pl.Series(np.arange(n_rows) // 10).cast(pl.Int32)
    made = {
        "int": when,
        "date": when.cast(pl.Date),
        "us": (when.cast(pl.Int64) * 86_400_000_000).cast(pl.Datetime("us")),
    }[kind]
    frame = pl.DataFrame(
        {"user": range(n_rows), "item": np.arange(n_rows) % 7, "rating": np.arange(n_rows) % 5, "time": made}
    )
    file = tmp_path / "ratings.parquet"
    frame.write_parquet(file, row_group_size=2000, compression="uncompressed")
    since = 600 if kind == "int" else 600 * 86400
    whole = rows_of(file, since=since)[0]
    data = bytearray(file.read_bytes())
    second = slice(int(len(data) * 0.3), int(len(data) * 0.45))
    data[second] = b"\xff" * (second.stop - second.start)
    file.write_bytes(data)
    with pytest.raises(InputDataError, match="damaged Parquet"):
        rows_of(file)
    with pytest.raises(InputDataError, match="damaged Parquet"):
        rows_of(file, since=since // 2)
    found, read = rows_of(file, since=since)
    assert found == whole
    assert [int(row[0]) for row in found] == list(range(6000, 8000))
    assert read.n_outside == 6000
    assert (read.sources[0].n_bytes, read.sources[0].sha256) == (len(data), None)


def test_rows_keep_their_numbers_in_a_period(tmp_path):
    ratings_of(0).with_columns(rating=pl.Series([1.0, 2.0, None, 4.0])).write_parquet(tmp_path / "r.parquet")
    with pytest.raises(InputDataError, match="row 3, column rating"):
        rows_of(tmp_path / "r.parquet", since=NEW_YEAR + 1)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"user": "who"},
            r"b\.parquet has no column 'user'.*; it has who,",
        ),
        ({"rating": "how_much"}, r"b\.parquet has no column 'rating'"),
        ({"timestamp": "other"}, r"b\.parquet has no column 'timestamp'"),
    ],
)
def test_files_of_other_columns_are_refused_in_a_sentence(tmp_path, columns, message):
    ratings_of(0).write_parquet(tmp_path / "a.parquet")
    ratings_of(1).rename(columns).write_parquet(tmp_path / "b.parquet")
    with pytest.raises(InputDataError, match=message):
        rows_of(tmp_path)


def test_columns_in_another_order_of_another_type_or_under_a_known_name_are_read(tmp_path):
    ratings_of(0).write_parquet(tmp_path / "a.parquet")
    other = ratings_of(1).with_columns(pl.col("item").cast(pl.Int16), more=0)
    other.select(reversed(other.columns)).write_parquet(tmp_path / "b.parquet")
    ratings_of(2).rename({"user": "userId"}).write_parquet(tmp_path / "c.parquet")
    assert rows_of(tmp_path)[0] == expected(range(3))


def test_folders_and_patterns_without_ratings_are_refused(tmp_path, warehouse):
    (tmp_path / "nothing").mkdir()
    (tmp_path / "nothing" / "_SUCCESS").touch()
    with pytest.raises(InputDataError, match=r"nothing is .* without Parquet files"):
        rows_of(tmp_path / "nothing")
    with pytest.raises(InputDataError, match="no file matches"):
        rows_of(warehouse / "day=2025-*" / "*.parquet")
    with pytest.raises(InputDataError, match="no file matches"):
        rows_of(warehouse / "*SUCCESS")
    with pytest.raises(InputDataError, match=r"part-00001\.snappy\.parquet has no rows$"):
        rows_of(warehouse / f"day={DAYS[0]}" / "part-00001*")
    (warehouse / "notes.csv").write_text("a,b,1\n")
    with pytest.raises(InputDataError, match=r"with notes\.csv, which is not Parquet"):
        rows_of(warehouse)


def test_a_period_that_cannot_be_is_refused(tmp_path):
    with pytest.raises(UsageError, match="--since is not before --until"):
        Period(5, 5)
    with pytest.raises(UsageError, match="--columns timestamp=none"):
        ReadOptions(columns={"timestamp": "none"}, period=Period(0))
    with pytest.raises(UsageError, match="--since 'yesterday' is neither a date like"):
        parse_moment("--since", "yesterday")
    assert parse_moment("--since", "2024-01-01") == parse_moment("--since", "1704067200") == NEW_YEAR
    (tmp_path / "r.csv").write_text("a,b,1\nc,d,2\n")
    with pytest.raises(InputDataError, match=r"r\.csv has no timestamps for --since and --until; .*timestamp="):
        rows_of(tmp_path / "r.csv", since=0)
    (tmp_path / "r.csv").write_text("user,item,rating,timestamp\na,b,1,10\nc,d,2,20\n")
    with pytest.raises(InputDataError, match=r"none of the 2 ratings in .*r\.csv is in the period"):
        rows_of(tmp_path / "r.csv", since=30)


def test_the_program_takes_a_glob_and_a_period_and_accounts_for_them(tmp_path, warehouse):
    pattern, output = warehouse / "day=*" / "*.parquet", tmp_path / "data"
    options = ("--split", "none", "--format", "json")
    result = call("prepare", pattern, "-o", output, "--since", "2024-01-01T06:00Z", "--until", "2024-01-03", *options)
    assert result.status == 0, result.stderr
    facts = json.loads(result.stdout)
    assert (facts["n_sources"], facts["n_ratings"], facts["n_rows"], facts["n_outside"]) == (3, 7, 12, 5)
    assert result.stderr.count("Parquet; columns user=user, item=item, rating=rating, timestamp=timestamp") == 1
    assert "outside --since and --until: 5" in result.stderr
    info = json.loads((output / "dataset.json").read_text())
    assert info["period"] == {"since": NEW_YEAR + 21600, "until": NEW_YEAR + 2 * 86400}
    assert [source["n_outside"] for source in info["sources"]] == [1, 0, 4]
    result = call("prepare", pattern, "-o", output, "--since", "2024-02-30")
    assert (result.status, result.stdout) == (2, "")
    assert "--since '2024-02-30' is neither a date" in result.stderr
