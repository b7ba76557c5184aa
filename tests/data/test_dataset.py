import dataclasses
import hashlib
import shutil

import numpy as np
import polars as pl
import pytest
from scipy import sparse

from autorec_cli.csr import add_splits, row_indices
from autorec_cli.data.dataset import SPLITS, load_dataset, save_dataset
from autorec_cli.data.preparation import PrepareSettings, prepare
from autorec_cli.data.splits.splitting import SplitSettings
from autorec_cli.errors import ArtifactError, UsageError
from autorec_cli.inference.ranking.top_k import rank_items
from autorec_cli.storage import checksums
from tests.planted import dataset_of, matrix_of, planted_dataset
from tests.trained import model_of, small_settings


def cells_of(matrix):
    return dict(zip(zip(row_indices(matrix).tolist(), matrix.indices.tolist(), strict=True), matrix.data, strict=True))


def around_zero():
    """The planted ratings moved from 1..5 to -2..2: about a third of them are 0."""
    planted = planted_dataset()
    for name in SPLITS:
        planted.split(name).data[:] -= 3
    return dataclasses.replace(planted, rating_scale=(-2.0, 2.0))


def test_the_union_of_parts_keeps_ratings_of_zero():
    first = {(0, 0): 0.0, (0, 2): 1.0, (2, 1): -1.0}
    second = {(0, 1): 0.0, (1, 1): 2.0, (2, 0): 0.0}
    union = add_splits(matrix_of(first, (3, 3)), matrix_of(second, (3, 3)))
    assert cells_of(union) == first | second
    assert union.has_sorted_indices
    assert union.shape == (3, 3)
    assert union.dtype == np.float32


def test_the_union_with_an_empty_part_is_the_other_part():
    some, none = matrix_of({(1, 0): 0.0}, (2, 2)), matrix_of({}, (2, 2))
    assert cells_of(add_splits(some, none)) == cells_of(add_splits(none, some)) == {(1, 0): 0.0}


@pytest.mark.parametrize("variant", ["item", "user"])
def test_ratings_of_zero_are_fitted_and_count_as_seen(variant):
    dataset = around_zero()
    zeros = [int((dataset.split(name).data == 0).sum()) for name in SPLITS]
    assert min(zeros) > 10, "the case needs zeros in each part to mean something"
    model = model_of(dataset, small_settings(variant, epochs=2))
    n_fitted = dataset.train.nnz + dataset.valid.nnz
    assert model.catalog.user_counts.sum() == model.catalog.item_counts.sum() == n_fitted
    assert len(model.catalog.seen.indices) == n_fitted + dataset.test.nnz
    rated = [set().union(*(dataset.split(name)[[user]].indices for name in SPLITS)) for user in range(80)]
    assert [set(model.catalog.seen.of(np.array([user]))[1]) for user in range(80)] == rated

    def seen_of(users):
        return np.repeat(np.arange(80), np.diff(model.catalog.seen.indptr)), model.catalog.seen.indices

    scores = model.user_scorer()(np.arange(80))
    (block,) = rank_items(80, lambda users: scores, seen_of, model.catalog.item_counts > 0, 50)
    for user in range(80):
        listed = set(block.items[user][block.items[user] >= 0])
        assert listed == set(range(50)) - rated[user]


def test_a_dataset_survives_the_folder(tmp_path):
    dataset = dataclasses.replace(
        dataset_of({"train": {(0, 0): -1.0, (1, 2): 0.0, (2, 1): 2.5}, "valid": {(0, 1): 0.0}}, (3, 3), titles=True),
        users=pl.DataFrame({"id": ["007", "", 'naïve, "日本"\n']}),
    )
    save_dataset(dataset, tmp_path / "d")
    loaded = load_dataset(tmp_path / "d")
    for name in SPLITS:
        assert cells_of(loaded.split(name)) == cells_of(dataset.split(name))
        assert loaded.split(name).shape == (3, 3)
        assert loaded.split(name).dtype == np.float32
    assert loaded.users.equals(dataset.users)
    assert loaded.items.equals(dataset.items)
    assert loaded.rating_scale == (-1, 2.5)
    assert loaded.info == dataset.info
    assert loaded.fingerprint() == dataset.fingerprint()


