"""Titles: the published shapes of such files, and what happens to items without one."""

from __future__ import annotations

import polars as pl
import pytest

from autorec_cli.data.readers.text.exact_csv import TextFormat
from autorec_cli.data.readers.titles import read_titles, titles_of
from autorec_cli.errors import InputDataError, UsageError


def titles(tmp_path, data, **options):
    (tmp_path / "titles").write_bytes(data)
    frame, encoding = read_titles(str(tmp_path / "titles"), **options)
    return dict(frame.rows()), encoding


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            'movieId,title,genres\n1,"President, The",Drama\n2,"The ""Big"" One",x\n',
            {"1": "President, The", "2": 'The "Big" One'},
        ),
        ("1::Toy Story (1995)::Animation|Comedy\n2::Jumanji, 2::x\n", {"1": "Toy Story (1995)", "2": "Jumanji, 2"}),
        ('1|Toy Story (1995)|01-Jan-1995||x\n2|"Great" Cats|||y\n', {"1": "Toy Story (1995)", "2": '"Great" Cats'}),
        ("title\tyear\tasin\nA\t1\tB00\nC\t2\tB01\n", {"B00": "A", "B01": "C"}),
        ("nr;what\n007;Bond\n008;Other\n", {"007": "Bond", "008": "Other"}),
        ("id,title\n1,A\n1,B\n2\n3,C\n", {"1": "A", "3": "C"}),
    ],
    ids=["csv quoted", "movies.dat", "u.item", "by name", "header by content", "first of two, short row"],
)
def test_published_shapes(tmp_path, text, expected):
    assert titles(tmp_path, text.encode()) == (expected, "utf-8")


def test_windows_1252_is_fallen_back_to_and_said(tmp_path):
    assert titles(tmp_path, "1::Amélie – 2::x\n2::B::y\n".encode("cp1252")) == ({"1": "Amélie – 2", "2": "B"}, "cp1252")
    assert titles(tmp_path, b"1::A\x81::x\n2::B::y\n")[1] == "latin-1"
    assert titles(tmp_path, "1::Привет::x\n".encode("koi8-r"), encoding="koi8-r") == ({"1": "Привет"}, "koi8-r")


def test_parquet(tmp_path):
    pl.DataFrame({"item_id": [1, 2], "title": ["A", None]}).write_parquet(tmp_path / "titles")
    assert dict(read_titles(str(tmp_path / "titles"))[0].rows()) == {"1": "A", "2": None}


def test_items_without_a_title_have_none_and_order_is_kept():
    known = pl.DataFrame({"id": ["b", "a", "e"], "title": ["B", "A", ""]})
    assert titles_of(pl.Series(["a", "x", "b", "e"]), known).to_list() == ["A", None, "B", None]


def test_a_file_of_one_column_is_refused(tmp_path):
    with pytest.raises(InputDataError):
        titles(tmp_path, b"one\ntwo\n")
    (tmp_path / "a.csv").write_text("1,A\n")
    (tmp_path / "b.csv").write_text("1,A\n")
    with pytest.raises(UsageError, match="matches 2 files"):
        read_titles(str(tmp_path / "*.csv"))


BOOKS = (
    '"ISBN";"Book-Title";"Book-Author"\n'
    '"000X";"A \\"Quoted\\" Title";"Auth"\n"001";"Some \\"Q\\"; and More";"B"\n'
    '"002";"Ends \\"so\\"";"C"\n"003";"a\\\\b";"D"\n'
)


def test_quotes_with_backslashes_are_those_of_book_crossing(tmp_path, caplog):
    expected = {"000X": 'A "Quoted" Title', "001": 'Some "Q"; and More', "002": 'Ends "so"', "003": "a\\b"}
    assert titles(tmp_path, BOOKS.encode())[0] == expected
    assert not caplog.records
    rfc = '"id";"title"\n"1";"C:\\"\n"2";"Say ""so"""\n'
    assert titles(tmp_path, rfc.encode())[0] == {"1": "C:\\", "2": 'Say "so"'}


@pytest.mark.skipif(not hasattr(TextFormat("\t"), "quote"), reason="quotes of tab-separated text enclose fields still")
def test_quotes_in_tab_separated_titles_are_characters(tmp_path):
    text = b'isbn\ttitle\n000X\t"Open\n001\tSecond\n002\tEnd"\n'
    assert titles(tmp_path, text)[0] == {"000X": '"Open', "001": "Second", "002": 'End"'}


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ('id,title\n1,A\n2\n3,C\n4\n', 3, "left out"),
        ('id,title\n1,A\n2,"B" x\n3,C\n', 3, "a quote is not closed"),
        ('id,title\n1,A\n2,"B\n3,C\n4,D"\n5,E\n', 3, "spans lines like rows"),
    ],
)  # fmt: skip
def test_odd_rows_of_titles_are_warned_of(tmp_path, caplog, text, line, problem):
    titles(tmp_path, text.encode())
    (record,) = caplog.records
    assert f"titles, line {line}: " in record.getMessage()
    assert problem in record.getMessage()


def test_titles_are_read_from_json_lines(tmp_path):
    text = b'{"asin":"b","title":"B\\u00e9","price":{"x":1}}\n\n{"title":"C","asin":3}\n{"asin":4}\n'
    assert titles(tmp_path, text)[0] == {"b": "Bé", "3": "C", "4": None}
    with pytest.raises(InputDataError, match=r"line 2: .* is not JSON"):
        titles(tmp_path, b'{"asin":"b","title":"B"}\n{"asin"\n')
