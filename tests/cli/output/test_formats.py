import csv
import io
import json
import sys

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autorec_cli.cli.output.formats import FORMATS, FORMULA_STARTS, choose_format, writer_for
from autorec_cli.cli.output.tables import write_table
from autorec_cli.errors import UsageError

ROWS = [
    {"user_id": "007", "rank": 1, "prediction": 4.1234, "title": "[red]"},
    {"user_id": 'a,"b"', "rank": 2, "prediction": 0.00001, "title": ""},
    {"user_id": "ü\n2", "rank": 3, "prediction": None, "title": None},
]
SCHEMA = {"user_id": pl.String, "rank": pl.Int64, "prediction": pl.Float64, "title": pl.String}
BLOCKS = [pl.DataFrame(ROWS[:2], schema=SCHEMA), pl.DataFrame(ROWS[2:], schema=SCHEMA)]


def written(name, blocks=BLOCKS, header=True):
    stream = io.BytesIO()
    writer_for(name, header)(iter(blocks), stream)
    return stream.getvalue()


def rows_of_delimited(data, delimiter):
    frame = pl.read_csv(io.BytesIO(data), separator=delimiter, schema_overrides={"user_id": pl.String})
    return frame.to_dicts()


READERS = {
    "csv": lambda data: rows_of_delimited(data, ","),
    "tsv": lambda data: rows_of_delimited(data, "\t"),
    "jsonl": lambda data: [json.loads(line) for line in data.decode().split("\n")[:-1]],
    "json": json.loads,
    "parquet": lambda data: pl.read_parquet(io.BytesIO(data)).to_dicts(),
}


@pytest.mark.parametrize("name", READERS)
def test_every_format_reads_back_to_the_same_rows(name):
    assert READERS[name](written(name)) == ROWS


def test_no_format_is_without_a_test():
    assert set(FORMATS) == {*READERS, "table"}


@pytest.mark.parametrize("name", READERS)
def test_no_rows_are_still_a_file_of_the_format(name):
    assert READERS[name](written(name, [BLOCKS[0].clear()])) == []


def test_header_comes_once_or_not_at_all():
    assert written("csv").decode().count("user_id") == 1
    lines = list(csv.reader(io.StringIO(written("csv", header=False).decode())))
    assert [line[0] for line in lines] == ["007", 'a,"b"', "ü\n2"]
    with pytest.raises(UsageError, match=r"--no-header .* json"):
        writer_for("json", header=False)


def test_numbers_are_as_short_as_they_can_be():
    assert written("csv").splitlines()[1] == b"007,1,4.1234,[red]"


@pytest.mark.parametrize("name", ["csv", "tsv", "jsonl", "json"])
def test_the_first_block_leaves_before_the_second_is_made(name):
    stream = io.BytesIO()

    def blocks():
        yield BLOCKS[0]
        assert b"007" in stream.getvalue()
        yield BLOCKS[1]

    writer_for(name)(blocks(), stream)
    assert "ü".encode() in stream.getvalue() or b"\\u00fc" in stream.getvalue()


def test_a_table_off_a_terminal_is_as_wide_as_its_rows_and_has_no_escapes():
    stream = io.BytesIO()
    long = "x" * 300
    frame = pl.DataFrame({"id": ["[bold]a[/bold]", ":smile:"], "title": [long, "\x1b[31mred\a\n"], "n": [1234, 5]})
    write_table([frame], stream, title="user [7]")
    text = stream.getvalue().decode()
    for literal in ("user [7]\n", "[bold]a[/bold]", ":smile:", long, r"\x1b[31mred\x07\n", "1,234"):
        assert literal in text
    assert "\x1b" not in text
    assert len(text.splitlines()) == 7
    assert all(line == line.rstrip(" ") for line in text.splitlines())


