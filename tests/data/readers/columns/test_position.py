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


@pytest.mark.parametrize(("n_users", "n_items"), [(80, 150), (150, 60), (150, 140), (8, 150), (150, 12)])
def test_a_log_without_ratings_gets_a_suggestion_that_works(tmp_path, n_users, n_items):
    (tmp_path / "plays.txt").write_text(log(n_users, n_items))
    with pytest.raises(InputDataError, match="a log of plays or purchases needs no ratings") as refused:
        autorec.prepare(tmp_path / "plays.txt")
    as_log, or_, as_ratings = str(refused.value).partition("--columns ")[2].partition(", or, if ratings are in column ")
    assert as_log == "user=2,item=3,rating=none,timestamp=1"
    options = autorec.ReadOptions(columns=parse_columns(as_log))
    assert autorec.prepare(tmp_path / "plays.txt", autorec.PrepareSettings(options)).n_users == n_users
    rating = 3 if n_items <= 100 else 2
    assert bool(or_) == (min(n_users, n_items) <= 100)
    assert not or_ or as_ratings == f"{rating}, with --columns user=1,item={5 - rating},rating={rating}"


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


SCALES = {
    "stars": [1, 2, 3, 4, 5],
    "half stars": [0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5],
    "0 to 10": list(range(11)),
    "six": list(range(1, 7)),
    "twenties": [20, 40, 60, 80, 100],
    "fractions": [row / 7 for row in range(200)],
}
USERS = [str(123_456_789 + 4_001_003 * row) for row in range(200)]
"""Sorted ids that look like seconds since 1970, most of them once."""


def columns_after_users(*columns):
    cells = [[str(values[7 * row % len(values)]) for row in range(200)] for values in columns]
    return "".join(",".join(row) + "\n" for row in zip(USERS, *cells, strict=True))


@pytest.mark.parametrize("scale", SCALES.values(), ids=SCALES)
@pytest.mark.parametrize("items", [range(1, 192), [f"B{row}" for row in range(191)]], ids=["numbers", "text"])
def test_ratings_after_sorted_user_ids_like_times_are_read(tmp_path, scale, items):
    (tmp_path / "r.csv").write_text(columns_after_users(items, scale))
    dataset = autorec.prepare(tmp_path / "r.csv")
    assert (dataset.n_users, dataset.n_items) == (200, 191)
    assert dataset.train.data.max() == pytest.approx(max(scale))


def test_with_another_time_user_ids_like_times_are_no_times(tmp_path):
    (tmp_path / "r.csv").write_text(columns_after_users(range(1, 192), range(101), [1_514_764_800, 1_514_764_900]))
    dataset = autorec.prepare(tmp_path / "r.csv")
    assert (dataset.n_users, dataset.n_items, dataset.train.data.max()) == (200, 191, 100)


def test_interactions_of_sorted_user_ids_like_times_are_read(tmp_path):
    (tmp_path / "r.csv").write_text(columns_after_users(range(1, 192)))
    dataset = autorec.prepare(tmp_path / "r.csv")
    assert (dataset.n_users, dataset.n_items, dataset.info["feedback"]) == (200, 191, "interactions")


def test_percentages_after_user_ids_like_times_get_a_suggestion_that_works(tmp_path):
    (tmp_path / "r.csv").write_text(columns_after_users(range(1, 192), range(101)))
    with pytest.raises(InputDataError) as refused:
        autorec.prepare(tmp_path / "r.csv")
    suggestion = str(refused.value).rpartition(", or, if ratings are in column 3, with --columns ")[2]
    options = autorec.ReadOptions(columns=parse_columns(suggestion))
    assert autorec.prepare(tmp_path / "r.csv", autorec.PrepareSettings(options)).n_users == 200
