"""Plain blocks are read by a compiled loop; nobody can tell from the result."""

from __future__ import annotations

import hashlib

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autorec_cli.cli.commands.prepare import prepare
from autorec_cli.data import loops
from autorec_cli.data.builder import ratings_table
from autorec_cli.data.builder.ratings_table import read_ratings
from autorec_cli.data.builder.vocabulary import IdTable
from autorec_cli.data.preparation import PrepareSettings
from autorec_cli.data.readers import blocks, fast_csv, sources
from autorec_cli.data.readers.detection import Columns, Layout
from autorec_cli.data.readers.exact_csv import TextFormat
from autorec_cli.data.readers.options import ReadOptions
from autorec_cli.data.readers.plain import read_plain
from autorec_cli.errors import InputDataError

COMMA = Layout(TextFormat(","), None, Columns(0, 1, 2, 3), 4)


def read(block, layout=COMMA):
    rows = read_plain(block, layout, "ratings")
    columns = rows and (rows.users, rows.items, rows.ratings, rows.timestamps)
    return columns and [None if column is None else column.tolist() for column in columns]


def test_plain_rows_are_read():
    block = b"1,31,2.5,1260759144\n0,999999999,-1,0\n20,7,04.0,0978300760\n3,100,-0.125,999999999999999999"
    assert read(block) == [[1, 0, 20, 3], [31, 999999999, 7, 100], [2.5, -1, 4, -0.125],
                           [1260759144, 0, 978300760, 999999999999999999]]  # fmt: skip


@pytest.mark.parametrize("delimiter", ["\t", ";", "|", "::", " "])
def test_every_delimiter_and_order_of_columns_is_read(delimiter):
    layout = Layout(TextFormat(delimiter), None, Columns(3, 1, 0, None), 4)
    text = delimiter.join(["4", "11", "title, né", "12"]) + "\n"
    if delimiter == " ":
        text = "4  11\t- 12 \n"
    assert read(text.encode() * 2, layout) == [[12, 12], [11, 11], [4, 4], None]


def test_carriage_returns_at_the_ends_of_rows_are_no_part_of_a_field():
    assert read(b"1,2,3,4\r\n5,6,7,8\n9,10,11,12\r\n")[3] == [4, 8, 12]
    assert read(b"1,2,3,4\r\n5\r,6,7,8\r\n") is None


ODD_FIELDS = ["", "007", "00", "+1", "-0", " 1", "1 ", "1.0", "1e3", "a", "é", "\u0661", "1\r", '"1"', "1:", "1/",
              "1234567890", str(2**63), "1\x001"]  # fmt: skip


@pytest.mark.parametrize("column", [0, 1])
@pytest.mark.parametrize("field", ODD_FIELDS)
def test_ids_that_are_no_plain_numbers_are_left_to_the_parser(field, column):
    row = ["1", "2", "3", "4"]
    row[column] = field
    assert read(("5,6,1,2\n" + ",".join(row) + "\n5,6,1,2\n").encode()) is None


@pytest.mark.parametrize(
    "rating",
    [
        "",
        "nan",
        "inf",
        "1e3",
        "x",
        "1_0",
        "4,5",
        '"4"',
        ".5",
        "4.",
        "-",
        "-.5",
        "+4",
        " 4",
        "3.333333333333333",
        "1234567890123456",
        "\x004",
    ],
)
def test_ratings_that_are_bad_or_long_are_left_to_the_parser(rating):
    assert read(f"1,2,3,4\n1,2,{rating},4\n".encode()) is None


@pytest.mark.parametrize("time", ["", "-1", "1.5", "2024-01-31", "x", "1234567890123456789"])
def test_timestamps_that_are_no_whole_numbers_are_left_to_the_parser(time):
    assert read(f"1,2,3,4\n1,2,3,{time}\n".encode()) is None


@pytest.mark.parametrize("block", [b"1,2,3\n1,2,3,4,5\n", b"1,2,3,4\n\n1,2,3,4\n", b"1,2,3,4\n1,2,3\n4\n", b"\n"])
def test_rows_of_other_lengths_are_left_to_the_parser(block):
    assert read(block) is None


@pytest.mark.parametrize("field", [b'"', b"\x1f", b"\xff", b"\r"])
def test_what_is_odd_in_a_field_that_nobody_reads_is_left_to_the_parser(field):
    layout = Layout(TextFormat(","), None, Columns(0, 1, 2, None), 4)
    assert read_plain(b"1,2,3,\xc3\xa9\n", layout, "ratings") is not None
    assert read_plain(b"1,2,3,4\n1,2,3,a" + field + b"b\n", layout, "ratings") is None


