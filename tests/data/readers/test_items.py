"""Items: the published shapes of such files, the types of their columns, and items that they lack."""

from __future__ import annotations

import polars as pl
import pytest

from autorec_cli.data.readers.items import columns_of, read_items
from autorec_cli.data.readers.text.exact_csv import TextFormat
from autorec_cli.errors import InputDataError, UsageError


def titles(tmp_path, data, **options):
    (tmp_path / "titles").write_bytes(data)
    frame, encoding = read_items(str(tmp_path / "titles"), **options)
    return dict(frame.select("id", "title").rows()), encoding


def columns(tmp_path, text, name="items"):
    (tmp_path / name).write_text(text)
    return read_items(str(tmp_path / name))[0].drop("id").to_dict(as_series=False)


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


def test_all_columns_are_kept_under_their_names(tmp_path):
    text = "movieId,title,genres,year,price,available,code\n1,A,Drama,1990,1.5,TRUE,01\n2,B,,2001,,false,2\n"
    assert columns(tmp_path, text) == {
        "title": ["A", "B"],
        "genres": ["Drama", None],
        "year": [1990, 2001],
        "price": [1.5, None],
        "available": [True, False],
        "code": ["01", "2"],
    }


def test_columns_without_a_header_have_numbers_and_empty_ones_are_left_out(tmp_path):
    found = columns(tmp_path, "1|Toy Story (1995)|01-Jan-1995||5\n2|Cats|02-Feb-1995||6\n3|Dogs\n")
    assert found == {
        "title": ["Toy Story (1995)", "Cats", "Dogs"],
        "column_3": ["01-Jan-1995", "02-Feb-1995", None],
        "column_5": [5, 6, None],
    }


def test_a_file_may_have_no_titles(tmp_path):
    assert columns(tmp_path, "item_id,genre\n1,Drama\n2,Comedy\n") == {"genre": ["Drama", "Comedy"]}


def test_names_that_are_taken_are_left_out_and_said(tmp_path, caplog):
    assert columns(tmp_path, "item_id,n_ratings,year,year\n1,5,1990,1991\n2,6,1991,1992\n") == {"year": [1990, 1991]}
    (record,) = caplog.records
    assert "left out n_ratings, year" in record.getMessage()


def test_numbers_that_no_model_file_holds_are_missing(tmp_path):
    assert columns(tmp_path, "item_id,x\n1,1e300\n2,7.5\n3,-2\n") == {"x": [None, 7.5, -2.0]}
    pl.DataFrame({"item_id": [1, 2], "x": [float("nan"), 1.0]}).write_parquet(tmp_path / "p")
    assert read_items(str(tmp_path / "p"))[0]["x"].to_list() == [None, 1.0]
    assert columns(tmp_path, "item_id,x\n1,99999999999999999999\n2,7\n") == {"x": [1e20, 7.0]}


def test_windows_1252_is_fallen_back_to_and_said(tmp_path):
    assert titles(tmp_path, "1::Amélie – 2::x\n2::B::y\n".encode("cp1252")) == ({"1": "Amélie – 2", "2": "B"}, "cp1252")
    assert titles(tmp_path, b"1::A\x81::x\n2::B::y\n")[1] == "latin-1"
    assert titles(tmp_path, "1::Привет::x\n".encode("koi8-r"), encoding="koi8-r") == ({"1": "Привет"}, "koi8-r")


def test_parquet(tmp_path):
    pl.DataFrame({"item_id": [1, 2], "title": ["A", None]}).write_parquet(tmp_path / "titles")
    assert dict(read_items(str(tmp_path / "titles"))[0].rows()) == {"1": "A", "2": None}


def test_items_without_a_title_have_none_and_order_is_kept():
    known = pl.DataFrame({"id": ["b", "a", "e"], "title": ["B", "A", ""]})
    assert columns_of(pl.Series(["a", "x", "b"]), known)["title"].to_list() == ["A", None, "B"]


def test_a_file_of_one_column_is_refused(tmp_path):
    with pytest.raises(InputDataError):
        titles(tmp_path, b"one\ntwo\n")
    (tmp_path / "a.csv").write_text("1,A\n")
    (tmp_path / "b.csv").write_text("1,A\n")
    with pytest.raises(UsageError, match="matches 2 files"):
        read_items(str(tmp_path / "*.csv"))


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
    more = '{"id":1,"genres":["a","b"],"year":1990,"new":true,"price":{"x":1}}\n{"id":2,"genres":[],"year":null}\n'
    assert columns(tmp_path, more, "x.jsonl") == {"genres": ["a|b", None], "year": [1990, None], "new": [True, None]}
    with pytest.raises(InputDataError, match=r"line 2: .* is not JSON"):
        titles(tmp_path, b'{"asin":"b","title":"B"}\n{"asin"\n')


def test_a_line_that_names_the_delimiter_is_no_item(tmp_path):
    (tmp_path / "items.csv").write_text('sep=;\nitem_id;title;price\n1;"Heat; a film";3\n2;Ran;4\n')
    items = read_items(str(tmp_path / "items.csv"))[0]
    assert items.rows() == [("1", "Heat; a film", 3), ("2", "Ran", 4)]
    assert items.columns == ["id", "title", "price"]
