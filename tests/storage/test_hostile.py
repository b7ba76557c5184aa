"""Files that mean something else than they should, with right checksums: refused with status 4 and a sentence."""

import dataclasses
import json
import os

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import load_file, save_file

from autorec_cli.data import dataset
from autorec_cli.errors import ArtifactError
from autorec_cli.inference.blending import Blend
from autorec_cli.inference.files import model_file, model_info
from autorec_cli.inference.ranking.settings import RecommendSettings
from autorec_cli.inference.recommender import recommend
from autorec_cli.storage import checksums
from autorec_cli.storage.file_formats import DATASET, MODEL
from autorec_cli.storage.file_kinds import DOCUMENT
from tests import hostile
from tests.program import call
from tests.trained import described


def test_a_sample_of_hostile_files(tmp_path):
    ended, wrong = hostile.attack(100, 7, tmp_path, train_every=50)
    assert wrong == []
    assert {how.split()[1] for how in ended} == {"accepted", "refused"}


def refused(*arguments):
    result = call(*arguments)
    assert (result.status, result.stdout) == (4, "")
    assert len(result.stderr.splitlines()) == 1
    assert "bug" not in result.stderr
    return result.stderr


def rewritten(source, path, change=lambda document, tensors: None, text=str):
    """A copy of a model, changed, with right checksums."""
    with model_file.safe_open(source, framework="numpy") as file:
        document = json.loads(file.metadata()[MODEL.name])
    tensors = load_file(source)
    change(document, tensors)
    document["checksums"] = {name: checksums.of_array(array) for name, array in tensors.items()}
    del document["checksum"]
    save_file(tensors, path, metadata={MODEL.name: text(MODEL.seal(document))})


def fill(name, value):
    def change(document, tensors):
        tensors[name] = np.full_like(tensors[name], value)

    return change


def repeat_an_id(document, tensors):
    tensors["user_ids.bytes"] = np.resize(tensors["user_ids.bytes"][:3], tensors["user_ids.bytes"].shape)


MODELS = {
    "NaN weights": (fill("decoder.weight", np.nan), "decoder.weight holds values that are no finite numbers"),
    "infinite biases": (fill("decoder.bias", np.inf), "decoder.bias holds"),
    "weights beyond float32": (fill("baseline.user_bias", 1e300), "baseline.user_bias holds"),
    "a wrong shape": (lambda _, t: t.update(codes=t["codes"][:-1].copy()), "codes has the shape"),
    "a wrong type": (lambda _, t: t.update(codes=t["codes"].astype("f8")), "codes is float64"),
    "no codes": (lambda _, t: t.pop("codes"), "its tensors are"),
    "items out of range": (fill("seen.indices", 2**31 - 1), "a column of seen is not from 0 to 49"),
    "items twice": (fill("seen.indices", 0), "the columns of a row of seen are not in order"),
    "rows that overlap": (fill("seen.indptr", 0), "the rows of seen do not follow each other"),
    "negative counts": (fill("user_counts", -1), "user_counts holds negative numbers"),
    "an id twice": (repeat_an_id, "an id is there twice"),
    "ids out of order": (fill("user_ids.ends", 5), "user_ids.ends do not end with its bytes"),
    "a scale that is none": (lambda d, _: d.update(rating_scale=[float("nan"), 5]), "rating_scale is no range"),
    "a text for a number": (lambda d, _: d.update(output_unit="x"), "output_unit is no number"),
    "an unknown activation": (lambda d, _: d["settings"].update(hidden_activation="x"), "--hidden-activation"),
    "no list of columns": (lambda d, _: d.update(item_columns="x"), "item_columns are no columns"),
    "a column of another type": (lambda d, _: d["item_columns"][0].update(type="pickle"), "no name or type"),
    "a column called like the id": (lambda d, _: d["item_columns"][0].update(name="item_id"), "no name or type"),
    "two columns of one name": (lambda d, _: d["item_columns"][0].update(name="year"), "have one name"),
    "a column missing": (lambda d, _: d["item_columns"].append({"name": "x", "type": "text"}), "its tensors"),
    "a column too short": (lambda _, t: t.update({"items.1.known": t["items.1.known"][1:].copy()}), "has the shape"),
    "texts out of order": (fill("items.0.ends", 7), "items.0.ends do not end with its bytes"),
    "texts that are none": (fill("items.0.bytes", 255), "can't decode"),
    "a deficit below 0": (lambda d, _: d["provenance"].update(promotion={"rmse": -1}), "a deficit is no number from 0"),
    "a path with NUL": (lambda d, _: d["provenance"].update(dataset="/\0"), "provenance.dataset is no text"),
}


