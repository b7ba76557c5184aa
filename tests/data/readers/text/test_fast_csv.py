"""Blocks that polars reads, with ids as numbers or as texts; nobody can tell from the result."""

from __future__ import annotations

import hashlib

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autorec_cli.data.builder.read_ratings import read_ratings
from autorec_cli.data.dataset import save_dataset
from autorec_cli.data.preparation import prepare
from autorec_cli.data.readers import sources
from autorec_cli.data.readers.layout import Columns, TextLayout
from autorec_cli.data.readers.options import ReadOptions
from autorec_cli.data.readers.text import blocks, detection, reader
from autorec_cli.data.readers.text.blocks import numbers_print_as_read
from autorec_cli.data.readers.text.exact_csv import TextFormat
from autorec_cli.data.readers.text.fast_csv import parse_block
from autorec_cli.errors import InputDataError

NUMBERS = frozenset(["user", "item"])
COMMA = TextLayout(TextFormat(","), None, Columns(0, 1, 2, 3), 4, NUMBERS)


def read(block, layout=COMMA):
    rows = parse_block(block, layout, "ratings")
    if rows is None:
        return None
    times = None if rows.timestamps is None else rows.timestamps.tolist()
    return [rows.users.to_list(), rows.items.to_list(), rows.ratings.tolist(), times]


def test_rows_of_numbers_are_read_as_numbers():
    block = b"1,31,2.5,1260759144\n0,999999999999,-1,0\n20,7,0.5,978300760\n3,100,-0.125,9999999999"
    users, items, ratings, times = read(block)
    assert (users, items) == ([1, 0, 20, 3], [31, 999999999999, 7, 100])
    assert (ratings, times) == ([2.5, -1, 0.5, -0.125], [1260759144, 0, 978300760, 9999999999])


@pytest.mark.parametrize("delimiter", ["\t", ";", "|", "::", " "])
def test_every_delimiter_and_order_of_columns_is_read(delimiter):
    layout = TextLayout(TextFormat(delimiter), None, Columns(3, 1, 0, None), 4, NUMBERS)
    line = delimiter.join(["4", "11", "title,né", "12"]) + "\n"
    if delimiter == " ":
        line = "4  11\t- 12 \n"
    assert read(line.encode() * 2, layout) == [[12, 12], [11, 11], [4, 4], None]


def test_carriage_returns_at_the_ends_of_rows_are_no_part_of_a_field():
    assert read(b"1,2,3,4\r\n5,6,7,8\n9,10,11,12\r\n")[3] == [4, 8, 12]
    assert read(b"1,2,3,4\r\n5\r,6,7,8\r\n") is None


ODD_FIELDS = ["007", "00", "+1", "-0", "-07", " 1", "1 ", "\t1", "1.0", "1e3", "a", "é", "\u0661", '"1"', "1:", "1/",
              str(2**63), "-5"]  # fmt: skip


@pytest.mark.parametrize("column", [0, 1])
@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("field", ODD_FIELDS)
def test_ids_that_are_no_plain_numbers_are_read_as_they_are(field, place, column):
    """First, last and in between, so that the ends of the block are looked at."""
    rows = [["5", "6", "0.5", "2"] for _ in range(3)]
    rows[place][column] = field
    ids = read("\n".join(map(",".join, rows)).encode())[column]
    assert [str(value) for value in ids] == [field.strip('"') if n == place else "56"[column] for n in range(3)]


@pytest.mark.parametrize("delimiter", [",", "\t", "::", " "])
@pytest.mark.parametrize("length", [4, 7, 1 << 16])
def test_numbers_that_print_otherwise_are_found_wherever_they_are(monkeypatch, delimiter, length):
    monkeypatch.setattr(blocks, "SLICE_BYTES", length)
    text_format = TextFormat(delimiter)

    def good(*fields):
        return numbers_print_as_read((delimiter.join(fields) + "\n").encode(), text_format)

    assert good("10", "100", "0.5", "-0.5", "0", "200")
    assert not good("10", "100", "0.5", "01", "2")
    assert not good("01", "100", "0.5")
    assert not good("10", "-0", "0.5")
    assert not good("10", "2", "007")


