"""Detection: which delimiter, which header, which columns; and a refusal where it would be a guess."""

from __future__ import annotations

import pytest

from autorec_cli.data.builder.read_ratings import read_ratings
from autorec_cli.data.readers.columns.contents import MAX_RATING_VALUES
from autorec_cli.data.readers.columns.names import role_of
from autorec_cli.data.readers.options import ReadOptions, parse_columns
from autorec_cli.data.readers.text.detection import BLANKS, DELIMITER_ROWS, TextFormat, detect_delimiter, has_header_row
from autorec_cli.errors import InputDataError


def layout_of(tmp_path, text, **options):
    (tmp_path / "ratings.csv").write_text(text)
    found = []
    read_ratings(
        [str(tmp_path / "ratings.csv")], ReadOptions(**options), announce=lambda name, layout: found.append(layout)
    )
    return found[0]


def choices(tmp_path, text, columns=None, **options):
    layout = layout_of(tmp_path, text, columns=parse_columns(columns), **options)
    return [layout.column_choices()[role] for role in ("user", "item", "rating", "timestamp")]


@pytest.mark.parametrize(
    ("header", "roles"),
    [
        ("userId,movieId,rating,timestamp", "user item rating timestamp"),
        ("User-ID,ISBN,Book-Rating", "user item rating"),
        ("rating,user_id,business_id,date", "rating user item timestamp"),
        ("reviewerID,asin,overall,unixReviewTime", "user item rating timestamp"),
        ("CUSTOMER_ID,Product Id,Stars,created_at", "user item rating timestamp"),
        ("username,anime_id,score", "user item rating"),
        ("member,track,value,tstamp", "user item rating timestamp"),
    ],
)
def test_published_column_names_are_known(tmp_path, header, roles):
    roles = roles.split()
    cells = {"user": "77", "item": "88", "rating": "4", "timestamp": "978300760"}
    rows = "\n".join(",".join(cells[role] for role in roles) for _ in range(3))
    found = dict(zip(("user", "item", "rating", "timestamp"), choices(tmp_path, f"{header}\n{rows}\n"), strict=True))
    assert found == {"timestamp": None, **dict(zip(roles, header.split(","), strict=True))}


def test_the_better_known_of_two_names_is_taken(tmp_path):
    header = "username,user_id,item,rating,reviewTime,unixReviewTime"
    text = f"{header}\nann,1,x,3,01 1 2014,978300760\nbob,2,y,4,01 2 2014,978300761\n"
    assert choices(tmp_path, text) == ["user_id", "item", "rating", "unixReviewTime"]


def test_a_date_in_words_is_not_used(tmp_path):
    assert choices(tmp_path, "user,item,rating,date\na,b,1,Jan 3\nc,d,2,Jan 4\n")[3] is None


def test_the_same_name_twice_is_refused(tmp_path):
    with pytest.raises(InputDataError, match=r"two columns 'rating'.*--columns rating="):
        choices(tmp_path, "user,item,rating,rating\na,b,1,2\nc,d,2,3\n")


def test_unknown_names_are_refused_with_a_guess(tmp_path):
    text = "who,what,how,when\na,b,1.5,2024-01-01\nc,d,2,2024-01-02\n"
    with pytest.raises(InputDataError, match=r"--columns user=who,item=what,rating=how$"):
        choices(tmp_path, text)
    assert choices(tmp_path, text, "user=who,item=what") == ["who", "what", "how", "when"]


def test_without_a_header_the_third_column_is_the_rating_even_when_users_are_few(tmp_path):
    rows = "".join(f"{i // 50},{i},{i % 5 + 1},{978300760 + i}\n" for i in range(300))
    assert choices(tmp_path, rows) == [1, 2, 3, 4]


def test_a_timestamp_before_the_rating_is_told_apart(tmp_path):
    rows = "".join(f"u{i},{i},{978300760 + i},{i % 5 + 1}\n" for i in range(300))
    assert choices(tmp_path, rows) == [1, 2, 4, 3]


def test_continuous_ratings_are_ratings(tmp_path):
    rows = "".join(f"{i // 100},{i % 100},{i * 0.037 - 5:.3f}\n" for i in range(300))
    assert choices(tmp_path, rows) == [1, 2, 3, None]


