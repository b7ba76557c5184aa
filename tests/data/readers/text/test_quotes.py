"""Quotes: characters in tab-separated text, around fields elsewhere, and never around rows in silence."""

from __future__ import annotations

import csv
import io

import pytest

from autorec_cli.data.builder.read_ratings import read_ratings
from autorec_cli.data.readers.options import ReadOptions
from autorec_cli.errors import InputDataError, UsageError


def read(folder, text, **options):
    """Rows as (user_id, item_id, rating), and the table."""
    (folder / "ratings.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    table = read_ratings([str(folder / "ratings.csv")], ReadOptions(**options))
    users, items = table.user_ids.to_list(), table.item_ids.to_list()
    rows = zip(*table.indexes(), table.ratings.values().tolist(), strict=True)
    return [(users[user], items[item], rating) for user, item, rating in rows], table


def test_a_quote_in_tab_separated_text_is_a_character(tmp_path):
    text = 'user\titem\trating\nann\t"Heat\t4\nbob\t12" disk\t3\ncid\t"Ran"\t5\n'
    assert read(tmp_path, text)[0] == [("ann", '"Heat', 4), ("bob", '12" disk', 3), ("cid", '"Ran"', 5)]


def test_quotes_enclose_fields_of_tab_separated_text_if_asked_for(tmp_path):
    text = '"user"\t"item"\t"rating"\n"ann"\t"a\tb"\t"4"\n"bob"\t"say ""hi"""\t"3"\n'
    assert read(tmp_path, text, quote="double")[0] == [("ann", "a\tb", 4), ("bob", 'say "hi"', 3)]


def test_quotes_around_a_whole_column_of_tab_separated_text_are_not_guessed_at(tmp_path):
    text = '"user"\t"item"\t"rating"\n"ann"\t"i"\t4\n"bob"\t"j"\t3\n'
    with pytest.raises(InputDataError, match=r"--quote double .*--quote none"):
        read(tmp_path, text)
    assert read(tmp_path, text, quote="none")[0] == [('"ann"', '"i"', 4), ('"bob"', '"j"', 3)]


def test_quotes_are_characters_if_asked_for(tmp_path):
    text = 'user,item,rating\nann,"Heat,4\nbob,Ran",3\ncid,"Up",5\n'
    assert read(tmp_path, text, quote="none")[0] == [("ann", '"Heat', 4), ("bob", 'Ran"', 3), ("cid", '"Up"', 5)]
    with pytest.raises(UsageError, match="--quote single"):
        ReadOptions(quote="single")


SWALLOWED = {
    "two rows": 'user,item,rating,text\nq,p,1,x\nann,i,4,"fine\nbob,j,3,good"\ncid,k,5,x\n',
    "three rows": 'user,item,rating,text\nq,p,1,x\nann,"i,4,fine\nbob,j,3,good\ndot,m",2,good\ncid,k,5,x\n',
    "in the first column": 'user,item,rating,text\nq,p,1,x\n"ann,i,4,fine\nbob",j,3,good\ncid,k,5,x\n',
}


@pytest.mark.parametrize("case", SWALLOWED)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_quoted_field_never_swallows_rows_in_silence(tmp_path, case, newline):
    text = SWALLOWED[case].replace("\n", newline)
    with pytest.raises(InputDataError, match=r"line 3, .*lines that look like rows; set --quote none"):
        read(tmp_path, text)
    rows, table = read(tmp_path, text, skip_bad_rows=True)
    assert [row[0] for row in rows] == ["q", "cid"]
    assert table.n_skipped == 1
    assert len(read(tmp_path, text, quote="none")[0]) == text.count("\n") - 1


def test_rows_in_a_field_are_text_if_quotes_are_right(tmp_path):
    rows, _ = read(tmp_path, SWALLOWED["two rows"], quote="double")
    assert [row[0] for row in rows] == ["q", "ann", "cid"]


def test_reviews_of_many_lines_are_read(tmp_path):
    out = io.StringIO()
    review = 'It was "good",\nreally, 5 stars\n\nand 4, or 5, for "sound".\n'
    rows = [(f"u{n % 90}", f"i{n % 70}", n % 5 + 1, review * (n % 9)) for n in range(3000)]
    csv.writer(out, lineterminator="\n").writerows([("user", "item", "rating", "text"), *rows])
    assert read(tmp_path, out.getvalue())[0] == [(user, item, rating) for user, item, rating, _ in rows]


@pytest.mark.parametrize("n_letters", [70_000, 1 << 20])
@pytest.mark.parametrize("quote", ["", '"'])
def test_a_first_row_longer_than_the_sample_is_read(tmp_path, n_letters, quote):
    review = quote + "so good " * (n_letters // 8) + quote
    text = f"user,item,rating,text\nann,i,4,{review}\nbob,j,3,{review}\nann,k,5,x\n"
    assert read(tmp_path, text)[0] == [("ann", "i", 4), ("bob", "j", 3), ("ann", "k", 5)]
    header = f"user,item,rating,{quote}{'long ' * (n_letters // 5)}{quote}"
    assert read(tmp_path, f"{header}\nann,i,4,x\nbob,j,3,y\n")[0] == [("ann", "i", 4), ("bob", "j", 3)]


def test_a_sample_ends_with_a_row(tmp_path):
    """The first 64 KiB end within a review, whose lines would be rows of other widths."""
    review = '"' + "a\nb\n" * 20_000 + '"'
    text = "user,item,rating,text\n" + "".join(f"u{n},i{n % 7},{n % 5},{review}\n" for n in range(3))
    assert read(tmp_path, text)[0] == [(f"u{n}", f"i{n % 7}", n % 5) for n in range(3)]