@pytest.mark.parametrize("case", MODELS)
def test_a_model_that_means_nothing_is_refused(item_model, tmp_path, case):
    change, message = MODELS[case]
    rewritten(item_model, tmp_path / "m", change)
    assert message in refused("recommend", tmp_path / "m")
    assert message in refused("info", tmp_path / "m", "--check") or case in ("a text for a number",)


def test_a_model_rewritten_as_it_was_is_a_model(item_model, tmp_path):
    rewritten(item_model, tmp_path / "m")
    assert call("info", tmp_path / "m", "--check").status == 0


def test_a_document_that_is_nested_too_deeply_is_refused(item_model, tmp_path):
    deep = "[" * 100_000 + "]" * 100_000
    rewritten(item_model, tmp_path / "m", text=lambda text: f'{text[:-1]}, "more": {deep}}}')
    for command in ("recommend", "info"):
        assert "nested too deeply" in refused(command, tmp_path / "m")


def test_half_a_surrogate_pair_in_a_document_is_shown(made):
    _, seal = made
    result = call("info", seal(duplicates="\ud800"))
    assert result.status == 0
    assert r"\ud800" in result.stdout


def test_a_named_pipe_is_no_model(tmp_path):
    os.mkfifo(tmp_path / "m")
    for command in ("recommend", "info", "evaluate"):
        refused(command, tmp_path / "m")


@pytest.fixture
def made(tmp_path):
    """A dataset to change, and the function that makes its checksums right."""
    dataset.save_dataset(hostile.planted_dataset(n_users=12, n_items=9, titles=True), tmp_path / "d")

    def seal(**changes):
        document = json.loads((tmp_path / "d" / DOCUMENT).read_text()) | changes
        document["checksums"] = {
            name: checksums.of_file(tmp_path / "d" / name) if (tmp_path / "d" / name).is_file() else 0
            for name in document["checksums"]
        }
        document = {key: value for key, value in document.items() if key not in ("format", "version", "checksum")}
        (tmp_path / "d" / DOCUMENT).write_text(DATASET.seal(document))
        return tmp_path / "d"

    return tmp_path / "d", seal


def change_arrays(folder, **changes):
    with np.load(folder / "train.npz") as archive:
        arrays = dict(archive)
    np.savez(folder / "train.npz", **{name: changes.get(name, lambda array: array)(arrays[name]) for name in arrays})


ARRAYS = {
    "NaN ratings": ({"data": lambda a: np.full_like(a, np.nan)}, "ratings of train are nan"),
    "huge indices": ({"indices": lambda a: np.full_like(a, 2**31 - 2)}, "a column of train is not from 0 to 8"),
    "a huge shape": ({"shape": lambda a: np.array([2**31 - 2, 9])}, "its arrays are not those"),
    "rows that overlap": ({"indptr": lambda a: a[::-1].copy()}, "index pointer should start with 0"),
    "cells twice": ({"indices": lambda a: np.zeros_like(a)}, "not in order or are there twice"),
    "objects": ({"shape": lambda a: np.array([12, 9], dtype="f8")}, "its arrays are not those"),
}


@pytest.mark.parametrize("case", ARRAYS)
def test_a_matrix_that_means_nothing_is_refused(made, tmp_path, case):
    folder, seal = made
    changes, message = ARRAYS[case]
    change_arrays(folder, **changes)
    for arguments in (("info", seal(), "--check"), ("train", seal(), "-o", tmp_path / "m")):
        assert message in refused(*arguments)


COLUMNS = {
    "dates": lambda t: t.with_columns(year=pl.date(2020, 1, 1)),
    "lists": lambda t: t.with_columns(genre=pl.concat_list("genre")),
    "a title that is a number": lambda t: t.with_columns(title=pl.lit(1)),
    "the name of the id": lambda t: t.with_columns(item_id=pl.lit("x")),
    "no name": lambda t: t.rename({"genre": ""}),
}


