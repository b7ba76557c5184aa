"""docs/formats.md on models and run.json, field by field: names, types, sizes, meaning in the newest golden files."""

import json
import re
import zlib

import numpy as np
import polars as pl
import pytest
from scipy import sparse

from tests.docs.format_page import (
    OF_SOME,
    THRESHOLDS,
    assert_types,
    dataset_at,
    document_of,
    fields,
    named_in,
    networks,
    rows_in,
    types_in,
)
from tests.golden.facts import EXPECTED, MODELS, newest

FOLDER = newest()
OF_COLUMNS = {"item_columns[].name", "item_columns[].type"}
OF_FILE = {"format", "version", "checksums", "checksum"}
LATER = {"settings.linear_units", "promotion"}
"""Fields that came after the newest golden files."""
RATED = 2.5


def document_and_tensors(name):
    return document_of(FOLDER / "models" / f"{name}.model")


def parts(name):
    """Document and tensors of each network, as if it were a model of its own."""
    document, tensors = document_and_tensors(name)
    if "models" not in document:
        return [(document, tensors)]
    found = []
    for number, model in enumerate(document["models"]):
        own = {each.partition(".")[2]: array for each, array in tensors.items() if each.startswith(f"{number}.")}
        found.append((model, own | {each: tensors[f"0.{each}"] for each in model["shared"]}))
    return found


def dataset_of(name):
    """Document, matrices and tables of a model's dataset."""
    document, matrices, tables = dataset_at(FOLDER / "datasets" / MODELS[name])
    return document, matrices, tables.values()


def fields_on_the_page(name):
    """Fields that the page says of a golden model."""
    described = named_in("Document") - LATER - (set() if name == "columns" else OF_SOME | OF_COLUMNS)
    described |= set() if name == "columns" else {"item_columns"}
    if name not in ("blend", "both"):
        return described - networks()
    once = OF_FILE | OF_SOME | networks() | {"provenance.curves"}
    ranked = set() if name == "both" else {"provenance.networks[].valid_ndcg@10"}
    return named_in("Several networks") - {"models[]"} - OF_SOME - ranked | {
        f"models[].{each}" for each in described - once
    }


@pytest.mark.parametrize("name", MODELS)
def test_fields_have_the_names_and_types_of_the_page(name):
    document, _ = document_and_tensors(name)
    assert fields(document) == fields_on_the_page(name)
    assert_types(document, types_in("Document") | types_in("Several networks"))
    for model in document.get("models", ()):
        assert_types(model, types_in("Document"))


def sizes_of(document, tensors):
    """Numbers that the names in the page's shapes stand for."""
    n_users, n_items = len(tensors["user_counts"]), len(tensors["item_counts"])
    encoded, decoded = (n_items, n_users) if document["settings"]["variant"] == "item" else (n_users, n_items)
    first, *_, last = hidden = [*document["settings"]["hidden_sizes"], document["settings"]["hidden_sizes"][-1]]
    names = ("n_users", "n_items", "n_encoded", "n_decoded", "n_ratings", "k", "k1", "k2", "J")
    n_thresholds = len(document["levels"]["values"]) - 1 if document["levels"] else 0
    n_ratings = int(tensors["seen.indptr"][-1])
    return dict(
        zip(names, (n_users, n_items, encoded, decoded, n_ratings, last, first, hidden[1], n_thresholds), strict=True)
    )


def size_of(text, sizes):
    """Size such as `n_items`, `2 n_decoded` or `n_users + 1`; None for n_bytes, which may be any."""
    factor, name, more = re.fullmatch(r"(?:(\d+) )?(\w+)(?: \+ (\d+))?", text).groups()
    return None if name == "n_bytes" else int(factor or 1) * sizes[name] + int(more or 0)