@pytest.mark.parametrize(
    "row", ["{i} {r} 10{i}", "{r} {i} 3{i}", "u{i} i{i} x 3 4"], ids=["rating second", "rating first", "two candidates"]
)
def test_what_would_be_a_guess_is_refused(tmp_path, row):
    rows = "".join(row.format(i=i, r=i % 5) + "\n" for i in range(300))
    with pytest.raises(InputDataError, match=r"--columns .*rating="):
        choices(tmp_path, rows)


def test_a_suggestion_can_be_typed(tmp_path):
    text = "who,what it is,how\na,b,1\nc,d,2\n"
    with pytest.raises(InputDataError, match="--columns 'user=who,item=what it is,rating=how'"):
        choices(tmp_path, text)
    with pytest.raises(InputDataError, match=r"--columns user=1,item=2,rating=3"):
        choices(tmp_path, f"{'x' * 99},a=b,None\na,b,1\nc,d,2\n".replace("None", "none"))


@pytest.mark.parametrize(
    ("header", "chosen"),
    [
        ("user_id,username,item,rating", ["user_id", "item", "rating"]),
        ("user_id,customer_id,item,rating", "customer_id' and 'user_id"),
        ("user,asin,parent_asin,rating", ["user", "parent_asin", "rating"]),
        ("user,book_id,isbn,rating", ["user", "book_id", "rating"]),
        ("user,item,overall,plays", ["user", "item", "overall"]),
        ("user,item,overall,rating", "overall' and 'rating"),
    ],
)
def test_of_two_names_for_a_role_the_better_wins_or_none(tmp_path, header, chosen):
    rows = "".join(f"{i % 3 + 10},{i % 3 + 20},{i % 4 + 30},{i % 5}\n" for i in range(9))
    if isinstance(chosen, list):
        assert choices(tmp_path, f"{header}\n{rows}")[:3] == chosen
    else:
        with pytest.raises(InputDataError, match=f"{chosen}.*--columns"):
            choices(tmp_path, f"{header}\n{rows}")


def test_a_digit_that_is_no_number_names_no_column(tmp_path):
    with pytest.raises(InputDataError, match="has no column '²'"):
        choices(tmp_path, "user,item,rating\n1,2,3\n", columns="rating=²")


def test_columns_override_everything(tmp_path):
    rows = "".join(f"{i % 5},{i},{i + 1000},{978300760 + i}\n" for i in range(300))
    assert choices(tmp_path, rows, "user=2,item=3,rating=1") == [2, 3, 1, 4]
    assert choices(tmp_path, rows, "user=2,item=3,rating=1,timestamp=none") == [2, 3, 1, None]
    text = "user,item,rating,other\na,b,1,5\nc,d,2,6\n"
    assert choices(tmp_path, text, "rating=other") == ["user", "item", "other", None]
    assert choices(tmp_path, text, "user=item,item=user,rating=4") == ["item", "user", "other", None]


@pytest.mark.parametrize(
    ("columns", "message"), [("user=who", "it has user, item, rating"), ("user=9", "no column '9'")]
)
def test_a_column_that_is_not_there_is_refused(tmp_path, columns, message):
    with pytest.raises(InputDataError, match=message):
        choices(tmp_path, "user,item,rating\na,b,1\nc,d,2\n", columns)


def test_no_header_makes_the_first_line_a_row(tmp_path):
    layout = layout_of(tmp_path, "user,item,3\na,b,1\n", has_header=False)
    assert layout.header is None
    with pytest.raises(InputDataError, match=r"line 1, column 3 .rating.: 'rating' is not a number"):
        layout_of(tmp_path, "user,item,rating\na,b,1\nc,d,2\n", has_header=False)


def test_numbers_in_the_first_line_are_no_header(tmp_path):
    assert layout_of(tmp_path, "user,item,3\na,b,1\n").header is None


@pytest.mark.parametrize(
    ("text", "delimiter"),
    [
        ("a;b,c;d,5\ne;f,g;h,4\n", ","),  # the semicolon cuts as evenly but leaves no number
        ("a b,c d,5\ne f,g h,4\n", ","),
        ("1;2;4.5\n1;3;5\n", ";"),
        ("user|item|rating\na,b|c,d|1\ne,f|g,h|2\n", "|"),
        ("1::a|b::3\n2::c|d::4\n", "::"),
        ("a b\tc d\t3\n", "tab"),
        ("u1,i1,3,2020-01-01 10:00:00\nu2,i1,4,2020-01-01 11:00:00\n", ","),
        ('"a,1";"b,2";"3"\n"a,2";"b,3";"4"\n', ";"),
    ],
)
def test_the_delimiter_that_leaves_ratings_is_chosen(tmp_path, text, delimiter):
    assert layout_of(tmp_path, text).delimiter_name() == delimiter


