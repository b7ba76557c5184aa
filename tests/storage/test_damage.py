"""Every byte of a file may turn: the file is refused with a sentence, or means the same as before."""

import dataclasses

import numpy as np
import pytest

from autorec_cli.data import dataset
from autorec_cli.errors import ArtifactError
from autorec_cli.inference.files import model_file
from autorec_cli.storage import checksums
from autorec_cli.storage.file_kinds import FILES
from tests.planted import planted_dataset
from tests.trained import model_of, small_settings

FLIPS = 400
"""Bytes that are turned in each file; the first hundred are always among them."""


def positions(n_bytes):
    rng = np.random.default_rng(0)
    return sorted({*range(min(100, n_bytes)), *rng.integers(0, n_bytes, FLIPS).tolist()})


BITS = (0x01, 0x80, 0xFF, 0x20, 0x55)


def flipped(whole, position):
    """`whole` with one to eight bits of the byte at `position` turned."""
    damaged = bytearray(whole)
    damaged[position] ^= BITS[position % len(BITS)]
    return bytes(damaged)


def assert_equal(one, other):
    """Two models or datasets hold the same, all arrays, ids and settings included."""
    for field in dataclasses.fields(one):
        before, after = getattr(one, field.name), getattr(other, field.name)
        assert type(before) is type(after), field.name
        if dataclasses.is_dataclass(before):
            assert_equal(before, after)
        elif isinstance(before, np.ndarray):
            np.testing.assert_array_equal(before, after)
        elif hasattr(before, "toarray"):
            assert (before != after).nnz == 0
            np.testing.assert_array_equal(before.indices, after.indices)
        elif hasattr(before, "equals"):
            assert before.equals(after), field.name
        elif isinstance(before, tuple) and before and isinstance(before[0], np.ndarray):
            for first, second in zip(before, after, strict=True):
                np.testing.assert_array_equal(first, second)
        else:
            assert before == after, field.name


def test_a_model_is_refused_or_the_same(tmp_path):
    model = model_of(planted_dataset(titles=True), small_settings(hidden_sizes=(4, 3), epochs=1))
    model_file.save_model(model, tmp_path / "m")
    whole = (tmp_path / "m").read_bytes()
    before = model_file.load_model(tmp_path / "m")
    refused = 0
    header = 8 + int.from_bytes(whole[:8], "little")
    for position in {*positions(len(whole)), *range(0, header, 7)}:
        (tmp_path / "m").write_bytes(flipped(whole, position))
        try:
            after = model_file.load_model(tmp_path / "m")
        except ArtifactError:
            refused += 1
        else:
            assert_equal(before, after)
    assert refused > 0.9 * FLIPS


@pytest.mark.parametrize("name", ["dataset.json", *FILES])
def test_a_dataset_is_refused_or_the_same(tmp_path, name):
    planted = planted_dataset(n_users=10, n_items=8, titles=True)
    dataset.save_dataset(planted, tmp_path / "d")
    file = tmp_path / "d" / name
    whole, before = file.read_bytes(), dataset.load_dataset(tmp_path / "d")
    refused, turned = 0, positions(len(whole))[::2]
    for position in turned:
        file.write_bytes(flipped(whole, position))
        try:
            after = dataset.load_dataset(tmp_path / "d")
        except ArtifactError:
            refused += 1
        else:
            assert_equal(before, after)
    assert refused >= (len(turned) if name != "dataset.json" else 0.7 * len(turned))


def test_a_sealed_document_is_itself_and_no_other():
    document = {"b": [1, 2.5, None], "a": "naïve \u2028"}
    for indent in (None, 2):
        text = checksums.seal(document, indent)
        assert checksums.unseal(text) == document
        with pytest.raises(ValueError, match="its checksum is not that of its contents"):
            checksums.unseal(text.replace("2.5", "2.4"))
    for text in ("[1]", "{}", '{"checksum": null}', "1"):
        with pytest.raises(ValueError, match=r"checksum|no JSON object"):
            checksums.unseal(text)


def test_the_checksum_of_a_file_is_that_of_its_bytes(tmp_path):
    data = np.random.default_rng(0).bytes(3 << 20)
    (tmp_path / "f").write_bytes(data)
    assert checksums.of_file(tmp_path / "f") == checksums.of_bytes(data) == checksums.of_bytes(data[:5], data[5:])