def tensors_on_the_page(document, sizes):
    """Name -> types and shape of each tensor of a network."""
    described = {}
    for names, (types, shape, _) in rows_in("Tensors"):
        shapes = re.findall(r"\(([^)]*)\)", shape)
        if names == ["encoder.0.weight"] and document["settings"]["implicit"]:
            shapes = shapes[1:]
        types = types.split("; " if ";" in types else ", ")
        for number, name in enumerate(names):
            wanted = tuple(size_of(text.strip(), sizes) for text in shapes[number].split(",") if text.strip())
            described[name] = re.findall(r"float\d+|u?int\d+", types[min(number, len(types) - 1)]), wanted
    columns = {name: described.pop(name) for name in [*described] if name.startswith("items.")}
    for number, column in enumerate(document["item_columns"]):
        like = "items.0" if column["type"] == "text" else "items.1"
        described |= {name.replace(like, f"items.{number}"): columns[name] for name in columns if name.startswith(like)}
    if len(document["settings"]["hidden_sizes"]) == 1:
        del described["encoder.1.weight"]
    else:
        described["encoder.1.bias"] = ["float32"], (sizes["k2"],)
    absent = (set() if document["levels"] else THRESHOLDS) | (
        set() if document["item_columns"] else {"titles.bytes", "titles.ends"}
    )
    return {name: value for name, value in described.items() if name not in absent}


@pytest.mark.parametrize("name", MODELS)
def test_tensors_have_the_names_types_and_sizes_of_the_page(name):
    for document, tensors in parts(name):
        described = tensors_on_the_page(document, sizes_of(document, tensors))
        assert tensors.keys() == described.keys()
        for each, (types, shape) in described.items():
            assert tensors[each].dtype.name in types, each
            assert len(tensors[each].shape) == len(shape), each
            assert all(size in (None, found) for size, found in zip(shape, tensors[each].shape, strict=True)), each


@pytest.mark.parametrize("name", MODELS)
def test_what_a_model_keeps_of_its_dataset_is_what_the_page_says(name, code):
    told, matrices, (users, items) = dataset_of(name)
    for document, tensors in parts(name):
        provenance = document["provenance"]
        assert (provenance["fingerprint"], provenance["split"]) == (told["fingerprint"], told["split"])
        assert document["rating_scale"] == told["rating_scale"]
        fitted = sum(matrices[part] for part in provenance["fitted_parts"])
        assert tensors["user_counts"].tolist() == np.diff(fitted.indptr).tolist()
        assert tensors["item_counts"].tolist() == np.diff(fitted.tocsc().indptr).tolist()
        seen = sparse.csr_array(sum(matrices.values()))
        seen.sort_indices()
        assert tensors["seen.indptr"].tolist() == seen.indptr.tolist()
        assert tensors["seen.indices"].tolist() == seen.indices.tolist()
        assert code["read_texts"](tensors, "user_ids") == users["id"].to_list()
        assert code["read_texts"](tensors, "item_ids") == items["id"].to_list()
        if "titles.bytes" in tensors:
            assert code["read_texts"](tensors, "titles") == items["title"].fill_null("").to_list()
        for number, column in enumerate(document["item_columns"]):
            values = items[column["name"]]
            if column["type"] == "text":
                assert code["read_texts"](tensors, f"items.{number}") == values.fill_null("").to_list()
            else:
                assert tensors[f"items.{number}.known"].tolist() == values.is_not_null().to_list()
                kept = pl.Series(tensors[f"items.{number}.values"]).cast(values.dtype)
                assert kept.filter(values.is_not_null()).to_list() == values.drop_nulls().to_list()


def codes_by_the_page(document, tensors, fitted):
    """Codes of all examples: what the encoder makes of their ratings."""
    settings, is_item = document["settings"], document["settings"]["variant"] == "item"
    cells = fitted.tocoo()
    users, items = cells.coords
    means = document["centering_mean"] + tensors["centering.user_bias"][users] + tensors["centering.item_bias"][items]
    inputs = np.zeros(fitted.shape)
    inputs[users, items] = (cells.data - means) / document["unit"]
    if settings["implicit"]:
        rated = np.zeros(fitted.shape)
        rated[users, items] = RATED
        inputs = np.vstack([inputs, rated]) if is_item else np.hstack([inputs, rated])
    inputs = inputs.T if is_item else inputs
    if settings["normalize"]:
        norms = np.linalg.norm(inputs, axis=1, keepdims=True)
        inputs = inputs * np.divide(document["input_norm"], norms, where=norms > 0, out=np.ones_like(norms))
    for layer in range(len(settings["hidden_sizes"])):
        z = inputs @ tensors[f"encoder.{layer}.weight"] + tensors[f"encoder.{layer}.bias"]
        assert settings["hidden_activation"] == "sigmoid"
        inputs = 1 / (1 + np.exp(-z))
    return inputs