@pytest.mark.parametrize(
    ("header", "item"), [("", "Item {}"), ("user_id,product_id\n", "Item {}"), ("user_id,product_id\n", "Big Item {}")]
)
def test_blanks_in_names_of_interactions_do_not_delimit(tmp_path, header, item):
    rows = "".join(f"u{number // 20},{item.format(number % 20)}\n" for number in range(200))
    layout = layout_of(tmp_path, header + rows)
    assert layout.delimiter_name() == ","
    assert bool(layout.header) == bool(header)


def test_delimiter_option_overrides(tmp_path):
    assert choices(tmp_path, "1;2,3,4\n5;6,7,3\n", delimiter=",") == [1, 2, 3, None]


def test_a_quoted_newline_in_the_header_is_no_row(tmp_path):
    layout = layout_of(tmp_path, '"user\nid",item,rating\na,b,1\nc,d,2\n')
    assert layout.header == ["user\nid", "item", "rating"]


def test_columns_after_those_of_the_header_are_bad_and_those_within_are_ignored(tmp_path):
    assert choices(tmp_path, "user,item,rating,helpful,text\na,b,1,2,x\nc,d,2,3,y\n") == [
        "user",
        "item",
        "rating",
        None,
    ]
    with pytest.raises(InputDataError, match="line 3, the row has more than 3 fields"):
        choices(tmp_path, "user,item,rating\na,b,1\nc,d,2,3\n")


def test_the_decision_is_one_line(tmp_path):
    layout = layout_of(tmp_path, "user,item,rating\na,b,1\nc,d,2\n")
    assert layout.describe() == "delimiter ',', header yes; columns user=user, item=item, rating=rating, timestamp=none"


def test_names_are_compared_without_case_and_punctuation():
    assert [role_of(name) for name in ("User_ID", "movie-id", " Rating ", "time.stamp", "genre")] == [
        "user",
        "item",
        "rating",
        "timestamp",
        None,
    ]


def test_columns_are_told_by_more_rows_than_the_delimiter(tmp_path):
    """Sorted by item, the first thousand rows have so few items that these look like ratings."""
    rows = [f"{user},{1 + user % 5},{item}" for item in range(1, 200) for user in range(50)]
    assert len({row.split(",")[2] for row in rows[:DELIMITER_ROWS]}) < MAX_RATING_VALUES
    with pytest.raises(InputDataError, match=r"--columns .*rating="):
        layout_of(tmp_path, "\n".join(rows))


@pytest.mark.parametrize(
    ("text", "header"),
    [
        ("userId,1,2\n7,5,3\n9,4,2\n", ["userId", "1", "2"]),
        ("userId,rating,7\n3,5,1\n9,4,2\n", ["userId", "rating", "7"]),
        (",0,1,2\n0,u,i,3\n1,v,j,4\n", ["", "0", "1", "2"]),
        ("0,1,2\nu,i,3\nv,j,4\n", ["0", "1", "2"]),
        ("0,1,2\n3,4,5\n6,7,1\n", None),
        ("userid,thing\na,b\nc,d\n", ["userid", "thing"]),
        ("u,i\nv,j\nw,k\n", None),
    ],
)
def test_a_header_may_hold_numbers(text, header):
    is_header = has_header_row([line.split(",") for line in text.split()], ReadOptions())
    assert (text.split()[0].split(",") if is_header else None) == header