BASE = {
    "train": {(0, 0): 1.0, (1, 1): 5.0, (2, 0): 3.0},
    "valid": {(0, 1): 2.0, (1, 0): 4.0},
    "test": {(2, 1): 3.0, (1, 2): 4.0},
}


def with_cells(name, cells):
    return dataclasses.replace(dataset_of(BASE, (3, 3)), **{name: matrix_of(cells, (3, 3))})


def with_ids(table, ids):
    return dataclasses.replace(dataset_of(BASE, (3, 3)), **{table: pl.DataFrame({"id": ids})})


CHANGES = {
    **{f"{name} value": with_cells(name, {**BASE[name], next(iter(BASE[name])): 1.5}) for name in SPLITS},
    **{f"{name} pattern": with_cells(name, {**BASE[name], (2, 2): 0.0}) for name in SPLITS},
    "rating moved": with_cells("valid", {(0, 2): 2.0, (1, 0): 4.0}),
    "rating of another user": with_cells("valid", {(0, 1): 2.0, (2, 0): 4.0}),
    "parts swapped": dataset_of({**BASE, "valid": BASE["test"], "test": BASE["valid"]}, (3, 3)),
    "user id": with_ids("users", ["u0", "u1", "u3"]),
    "item id": with_ids("items", ["i0", "i1", "i3"]),
    "users in another order": with_ids("users", ["u1", "u0", "u2"]),
    "border between ids": with_ids("users", ["u0u", "1", "u2"]),
    "one item more": dataset_of(BASE, (3, 4)),
    "lower end of the scale": dataclasses.replace(dataset_of(BASE, (3, 3)), rating_scale=(0.5, 5.0)),
    "upper end of the scale": dataclasses.replace(dataset_of(BASE, (3, 3)), rating_scale=(1.0, 6.0)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_changes_the_data_changes_the_fingerprint(change):
    assert CHANGES[change].fingerprint() != dataset_of(BASE, (3, 3)).fingerprint()


def test_equal_data_has_an_equal_fingerprint_whatever_its_titles():
    assert dataset_of(BASE, (3, 3), titles=True).fingerprint() == dataset_of(BASE, (3, 3)).fingerprint()


@pytest.fixture
def saved(tmp_path):
    save_dataset(dataset_of(BASE, (3, 3)), tmp_path / "d")
    return tmp_path / "d"


def rewrite(saved, **changes):
    """Change fields of dataset.json, None to remove one, and seal it again."""
    file = saved / "dataset.json"
    document = {**checksums.unseal(file.read_text()), **changes}
    file.write_text(checksums.seal({name: value for name, value in document.items() if value is not None}))


def test_an_edited_document_is_damage(saved):
    file = saved / "dataset.json"
    file.write_text(file.read_text().replace('"strategy": "random"', '"strategy": "Random"'))
    with pytest.raises(ArtifactError, match=r"is damaged \(dataset\.json: its checksum is not that of its contents"):
        load_dataset(saved)


FILES = ("train.npz", "valid.npz", "test.npz", "users.parquet", "items.parquet", "dataset.json")
DAMAGES = ("missing", "empty", "half", "other bytes")


@pytest.mark.parametrize(("name", "damage"), [(name, damage) for name in FILES for damage in DAMAGES])
def test_damaged_files_are_told(saved, name, damage):
    file = saved / name
    contents = {"empty": b"", "half": file.read_bytes()[: file.stat().st_size // 2], "other bytes": b"\xff" * 500}
    file.unlink()
    if damage != "missing":
        file.write_bytes(contents[damage])
    with pytest.raises(ArtifactError, match="autorec prepare"):
        load_dataset(saved)


@pytest.mark.parametrize("name", ["users.parquet", "items.parquet"])
@pytest.mark.parametrize("table", [pl.DataFrame({"name": ["a", "b", "c"]}), pl.DataFrame({"id": [1, 2, 3]})])
def test_tables_without_ids_are_damaged(saved, name, table):
    table.write_parquet(saved / name)
    with pytest.raises(ArtifactError, match="damaged"):
        load_dataset(saved)


@pytest.mark.parametrize("name", ["test.npz", "valid.npz"])
def test_files_of_two_datasets_do_not_belong_together(saved, tmp_path, name):
    other = dataset_of({**BASE, "test": {(2, 2): 5.0}}, (3, 4))
    save_dataset(other, tmp_path / "other")
    shutil.copy(tmp_path / "other" / name, saved / name)
    with pytest.raises(ArtifactError, match=f"damaged.*{name}"):
        load_dataset(saved)


@pytest.mark.parametrize(
    "changes", [{"rating_scale": None}, {"rating_scale": [1]}, {"rating_scale": ["a", "b"]}, {"checksums": None}]
)
def test_a_document_without_what_it_must_hold_is_damaged(saved, changes):
    rewrite(saved, **changes)
    with pytest.raises(ArtifactError, match="damaged"):
        load_dataset(saved)


def test_not_a_dataset(tmp_path):
    with pytest.raises(ArtifactError, match="there is no dataset"):
        load_dataset(tmp_path / "none")
    with pytest.raises(ArtifactError, match=r"no dataset\.json"):
        load_dataset(tmp_path)


def test_matrices_are_written_as_scipy_writes_them(tmp_path):
    dataset = planted_dataset()
    save_dataset(dataset, tmp_path / "data")
    for name in SPLITS:
        sparse.save_npz(tmp_path / "scipy.npz", dataset.split(name), compressed=False)
        assert (tmp_path / "data" / f"{name}.npz").read_bytes() == (tmp_path / "scipy.npz").read_bytes()


def test_the_fingerprint_is_the_hash_that_it_has_always_been():
    """Models hold it: another way to compute it must not change it."""
    dataset = dataset_of({"train": {(0, 0): 1.0, (1, 2): 0.0}, "valid": {}, "test": {(1, 0): 2.0}}, (2, 3))
    users, items = pl.DataFrame({"id": ["é,", "b"]}), pl.DataFrame({"id": ["1", "2", "3:"]})
    dataset = dataclasses.replace(dataset, users=users, items=items)
    digest = hashlib.sha256(b"((2, 3), (0.0, 1.0))")
    for name in SPLITS:
        matrix = dataset.split(name)
        digest.update(matrix.indptr.astype(np.int64).tobytes() + matrix.indices.astype(np.int64).tobytes())
        digest.update(matrix.data.tobytes())
    digest.update("3:é,1:b1:11:22:3:".encode())
    assert dataset.fingerprint() == digest.hexdigest()


def test_only_a_dataset_is_replaced(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("ten years of work")
    for path in (tmp_path / "thesis", str(tmp_path / "thesis" / "chapter.txt")):
        with pytest.raises(UsageError, match="give another name"):
            save_dataset(planted_dataset(), path)
    assert (tmp_path / "thesis" / "chapter.txt").read_text() == "ten years of work"


def test_a_dataset_knows_when_its_ratings_were_given():
    frame = pl.DataFrame({"user": ["a", "a", "b", "b"], "item": ["x", "y", "x", "z"], "rating": [1, 2, 3, 4]})
    dated = frame.with_columns(timestamp=pl.Series([1_600_000_300, 1_600_000_000, 1_600_000_200, 1_600_000_100]))
    settings = PrepareSettings(split=SplitSettings(test=0, valid=0))
    assert prepare(dated, settings).info["time_range"] == [1_600_000_000, 1_600_000_300]
    assert prepare(frame, settings).info["time_range"] is None
