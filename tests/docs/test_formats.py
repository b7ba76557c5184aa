"""docs/formats.md is enough to read our files, and names all that is in them."""

import json
import re

import numpy as np
import polars as pl
import pytest

from autorec_cli.storage.file_formats import DATASET, MODEL
from tests.docs.format_page import (
    OF_SOME,
    PAGE,
    THRESHOLDS,
    assert_types,
    dataset_at,
    document_of,
    fields,
    fingerprint_of,
    named_in,
    networks,
    section,
    types_in,
)
from tests.program import SMALL, call


def test_every_field_of_a_dataset_is_on_the_page_and_no_other(workshop, tmp_path):
    (tmp_path / "nobody").touch()
    excluding = ("--exclude-users", tmp_path / "nobody", "--missing-rating", 99)
    assert call("prepare", workshop / "ratings.csv", "-o", tmp_path / "d", *excluding).status == 0
    document = json.loads((tmp_path / "d" / "dataset.json").read_text())
    assert fields(document) == named_in("dataset.json")
    assert_types(document, types_in("dataset.json"))
    tables = [pl.read_parquet(workshop / f"data/{table}.parquet") for table in ("users", "items")]
    columns = {name for table in tables for name in table.columns}
    assert columns == named_in("Tables") | {"genre", "year"}, "all columns of items.csv"
    assert {file.name for file in (workshop / "data").iterdir()} == named_in("Dataset directory")


@pytest.mark.parametrize("name", ["item.model", "user.model", "lists.model"])
def test_every_field_and_tensor_of_a_model_is_on_the_page_and_no_other(workshop, name):
    document, tensors = document_of(workshop / name)
    assert fields(document) == named_in("Document") - OF_SOME - networks()
    assert_types(document, types_in("Document"))
    assert set(tensors) == named_in("Tensors") - {"encoder.1.weight"} - (THRESHOLDS if name == "lists.model" else set())
    assert all(tensor.dtype.name in section("Tensors") for tensor in tensors.values())


def test_deeper_and_warm_started_models_have_the_fields_of_the_page(workshop, tmp_path):
    options = ("--objective", "rating", "--hidden-size", "8,4", "--epochs", 1, "--variant", "item", "-q")
    for name, more in (("cold", ()), ("warm", ("--warm-start", tmp_path / "cold"))):
        assert call("train", workshop / "data", "-o", tmp_path / name, *options, *more).status == 0
    document, tensors = document_of(tmp_path / "warm")
    assert fields(document) == named_in("Document") - networks() - {"provenance.promotion"}
    assert set(tensors) == named_in("Tensors") | {"encoder.1.bias"}


def test_a_model_that_was_promoted_has_the_field_of_the_page(workshop, tmp_path):
    (tmp_path / "m").write_bytes((workshop / "item.model").read_bytes())
    assert call("train", workshop / "data", "-o", tmp_path / "m", *SMALL, "--keep-if-better", "rmse").status == 0
    document, _ = document_of(tmp_path / "m")
    assert fields(document) == named_in("Document") - networks() - {"provenance.warm_start"}


def test_every_field_of_several_networks_is_on_the_page_and_no_other(both_model):
    document, tensors = document_of(both_model)
    of_model = {f"models[].{name}" for name in named_in("Document")}
    once = ("format", "version", "checksums", "checksum", *OF_SOME, *networks(), "provenance.curves")
    apart = {f"models[].{name}" for name in once}
    assert fields(document) == (named_in("Several networks") - {"models[]"} - OF_SOME | of_model) - apart
    assert {name.partition(".")[2] for name in tensors} == named_in("Tensors") - {"encoder.1.weight"}
    assert_types(document, types_in("Document") | types_in("Several networks"))
    assert document["models"][0]["shared"] == []
    assert set(document["models"][1]["shared"]) <= named_in("Tensors")