@pytest.mark.parametrize("line", ["sep=;", '"sep=;"', "SEP=;"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_a_line_that_names_the_delimiter_is_no_row(tmp_path, line, newline):
    text = newline.join([line, "item;user;rating", "a,b;c;1", "d,e;f;2", ""])
    assert choices(tmp_path, text) == ["user", "item", "rating", None]
    with pytest.raises(InputDataError, match="line 4, column rating"):
        choices(tmp_path, text.replace("f;2", "f;x"))


@pytest.mark.parametrize(
    ("row", "delimiter"),
    [("u{0},Big Item {1}", ","), ("u{0}, i{1}, {2}", ","), ("u{0} i{1} {2},5", BLANKS), ("u{0} i{1} {2}", BLANKS)],
)
def test_blanks_in_names_are_no_delimiter(row, delimiter):
    sample = "".join(row.format(n, n % 7, n % 5) + "\n" for n in range(20)).encode()
    assert detect_delimiter(sample, TextFormat(","), "r.csv") == delimiter


@pytest.mark.parametrize(
    ("first", "row", "line"),
    [
        ("Ratings of 2024", "u{0},i{1},{2}", 1),
        ("Ratings of 2024,,", "u{0},i{1},{2}", 1),
        ("Ratings\nof 2024\n", "u{0},i{1},{2}", 1),
    ],
)
@pytest.mark.parametrize("skip", [False, True])
def test_lines_above_the_header_are_refused(tmp_path, first, row, line, skip):
    rows = "".join(row.format(n, n % 7, n % 5) + "\n" for n in range(30))
    (tmp_path / "r.csv").write_text(f"{first}\nitem,user,rating\n{rows}")
    with pytest.raises(InputDataError, match=f"line {line} has 1 field, but most rows have 3: remove lines above"):
        read_ratings([str(tmp_path / "r.csv")], ReadOptions(skip_bad_rows=skip))


@pytest.mark.parametrize("delimiter", [",", ";", " "])
def test_row_names_without_a_name_are_refused(tmp_path, delimiter):
    rows = [["user", "item", "rating"], *([n, f"u{n}", f"i{n % 7}", n % 5] for n in range(1, 30))]
    (tmp_path / "r.csv").write_text("".join(delimiter.join(map(str, row)) + "\n" for row in rows))
    with pytest.raises(InputDataError, match=r"line 1 has 3 fields, but most rows have 4: .* row numbers of R"):
        read_ratings([str(tmp_path / "r.csv")], ReadOptions())


def test_a_delimiter_too_many_at_the_end_of_rows_is_no_matter(tmp_path):
    (tmp_path / "r.csv").write_text("item,user,rating\n" + "".join(f"i{n},u{n % 7},{n % 5},\n" for n in range(30)))
    assert read_ratings([str(tmp_path / "r.csv")], ReadOptions()).n_ratings == 30


def test_quotes_that_blanks_do_not_remove_are_refused(tmp_path):
    rows = "".join(f'"u{n}" "i{n % 7}" {n % 5}\n' for n in range(30))
    (tmp_path / "r.txt").write_text('"user" "item" "rating"\n' + rows)
    with pytest.raises(InputDataError, match="quotes around column 1; write it as CSV, or set --quote none"):
        read_ratings([str(tmp_path / "r.txt")], ReadOptions())
    assert read_ratings([str(tmp_path / "r.txt")], ReadOptions(quote="none")).n_ratings == 30


@pytest.mark.parametrize("header", ["", "user item rating\n"])
def test_blanks_or_commas_that_both_split_rows_are_refused(tmp_path, header):
    rows = "".join(f"u{n} Smith,John{n % 7} {n % 5}\n" for n in range(30))
    (tmp_path / "r.txt").write_text(header + rows)
    with pytest.raises(InputDataError, match="both blanks and ',' could separate the fields; set --delimiter"):
        read_ratings([str(tmp_path / "r.txt")], ReadOptions())
    table = read_ratings([str(tmp_path / "r.txt")], ReadOptions(delimiter=BLANKS))
    assert table.n_ratings == 30
    assert "Smith,John3" in table.item_ids


def test_blanks_that_do_not_split_the_header_are_parts_of_ids(tmp_path):
    (tmp_path / "r.csv").write_text("user,item\n" + "".join(f"User {n},Item {n % 5}\n" for n in range(30)))
    assert "Item 3" in read_ratings([str(tmp_path / "r.csv")], ReadOptions()).item_ids


def test_quotes_around_whole_lines_are_named(tmp_path):
    (tmp_path / "r.csv").write_text('"user,item,rating"\n' + "".join(f'"u{n},i{n % 7},{n % 5}"\n' for n in range(30)))
    with pytest.raises(InputDataError, match="remove the quotes around whole lines"):
        read_ratings([str(tmp_path / "r.csv")], ReadOptions())
