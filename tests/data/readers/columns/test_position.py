"""Columns without names: what could be two things is refused."""

import numpy as np
import pytest

import autorec_cli as autorec
from autorec_cli.data.readers.options import parse_columns
from autorec_cli.errors import InputDataError


def rows(n, *columns):
    rng = np.random.default_rng(0)
    drawn = [rng.integers(low, high + 1, n) for low, high in columns]
    return "".join(",".join(map(str, row)) + "\n" for row in zip(*drawn, strict=True))


@pytest.mark.parametrize(
    "columns",
    [
        ((1, 5), (1, 60), (1, 40)),
        ((1, 60), (1, 5), (1, 40)),
        ((1, 300), (1, 900), (1990, 2009)),
        ((1, 60), (1, 5)),
    ],
    ids=["rating first", "rating second", "year last", "user and rating"],
)
def test_ratings_in_another_place_are_refused(tmp_path, columns):
    (tmp_path / "r.csv").write_text(rows(200, *columns))
    with pytest.raises(InputDataError, match="--columns"):
        autorec.prepare(tmp_path / "r.csv")


@pytest.mark.parametrize(
    "columns", [((1, 8), (1, 12), (1, 5)), ((1, 60), (1, 40), (0, 100))], ids=["few users", "percent"]
)
def test_user_item_rating_is_read(tmp_path, columns):
    (tmp_path / "r.csv").write_text(rows(200, *columns))
    assert autorec.prepare(tmp_path / "r.csv").train.data.max() > 4


def test_ids_with_blanks_are_warned_of(tmp_path, caplog):
    (tmp_path / "r.csv").write_text("userId, movieId, rating\n" + rows(60, (1, 9), (1, 9), (1, 5)).replace(",", ", "))
    autorec.prepare(tmp_path / "r.csv")
    assert any("item ids begin or end with a blank" in record.getMessage() for record in caplog.records)


TIMES = [str(1_514_764_800 + 7 * row) for row in range(200)]


def log(n_users, n_items, *more):
    return "".join(
        " ".join((time, str(7 * row % n_users + 1), str(row % n_items + 1), *(text.format(row % 5) for text in more)))
        + "\n"
        for row, time in enumerate(TIMES)
    )


@pytest.mark.parametrize(("n_users", "n_items"), [(80, 150), (150, 60), (150, 140), (8, 6)])
def test_a_log_without_ratings_gets_a_suggestion_that_works(tmp_path, n_users, n_items):
    (tmp_path / "plays.txt").write_text(log(n_users, n_items))
    with pytest.raises(InputDataError, match="a log of plays or purchases needs none") as refused:
        autorec.prepare(tmp_path / "plays.txt")
    suggestion = str(refused.value).partition("--columns ")[2]
    assert suggestion == "user=2,item=3,rating=none,timestamp=1"
    options = autorec.ReadOptions(columns=parse_columns(suggestion))
    assert autorec.prepare(tmp_path / "plays.txt", autorec.PrepareSettings(options)).n_users == n_users


def test_a_log_with_two_numbers_more_gets_no_rating_suggested(tmp_path):
    (tmp_path / "plays.txt").write_text(log(150, 60, "{}"))
    with pytest.raises(InputDataError) as refused:
        autorec.prepare(tmp_path / "plays.txt")
    assert "could be column 3 (1 to 60) or column 4 (0 to 4)" in str(refused.value)
    assert str(refused.value).endswith("--columns user=2,item=3,rating=COLUMN,timestamp=1")


def test_ids_like_times_that_repeat_are_ids(tmp_path):
    rows = [f"{1_514_764_800 + row // 5},{row % 31},{row % 5 + 0.5}\n" for row in range(300)]
    (tmp_path / "r.csv").write_text("".join(rows))
    assert autorec.prepare(tmp_path / "r.csv").n_users == 60
