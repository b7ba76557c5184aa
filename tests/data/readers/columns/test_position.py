"""Columns without names: what could be two things is refused."""

import numpy as np
import pytest

import autorec_cli as autorec
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