@pytest.mark.parametrize(
    ("asked", "output", "chosen"),
    [
        (None, "-", "csv"),
        ("json", "-", "json"),
        (None, "lists", "csv"),
        (None, "lists.2024", "csv"),
        (None, "lists.TSV", "tsv"),
        (None, "lists.ndjson", "jsonl"),
        (None, "lists.txt", "table"),
        (None, "a.b/lists.parquet", "parquet"),
        ("jsonl", "lists.ndjson", "jsonl"),
        ("csv", "lists.dat", "csv"),
    ],
)
def test_choice_of_format(asked, output, chosen):
    assert choose_format(asked, output) == chosen


@pytest.mark.parametrize(
    ("asked", "output", "message"),
    [
        ("xml", "-", "--format .* table, csv, tsv, jsonl, json, parquet, .*'xml'"),
        ("json", "lists.csv", r"--format json .* lists\.csv"),
        ("csv", "lists.parquet", r"--format csv .* lists\.parquet"),
        (None, "lists.csv.bz2", r"\.bz2 .*lists\.csv\.bz2"),
        (None, "lists.xlsx", r"\.xlsx .*lists\.xlsx"),
    ],
)
def test_formats_that_are_refused(asked, output, message):
    with pytest.raises(UsageError, match=message):
        choose_format(asked, output)


def test_a_terminal_gets_a_table_and_no_parquet(monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert choose_format(None, "-") == "table"
    assert choose_format(None, "lists") == "csv"
    with pytest.raises(UsageError, match=r"parquet .* terminal"):
        choose_format("parquet", "-")


# --- hostile text

HOSTILE = st.text(max_size=8) | st.sampled_from(
    ["=cmd()|' /C calc'!A0", "+1", "-1", "@SUM(1)", "\t=1", "[red]x[/red]", "[/]", "\\[x]", ":smile:", "\x1b[31m",
     "a\x00b", "\u202eevil", "\ufeff=1", "\uff1d1", "\U0001f469\u200d\U0001f680", "\r\n=1", "'", '"', "", " =1"]
)  # fmt: skip


@given(st.lists(HOSTILE, min_size=1, max_size=5))
def test_no_cell_of_a_safe_csv_is_a_formula_and_nothing_else_changes(texts):
    block = pl.DataFrame({"user_id": texts, "rank": list(range(len(texts)))}, schema_overrides={"user_id": pl.String})
    for name, delimiter in (("csv", ","), ("tsv", "\t")):
        stream = io.BytesIO()
        writer_for(name, csv_safe=True)([block], stream)
        read = list(csv.reader(io.StringIO(stream.getvalue().decode(), newline=""), delimiter=delimiter))[1:]
        for (cell, _), text in zip(read, texts, strict=True):
            assert not cell.startswith(tuple(FORMULA_STARTS))
            assert cell == (f"'{text}" if text.startswith(tuple(FORMULA_STARTS)) else text)


def test_csv_safe_means_nothing_elsewhere():
    for name in ("json", "parquet", "table", "jsonl"):
        with pytest.raises(UsageError, match=f"--csv-safe .* {name}"):
            writer_for(name, csv_safe=True)
    stream = io.BytesIO()
    writer_for("csv", header=False, csv_safe=True)([pl.DataFrame({"x": ["=1", None], "y": [-1, 2]})], stream)
    assert stream.getvalue() == b"'=1,-1\n,2\n"


@given(st.lists(HOSTILE, min_size=1, max_size=5))
def test_a_table_shows_any_text_as_it_is_on_one_line_without_steering_the_terminal(texts):
    stream = io.BytesIO()
    write_table([pl.DataFrame({"x": texts}, schema={"x": pl.String})], stream, title=f"t{texts[0]}")
    lines = stream.getvalue().decode().split("\n")
    assert not any(letter in line for line in lines for letter in "\x1b\x00\r\t\u202e\ufeff")
    assert len(lines) == len(texts) + 6, "a title, five lines of frame and header, and one at the end"
    for text, line in zip(texts, lines[4:], strict=False):
        shown = "".join(c if c.isprintable() or c in "\u200c\u200d" else ascii(c)[1:-1] for c in text)
        assert shown.strip() in line
