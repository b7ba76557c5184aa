"""Reading: every format gives the same ratings, ids survive, and a bad row is named by its place."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import math

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autorec_cli.data.builder.csr_builder import read_user_items
from autorec_cli.data.builder.read_ratings import read_ratings
from autorec_cli.data.readers import sources
from autorec_cli.data.readers.options import ReadOptions, parse_columns, parse_delimiter
from autorec_cli.data.readers.text import blocks, fast_csv, reader
from autorec_cli.errors import InputDataError, UsageError

ROWS = [("007", "tt01", 4.5, 978300760), ("ann", "tt02", 0.0, 978302109), ("007", "tt02", -1.0, 978301968)]
SKIP = ReadOptions(skip_bad_rows=True)


def rows_of(*names, options=None):
    """Rows that were read, as (user_id, item_id, rating[, timestamp]) in order, and the table."""
    read = read_ratings([str(name) for name in names], options or ReadOptions())
    users, items = read.user_ids.to_list(), read.item_ids.to_list()
    columns = [*read.indexes(), read.ratings.values(), read.timestamps.values()]
    flat = [column.tolist() for column in columns if len(column)]
    return [(users[u], items[i], *rest) for u, i, *rest in zip(*flat, strict=True)], read


def text_of(delimiter, header=True, newline="\n", rows=ROWS):
    lines = [["userId", "movieId", "rating", "timestamp"]] if header else []
    lines += [[str(value) for value in row] for row in rows]
    return "".join(delimiter.join(line) + newline for line in lines)


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("delimiter", [",", ";", "|", "\t", "::", " ", "   "])
def test_every_delimiter_header_and_newline_is_recognised(tmp_path, delimiter, header, newline):
    file = tmp_path / "ratings"
    file.write_bytes(text_of(delimiter, header, newline).encode())
    found, read = rows_of(file)
    assert found == ROWS
    assert (read.sources[0].layout.header is not None) == header


@pytest.mark.parametrize("ending", ["", "\n", "\n\n  \n"])
def test_a_last_line_without_newline_and_blank_lines_make_no_difference(tmp_path, ending):
    file = tmp_path / "ratings.csv"
    file.write_text("\n \n" + text_of(",").rstrip("\n").replace("\n", "\n\n") + ending)
    assert rows_of(file)[0] == ROWS
    assert rows_of(file, options=SKIP)[1].n_skipped == 0


def test_gzip_and_zstd_are_known_by_content_not_by_name(tmp_path):
    data = text_of(",").encode()
    packed = tmp_path / "ratings.csv"
    packed.write_bytes(gzip.compress(data[:40]) + gzip.compress(data[40:]))  # several members, as `cat a.gz b.gz` gives
    assert rows_of(packed)[0] == ROWS
    packed.write_bytes(sources.zstd.compress(data))
    assert rows_of(packed)[0] == ROWS


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "latin-1", "cp1252"])
def test_encodings(tmp_path, encoding):
    file = tmp_path / "ratings.csv"
    rows = [("José", "crème", 1.0, 978300760), ("b", "ñ", 2.0, 978300761), ("c", "d", 3.0, 978300762)]
    file.write_bytes(text_of(",", rows=rows).encode(encoding))
    says_itself = encoding in ("utf-8-sig", "utf-16")
    options = ReadOptions() if says_itself else ReadOptions(encoding=encoding)
    assert rows_of(file, options=options)[0] == rows


@pytest.mark.parametrize("line", [1, 2, 3])
def test_text_that_is_not_utf_8_is_refused_with_its_line_and_the_option(tmp_path, line):
    lines = [b"u,i,3\n", b"v,j,4\n", b"w,k,5\n"]
    lines[line - 1] = b"Jos\xe9,i,3\n"
    (tmp_path / "ratings.csv").write_bytes(b"".join(lines))
    with pytest.raises(InputDataError, match=rf"line {line}: .*--encoding"):
        rows_of(tmp_path / "ratings.csv")


def test_a_wrong_encoding_is_refused_with_its_line(tmp_path):
    (tmp_path / "ratings.csv").write_bytes(b"u,i,3\nv,\x81,4\n")
    with pytest.raises(InputDataError, match="line 2: the text is not cp1252"):
        rows_of(tmp_path / "ratings.csv", options=ReadOptions(encoding="cp1252"))


def test_parquet_reads_integers_as_printed_and_dates_as_seconds(tmp_path):
    frame = pl.DataFrame({"user": [7, 8, 7], "item": ["007", "x,y", "z"], "rating": [1, 0, -2], "when": [0, 1, 2]})
    frame = frame.with_columns(pl.col("when").cast(pl.Datetime("ms")).alias("date")).drop("when")
    frame.write_parquet(tmp_path / "ratings.parquet")
    found, read = rows_of(tmp_path / "ratings.parquet")
    assert [row[:3] for row in found] == [("7", "007", 1.0), ("8", "x,y", 0.0), ("7", "z", -2.0)]
    assert [row[3] for row in found] == [0.0, 0.001, 0.002]
    assert read.sources[0].layout.delimiter_name() == "parquet"


@pytest.mark.parametrize(
    ("column", "values"),
    [("rating", [1.0, None]), ("rating", [1.0, math.nan]), ("user", ["a", None]), ("item", ["a", ""])],
)
def test_a_bad_row_of_parquet_is_named(tmp_path, column, values):
    columns = {"user": ["a", "b"], "item": ["x", "y"], "rating": [1.0, 2.0], column: values}
    pl.DataFrame(columns).write_parquet(tmp_path / "r.parquet")
    with pytest.raises(InputDataError, match=rf"r\.parquet, row 2, column {column}: .*--on-error skip"):
        rows_of(tmp_path / "r.parquet")
    assert rows_of(tmp_path / "r.parquet", options=SKIP)[1].n_skipped == 1


def test_iso_dates_become_seconds_since_1970(tmp_path):
    dates = [
        "1970-01-02",
        "1970-01-02T00:00",
        "1970-01-02 00:00:00.5",
        "1970-01-02T01:00:00+01:00",
        "1970-01-02T00:00:01Z",
    ]
    lines = [f"u{i},i{i},{i},{date}\n" for i, date in enumerate(dates)]
    (tmp_path / "ratings.csv").write_text("".join(lines))
    assert [row[3] for row in rows_of(tmp_path / "ratings.csv")[0]] == [86400, 86400, 86400.5, 86400, 86401]


def test_timestamps_beyond_32_bits_are_exact(tmp_path):
    (tmp_path / "ratings.csv").write_text("user,item,rating,timestamp\na,b,1,97830076012\nc,d,2,97830076013\n")
    assert [row[3] for row in rows_of(tmp_path / "ratings.csv")[0]] == [97830076012.0, 97830076013.0]


BAD_ROWS = {
    "text for a number": ("a,b,abc,5", "column rating: 'abc' is not a number"),
    "decimal comma": ('a,b,"4,5",5', "column rating: '4,5' is not a number; use a decimal point"),
    "underscore": ("a,b,1_000,5", "column rating: '1_000' is not a number"),
    "hex": ("a,b,0x10,5", "column rating: '0x10' is not a number"),
    "nan": ("a,b,nan,5", "column rating: 'nan' is not a finite number"),
    "inf": ("a,b,-inf,5", "column rating: '-inf' is not a finite number"),
    "beyond float32": ("a,b,1e39,5", "column rating: '1e39' is not a finite number"),
    "empty rating": ("a,b,,5", "column rating: the field is missing or empty"),
    "empty user": (",b,1,5", "column user: the field is missing or empty"),
    "empty item in quotes": ('a,"",1,5', "column item: the field is missing or empty"),
    "missing fields": ("a", "column item: the field is missing or empty"),
    "missing timestamp": ("a,b,1", "column time: the field is missing or empty"),
    "bad timestamp": ("a,b,1,soon", "column time: 'soon' is neither a number nor a date"),
    "impossible date": ("a,b,1,2024-02-30", "column time: '2024-02-30' is not a possible date"),
    "too many fields": ("a,b,1,5,6", "more than 4 fields, the next is '6'"),
    "nothing but delimiters": (",,,", "column user: the field is missing or empty"),
    "open quote": ('"a,b,1,5', "a quoted field is not closed"),
    "text after a quote": ('"a"x,b,1,5', "a quoted field is not closed, or text follows"),
}


@pytest.mark.parametrize("case", BAD_ROWS)
@pytest.mark.parametrize("quotes_before", [False, True])
def test_a_bad_row_is_named_or_skipped(tmp_path, case, quotes_before):
    """Line 5 is bad: after a header, a good row, a blank line, and a good row that spans no or one more line."""
    row, message = BAD_ROWS[case]
    good = '"q\nr",i,3,7' if quotes_before else "q,i,3,7"
    line = 6 if quotes_before else 5
    file = tmp_path / "ratings.csv"
    file.write_text(
        f"user,item,rating,time\nu,i,2,6\n\n{good}\n{row}\nv,j,1,8\nw,k,1,x\n"
        if case != "open quote"
        else f"user,item,rating,time\nu,i,2,6\n\n{good}\n{row}\nv,j,1,8\n"
    )
    with pytest.raises(InputDataError) as raised:
        rows_of(file)
    assert f"ratings.csv, line {line}, " in str(raised.value)
    assert message in str(raised.value)
    assert ("--on-error skip" in str(raised.value)) == (case != "decimal comma")
    found, read = rows_of(file, options=SKIP)
    assert [row[0] for row in found] == ["u", "q\nr" if quotes_before else "q", "v"]
    assert read.n_skipped == (1 if case == "open quote" else 2)


@pytest.mark.parametrize("values", [("like", "dislike"), ("A", "B+")])
def test_ratings_in_words_are_not_for_skipping(tmp_path, values):
    file = tmp_path / "ratings.csv"
    file.write_text("user,item,liked\n" + "".join(f"u{n},i{n},{values[n % 2]}\n" for n in range(8)))
    with pytest.raises(InputDataError) as raised:
        rows_of(file)
    assert "line 2, column liked: " in str(raised.value)
    assert "is not a number; write ratings as numbers, or ignore them with --columns rating=none" in str(raised.value)
    assert "skip" not in str(raised.value)
    found, _ = rows_of(file, options=ReadOptions(columns={"rating": "none"}))
    assert len(found) == 8


def test_numbers_in_other_dress_are_numbers(tmp_path):
    texts = [" 4", "4 ", "+4", "4.", ".5", "4e0", '"4"', "-0.0"]
    (tmp_path / "ratings.csv").write_text("".join(f"u{i},i,{text}\n" for i, text in enumerate(texts)))
    assert [row[2] for row in rows_of(tmp_path / "ratings.csv")[0]] == [4, 4, 4, 4, 0.5, 4, 4, 0]


def test_spaces_are_part_of_an_id_except_between_blanks(tmp_path):
    (tmp_path / "ratings.csv").write_text(" u , i 1,3\nu,i 1,4\n")
    assert [row[:2] for row in rows_of(tmp_path / "ratings.csv")[0]] == [(" u ", " i 1"), ("u", "i 1")]
    (tmp_path / "ratings.txt").write_text("  u   i\t 3  \nv i 4\n")
    assert [row[:2] for row in rows_of(tmp_path / "ratings.txt")[0]] == [("u", "i"), ("v", "i")]


def test_a_quote_inside_a_field_is_a_character(tmp_path):
    (tmp_path / "ratings.csv").write_text('5" disk,a,3\nu,"b ""c""",4\n7" disk,"x,y",5\n')
    assert [row[:2] for row in rows_of(tmp_path / "ratings.csv")[0]] == [
        ('5" disk', "a"),
        ("u", 'b "c"'),
        ('7" disk', "x,y"),
    ]


