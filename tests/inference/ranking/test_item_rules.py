"""Conditions in SQL and limits by column, over the columns of items."""

import time

import numpy as np
import polars as pl
import pytest

from autorec_cli.errors import InputDataError, UsageError
from autorec_cli.inference.ranking.item_rules import fulfilling, item_table, limits_of, parse_max_per
from autorec_cli.inference.ranking.limited_top_k import FREE

ITEMS = item_table(
    ["a", "b", "c", "d"],
    pl.DataFrame(
        {
            "title": ["A (1990)", "B", None, "D"],
            "genre": ["Comedy|War", "Drama", "Comedy", None],
            "year": [1990, 2001, 1985, None],
            "available": [True, True, False, None],
        }
    ),
)


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("genre LIKE '%Comedy%' AND year >= 1990", "a"),
        ("available", "ab"),
        ("NOT available OR year IS NULL", "cd"),
        ("item_id IN ('b', 'c')", "bc"),
        ("title ILIKE 'a (199%' OR title = '(from'", "a"),
        ("year > AVG(year)", "b"),
        ("TRIM(LEADING 'A' FROM title) = ' (1990)'", "a"),
        ("true", "abcd"),
    ],
)
def test_a_condition_holds_where_it_is_true_and_not_where_it_is_unknown(where, expected):
    if "'(from'" in where:  # looks like a query to us, which is said
        with pytest.raises(UsageError):
            fulfilling(where, ITEMS)
        where = where.replace("'(from'", "'from'")
    assert "".join(ITEMS["item_id"].filter(pl.Series(fulfilling(where, ITEMS)))) == expected


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("gnere = 'x'", "no column gnere; the columns are item_id, title, genre, year, available"),
        ("year", "of type Int64"),
        ("year = 'x'", "cannot compare string"),
        ("year >>> 1", 'is not a condition in SQL: it cannot be parsed; write one such as "genre LIKE'),
        ("'", "Unterminated string"),
        ("genre ~ '('", "unclosed group"),
        ("LPAD(title, 1000000000, 'x') = 'x'", "LPAD and RPAD"),
        ("\"rpad\" (title, 1000000000, 'x') = 'x'", "LPAD and RPAD"),
        ("year = 1 OR " * 1000 + "year = 1", "12,008 characters, more than 10,000"),
        ("", "--where ''"),
        ("1 = 1; SELECT 1", "';' is unexpected"),
        ("1 = 1 UNION SELECT 1", "'UNION'"),
        ("year = 1 FROM items", "'FROM'"),
        ("SELECT 1", "--where 'SELECT 1'"),
        ("year = 1, year = 2", "is unexpected"),
        ("*", "cannot be parsed"),
        ("COLUMNS('.*') = 1", "--where"),
        ("read_csv('/etc/passwd')", "query of its own"),
        ("x" * 5000, "(5,000 characters)"),
    ],
)
def test_what_is_no_condition_is_a_sentence(where, message):
    with pytest.raises(UsageError) as raised:
        fulfilling(where, ITEMS)
    assert message in str(raised.value)
    assert len(str(raised.value)) < 500
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "where",
    [
        "year IN (SELECT a FROM read_csv('{file}'))",
        "year IN (select a from read_csv('{file}'))",
        "year IN (\n\tSELECT a FROM read_csv('{file}'))",
        "year IN (\u3000SELECT a FROM read_csv('{file}'))",
        "year IN ((SELECT a FROM read_csv('{file}')))",
        "year IN (/* ' */ SELECT a FROM read_csv('{file}'))",
        "year IN (-- '\n SELECT a FROM read_csv('{file}'))",
        "title = E'\\'' OR year IN (SELECT a FROM read_csv('{file}')) OR title = ''",
        "title = $$'$$ OR year IN (SELECT a FROM read_csv('{file}')) OR title = ''",
        "year IN (FROM read_csv('{file}'))",
        "year IN (WITH x AS (SELECT * FROM read_csv('{file}')) SELECT * FROM x)",
        "EXISTS (SELECT 1 FROM read_csv('{file}'))",
        "year > (SELECT MAX(a) FROM read_csv('{file}'))",
        "year > ANY (SELECT a FROM read_csv('{file}'))",
        "year IN (SELECT a FROM \"read_csv\"('{file}'))",
        "year IN (SELECT a FROM read_parquet('{file}'))",
        "year IN (VALUES (1990))",
    ],
)
def test_a_condition_cannot_read_files(where, tmp_path):
    (tmp_path / "secret.csv").write_text("a\n1990\n")
    with pytest.raises(UsageError, match="looks like a query of its own"):
        fulfilling(where.format(file=tmp_path / "secret.csv"), ITEMS)


