"""`evaluate --test-file`: ratings from outside in place of the test set."""

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

import autorec_cli as autorec
from autorec_cli.csr import row_indices
from autorec_cli.errors import InputDataError
from tests.program import SMALL, call, run


def ratings_of(prepared, split):
    """Ratings of a split as a frame of ids."""
    matrix = prepared.split(split)
    return pl.DataFrame(
        {
            "user": prepared.users["id"].gather(row_indices(matrix)),
            "item": prepared.items["id"].gather(matrix.indices),
            "rating": matrix.data,
        }
    )


@pytest.fixture
def prepared(workshop):
    return autorec.load_dataset(workshop / "data")


@pytest.fixture(params=["item", "lists", "both"])
def model(request, workshop):
    return workshop / f"{request.param}.model"


@pytest.fixture
def rows_of(tmp_path):
    def rows(*arguments, status=0):
        result = call("evaluate", *arguments, "-o", tmp_path / "rows.json")
        assert result.status == status, result.stderr
        return (json.loads((tmp_path / "rows.json").read_text()) if status == 0 else None), result.stderr

    return rows


@pytest.mark.parametrize("name", ["test.csv", "test.parquet"])
def test_the_test_set_as_a_file_gives_the_same_rows(prepared, model, rows_of, tmp_path, name):
    frame = ratings_of(prepared, "test").sample(fraction=1, shuffle=True, seed=1)
    frame.write_csv(tmp_path / name) if name.endswith("csv") else frame.write_parquet(tmp_path / name)
    rows, told = rows_of(model, "--test-file", tmp_path / name)
    assert rows == rows_of(model)[0]
    assert f"the test set is {frame.height} ratings of {tmp_path / name}, with 0 new users and 0 new items" in told


def test_known_pairs_are_left_out_with_a_warning(prepared, model, rows_of, tmp_path):
    held_out = ratings_of(prepared, "test")
    known = pl.concat([ratings_of(prepared, "train")[:7], ratings_of(prepared, "valid")[:3]])
    pl.concat([known, held_out]).write_csv(tmp_path / "t.csv")
    rows, told = rows_of(model, "--test-file", tmp_path / "t.csv")
    assert rows == rows_of(model)[0]
    assert f"warning: left out 10 of {held_out.height + 10} ratings" in told
    known.write_csv(tmp_path / "t.csv")
    _, told = rows_of(model, "--test-file", tmp_path / "t.csv", status=3)
    assert "all 10 ratings" in told


def test_ids_that_are_all_new_are_warned_of(prepared, model, rows_of, tmp_path):
    held_out = ratings_of(prepared, "test")
    held_out.with_columns(item=pl.lit("00") + pl.col("item").cast(pl.String)).write_csv(tmp_path / "t.csv")
    told = rows_of(model, "--test-file", tmp_path / "t.csv")[1]
    assert f"warning: no item of {tmp_path / 't.csv'} is in the dataset; check that ids are written alike" in told
    assert "no user of" not in told


def test_new_users_and_items_are_cold(prepared, model, rows_of, tmp_path):
    held_out = ratings_of(prepared, "test")
    new = pl.DataFrame({"user": ["new", "new", "007"], "item": ["00001", "none", "none"], "rating": [5.0, 1.0, 3.0]})
    pl.concat([new, held_out], how="vertical_relaxed").write_csv(tmp_path / "t.csv")
    rows, told = rows_of(model, "--test-file", tmp_path / "t.csv")
    before = rows_of(model)[0]
    assert "with 1 new user and 1 new item" in told
    for row, old in zip(rows, before, strict=True):
        if old.get("n_pairs") is not None:
            assert (row["n_pairs"], row["n_cold"]) == (old["n_pairs"] + 3, old["n_cold"] + 3)
        if old.get("n_users") is not None:
            assert row["n_users"] == old["n_users"] + 1
    loaded = autorec.load_model(model)
    if loaded.rater is not None:
        errors = autorec.predict(loaded, new.select("user", "item").rows()) - new["rating"].to_numpy()
        total = before[0]["n_pairs"] * before[0]["rmse"] ** 2 + np.square(errors).sum()
        assert rows[0]["rmse"] == pytest.approx(np.sqrt(total / rows[0]["n_pairs"]), abs=2e-6)


def test_a_dataset_without_a_test_set_can_be_measured(workshop, rows_of, tmp_path, prepared):
    ratings = pl.concat([ratings_of(prepared, "train"), ratings_of(prepared, "valid")])
    ratings.write_csv(tmp_path / "r.csv")
    ratings_of(prepared, "test").write_csv(tmp_path / "t.csv")
    assert call("prepare", tmp_path / "r.csv", "-o", tmp_path / "data", "--test", 0).status == 0
    assert call("train", tmp_path / "data", "-o", tmp_path / "m", *SMALL).status == 0
    rows, _ = rows_of(tmp_path / "m", "--test-file", tmp_path / "t.csv")
    assert rows[0]["n_pairs"] == prepared.test.nnz
    rows_of(tmp_path / "m", status=4)


def test_the_library_takes_a_frame(prepared, workshop):
    models = {"m": autorec.load_model(workshop / "both.model")}
    rows = autorec.evaluate(models, prepared, test_ratings=ratings_of(prepared, "test"))
    assert rows == autorec.evaluate(models, prepared)
    with pytest.raises(InputDataError, match="no ratings to compare"):
        autorec.evaluate(models, prepared, test_ratings=ratings_of(prepared, "test").drop("rating"))


def test_interactions_need_no_ratings(workshop, tmp_path, rows_of):
    pairs = pl.read_csv(workshop / "ratings.csv", infer_schema=False).select("user", "item")
    pairs[100:].write_csv(tmp_path / "r.csv")
    pairs[:100].write_csv(tmp_path / "t.csv")
    pairs[:100].with_columns(plays=pl.lit("7")).write_csv(tmp_path / "counts.csv")
    assert call("prepare", tmp_path / "r.csv", "-o", tmp_path / "data", "--columns", "rating=none").status == 0
    train = ("train", tmp_path / "data", "-o", tmp_path / "m", *SMALL, "--objective", "ranking")
    assert call(*train).status == 0
    rows, _ = rows_of(tmp_path / "m", "--test-file", tmp_path / "t.csv")
    assert rows[0]["n_users"] == pairs[:100]["user"].n_unique()
    options = ("--columns", "rating=plays")
    assert rows_of(tmp_path / "m", "--test-file", tmp_path / "counts.csv", *options)[0] == rows


def test_ratings_from_stdin_and_outside_the_scale(prepared, workshop):
    frame = ratings_of(prepared, "test").with_columns(pl.col("rating") * 2)
    result = run("evaluate", workshop / "item.model", "--test-file", "-", stdin=frame.write_csv())
    assert result.status == 0, result.stderr
    n_outside = int((frame["rating"] > 5).sum())
    assert f"warning: {n_outside} of {frame.height} ratings" in result.stderr


def test_another_set_and_another_dataset_are_refused(workshop, prepared, tmp_path, rows_of):
    ratings_of(prepared, "test").write_csv(tmp_path / "t.csv")
    _, told = rows_of(workshop / "item.model", "--test-file", tmp_path / "t.csv", "--on", "valid", status=2)
    assert "--on" in told
    other = replace(prepared, rating_scale=(0.0, 5.0))
    autorec.save_dataset(other, tmp_path / "data")
    rows_of(workshop / "item.model", "--test-file", tmp_path / "t.csv", "--data", tmp_path / "data", status=4)
