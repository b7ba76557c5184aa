"""Parquet and Arrow files, and frames: columns of every type, asked for or not."""

from __future__ import annotations

import datetime
import uuid
from decimal import Decimal

import polars as pl
import pytest

from autorec_cli.data.builder.read_ratings import ratings_from_frame, read_ratings
from autorec_cli.data.preparation import PrepareSettings, prepare
from autorec_cli.data.readers.items import read_items
from autorec_cli.data.readers.options import ReadOptions
from autorec_cli.data.splits.splitting import SplitSettings
from autorec_cli.errors import InputDataError
from tests.program import run

N = 6
RATINGS = pl.DataFrame(
    {"user": [1, 1, 2, 2, 3, 3], "item": ["a", "b", "a", "b", "a", "b"], "rating": [1.0, 2.0, 3.0, 4.0, 5.0, 2.5]}
)
ROWS = [("1", "a", 1.0), ("1", "b", 2.0), ("2", "a", 3.0), ("2", "b", 4.0), ("3", "a", 5.0), ("3", "b", 2.5)]
WRITE = {
    "parquet": pl.DataFrame.write_parquet,
    "arrow": pl.DataFrame.write_ipc,
    "arrows": pl.DataFrame.write_ipc_stream,
}
OTHERS = {
    "list": pl.Series([[1], [2, 3], [], None, [4], [5]]),
    "array": pl.Series([[1, 2]] * N, dtype=pl.Array(pl.Int64, 2)),
    "struct": pl.Series([{"a": 1, "b": "x"}] * N),
    "map": pl.Series([{"a": 1}] * N, dtype=pl.Map(pl.String, pl.Int64)),
    "duration": pl.Series([datetime.timedelta(hours=1)] * N),
    "binary": pl.Series([b"\xff\x00"] * N),
    "decimal": pl.Series([Decimal("1.50")] * N),
    "null": pl.Series([None] * N, dtype=pl.Null),
    "categorical": pl.Series(["x", "y"] * 3, dtype=pl.Categorical),
    "enum": pl.Series(["x", "y"] * 3, dtype=pl.Enum(["x", "y"])),
    "clock": pl.Series([datetime.time(1, 2)] * N),
    "moment": pl.Series([datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)] * N),
    "uint64": pl.Series([2**64 - 1] * N, dtype=pl.UInt64),
    "int128": pl.Series([2**100] * N, dtype=pl.Int128),
    "boolean": pl.Series([True, False] * 3),
}


def rows_of(table):
    users, items = table.indexes()
    ratings = table.ratings.values().tolist()
    return list(
        zip(table.user_ids.gather(users).to_list(), table.item_ids.gather(items).to_list(), ratings, strict=True)
    )


def read(path, **options):
    return read_ratings([str(path)], ReadOptions(**options))


@pytest.mark.parametrize("format", WRITE)
@pytest.mark.parametrize("first", [True, False], ids=["first", "last"])
def test_columns_that_nobody_asked_for_do_not_matter(tmp_path, format, first):
    for name, column in OTHERS.items():
        other = column.alias(name).to_frame()
        frame = pl.concat([other, RATINGS] if first else [RATINGS, other], how="horizontal")
        WRITE[format](frame, tmp_path / "r")
        assert rows_of(read(tmp_path / "r")) == ROWS, name
    everything = pl.concat([pl.DataFrame(OTHERS), RATINGS], how="horizontal")
    WRITE[format](everything, tmp_path / "r")
    table = read(tmp_path / "r")
    assert rows_of(table) == ROWS
    assert table.sources[0].layout.delimiter_name() == ("parquet" if format == "parquet" else "arrow")
    assert rows_of(ratings_from_frame(everything)) == ROWS
    by_number = {"user": "16", "item": "17", "rating": "18", "timestamp": "none"}
    assert rows_of(read(tmp_path / "r", columns=by_number)) == ROWS


@pytest.mark.parametrize("format", WRITE)
def test_columns_of_items_are_kept_as_text_or_number_or_left_out(tmp_path, format):
    titles = pl.DataFrame({"id": [1.0, 2.0, 3.0, None, 5.0, 6.0], "title": list("abcdef")})
    WRITE[format](pl.concat([pl.DataFrame(OTHERS), titles], how="horizontal"), tmp_path / "t")
    items = read_items(str(tmp_path / "t"))[0]
    assert items.select("id", "title").rows() == [("1", "a"), ("2", "b"), ("3", "c"), ("5", "e"), ("6", "f")]
    assert items.drop("id", "title").row(1, named=True) == {
        "list": "2|3",
        "array": "1|2",
        "decimal": 1.5,
        "categorical": "y",
        "enum": "y",
        "clock": "01:02:00",
        "moment": "2024-01-01T00:00:00",
        "uint64": float(2**64),
        "int128": float(2**100),
        "boolean": False,
    }


@pytest.mark.parametrize("name", ["list", "struct", "map", "duration", "binary"])
@pytest.mark.parametrize("role", ["user", "item", "rating"])
def test_a_role_of_an_unusable_type_is_named(tmp_path, name, role):
    frame = RATINGS.with_columns(OTHERS[name].alias(role))
    frame.write_parquet(tmp_path / "r.parquet")
    result = run("prepare", "r.parquet", "-o", "d", cwd=tmp_path)
    assert (result.status, result.stdout) == (3, "")
    assert f"column {role} ({role}) is of type" in result.stderr
    assert name.capitalize() in result.stderr
    with pytest.raises(InputDataError, match=rf"column {role} .* is of type"):
        ratings_from_frame(frame)
    RATINGS.with_columns(OTHERS[name].alias("x")).write_parquet(tmp_path / "r.parquet")
    with pytest.raises(InputDataError, match=rf"column x \({role}\) is of type"):
        read(tmp_path / "r.parquet", columns={role: "4"})


