import json

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from autorec_cli.errors import ArtifactError, UsageError
from autorec_cli.inference import model_file
from autorec_cli.inference.model import SeenItems
from autorec_cli.inference.model_file import load, save
from autorec_cli.inference.scoring import item_scorer, known_users
from autorec_cli.storage import safetensors_writer
from tests.planted import planted_dataset
from tests.trained import model_of, small_settings


@pytest.fixture(scope="module")
def model():
    return model_of(planted_dataset(titles=True), small_settings(hidden_sizes=(8, 4), epochs=2))


def test_a_model_survives_the_file(model, tmp_path):
    save(model, tmp_path / "m")
    loaded = load(tmp_path / "m")
    users = np.arange(10)
    np.testing.assert_array_equal(
        item_scorer(loaded)(known_users(loaded, users)), item_scorer(model)(known_users(model, users))
    )
    assert loaded.settings == model.settings
    assert loaded.provenance == model.provenance
    assert list(loaded.titles) == list(model.titles)
    np.testing.assert_array_equal(loaded.seen.of(np.array([3, 0, 3])), model.seen.of(np.array([3, 0, 3])))


def test_what_several_users_have_seen_comes_with_their_positions():
    seen = SeenItems(np.array([0, 2, 2, 5]), np.array([4, 7, 1, 4, 9], dtype=np.int32))
    rows, items = seen.of(np.array([2, 1, 0, 2]))
    assert list(zip(rows.tolist(), items.tolist(), strict=True)) == [
        (0, 1), (0, 4), (0, 9), (2, 4), (2, 7), (3, 1), (3, 4), (3, 9)
    ]  # fmt: skip
    assert [len(part) for part in seen.of(np.array([], dtype=int))] == [0, 0]


def test_ids_survive_as_they_are(model, tmp_path):
    import dataclasses

    ids = ["007", "", 'naïve, "quoted"\n', "日本"] + [str(n) for n in range(76)]
    save(dataclasses.replace(model, user_ids=ids), tmp_path / "m")
    assert list(load(tmp_path / "m").user_ids) == ids


def test_missing_model(tmp_path):
    with pytest.raises(ArtifactError, match="there is no model"):
        load(tmp_path / "none")


def test_not_a_model(tmp_path):
    (tmp_path / "m").write_bytes(b"not a model at all")
    with pytest.raises(ArtifactError, match="not a model file or is damaged"):
        load(tmp_path / "m")


def test_foreign_safetensors_file(tmp_path):
    save_file({"x": np.zeros(3)}, tmp_path / "m")
    with pytest.raises(ArtifactError, match="no autorec model"):
        load(tmp_path / "m")


def test_truncated_model(model, tmp_path):
    save(model, tmp_path / "m")
    whole = (tmp_path / "m").read_bytes()
    (tmp_path / "m").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ArtifactError, match="damaged"):
        load(tmp_path / "m")


def test_model_without_a_tensor(model, tmp_path):
    metadata = {model_file.METADATA_KEY: json.dumps({"format_version": 1, "settings": model.settings.to_document()})}
    save_file({"codes": model.codes}, tmp_path / "m", metadata)
    with pytest.raises(ArtifactError, match="damaged"):
        load(tmp_path / "m")


def test_unknown_format_version(model, tmp_path):
    save_file({"x": np.zeros(1)}, tmp_path / "m", {model_file.METADATA_KEY: json.dumps({"format_version": 99})})
    with pytest.raises(ArtifactError, match=r"format version 99.*upgrade"):
        load(tmp_path / "m")


def test_a_model_of_format_version_1_is_read(model, tmp_path):
    """It had the same tensors and no checksums."""
    save(model, tmp_path / "m")
    with safe_open(tmp_path / "m", framework="numpy") as file:
        document = json.loads(file.metadata()[model_file.METADATA_KEY])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    del document["checksum"], document["checksums"]
    document["format_version"] = 1
    save_file(tensors, tmp_path / "old", {model_file.METADATA_KEY: json.dumps(document)})
    old = load(tmp_path / "old")
    np.testing.assert_array_equal(old.codes, model.codes)
    assert old.provenance == model.provenance


def test_a_tensor_that_was_changed_is_damage(model, tmp_path):
    save(model, tmp_path / "m")
    with safe_open(tmp_path / "m", framework="numpy") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    tensors["codes"][0, 0] += 1
    save_file(tensors, tmp_path / "m", metadata)
    with pytest.raises(ArtifactError, match=r"the model .* is damaged; copy it again or train it again"):
        load(tmp_path / "m")


def test_a_failed_save_leaves_the_old_model(model, tmp_path, monkeypatch):
    (tmp_path / "m").write_bytes(b"old")

    def fail(*args):
        raise OSError("disk full")

    monkeypatch.setattr(safetensors_writer, "_write_pieces", fail)
    with pytest.raises(UsageError, match=r"cannot write .*disk full; make room"):
        save(model, tmp_path / "m")
    assert (tmp_path / "m").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_folder_that_does_not_exist(model, tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        save(model, tmp_path / "nowhere" / "m")
