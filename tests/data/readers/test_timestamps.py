"""Timestamps: spellings of dates, units of numbers, and columns that cannot be read."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import autorec_cli as autorec
from autorec_cli.data.builder.read_ratings import read_ratings
from autorec_cli.data.readers.options import Period, ReadOptions
from autorec_cli.data.readers.timestamps import TimestampFormat, detect_format, parse_timestamps
from autorec_cli.errors import InputDataError, UsageError
from tests.program import call

NOON = 1706702400
"""2024-01-31T12:00:00Z"""


def parsed(*texts, **written):
    return parse_timestamps(pl.Series(texts), TimestampFormat(**written)).to_list()


def read(tmp_path, *values, name="timestamp", header=True, **options):
    """Timestamps of a file with these values."""
    file = tmp_path / "ratings.csv"
    rows = "".join(f"u{number},i{number % 3},{number % 5},{value}\n" for number, value in enumerate(values))
    file.write_text(f"user,item,rating,{name}\n" * header + rows)
    return read_ratings([str(file)], ReadOptions(**options)).timestamps.values().tolist()


@pytest.mark.parametrize(
    "text",
    [
        "2024-01-31T12:00:00Z",
        "2024-01-31T12:00",
        "2024-01-31 12:00:00+00",
        "2024-01-31 13:30:00+01:30",
        "2024-01-31 06:30:00.000-0530",
        "2024-01-31 12:00:00.000000+00",
        "2024-01-31 12:00:00 UTC",
        "2024-01-31 12:00:00.000 UTC",
        "2024-01-31 12:00:00 +0000 UTC",
        "20240131T120000Z",
        "20240131T1200",
        "20240131T140000+0200",
        "20240131T140000,000+02",
        "202401311200",
        "20240131120000",
        " 1706702400 ",
        "1706702400000",
        "1706702400000000",
        "1706702400000000000",
        "1.7067024e9",
    ],
)
def test_spellings_of_one_moment(text):
    assert parsed(text) == parsed("2024-01-31", text, "x")[1:2] == [NOON]


@pytest.mark.parametrize(
    "text",
    [
        "2024-02-30",
        "20240230",
        "20241301",
        "20240131T250000Z",
        "2024-01-31T12:60",
        "2024-1-31",
        "2024-01-31T12:00:00+24",
        "2024-01-31T12:00.5",
        "2024-01-31T12:00:00 PST",
        "2024-01-31x",
        "01/31/2024",
        "",
    ],
)
def test_no_moments(text):
    assert parsed(text) == [None]


@given(st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1)), st.integers(-1439, 1439), st.data())
def test_iso_dates_are_read_as_python_reads_them(moment, minutes, data):
    zone = timezone(timedelta(minutes=minutes))
    moments = [moment.replace(tzinfo=zone), moment.replace(microsecond=0), moment.replace(tzinfo=UTC)]
    texts = [data.draw(st.sampled_from([each.isoformat(), each.isoformat(" ")])) for each in moments]
    wanted = [each.replace(tzinfo=each.tzinfo or UTC).timestamp() for each in moments]
    np.testing.assert_allclose(parsed(*texts), wanted, rtol=0, atol=1e-6)


def test_mixed_spellings_in_one_column(tmp_path):
    values = ["2024-01-31", "20240131", NOON, f"{NOON}000", f"{NOON}000000", "2024-01-31 12:00:00+00", "20240131T12:00"]
    midnight = NOON - 43200
    assert read(tmp_path, *values[:-1]) == [midnight, midnight, NOON, NOON, NOON, NOON]
    with pytest.raises(InputDataError, match=r"line 8, column timestamp: '20240131T12:00' is neither"):
        read(tmp_path, *values)


@pytest.mark.parametrize("header", [True, False])
def test_compact_dates_alone_are_dates(tmp_path, header):
    assert read(tmp_path, 20240131, 20240201, header=header) == [NOON - 43200, NOON + 43200]
    with pytest.raises(InputDataError, match=r"line .*'20240230' is not a possible date"):
        read(tmp_path, 20240131, 20240230)


def test_numbers_of_a_counter_are_no_dates(tmp_path):
    counter = [20240100 + number for number in range(100)]
    assert read(tmp_path, *counter) == counter
    assert read(tmp_path, 7, 8, 20240131) == [7, 8, 20240131]


def test_a_later_date_in_a_column_of_seconds(tmp_path):
    values = [NOON + number for number in range(20_000)]
    assert read(tmp_path, *values, "2024-01-31", "20240131", f"{NOON}500")[-3:] == [
        NOON - 43200,
        NOON - 43200,
        NOON + 0.5,
    ]


@pytest.mark.parametrize("value", [NOON, f"{NOON}000", "2024-01-31T12:00:00", "20240131120000"])
def test_a_period_in_any_unit(tmp_path, value):
    for since in (NOON, NOON * 1000):
        period = Period(*parsed(str(since)), *parsed("2024-02-01"))
        assert read(tmp_path, value, "2024-01-01", period=period) == [NOON]


@pytest.mark.parametrize("dtype", [pl.Int64, pl.String, pl.UInt64])
def test_a_period_of_a_parquet_file_of_several_units(tmp_path, dtype):
    moments = [NOON, (NOON + 1) * 1000, (NOON + 2) * 10**6, 20240131, NOON - 90000, (NOON + 90000) * 1000]
    frame = pl.DataFrame({"user": list("abcdef"), "item": list("xyxyxy"), "rating": range(6), "timestamp": moments})
    frame.with_columns(pl.col("timestamp").cast(dtype)).write_parquet(tmp_path / "r.parquet")
    options = ReadOptions(period=Period(NOON - 50000, NOON + 2))
    table = read_ratings([str(tmp_path / "r.parquet")], options)
    assert sorted(table.timestamps.values().tolist()) == sorted([NOON, NOON + 1, NOON - 43200])
    assert table.n_outside == 3


def test_dates_of_a_given_format(tmp_path):
    values = ["01/31/2024 12:00", "02/01/2024 00:00"]
    assert read(tmp_path, *values, date_format="%m/%d/%Y %H:%M") == [NOON, NOON + 43200]
    assert read(tmp_path, *values, name="x", date_format="%m/%d/%Y %H:%M") == [NOON, NOON + 43200]
    assert read(tmp_path, '"Jan 31, 2024"', date_format="%b %d, %Y") == [NOON - 43200]
    assert read(tmp_path, "2024-01-31T13:00:00.500000+0100", date_format="%Y-%m-%dT%H:%M:%S.%f%z") == [NOON + 0.5]
    with pytest.raises(InputDataError, match=r"line 3, .*'31/01/2024' is not a date of the format %m/%d/%Y"):
        read(tmp_path, "01/31/2024", "31/01/2024", date_format="%m/%d/%Y")
    with pytest.raises(InputDataError, match=r"no column of dates in --date-format '%m/%d/%Y'; .*'31\.01\.2024'"):
        read(tmp_path, "31.01.2024", date_format="%m/%d/%Y")


@pytest.mark.parametrize("pattern", ["", "days", "%H:%M", "%d %m", "%Q"])
def test_a_format_that_is_none_is_refused(pattern):
    with pytest.raises(UsageError, match="--date-format"):
        ReadOptions(date_format=pattern)


def test_a_column_called_timestamp_that_cannot_be_read_is_a_warning(tmp_path, caplog):
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("user,item,rating,date\na,x,1,01/31/2024\nb,y,2,02/01/2024\n")
    result = call("prepare", tmp_path / "*.csv", "-o", tmp_path / "data", "--split", "none")
    assert result.status == 0
    assert result.stderr.count("column date is not used: '01/31/2024'") == 1
    assert "--date-format" in result.stderr
    call("prepare", tmp_path / "a.csv", "-o", tmp_path / "us", "--split", "none", "--date-format", "%m/%d/%Y", "-q")
    columns = json.loads((tmp_path / "us" / "dataset.json").read_text())["sources"][0]["columns"]
    assert columns["timestamp"] == "date"
    caplog.clear()
    autorec.prepare(pl.read_csv(tmp_path / "a.csv"), autorec.PrepareSettings())
    assert "'01/31/2024'" in caplog.text


def test_timestamps_of_a_type_are_no_numbers_to_guess_about():
    moments = pl.Series([datetime(1970, 8, 23), datetime(9999, 12, 31)])
    frame = pl.DataFrame({"user": ["a", "b"], "item": ["x", "y"], "rating": [1, 2], "time": moments})
    from autorec_cli.data.builder.read_ratings import ratings_from_frame

    assert ratings_from_frame(frame).timestamps.values().tolist() == [234 * 86400, 253402214400]


def test_formats_are_found_in_samples():
    assert detect_format(["a", ""]) is None
    assert detect_format(["20240131", "20240201"]).have_compact
    assert not detect_format(["20240131", "5", "6"]).have_compact
    assert detect_format(["5", "2024-01-31"]).have_compact
    assert detect_format([str(NOON)]).are_whole