def test_colons_have_no_quotes_and_a_control_character_is_refused(tmp_path):
    (tmp_path / "ratings.dat").write_text('"a::b,c::3\nd"::e::4\n')
    assert [row[:2] for row in rows_of(tmp_path / "ratings.dat")[0]] == [('"a', "b,c"), ('d"', "e")]
    (tmp_path / "ratings.dat").write_text("a\x1f::b::3\nd::e::4\n")
    with pytest.raises(InputDataError, match="control character"):
        rows_of(tmp_path / "ratings.dat")


@pytest.mark.parametrize("chunk_bytes", [64, 100, 1000])
def test_block_boundaries_make_no_difference(tmp_path, monkeypatch, chunk_bytes):
    """Quoted newlines, multi-byte characters and CRLF fall on block ends somewhere in here."""
    rows = [(f"u{i}\n,é", f'"{i % 7}"\r\n', float(i % 5), 10**9 + i) for i in range(300)]
    out = io.StringIO()
    csv.writer(out).writerows([("user", "item", "rating", "timestamp"), *rows])
    (tmp_path / "ratings.csv").write_bytes(out.getvalue().encode())
    for module in (blocks, sources):
        monkeypatch.setattr(module, "CHUNK_BYTES", chunk_bytes)
    monkeypatch.setattr(reader, "SAMPLE_BYTES", chunk_bytes)
    parsed = []
    monkeypatch.setattr(
        reader, "parse_block", lambda block, *rest: parsed.append(block) or fast_csv.parse_block(block, *rest)
    )
    assert rows_of(tmp_path / "ratings.csv")[0] == rows
    assert len(parsed) > 5
    (tmp_path / "ratings.csv").write_bytes(out.getvalue().encode() + b"x,y,bad,1\r\n")
    with pytest.raises(InputDataError, match=f"line {out.getvalue().count(chr(10)) + 1}, column rating"):
        rows_of(tmp_path / "ratings.csv")


