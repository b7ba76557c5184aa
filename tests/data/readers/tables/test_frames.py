"""Frames are prepared as the file of the same ratings is, with the same checks."""

from __future__ import annotations

import datetime

import numpy as np
import polars as pl
import pytest

from autorec_cli.data.builder.read_ratings import ratings_from_frame
from autorec_cli.data.preparation import PrepareSettings, prepare
from autorec_cli.data.readers.options import ReadOptions
from autorec_cli.errors import InputDataError, UsageError

rng = np.random.default_rng(0)
RATINGS = pl.DataFrame(
    {
        "user": rng.integers(0, 20, 400),
        "item": [f"i{n:02}" for n in rng.integers(0, 30, 400)],
        "rating": rng.integers(0, 11, 400) / 2,
        "timestamp": rng.integers(10**9, 2 * 10**9, 400),
    }
)


def as_pandas(frame):
    pandas = pytest.importorskip("pandas")
    return pandas.DataFrame({name: frame[name].to_list() for name in frame.columns})


@pytest.mark.parametrize("convert", [pl.DataFrame, as_pandas])
@pytest.mark.parametrize("timed", [True, False])
def test_a_frame_gives_the_dataset_of_its_file(tmp_path, convert, timed):
    frame = RATINGS if timed else RATINGS.drop("timestamp")
    frame.write_csv(tmp_path / "r.csv")
    from_file = prepare(tmp_path / "r.csv")
    assert prepare(convert(frame)).fingerprint() == from_file.fingerprint()
    assert prepare([str(tmp_path / "r.csv")], PrepareSettings()).fingerprint() == from_file.fingerprint()


@pytest.mark.parametrize(("column", "value"), [("user", None), ("item", None), ("item", ""), ("rating", None),
                                               ("rating", float("nan")), ("rating", float("inf")),
                                               ("timestamp", None)])  # fmt: skip
def test_a_bad_row_is_named_or_skipped(column, value):
    frame = RATINGS.with_columns(
        pl.when(pl.int_range(pl.len()) == 6).then(pl.lit(value, RATINGS.schema[column])).otherwise(column).alias(column)
    )
    with pytest.raises(InputDataError, match=rf"row 7, column {column}"):
        ratings_from_frame(frame)
    table = ratings_from_frame(frame, ReadOptions(skip_bad_rows=True))
    assert (table.n_ratings, table.n_skipped) == (399, 1)


def test_columns_are_found_by_name_or_said():
    renamed = RATINGS.select(pl.col("item").alias("movieId"), pl.col("rating").alias("stars"), pl.col("user"))
    assert ratings_from_frame(renamed).user_ids[0] == str(RATINGS["user"][0])
    options = ReadOptions(columns={"user": "movieId", "item": "user", "rating": "stars"})
    assert ratings_from_frame(renamed, options).item_ids[0] == str(RATINGS["user"][0])
    interactions = ratings_from_frame(RATINGS.select("user", "item"))
    assert set(interactions.ratings.values()) == {1}
    assert interactions.item_ids.equals(ratings_from_frame(RATINGS).item_ids)


def test_dates_categories_and_missing_values_of_pandas_are_read():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {"user": pandas.Categorical(["a", "b", "a"]), "item": ["x", "y", None], "rating": [1, 2, 3],
         "date": pandas.to_datetime(["1970-01-02", "1970-01-03", "1970-01-04"])}
    )  # fmt: skip
    with pytest.raises(InputDataError, match="row 3, column item"):
        prepare(frame)
    frame.loc[2, "item"] = "y"
    from autorec_cli.data.readers.tables.frames import polars_frame

    table = ratings_from_frame(polars_frame(frame))
    assert table.user_ids.to_list() == ["a", "b"]
    assert table.timestamps.values().tolist() == [86400, 172800, 259200]
    when = pl.DataFrame({"user": [1, 2], "item": [1, 2], "rating": [1.0, 2.0], "date": [datetime.date(1970, 1, 2)] * 2})
    assert ratings_from_frame(when).timestamps.values().tolist() == [86400, 86400]


def test_what_is_no_frame_and_frames_without_ratings_are_refused():
    with pytest.raises(UsageError, match="not int"):
        prepare(3)
    with pytest.raises(InputDataError, match="no rows"):
        prepare(RATINGS.clear())
    with pytest.raises(UsageError, match="test files"):
        prepare(RATINGS, test_files=["x.csv"])