def test_polars_alone_would_look_at_the_file(tmp_path):
    """Why subqueries are refused before polars sees them."""
    (tmp_path / "secret.csv").write_text("a\n1990\n")
    query = f"year IN (SELECT a FROM read_csv('{tmp_path / 'secret.csv'}'))"
    pl.sql_expr(query)
    with pytest.raises(pl.exceptions.PolarsError):
        pl.sql_expr(query.replace("SELECT a", "SELECT b"))


def test_a_condition_of_many_terms_takes_a_second():
    start = time.monotonic()
    assert fulfilling(" OR ".join(["year=1990"] * 700), ITEMS).tolist() == [True, False, False, False]
    assert time.monotonic() - start < 20  # minutes with the optimizer of polars


def test_a_condition_that_no_item_fulfills_is_an_error_of_the_data():
    with pytest.raises(InputDataError, match="none of 4 items"):
        fulfilling("year > 3000", ITEMS)


def test_items_without_columns_are_known_by_their_ids():
    ids = item_table(["a", "b"], pl.DataFrame())
    assert fulfilling("item_id = 'b'", ids).tolist() == [False, True]
    with pytest.raises(UsageError, match=r"no columns but item_id; prepare .* --items"):
        fulfilling("year > 1990", ids)


def test_columns_without_a_name_can_get_one():
    unnamed = item_table(["a"], pl.DataFrame({"title": ["A"], "column_3": ["Comedy"]}))
    with pytest.raises(UsageError, match=r"column genre; the columns are .*column_3; .* line of names .* --items"):
        fulfilling("genre = 'Comedy'", unnamed)


@pytest.mark.parametrize("where", ["genre = Comedy", 'genre="Comedy"', "genre IN (Drama, Comedy)"])
def test_a_text_without_quotes_gets_a_hint(where):
    with pytest.raises(UsageError, match=r"have no column \w+; the columns are .*; a text needs single quotes: '\w+'$"):
        fulfilling(where, ITEMS)


def test_a_column_that_is_none_gets_no_hint_at_quotes():
    with pytest.raises(UsageError, match=r"have no column director; the columns are [^;]*$"):
        fulfilling("director = 'Lang'", ITEMS)


def test_limits_group_items_by_value_and_leave_those_without_one_free():
    (genre, year) = limits_of({"genre": 2, "available": 1}, ITEMS)
    assert (genre.n, year.n) == (2, 1)
    assert len(set(genre.groups[:3].tolist())) == 3
    assert genre.groups[3] == FREE
    assert np.array_equal(year.groups, [1, 1, 0, FREE])
    with pytest.raises(UsageError, match=r"--max-per: items have no column director; the columns are [^;]*$"):
        limits_of({"director": 1}, ITEMS)


def test_max_per_is_a_column_and_a_number():
    assert parse_max_per(["genre=3", "a=b=12"]) == {"genre": 3, "a=b": 12}
    for wrong in ("genre", "genre=", "=3", "genre=0", "genre=-1", "genre=x", "genre=1.5"):
        with pytest.raises(UsageError, match="--max-per"):
            parse_max_per([wrong])