def test_ratings_are_rounded_once():
    rng = np.random.default_rng(0)
    texts = [f"{number:.{decimals}f}" for number in rng.normal(0, 1000, 2000) for decimals in (0, 1, 5, 10)]
    block = "".join(f"1,2,{number},4\n" for number in texts).encode()
    expected = np.array([float(number) for number in texts]).astype(np.float32)
    assert parse_block(block, COMMA, "ratings").ratings.tobytes() == expected.tobytes()


def test_blocks_without_rows_are_read(tmp_path, monkeypatch):
    for module in (blocks, sources):
        monkeypatch.setattr(module, "CHUNK_BYTES", 100)
    monkeypatch.setattr(reader, "SAMPLE_BYTES", 100)
    rows = "".join(f"{n},{n + 1},3\n" for n in range(50))
    (tmp_path / "r.csv").write_text("user,item,rating\n" + rows + "\n" * 1000 + rows)
    table = read_ratings([str(tmp_path / "r.csv")], ReadOptions())
    assert (table.n_ratings, len(table.user_ids)) == (100, 50)


# --- numbers and texts

numbers = st.integers(0, 30).map(str) | st.integers(0, 2**24).map(str) | st.integers(0, 10**9).map(str)
odd_ids = (
    st.sampled_from(["", "-1", "-7", "1023", "1\r"])
    | st.sampled_from([field for field in ODD_FIELDS if '"' not in field])
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
        table = read_ratings(names, options)
    except InputDataError as error:
        return str(error)
    columns = *table.indexes(), table.timestamps.values(), table.ratings.values().view(np.int32)  # -0.0 is not 0.0
    facts = [(source.n_ratings, source.n_skipped, source.skipped, source.sha256) for source in table.sources]
    return [column.tolist() for column in columns], table.user_ids.to_list(), table.item_ids.to_list(), facts


@given(
    files=files,
    delimiter=st.sampled_from([",", "::", "\t"]),
    newline=st.sampled_from(["\n", "\r\n"]),
    skip=st.booleans(),
    chunk_bytes=st.sampled_from([20, 60, 1000]),
    places=st.sampled_from([4, 64, 1 << 20]),
)
def test_results_and_messages_are_those_of_texts(tmp_path, files, delimiter, newline, skip, chunk_bytes, places):
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
        patch.setattr(reader, "SAMPLE_BYTES", chunk_bytes)
        patch.setattr("autorec_cli.data.builder.vocabulary.MIN_TABLE_SIZE", places)
        fast = outcome(names, options)
        patch.setattr(detection, "is_plain_number", lambda value: False)
        assert fast == outcome(names, options)


def contents(folder):
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_a_dataset_is_the_same_to_the_byte(tmp_path, monkeypatch, threads):
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
    monkeypatch.setattr(reader, "SAMPLE_BYTES", 2000)
    monkeypatch.setattr("autorec_cli.runtime.threads.n_threads", lambda: threads)
    types = []
    parse = reader.parse_block
    monkeypatch.setattr(reader, "parse_block", lambda *given: types.append(parse(*given)) or types[-1])
    save_dataset(prepare([str(tmp_path / "a.csv"), str(tmp_path / "b.csv")]), tmp_path / "numbers")
    assert {rows.users.dtype for rows in types} == {pl.Int64, pl.String}
    monkeypatch.setattr(detection, "is_plain_number", lambda value: False)
    save_dataset(prepare([str(tmp_path / "a.csv"), str(tmp_path / "b.csv")]), tmp_path / "texts")
    assert contents(tmp_path / "numbers") == contents(tmp_path / "texts")