@pytest.mark.parametrize("name", MODELS)
def test_codes_are_those_that_the_encoder_of_the_page_gives(name):
    _, matrices, _ = dataset_of(name)
    for document, tensors in parts(name):
        fitted = sum(matrices[part] for part in document["provenance"]["fitted_parts"])
        codes = codes_by_the_page(document, tensors, sparse.csr_array(fitted))
        np.testing.assert_allclose(codes, tensors["codes"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_the_page_computes_what_is_expected_of_golden_models(name, code):
    expected = json.loads((FOLDER / EXPECTED).read_text(encoding="utf-8"))["models"][name]
    weights = document_and_tensors(name)[0].get("weights", [1])
    found = parts(name)
    users = range(0, len(found[0][1]["user_counts"]), 7)
    scores = [np.array([code["predict_user"](*network, user) for user in users]) for network in found]
    rating = [
        (weight, np.clip(values, *document["rating_scale"]))
        for weight, values, (document, _) in zip(weights, scores, found, strict=True)
        if document["settings"]["objective"] == "rating"
    ]
    if expected["predicted"]:
        predicted = sum(weight * values for weight, values in rating).ravel()
        np.testing.assert_allclose(predicted, expected["predicted"], rtol=0, atol=2e-4)
    user_ids, item_ids = (code["read_texts"](found[0][1], f"{side}_ids") for side in ("user", "item"))
    if name != "blend":  # whose score is that mean
        told = {(user, item): score for user, _, item, score, *_ in expected["recommended"]}
        for user, row in zip(users, scores[-1], strict=True):
            for item in code["recommend"](*found[-1], user, 3):
                assert told[user_ids[user], item_ids[item]] == pytest.approx(row[item], abs=2e-4)


@pytest.mark.parametrize("name", MODELS)
def test_numbers_of_a_document_mean_what_the_page_says(name):
    whole, _ = document_and_tensors(name)
    for document, _ in parts(name):
        settings, provenance = document["settings"], document["provenance"]
        assert 0 < provenance["epochs"] <= settings["epochs"]
        assert (settings["missing_value"] is None) == (settings["objective"] == "rating")
        assert (document["levels"] is not None) == (settings["output_activation"] == "ordinal")
        assert (document["input_norm"] is not None) == settings["normalize"]
        if document["levels"]:
            scale = [level * document["unit"] for level in document["levels"]["values"]]
            assert [scale[0], scale[-1]] == pytest.approx(document["rating_scale"])
    weights = [weight for weight, (document, _) in zip(whole.get("weights", [1]), parts(name), strict=True)
               if document["settings"]["objective"] == "rating"]  # fmt: skip
    assert sum(weights) == pytest.approx(1 if weights else 0)
    for curve in whole["provenance"]["curves"]:
        assert curve.keys() == {"objective", "variant", "phase", "metric", "train", "valid"}
        assert len(curve["valid"]) == (len(curve["train"]) if curve["phase"] == "selection" else 0)
        assert all(isinstance(value, float) for values in (curve["train"], curve["valid"]) for value in values)


@pytest.mark.parametrize("name", MODELS)
def test_checksums_of_models_are_those_of_the_page(name):
    document, tensors = document_and_tensors(name)
    sums = {each: zlib.crc32(repr((a.dtype.str, a.shape)).encode() + a.tobytes()) for each, a in tensors.items()}
    assert document["checksums"] == sums
    checksum = document.pop("checksum")
    assert checksum == zlib.crc32(json.dumps(document, sort_keys=True).encode())


def test_run_json_has_the_fields_and_types_of_the_page():
    document = json.loads((FOLDER / "generation" / "run.json").read_text())
    assert fields(document) == named_in("run.json") - LATER
    assert_types(document, types_in("run.json"))
    recommended = pl.read_csv(FOLDER / "generation" / document["recommendations"]["file"])
    told = document["recommendations"]
    assert (told["n_rows"], told["n_users"]) == (len(recommended), recommended["user_id"].n_unique())
    assert told["k"] == recommended["rank"].max()
    (metrics, *_) = json.loads((FOLDER / "generation" / "metrics.json").read_text())
    assert document["metrics"] == {name: value for name, value in metrics.items() if name != "model"}
    data = json.loads((FOLDER / "generation" / "data" / "dataset.json").read_text())
    assert [document[name] for name in ("n_users", "n_items", "feedback")] == [
        data[name] for name in ("n_users", "n_items", "feedback")
    ]
    assert all(document[name] == data["counts"][name] for name in ("n_ratings", "n_train", "n_valid", "n_test"))
