import dataclasses

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from autorec_cli.errors import ArtifactError, UsageError
from autorec_cli.inference.catalog import SeenItems
from autorec_cli.inference.files import model_file, model_parts
from autorec_cli.inference.files.model_file import load_model, save_model
from autorec_cli.storage import safetensors_writer
from autorec_cli.storage.safetensors_writer import in_one
from tests.planted import planted_dataset
from tests.trained import model_of, small_settings


@pytest.fixture(scope="module")
def model():
    return model_of(planted_dataset(titles=True), small_settings(hidden_sizes=(8, 4), epochs=2))


def test_a_model_survives_the_file(model, tmp_path):
    save_model(model, tmp_path / "m")
    loaded = load_model(tmp_path / "m")
    np.testing.assert_array_equal(loaded.user_scorer()(np.arange(10)), model.user_scorer()(np.arange(10)))
    assert loaded.settings == model.settings
    assert loaded.provenance == model.provenance
    assert loaded.catalog.items.equals(model.catalog.items)
    assert loaded.catalog.items.columns == ["title", "genre", "year", "price", "available"]
    assert loaded.catalog.items.schema == model.catalog.items.schema
    users = np.array([3, 0, 3])
    np.testing.assert_array_equal(loaded.catalog.seen.of(users), model.catalog.seen.of(users))


def test_what_several_users_have_seen_comes_with_their_positions():
    seen = SeenItems(np.array([0, 2, 2, 5]), np.array([4, 7, 1, 4, 9], dtype=np.int32))
    rows, items = seen.of(np.array([2, 1, 0, 2]))
    assert list(zip(rows.tolist(), items.tolist(), strict=True)) == [
        (0, 1), (0, 4), (0, 9), (2, 4), (2, 7), (3, 1), (3, 4), (3, 9)
    ]  # fmt: skip
    assert [len(part) for part in seen.of(np.array([], dtype=int))] == [0, 0]


def test_ids_survive_as_they_are(model, tmp_path):
    ids = ["007", "", 'naïve, "quoted"\n', "日本"] + [str(n) for n in range(76)]
    catalog = dataclasses.replace(model.catalog, user_ids=ids)
    save_model(dataclasses.replace(model, catalog=catalog), tmp_path / "m")
    assert list(load_model(tmp_path / "m").catalog.user_ids) == ids


def test_missing_model(tmp_path):
    with pytest.raises(ArtifactError, match="there is no model"):
        load_model(tmp_path / "none")


def test_not_a_model(tmp_path):
    (tmp_path / "m").write_bytes(b"not a model at all")
    with pytest.raises(ArtifactError, match="not a model file or is damaged"):
        load_model(tmp_path / "m")


def test_foreign_safetensors_file(tmp_path):
    save_file({"x": np.zeros(3)}, tmp_path / "m")
    with pytest.raises(ArtifactError, match="not an autorec model"):
        load_model(tmp_path / "m")


def test_truncated_model(model, tmp_path):
    save_model(model, tmp_path / "m")
    whole = (tmp_path / "m").read_bytes()
    (tmp_path / "m").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ArtifactError, match="damaged"):
        load_model(tmp_path / "m")


def test_model_without_a_tensor(model, tmp_path):
    document, tensors = model_parts.to_parts(model)
    del tensors["codes"]
    model_file.save_parts(document, {name: in_one(array) for name, array in tensors.items()}, tmp_path / "m")
    with pytest.raises(ArtifactError, match="damaged"):
        load_model(tmp_path / "m")


def test_a_tensor_that_was_changed_is_damage(model, tmp_path):
    save_model(model, tmp_path / "m")
    with safe_open(tmp_path / "m", framework="numpy") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    tensors["codes"][0, 0] += 1
    save_file(tensors, tmp_path / "m", metadata)
    with pytest.raises(ArtifactError, match=r"the model .* is damaged; copy it again or train it again"):
        load_model(tmp_path / "m")


def test_a_failed_save_leaves_the_old_model(model, tmp_path, monkeypatch):
    (tmp_path / "m").write_bytes(b"old")

    def fail(*args):
        raise OSError("disk full")

    monkeypatch.setattr(safetensors_writer, "_write_pieces", fail)
    with pytest.raises(UsageError, match=r"cannot write .*disk full; make room"):
        save_model(model, tmp_path / "m")
    assert (tmp_path / "m").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_folder_that_does_not_exist(model, tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        save_model(model, tmp_path / "nowhere" / "m")