def test_a_timestamp_of_an_unusable_type_is_refused_only_if_asked_for(tmp_path):
    RATINGS.with_columns(OTHERS["list"].alias("timestamp")).write_parquet(tmp_path / "r.parquet")
    assert rows_of(read(tmp_path / "r.parquet")) == ROWS
    with pytest.raises(InputDataError, match=r"timestamp \(timestamp\) is of type List"):
        read(tmp_path / "r.parquet", columns={"timestamp": "timestamp"})


@pytest.mark.parametrize("format", WRITE)
def test_nan_is_no_id_and_whole_floats_are_integers(tmp_path, format):
    frame = RATINGS.with_columns(user=pl.Series([1.0, float("nan"), 2.0, None, 3.0, 3.5]))
    WRITE[format](frame, tmp_path / "r")
    with pytest.raises(InputDataError, match="row 2, column user: the field is missing or empty"):
        read(tmp_path / "r")
    table = read(tmp_path / "r", skip_bad_rows=True)
    assert table.user_ids.to_list() == ["1", "2", "3", "3.5"]
    assert table.n_skipped == 2
    assert ratings_from_frame(frame, ReadOptions(skip_bad_rows=True)).user_ids.to_list() == ["1", "2", "3", "3.5"]


def test_uuids_are_text(tmp_path):
    ids = [uuid.UUID(int=number + 1) for number in range(N)]
    frame = RATINGS.with_columns(user=pl.Series([value.bytes for value in ids]))
    frame.write_parquet(tmp_path / "r.parquet")
    assert read(tmp_path / "r.parquet").user_ids.to_list() == [str(value) for value in ids]
    assert ratings_from_frame(frame).user_ids.to_list() == [str(value) for value in ids]
    with pytest.raises(InputDataError, match=r"column user .* is of type Binary"):
        ratings_from_frame(RATINGS.with_columns(user=pl.Series([b"sixteen letters!"] * N)))


def test_decimals_and_large_integers_keep_their_value(tmp_path):
    frame = pl.DataFrame(
        {
            "user": pl.Series([Decimal("12.00"), Decimal("7.50")]),
            "item": pl.Series([2**100, 3], dtype=pl.Int128),
            "rating": pl.Series([Decimal("4.5"), Decimal("3.0")]),
        }
    )
    frame.write_parquet(tmp_path / "r.parquet")
    assert rows_of(read(tmp_path / "r.parquet")) == [("12", str(2**100), 4.5), ("7.50", "3", 3.0)]


def test_a_name_twice_is_called_that(tmp_path):
    RATINGS.rename({"item": "usex"}).write_parquet(tmp_path / "r.parquet", statistics=False)
    data = (tmp_path / "r.parquet").read_bytes()
    (tmp_path / "r.parquet").write_bytes(data.replace(b"usex", b"user"))
    with pytest.raises(InputDataError, match="two columns 'user'"):
        read(tmp_path / "r.parquet")


@pytest.mark.parametrize("format", WRITE)
def test_damaged_files_are_named(tmp_path, format):
    WRITE[format](RATINGS.rename({"item": "id", "user": "title"}), tmp_path / "t")
    data = (tmp_path / "t").read_bytes()
    RATINGS.write_csv(tmp_path / "r.csv")
    for cut in (len(data) // 2, 12):
        (tmp_path / "t").write_bytes(data[:cut])
        kind = "Parquet" if format == "parquet" else "Arrow"
        with pytest.raises(InputDataError, match=f"t is a damaged {kind} file"):
            read(tmp_path / "t")
        result = run("prepare", "r.csv", "--items", "t", "-o", "d", cwd=tmp_path)
        assert result.status == 3
        assert f"t is a damaged {kind} file" in result.stderr


def test_a_period_and_stdin_are_as_for_parquet(tmp_path):
    days = pl.Series([datetime.date(2024, 1, 1 + n) for n in range(N)])
    RATINGS.with_columns(day=days).write_ipc(tmp_path / "r.feather")
    given = (tmp_path / "r.feather").read_bytes()
    result = run("prepare", "-", "-o", "d", "--split", "none", "--format", "json", "--columns", "timestamp=day",
                 "--since", "2024-01-03", cwd=tmp_path, stdin=given)  # fmt: skip
    assert result.status == 0, result.stderr
    assert '"n_ratings": 4' in result.stdout
    assert '"n_outside": 2' in result.stdout


def test_items_of_a_frame_have_the_ids_of_its_ratings():
    ratings = RATINGS.with_columns(item=pl.Series([1.0, 2.0] * 3))
    titles = pl.DataFrame({"id": [1.0, 2.0, 2.0], "title": ["one", "two", "zwei"], "more": [[1], [2], [3]]})
    none = PrepareSettings(split=SplitSettings("none", 0.0, 0.0))
    prepared = prepare(ratings, none, items=titles).items
    assert prepared.select("title", "more").rows() == [("one", "1"), ("zwei", "3")]
