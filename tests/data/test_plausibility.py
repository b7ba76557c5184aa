"""Warnings about ratings and ids that look like a mistake, and ratings that stand for none."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from autorec_cli.data.plausibility import doubts_about_values
from tests.program import call


def doubts(*values):
    return " ".join(doubts_about_values(np.repeat(np.array(values, dtype=np.float32), 7)))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ((1, 2, 3, 4, 5, 99), "7 ratings are 99, far from the others, which range from 1 to 5; .*--missing-rating=99"),
        ((1, 3, 4, 5, 500), "500, far"),
        ((1, 2, 8, 10, -1), "-1, far from the others, which range from 1 to 10; .*--missing-rating=-1"),
        ((0.5, 1, 5, -99), "-99, far"),
        ((0, *range(1, 11)), "7 ratings are 0, beside others from 1 to 10; .*--missing-rating 0"),
        ((*([1] * 30), 2, 3, 40, 700, 9000), "half of them are at most 1: .*--interactions"),
    ],
)
def test_values_that_look_like_a_mistake(values, words):
    assert re.search(words, doubts(*values))


@pytest.mark.parametrize(
    "values",
    [
        (1, 2, 3, 4, 5),
        (0.5, 1, 4.5, 5),
        np.arange(0, 5.5, 0.5),
        (0, 1),
        (-1, 1),
        (-1, 0, 1),
        (-1, 0, 1, 2, 3),
        (1, 5),
        range(0, 101, 10),
        (-10, -3.3, 9.9),
        (-1, -2, -3),
        (1e-4, 3e-5),
        (1,),
    ],
)
def test_usual_scales_are_not_doubted(values):
    assert doubts(*values) == ""


def prepare(tmp_path, rows, *options):
    (tmp_path / "r.csv").write_text("user,item,rating\n" + "".join(f"{user},{item},{r}\n" for user, item, r in rows))
    result = call("prepare", tmp_path / "r.csv", "-o", tmp_path / "d", "--force", "--split", "none", *options)
    assert result.status == 0, result.stderr
    return result.stderr, json.loads((tmp_path / "d" / "dataset.json").read_text())


GRID = [(user, item, 1 + (user + item) % 5) for user in range(9) for item in range(6)]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([(n, n % 3, 1 + n % 5) for n in range(9)], "every user has one rating"),
        ([(n % 3, n, 1 + n % 5) for n in range(9)], "every item has one rating"),
        ([*GRID, *GRID, *GRID], "108 of 162 rows repeat"),
        ([*GRID, ("5.0", 1, 3)], "user ids '5' and '5.0' are different"),
        ([*GRID, (1, "3.0", 3)], "item ids '3' and '3.0' are different"),
        ([*GRID, ("005", 1, 3), ("007", 2, 3)], "user ids '5' and '005' are different ones (2 such pairs)"),
        ([*GRID, (1, "caf\u00e9", 3), (2, "cafe\u0301", 3)], "are different"),
        ([*GRID, ("\ufeff3", 1, 3)], "user ids begin or end with a blank or an invisible character"),
        ([*GRID, ("NULL", 1, 3)], "user id 'NULL' usually stands for a missing one; leave it out with --exclude-users"),
        ([*GRID, (1, "nan", 3)], "item id 'nan' usually stands for a missing one; leave it out of the file"),
        ([*GRID, (1, "'a'", 3)], "item ids are in quotes"),
        ([*GRID, (1, '"=""007"""', 3)], """item ids are in quotes, such as '="007"'"""),
        ([*GRID, (1, "9.78014E+12", 3)], "numbers without their last digits, such as '9.78014E+12'"),
    ],
)
def test_ids_and_rows_that_look_like_a_mistake(tmp_path, rows, words):
    assert words in prepare(tmp_path, rows)[0]


def test_usual_ratings_are_not_doubted(tmp_path):
    assert "warning" not in prepare(tmp_path, GRID)[0]


def test_a_missing_user_that_is_left_out_is_not_doubted(tmp_path):
    (tmp_path / "out.txt").write_text("NULL\n")
    rows = [*GRID, ("NULL", 1, 3), ("NULL", 2, 3)]
    assert "NULL" not in prepare(tmp_path, rows, "--exclude-users", tmp_path / "out.txt")[0]


def test_a_column_of_counts_is_doubted_as_ratings(tmp_path):
    rows = "".join(f"{user},{item},{100 * value}\n" for user, item, value in GRID)
    for name, is_doubted in {"plays": True, "Play Count": True, "quantity": True, "score": False}.items():
        (tmp_path / "r.csv").write_text(f"user,item,{name}\n{rows}")
        result = call("prepare", tmp_path / "r.csv", "-o", tmp_path / "d", "--force")
        said = f"ratings are {name}, from 100 to 500: if these are counts, use --interactions" in result.stderr
        assert (result.status, said) == (0, is_doubted)


def test_a_rating_that_stands_for_none_is_left_out_and_counted(tmp_path):
    rows = [*GRID, *((100 + user, item, 0) for user in range(3) for item in range(6)), (0, 100, 0)]
    messages, document = prepare(tmp_path, rows)
    assert "19 ratings are 0" in messages
    assert document["rating_scale"] == [0, 5]
    messages, document = prepare(tmp_path, rows, "--missing-rating", "0")
    assert "warning" not in messages
    assert "left out as no rating: 19" in messages
    counts = document["counts"]
    assert (counts["n_rows"], counts["n_missing"], counts["n_ratings"]) == (73, 19, 54)
    assert (document["rating_scale"], document["n_users"], document["n_items"]) == ([1, 5], 9, 6)
    assert "warning" not in prepare(tmp_path, rows, "--rating-scale", "0,5")[0]
    result = call("prepare", tmp_path / "r.csv", "-o", tmp_path / "e", "--interactions", "--missing-rating", "1")
    assert result.status == 0


def test_nothing_but_missing_ratings_is_refused(tmp_path):
    (tmp_path / "r.csv").write_text("user,item,rating\na,x,0\nb,y,0\n")
    result = call("prepare", tmp_path / "r.csv", "-o", tmp_path / "d", "--missing-rating", "0")
    assert (result.status, "--missing-rating" in result.stderr) == (3, True)