@pytest.mark.parametrize("name", ["item.model", "user.model", "lists.model"])
def test_the_page_alone_recommends_and_predicts_as_the_program_does(workshop, code, name):
    document, tensors = code["read_model"](workshop / name)
    user_ids, item_ids = (code["read_texts"](tensors, f"{side}_ids") for side in ("user", "item"))
    rows = pl.read_csv(
        call("recommend", workshop / name, "-k", 3, "--format", "csv").stdout.encode(), infer_schema=False
    )
    for user, user_id in enumerate(user_ids):
        best = code["recommend"](document, tensors, user, 3)
        told = rows.filter(pl.col("user_id") == user_id)
        listed = [item_ids.index(item_id) for item_id in told["item_id"]]
        scores = code["predict_user"](document, tensors, user)
        # Items of equal scores may change places: the program computes in float32.
        np.testing.assert_allclose(scores[listed], scores[best], rtol=0, atol=1e-6)
        np.testing.assert_allclose(scores[listed], told["score"].cast(pl.Float64), atol=1e-3)
        if document["settings"]["objective"] == "rating":
            predictions = np.clip(scores[listed], *document["rating_scale"])
            np.testing.assert_allclose(predictions, told["predicted_rating"].cast(pl.Float64), atol=1e-3)


def test_the_page_alone_reads_several_networks(both_model, code):
    document, tensors = code["read_model"](both_model)
    rating, scores = 0.0, None
    for number, (weight, model) in enumerate(zip(document["weights"], document["models"], strict=True)):
        own = {name.removeprefix(f"{number}."): value for name, value in tensors.items() if name[0] == str(number)}
        own |= {name: tensors[f"0.{name}"] for name in model["shared"]}
        predictions = code["predict_user"](model, own, 7)
        if model["settings"]["objective"] == "rating":
            rating = rating + weight * np.clip(predictions, *model["rating_scale"])
        else:
            scores = predictions
    items, users = (code["read_texts"](tensors, f"0.{side}_ids") for side in ("item", "user"))
    stdout = call("recommend", both_model, "--user", users[7], "-k", 1, "--format", "csv").stdout
    (told,) = pl.read_csv(stdout.encode(), infer_schema=False).iter_rows(named=True)
    item = items.index(told["item_id"])
    assert float(told["score"]) == pytest.approx(scores[item], abs=1e-3)
    assert float(told["predicted_rating"]) == pytest.approx(rating[item], abs=1e-3)


def test_the_page_alone_reads_a_dataset(workshop):
    document, matrices, tables = dataset_at(workshop / "data")
    assert fingerprint_of(document, matrices, tables) == document["fingerprint"]
    ratings = {}
    for name, matrix in matrices.items():
        assert matrix.shape == (document["n_users"], document["n_items"])
        assert matrix.nnz == document["counts"][f"n_{name}"]
        assert matrix.has_sorted_indices
        cells = zip(*matrix.nonzero(), matrix.data, strict=True)
        ratings |= {(int(user), int(item)): float(rating) for user, item, rating in cells}
    users, items = (table["id"].to_list() for table in tables.values())
    source = pl.read_csv(workshop / "ratings.csv", schema_overrides={"user": pl.String, "item": pl.String})
    told = {(user, item): rating for user, item, rating, _ in source.iter_rows()}
    assert {(users[user], items[item]): rating for (user, item), rating in ratings.items()} == told


def test_versions_are_those_of_the_page():
    named = re.search(r"reads version (\d+) of models and\s+version (\d+) of datasets", PAGE)
    assert [int(number) for number in named.groups()] == [MODEL.version, DATASET.version]


def test_every_field_of_run_json_is_described(workshop, tmp_path):
    assert call("run", workshop / "ratings.csv", "-o", tmp_path / "out", *SMALL, "-q").status == 0
    document = json.loads((tmp_path / "out" / "run.json").read_text())
    assert fields(document) == named_in("run.json")
    assert_types(document, types_in("run.json"))