def test_line_numbers_go_on_across_blocks_without_quotes(tmp_path, monkeypatch):
    for module in (blocks, sources):
        monkeypatch.setattr(module, "CHUNK_BYTES", 100)
    monkeypatch.setattr(reader, "SAMPLE_BYTES", 100)
    lines = [f"u{i},i,{i % 5}\n" for i in range(500)]
    lines[17] = "\n"
    lines[400] = "u,i,bad\n"
    (tmp_path / "ratings.csv").write_text("user,item,rating\n" + "".join(lines))
    with pytest.raises(InputDataError, match="line 402, column rating: 'bad'"):
        rows_of(tmp_path / "ratings.csv")


# Text of ids: anything that UTF-8 and CSV can carry. NUL is refused as binary; surrogates are no text.
ids = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0"), min_size=1, max_size=8)
tricky_ids = ids | st.sampled_from(
    ["007", "7", "7.0", ",", '"', '""', "a\nb", "a\r\nb", "a\r", " a ", "é", "🎬", "::", "-1", "x;y|z"]
)
ratings = st.floats(-1e6, 1e6, width=32) | st.sampled_from([0.0, -0.0, -3.0, 0.5])


@given(rows=st.lists(st.tuples(tricky_ids, tricky_ids, ratings), min_size=1, max_size=12), quote_all=st.booleans())
def test_whatever_csv_can_hold_comes_back(tmp_path, rows, quote_all):
    out = io.StringIO(newline="")
    writer = csv.writer(out, quoting=csv.QUOTE_ALL if quote_all else csv.QUOTE_MINIMAL, lineterminator="\n")
    writer.writerows([("user", "item", "rating"), *rows])
    (tmp_path / "ratings.csv").write_bytes(out.getvalue().encode())
    columns = {"user": "user", "item": "item", "rating": "rating"}
    options = ReadOptions(delimiter=",", columns=columns, quote="double")
    assert rows_of(tmp_path / "ratings.csv", options=options)[0] == [tuple(row) for row in rows]