def test_the_character_that_stands_for_two_colons_is_left_to_the_parser():
    layout = Layout(TextFormat("::"), None, Columns(0, 1, 2, None), 3)
    assert read_plain(b"1::2::3\n", layout, "ratings") is not None
    assert read_plain(b"1::2::3\n3\x1f::2::3\n", layout, "ratings") is None


def test_ratings_are_those_of_the_parser_to_the_bit():
    rng = np.random.default_rng(0)
    texts = [f"{number:.{decimals}f}" for number in rng.normal(0, 1000, 2000) for decimals in (0, 1, 5, 10)]
    block = "".join(f"1,2,{text},4\n" for text in texts).encode()
    expected = pl.Series(texts).cast(pl.Float64).to_numpy().astype(np.float32)
    assert read_plain(block, COMMA, "ratings").ratings.tobytes() == expected.tobytes()


@pytest.fixture
def no_compiler(monkeypatch):
    monkeypatch.setattr(loops, "_library", lambda: None)


@pytest.mark.usefixtures("no_compiler")
def test_without_compiled_loops_all_is_left_to_the_parser():
    assert read(b"1,2,3,4\n") is None


@pytest.mark.usefixtures("no_compiler")
def test_without_compiled_loops_blocks_without_rows_are_read(tmp_path, monkeypatch):
    for module in (blocks, sources):
        monkeypatch.setattr(module, "CHUNK_BYTES", 100)
    monkeypatch.setattr(ratings_table, "SAMPLE_BYTES", 100)
    rows = "".join(f"{n},{n + 1},3\n" for n in range(50))
    (tmp_path / "r.csv").write_text("user,item,rating\n" + rows + "\n" * 1000 + rows)
    read = read_ratings([str(tmp_path / "r.csv")], ReadOptions())
    assert (read.n_ratings, len(read.user_ids)) == (100, 50)


def test_the_byte_that_stands_for_two_colons_is_told_by_the_parser():
    layout = Layout(TextFormat("::"), None, Columns(0, 1, 2, None), 4)
    assert read_plain(b"1::2::3::\x1f\n", layout, "ratings") is None


# --- with and without

numbers = st.integers(0, 30).map(str) | st.integers(0, 2**24).map(str) | st.integers(0, 10**9).map(str)
odd_ids = (
    st.sampled_from(["-1", "-7", "1023"])
    | st.sampled_from([field for field in ODD_FIELDS if "\0" not in field and '"' not in field])
    | numbers
)
odd_ratings = st.sampled_from(
    [" 4", "+4", "4.", ".5", "4e0", "-0.0", "nan", "", "x", "3.3333333333", "0.1", "-2", "10"]
)
odd_times = st.sampled_from(["0978300760", "1234567890123", "12345678901234567", "-5", "1.5", "2024-01-31", "", "x"])
plain_rows = st.tuples(
    numbers, numbers, st.sampled_from(["1", "2.5", "4.0", "0", "0.5"]), st.integers(0, 10**10).map(str)
)
odd_rows = st.tuples(odd_ids, odd_ids, odd_ratings, odd_times)
some_odd = st.tuples(st.lists(plain_rows, min_size=1, max_size=12), st.lists(plain_rows | odd_rows, max_size=12))
files = st.lists(some_odd.map(lambda parts: parts[0] + parts[1] + parts[0]), min_size=1, max_size=3)


def outcome(names, options):
    """All that reading tells, or its message."""
    try:
        read = read_ratings(names, options)
    except InputDataError as error:
        return str(error)
    columns = read.user_indexes, read.item_indexes, read.ratings, read.timestamps
    ratings = np.array(read.ratings.tolist(), dtype=np.float32).tobytes()  # -0.0 is not 0.0
    return (
        [column.tolist() for column in columns],
        ratings,
        read.user_ids.to_list(),
        read.item_ids.to_list(),
        read.sources,
    )


