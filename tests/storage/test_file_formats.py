"""Whole files of other versions are called what they are, and never damaged."""

import hashlib
import json

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from autorec_cli.data import dataset
from autorec_cli.errors import ArtifactError
from autorec_cli.inference.files import model_file
from autorec_cli.storage import checksums
from autorec_cli.storage.file_formats import DATASET, MODEL
from autorec_cli.storage.file_kinds import artifact_at, is_dataset
from tests.planted import planted_dataset
from tests.program import call
from tests.trained import model_of, small_settings

LATER_SETTINGS = ("objective", "dropout", "missing_weight", "missing_value", "normalize", "implicit", "decoder_mean")


def document_of_version(document, version, without=()):
    """The document of an early model: without the fields, and the settings, that came later."""
    document = {name: value for name, value in document.items() if name not in ("format", "version", *without)}
    settings = {name: value for name, value in document["settings"].items() if name not in without}
    return {**document, "settings": settings, "format_version": version}


def unsealed(document):
    del document["checksums"]
    return json.dumps(document)


EARLY_MODELS = {
    "1: no checksums": (1, (*LATER_SETTINGS, "input_norm", "output_unit"), unsealed),
    "2: checksums": (2, (*LATER_SETTINGS, "input_norm", "output_unit"), checksums.seal),
    # Called damaged by later versions of before the release: it has neither the norm nor its setting.
    "3: objectives": (3, ("normalize", "implicit", "decoder_mean", "input_norm", "output_unit"), checksums.seal),
    "3: normalized inputs": (3, ("implicit", "decoder_mean", "output_unit"), checksums.seal),
    "4: implicit channel": (4, ("decoder_mean", "output_unit"), checksums.seal),  # called damaged too
    "4: scaled outputs": (4, ("decoder_mean",), checksums.seal),
    "4: mean row": (4, (), checksums.seal),
}


@pytest.fixture(scope="module")
def model_parts(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "m"
    model_file.save_model(model_of(planted_dataset(), small_settings(epochs=1)), path)
    with safe_open(path, framework="numpy") as file:
        document = checksums.unseal(file.metadata()[MODEL.name])
        return document, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


@pytest.mark.parametrize("early", EARLY_MODELS)
@pytest.mark.parametrize("command", ["recommend", "info", "evaluate"])
def test_an_early_model_is_of_an_unsupported_version(model_parts, tmp_path, early, command):
    version, without, write = EARLY_MODELS[early]
    document, tensors = model_parts
    text = write(document_of_version(document, version, without))
    save_file(tensors, tmp_path / "old.model", {"autorec": text})
    result = call(command, tmp_path / "old.model")
    assert (result.status, result.stdout) == (4, "")
    assert "older version of autorec; train it again" in result.stderr
    assert "damaged" not in result.stderr
    assert artifact_at(tmp_path / "old.model") == "a model"


def test_an_early_blend_is_of_an_unsupported_version(model_parts, tmp_path):
    document, tensors = model_parts
    blend = {"format_version": 3, "models": [document], "weights": [1.0], "intercept": 0.0}
    save_file({f"0.{name}": array for name, array in tensors.items()}, tmp_path / "b", {"autorec": json.dumps(blend)})
    with pytest.raises(ArtifactError, match="unsupported older version"):
        model_file.load_model(tmp_path / "b")
    assert artifact_at(tmp_path / "b") == "a model"


def first_fingerprint(prepared):
    """As the first version computed it: with a zero byte after every id."""
    digest = hashlib.sha256(repr(prepared.train.shape).encode())
    for name in dataset.SPLITS:
        matrix = prepared.split(name)
        for array in (matrix.indptr.astype(np.int64), matrix.indices.astype(np.int64), matrix.data):
            digest.update(array.tobytes())
    for table in (prepared.users, prepared.items):
        for identifier in table["id"]:
            digest.update(identifier.encode() + b"\0")
    return digest.hexdigest()


EARLY_DATASETS = {
    "1: first fingerprint": lambda document, prepared: json.dumps(
        {**document, "format_version": 1, "fingerprint": first_fingerprint(prepared)}, ensure_ascii=False
    ),  # called damaged by later versions of before the release
    "1": lambda document, prepared: json.dumps({**document, "format_version": 1}),
    "2: checksums": lambda document, prepared: checksums.seal({**document, "format_version": 2}, indent=2),
}


@pytest.mark.parametrize("early", EARLY_DATASETS)
@pytest.mark.parametrize("command", [("info",), ("train", "-o", "m", "--epochs", "1")])
def test_an_early_dataset_is_of_an_unsupported_version(tmp_path, monkeypatch, early, command):
    monkeypatch.chdir(tmp_path)
    prepared = planted_dataset(n_users=10, n_items=8)
    dataset.save_dataset(prepared, tmp_path / "data")
    file = tmp_path / "data" / "dataset.json"
    document = checksums.unseal(file.read_text())
    for name in ("format", "version", *(("checksums",) if early.startswith("1") else ())):
        del document[name]
    file.write_text(EARLY_DATASETS[early](document, prepared))
    name, *options = command
    result = call(name, "data", *options)
    assert (result.status, result.stdout) == (4, "")
    assert "older version of autorec; make it again" in result.stderr
    assert "damaged" not in result.stderr
    assert is_dataset(tmp_path / "data")


@pytest.mark.parametrize("file_format", [MODEL, DATASET], ids=lambda file_format: file_format.name)
def test_a_version_that_is_not_this_one(file_format):
    text = json.dumps({"format": file_format.name, "version": file_format.version + 1})  # sealed in another way, say
    with pytest.raises(ArtifactError, match=r"x was made by a newer autorec .*upgrade"):
        file_format.unseal(text, "x")
    with pytest.raises(ArtifactError, match="x was made by an unsupported older version"):
        file_format.unseal(json.dumps({"format": file_format.name, "version": file_format.version - 1}), "x")
    for text in ("[]", "{}", json.dumps({"format": "other", "version": 1}), json.dumps({"format": file_format.name})):
        with pytest.raises(ValueError, match=r"format|no JSON object"):
            file_format.unseal(text, "x")
    assert file_format.unseal(file_format.seal({"a": 1}), "x") == {**file_format.header(), "a": 1}


def test_a_newer_model_and_a_newer_dataset_are_status_4(model_parts, tmp_path):
    document, tensors = model_parts
    save_file(tensors, tmp_path / "m", {MODEL.name: checksums.seal({**document, "version": MODEL.version + 1})})
    dataset.save_dataset(planted_dataset(n_users=10, n_items=8), tmp_path / "data")
    file = tmp_path / "data" / "dataset.json"
    file.write_text(checksums.seal({**checksums.unseal(file.read_text()), "version": DATASET.version + 1}))
    for path in (tmp_path / "m", tmp_path / "data"):
        result = call("info", path)
        assert (result.status, "newer autorec" in result.stderr) == (4, True)