@given(rows=st.lists(st.tuples(ids, ids, ratings), min_size=1, max_size=12))
def test_whatever_parquet_can_hold_comes_back(tmp_path, rows):
    pl.DataFrame(rows, schema={"user": pl.String, "item": pl.String, "rating": pl.Float64}, orient="row").write_parquet(
        tmp_path / "ratings.parquet"
    )
    assert rows_of(tmp_path / "ratings.parquet")[0] == rows


def test_ids_are_numbered_by_first_appearance_over_all_sources(tmp_path):
    (tmp_path / "a.csv").write_text("z,i2,1\na,i1,2\n")
    (tmp_path / "b.csv").write_text("m,i1,3\nz,i0,4\n")
    _, read = rows_of(tmp_path / "?.csv")
    assert read.user_ids.to_list() == ["z", "a", "m"]
    assert read.item_ids.to_list() == ["i2", "i1", "i0"]
    assert [(source.name, source.n_ratings) for source in read.sources] == [
        (str(tmp_path / "a.csv"), 2),
        (str(tmp_path / "b.csv"), 2),
    ]
    assert [read.source_of(position)[-5:] for position in range(4)] == ["a.csv", "a.csv", "b.csv", "b.csv"]


def test_a_file_whose_name_looks_like_a_pattern_is_read(tmp_path):
    (tmp_path / "r[1].csv").write_text("a,b,1\nc,d,2\n")
    assert len(rows_of(tmp_path / "r[1].csv")[0]) == 2


