"""docs/formats.md on datasets, field by field: names, types, sizes and meaning in the newest golden files."""

import hashlib
import zlib

import numpy as np
import polars as pl
import pytest

from tests.docs.format_page import SETS, assert_types, dataset_at, fields, fingerprint_of, named_in, rows_in, types_in
from tests.golden.facts import newest

FOLDER = newest()
DATASETS = {path.name: path for path in sorted((FOLDER / "datasets").iterdir())}
SOME_COUNTS = {"counts.n_missing", "counts.n_excluded"}


def dataset(name):
    """Document, matrices and tables of a golden dataset."""
    return dataset_at(DATASETS[name])


@pytest.mark.parametrize("name", DATASETS)
def test_fields_of_a_dataset_have_the_names_and_types_of_the_page(name):
    document, _, _ = dataset(name)
    assert fields(document) == named_in("dataset.json") - (set() if name == "columns" else SOME_COUNTS)
    assert_types(document, types_in("dataset.json"))


@pytest.mark.parametrize("name", DATASETS)
def test_tables_have_the_columns_and_types_of_the_page(name):
    _, matrices, tables = dataset(name)
    wanted = {names[0]: {"uint32": pl.UInt32, "string": pl.String}[kind] for names, (kind, _) in rows_in("Tables")}
    others = {"genre": pl.String, "year": pl.Int64, "price": pl.Float64, "available": pl.Boolean}
    columns = {column: kind for column, kind in wanted.items() if column != "title"}
    assert dict(tables["users"].schema) == columns
    assert dict(tables["items"].schema) == (wanted | others if name == "columns" else columns)
    for axis, table in enumerate(tables.values()):
        counts = {
            part: np.diff(matrix.tocsr().indptr if axis == 0 else matrix.tocsc().indptr)
            for part, matrix in matrices.items()
        }
        assert table["index"].to_list() == list(range(table.height))
        assert table["n_train_ratings"].to_list() == counts["train"].tolist()
        assert table["n_ratings"].to_list() == sum(counts.values()).tolist()


@pytest.mark.parametrize("name", DATASETS)
def test_matrices_have_the_arrays_of_the_page(name):
    document, matrices, _ = dataset(name)
    for part, matrix in matrices.items():
        with np.load(DATASETS[name] / f"{part}.npz") as file:
            kinds = {array: file[array].dtype.name for array in file.files}
        assert {kinds["data"], kinds["indices"], kinds["indptr"]} == {"float32", "int32"}
        assert kinds.keys() == {"data", "indices", "indptr", "shape", "format", "_is_array"}
        assert matrix.shape == (document["n_users"], document["n_items"])
        assert all((np.diff(row.indices) > 0).all() for row in matrix)
    union = sum((abs(matrix) > 0).astype(int) for matrix in matrices.values())
    assert union.max() == 1, "no cell is in two sets"


@pytest.mark.parametrize("name", DATASETS)
def test_fields_of_a_dataset_mean_what_the_page_says(name):
    document, matrices, _ = dataset(name)
    counts, train = document["counts"], matrices["train"].data
    assert [counts[f"n_{part}"] for part in SETS] == [matrix.nnz for matrix in matrices.values()]
    assert counts["n_ratings"] == sum(matrix.nnz for matrix in matrices.values())
    left_out = ("n_skipped", "n_outside", "n_missing", "n_duplicates", "n_leaked", "n_dropped", "n_excluded")
    assert counts["n_rows"] == counts["n_ratings"] + sum(counts.get(each, 0) for each in left_out)
    assert document["density"] == pytest.approx(counts["n_ratings"] / (document["n_users"] * document["n_items"]))
    if document["feedback"] == "interactions":
        assert (set(train), document["rating_scale"]) == ({1.0}, [0, 1])
    else:
        assert document["rating_scale"] == [train.min(), train.max()]
    for source in document["sources"]:
        content = (FOLDER / source["path"]).read_bytes()
        assert (source["bytes"], source["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
        assert source["columns"].keys() == {"user", "item", "rating", "timestamp"}
        named = [column for column in source["columns"].values() if column is not None]
        assert named == content.decode().splitlines()[0].split(",")
    for each in ("n_skipped", "n_outside"):
        assert counts[each] == sum(source[each] for source in document["sources"])
    split = document["split"]
    assert split["test_given"] == any(source["part"] == "test" for source in document["sources"])
    if split["strategy"] == "random":
        assert counts["n_valid"] == round(split["valid"] * (counts["n_ratings"] - counts["n_test"]))
    assert document["checksums"] == {
        file: zlib.crc32((DATASETS[name] / file).read_bytes()) for file in document["checksums"]
    }
    assert named_in("Dataset directory") == {*document["checksums"], "dataset.json"}


def test_times_are_those_of_the_ratings_in_the_period():
    document, matrices, tables = dataset("columns")
    rows = pl.read_csv(FOLDER / "ratings.csv")
    assert document["period"] == {"since": 1_600_041_600, "until": None}, "2020-09-14 in UTC"
    rows = rows.filter(
        pl.col("timestamp") >= document["period"]["since"], pl.col("user").is_in(tables["users"]["id"].to_list())
    )
    assert document["time_range"] == [rows["timestamp"].min(), rows["timestamp"].max()]
    assert len(rows) == document["counts"]["n_ratings"]
    assert dataset("interactions")[0]["time_range"] is None
    last = rows.sort("timestamp").group_by("user", maintain_order=True).last()
    users, items = (table["id"].to_list() for table in tables.values())
    held_out = {(users[user], items[item]) for user, item in zip(*matrices["test"].nonzero(), strict=True)}
    assert held_out <= set(last.select("user", "item").iter_rows()), "leave-last"


@pytest.mark.parametrize("name", DATASETS)
def test_the_fingerprint_is_that_of_the_page(name):
    document, matrices, tables = dataset(name)
    assert fingerprint_of(document, matrices, tables) == document["fingerprint"]