@pytest.mark.parametrize("case", COLUMNS)
def test_columns_of_items_that_no_file_of_items_makes_are_refused(made, case):
    folder, seal = made
    COLUMNS[case](pl.read_parquet(folder / "items.parquet")).write_parquet(folder / "items.parquet")
    assert "items has the columns" in refused("info", seal(), "--check")


TABLES = {
    "an id twice": (lambda t: t.with_columns(pl.col("id").first()), "is missing or there twice"),
    "a missing id": (lambda t: t.with_columns(pl.col("id").shift(1)), "is missing or there twice"),
    "too few rows": (lambda t: t.head(3), "has 3 rows instead of 12"),
    "numbers for ids": (lambda t: t.with_columns(pl.col("id").hash().alias("id")), "users has the columns"),
}


@pytest.mark.parametrize("case", TABLES)
def test_a_table_that_means_nothing_is_refused(made, case):
    folder, seal = made
    change, message = TABLES[case]
    change(pl.read_parquet(folder / "users.parquet")).write_parquet(folder / "users.parquet")
    assert message in refused("info", seal(), "--check")


@pytest.mark.parametrize("scale", [[float("nan"), 5], [5, 1], [1, float("inf")], [3, 4]])
def test_a_scale_that_is_none_is_refused(made, tmp_path, scale):
    refused("train", made[1](rating_scale=scale), "-o", tmp_path / "m")


def test_a_named_pipe_is_no_part_of_a_dataset(made, tmp_path):
    folder, seal = made
    (folder / "train.npz").unlink()
    os.mkfifo(folder / "train.npz")
    for arguments in (("info", seal()), ("train", seal(), "-o", tmp_path / "m")):
        assert "train.npz is missing or is no regular file" in refused(*arguments)


def test_only_a_full_check_finds_a_wrong_fingerprint_and_cells_in_two_sets(made):
    folder, seal = made
    assert call("info", seal(), "--check").status == 0
    assert call("info", seal(fingerprint="0")).status == 0
    assert "fingerprint" in refused("info", seal(fingerprint="0"), "--check")
    (folder / "test.npz").write_bytes((folder / "valid.npz").read_bytes())
    assert "in two sets" in refused("info", seal(), "--check")


def test_scores_that_overflow_are_an_error_and_not_an_empty_list(item_model):
    model = model_file.load_model(item_model)
    with np.errstate(all="ignore"):
        for weights in (np.full_like(model.decoder_weight, 3e38), model.decoder_weight * np.float32("nan")):
            broken = dataclasses.replace(model, decoder_weight=weights, codes=np.full_like(model.codes, 3e38))
            with pytest.raises(ArtifactError, match="scores are not finite numbers"):
                recommend(broken, RecommendSettings(k=3))


def test_info_tells_the_same_as_the_whole_model(item_model, lists_model, user_model, tmp_path):
    for path in (item_model, user_model, lists_model):
        assert model_info.describe(path) == described(model_file.load_model(path))
    models = model_file.load_model(item_model), model_file.load_model(user_model)
    blend = Blend(models, (0.25, 0.75), models[0].provenance)
    model_file.save_model(blend, tmp_path / "blend")
    assert model_info.describe(tmp_path / "blend") == described(model_file.load_model(tmp_path / "blend"))


def test_info_reads_no_large_tensor(item_model, tmp_path):
    whole = bytearray(item_model.read_bytes())
    header = json.loads(whole[8 : 8 + int.from_bytes(whole[:8], "little")])
    position = 8 + int.from_bytes(whole[:8], "little") + header["codes"]["data_offsets"][0]
    whole[position] ^= 1
    (tmp_path / "m").write_bytes(whole)
    assert call("info", tmp_path / "m").status == 0
    refused("info", tmp_path / "m", "--check")


def test_ratings_that_cannot_be_computed_with_are_refused(tmp_path):
    rows = [f"u{user},i{item},{rating}" for user in range(9) for item, rating in ((user % 4, "3e38"), (5, "-3e38"))]
    (tmp_path / "r.csv").write_text("\n".join(["user,item,rating", *rows]))
    result = call("prepare", tmp_path / "r.csv", "-o", tmp_path / "d", "-q")
    assert result.status == 3
    assert "ratings range from -3e+38 to 3e+38, too far to compute with" in result.stderr
    assert len(result.stderr.splitlines()) == 1