@given(
    files=files,
    delimiter=st.sampled_from([",", "::", "\t"]),
    newline=st.sampled_from(["\n", "\r\n"]),
    skip=st.booleans(),
    chunk_bytes=st.sampled_from([20, 60, 1000]),
    places=st.sampled_from([4, 64, 1 << 20]),
)
def test_results_and_messages_are_those_of_the_parser(tmp_path, files, delimiter, newline, skip, chunk_bytes, places):
    """Odd rows and numbers beyond the table come in some blocks and some files; blocks are a few rows long."""
    names = []
    for number, rows in enumerate(files):
        names.append(str(tmp_path / f"{number}.csv"))
        lines = [("user", "item", "rating", "timestamp"), *rows]
        (tmp_path / f"{number}.csv").write_bytes("".join(delimiter.join(row) + newline for row in lines).encode())
    columns = {role: role for role in ("user", "item", "rating", "timestamp")}
    options = ReadOptions(delimiter=delimiter, columns=columns, skip_bad_rows=skip)
    with pytest.MonkeyPatch.context() as patch:
        for module in (blocks, sources):
            patch.setattr(module, "CHUNK_BYTES", chunk_bytes)
        patch.setattr(ratings_table, "SAMPLE_BYTES", chunk_bytes)
        patch.setattr("autorec_cli.data.builder.vocabulary.LEAST_ROOM", places)
        fast = outcome(names, options)
        patch.setattr(loops, "_library", lambda: None)
        assert fast == outcome(names, options)


def contents(folder):
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_a_dataset_is_the_same_to_the_byte(tmp_path, monkeypatch, capsys, threads):
    """Ids of every kind; in one file, and in two; rows in any order."""
    rng = np.random.default_rng(0)
    kinds = (str, lambda n: f"{n:03}", lambda n: f"u{n}", lambda n: str(n + 2**24), lambda n: str(n + 2**63))
    lines = []
    for part in range(40):
        kind = kinds[part // 2 % len(kinds)] if part % 2 else str
        lines += [
            f"{kind(u)},{kind(i)},{r / 2},{t}\n"
            for u, i, r, t in rng.integers(0, [60, 50, 11, 10**9], (200, 4)).tolist()
        ]
    (tmp_path / "a.csv").write_text("user,item,rating,timestamp\n" + "".join(lines[:5000]))
    (tmp_path / "b.csv").write_text("user,item,rating,timestamp\n" + "".join(lines[5000:]))
    for module in (blocks, sources):
        monkeypatch.setattr(module, "CHUNK_BYTES", 2000)
    monkeypatch.setattr(ratings_table, "SAMPLE_BYTES", 2000)
    monkeypatch.setattr("autorec_cli.runtime.threads.n_threads", lambda: threads)
    n_plain = []
    monkeypatch.setattr(fast_csv, "read_plain", lambda *given: n_plain.append(read_plain(*given)) or n_plain[-1])
    prepare([str(tmp_path / "a.csv"), str(tmp_path / "b.csv")], tmp_path / "fast", PrepareSettings())
    n_refused = sum(rows is None for rows in n_plain)
    assert n_refused > 20
    assert len(n_plain) - n_refused > 20
    monkeypatch.setattr(loops, "_library", lambda: None)
    prepare([str(tmp_path / "a.csv"), str(tmp_path / "b.csv")], tmp_path / "slow", PrepareSettings())
    assert contents(tmp_path / "fast") == contents(tmp_path / "slow")


# --- ids


def numbers_of(*ids):
    return np.array(ids, dtype=np.int32)


def test_an_id_is_one_whether_it_comes_as_a_number_or_as_a_text(monkeypatch):
    monkeypatch.setattr("autorec_cli.data.builder.vocabulary.LEAST_ROOM", 2000)
    ids = IdTable()
    assert ids.indexes(numbers_of(5, 7, 5)).tolist() == [0, 1, 0]
    assert ids.indexes(pl.Series(["7", "007", "1500", "5", "1999"])).tolist() == [1, 2, 3, 0, 4]
    assert ids.indexes(numbers_of(1999, 1500, 3000, 8)).tolist() == [4, 3, 5, 6]  # 3000 is beyond the table
    assert ids.indexes(numbers_of(8, 1500, 3, 3)).tolist() == [6, 3, 7, 7]
    assert ids.indexes(pl.Series(["3", "3000", "+3"])).tolist() == [7, 5, 8]
    assert ids.ids().to_list() == ["5", "7", "007", "1500", "1999", "3000", "8", "3", "+3"]
    assert len(ids) == 9
    assert ids.indexes(numbers_of()).tolist() == []


def test_negative_numbers_are_ids_of_their_own():
    ids = IdTable()
    assert ids.indexes(pl.Series(["-1", "7", "-2000"])).tolist() == [0, 1, 2]
    assert ids.indexes(numbers_of(1023, 8, 7)).tolist() == [3, 4, 1]
    assert ids.indexes(pl.Series(["1023", "-1", "-1024"])).tolist() == [3, 0, 5]
    assert ids.ids().to_list() == ["-1", "7", "-2000", "1023", "8", "-1024"]