def test_read_user_items_keeps_zeros_and_the_last_of_duplicates(tmp_path):
    (tmp_path / "history.csv").write_text("u,i,3\nu,j,0\nu,i,0\n")
    user_ids, item_ids, user_items = read_user_items(str(tmp_path / "history.csv"))
    assert (user_ids, item_ids) == (["u"], ["i", "j"])
    assert user_items.nnz == 2
    assert user_items.data.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n\n  \n", "is empty"),
        (gzip.compress(b"", mtime=0), "is empty"),
        (b"userId,movieId,rating\n", "has a header and no ratings"),
        (b"a,b,c\nd,e,f\n", "no column holds numbers"),
        (b"alone\nlonely\n", "no delimiter found .*--delimiter"),
        (bz2.compress(b"a,b,1\n"), "is a bzip2 file"),
        (b"PK\x03\x04rest", "is a zip file"),
        (gzip.compress(b"a,b,1\n" * 100, mtime=0)[:-20], "damaged gzip"),
        (b"\x1f\x8b\x08rest of no gzip file", "damaged gzip"),
        (b"\x28\xb5\x2f\xfdno zstd file", "damaged zstd"),
        (b"PAR1no parquet file", "damaged Parquet"),
        (b"a,b,1\n\0\0\0", "NUL bytes"),
    ],
)
def test_sources_that_cannot_be_used_are_refused(tmp_path, content, message):
    (tmp_path / "ratings.csv").write_bytes(content)
    with pytest.raises(InputDataError, match=message) as raised:
        rows_of(tmp_path / "ratings.csv")
    assert "ratings.csv" in str(raised.value)


def test_missing_files_folders_and_patterns_are_refused(tmp_path):
    with pytest.raises(InputDataError, match="there is no file"):
        rows_of(tmp_path / "ratings.csv")
    with pytest.raises(InputDataError, match="no file matches"):
        rows_of(tmp_path / "*.csv")
    with pytest.raises(InputDataError, match="without Parquet files"):
        rows_of(tmp_path)
    (tmp_path / "a.csv").write_text("a,b,1\n")
    with pytest.raises(UsageError, match="named twice"):
        rows_of(tmp_path / "a.csv", tmp_path / "*.csv")


def test_a_terminal_on_stdin_is_refused_not_waited_for(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO())
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    with pytest.raises(UsageError, match="which is a terminal"):
        read_ratings(["-"], ReadOptions())


def test_a_file_without_a_good_row_is_refused_even_when_skipping(tmp_path):
    (tmp_path / "ratings.csv").write_text("user,item,rating\na,b,x\n")
    with pytest.raises(InputDataError, match="no usable row: all 1 were skipped"):
        rows_of(tmp_path / "ratings.csv", options=SKIP)


def test_timestamps_in_some_sources_only_are_refused(tmp_path):
    (tmp_path / "a.csv").write_text("a,b,1,978300760\nc,d,2,978300761\n")
    (tmp_path / "b.csv").write_text("a,c,1\nc,e,2\n")
    with pytest.raises(InputDataError, match=r"a\.csv has timestamps and .*b\.csv has none; .*timestamp=none"):
        rows_of(tmp_path / "a.csv", tmp_path / "b.csv")
    ignoring = ReadOptions(columns={"timestamp": "none"})
    assert len(rows_of(tmp_path / "a.csv", tmp_path / "b.csv", options=ignoring)[0]) == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("user", "is not one of"),
        ("user=", "is not one of"),
        ("who=1", "is not one of"),
        ("user=1,user=2", "names user twice"),
        ("user=1,item=1", "column 1 twice"),
        ("item=none", "--columns item=none"),
    ],
)
def test_columns_that_make_no_sense_are_refused(text, message):
    with pytest.raises(UsageError, match=message):
        parse_columns(text)


def test_options_that_make_no_sense_are_refused():
    with pytest.raises(UsageError, match="--delimiter"):
        parse_delimiter("xx")
    for encoding in ("no-such", "rot13", "base64"):
        with pytest.raises(UsageError, match="--encoding"):
            ReadOptions(encoding=encoding)
    with pytest.raises(UsageError, match="--no-header"):
        ReadOptions(columns={"user": "userId"}, has_header=False)


@pytest.mark.parametrize("rating", ["1.00000017881393432617187499", "3.3333333333", "3.4028234e38", "1e-46"])
def test_a_rating_is_the_same_beside_a_bad_row(rating, tmp_path):
    file, options = tmp_path / "ratings.csv", SKIP
    file.write_text(f"user,item,rating\n1,1,{rating}\n")
    alone = read_ratings([str(file)], options).ratings.values()
    file.write_text(f"user,item,rating\n1,1,{rating}\n1,2,x\n")  # the whole block is read as text
    assert read_ratings([str(file)], options).ratings.values().tobytes() == alone.tobytes()
