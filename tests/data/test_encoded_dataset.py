"""Encoded ratings read by a process of several, each with users of its own."""

import os

import numpy as np
import polars as pl
import pytest
from scipy import sparse

import autorec_cli as autorec
from autorec_cli.data.builder import encoded_ratings
from autorec_cli.data.encoded_dataset import EncodedDataset
from autorec_cli.errors import InputDataError
from autorec_cli.runtime.process_group import ProcessGroup
from tests.encoded import ITEMS, RATINGS, USERS, WRONG, changed, encoded, written
from tests.peers import together
from tests.planted import dataset_of, planted_dataset
from tests.program import call


def opened(folder, size):
    """The dataset, or the error, of each of `size` processes."""

    def work(group):
        try:
            return EncodedDataset(folder, group)
        except InputDataError:
            group.leave()
            raise

    return together(size, work)


def whole(folder):
    settings = autorec.PrepareSettings(split=autorec.SplitSettings("stable"))
    return autorec.prepare(autorec.EncodedRatings(folder), settings)


@pytest.mark.parametrize(("size", "n_partitions"), [(1, 3), (2, 1), (4, 6), (4, 2), (5, 40)])
def test_processes_have_the_dataset_that_prepare_makes(tmp_path, size, n_partitions):
    folder = encoded(tmp_path / "encoded", planted_dataset(), n_partitions)
    found, wanted = opened(folder, size), whole(folder)
    order = np.argsort(np.concatenate([part.partition("item").columns for part in found]))
    for name in ("train", "valid"):
        parts = [part.own(name, "item", part.partition("item")) for part in found]
        joined = sparse.vstack(parts, format="csr")[order]
        for array in ("indptr", "indices", "data"):
            np.testing.assert_array_equal(getattr(joined, array), getattr(wanted.split(name), array))
    for part in found:
        assert part.fingerprint == wanted.fingerprint()
        assert part.rating_scale == wanted.rating_scale
        assert part.info == {name: wanted.info[name] for name in ("feedback", "split")}
        assert part.n_ratings == {name: wanted.split(name).nnz for name in ("train", "valid", "test")}
    assert max(part.own("train", "item", part.partition("item")).nnz for part in found) < 1.3 * wanted.train.nnz / size


def test_the_most_active_users_are_shared_out(tmp_path):
    active = {(user, item): float(1 + (user + item) % 5) for user in range(80) for item in range(max(1, 40 - user))}
    folder = encoded(tmp_path / "encoded", dataset_of({"train": active}, (80, 40)), 8)
    found = opened(folder, 4)
    assert {len(part.partition("item").columns) for part in found} == {20}
    assert max(part.own("train", "item", part.partition("item")).nnz for part in found) < 1.3 * len(active) / 4


def test_there_may_be_more_processes_than_users_and_partitions(tmp_path):
    folder = written(tmp_path / "encoded")
    found = opened(folder, 5)
    assert sorted(len(part.partition("item").columns) for part in found) == [0, 0, 1, 1, 1]
    assert {part.fingerprint for part in found} == {whole(folder).fingerprint()}


def test_equal_ratings_are_interactions(tmp_path):
    folder = written(tmp_path / "encoded", RATINGS.with_columns(rating=pl.lit(4, pl.Float32)))
    found, wanted = opened(folder, 2), whole(folder)
    assert found[0].info["feedback"] == wanted.info["feedback"] == "interactions"
    assert {part.fingerprint for part in found} == {wanted.fingerprint()}


@pytest.mark.parametrize("size", [1, 2, 4])
@pytest.mark.parametrize("kind", WRONG)
def test_a_broken_contract_is_named(tmp_path, kind, size):
    tables, said = WRONG[kind]
    errors = [str(error) for error in opened(written(tmp_path / "encoded", **tables), size)]
    # A row out of order may be one that the process which would see it has not read.
    wanted = [said, "is a partition missing"] if kind == "unsorted" else [said]
    assert any(text in error for error in errors for text in wanted), errors


def test_partitions_with_the_same_users_are_refused(tmp_path):
    folder = encoded(tmp_path / "encoded", planted_dataset(), 4)
    rows = pl.concat([pl.read_parquet(folder / "ratings" / f"part-{number}.parquet") for number in (1, 2)])
    for number in (0, 1):
        rows[number::2].write_parquet(folder / "ratings" / f"part-{number + 1}.parquet")
    for size in (1, 2, 4):
        assert any("comes after one with a larger index" in str(error) for error in opened(folder, size))


class Second(ProcessGroup):
    """The second of two processes, whose first one has other files."""

    def broadcast_text(self, text):
        return text.replace("part-1", "part-7")

    def max(self, values):
        return values


def test_other_files_than_those_of_the_first_process_are_refused(tmp_path):
    with pytest.raises(InputDataError, match="give all of them the same directory"):
        EncodedDataset(written(tmp_path / "encoded"), Second(1, 2))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--variant", "user"), "--variant user needs a prepared dataset"),
        (("--variant", "both"), "--variant both needs a prepared dataset"),
        (("--linear-units", "20"), "--linear-units needs a prepared dataset"),
        (("--preset", "best"), "--variant both needs a prepared dataset"),
        (("--warm-start", "old.model"), "--warm-start and --keep-if-better need a prepared dataset"),
        (("--keep-if-better", "rmse"), "--warm-start and --keep-if-better need a prepared dataset"),
    ],
)
def test_what_needs_a_prepared_dataset_says_so(tmp_path, options, said):
    # Nothing is read before: the partitions are missing.
    folder = tmp_path / "encoded"
    (folder / "ratings").mkdir(parents=True)
    result = call("train", folder, "-o", tmp_path / "model", *options)
    assert (result.status, said in result.stderr) == (2, True), result.stderr
    assert f"autorec prepare --encoded {folder}" in result.stderr


@pytest.mark.parametrize("command", ["info", "tune", "cross-validate"])
def test_other_commands_name_the_dataset_to_prepare(tmp_path, command):
    result = call(command, written(tmp_path / "encoded"))
    assert (result.status, "prepare --encoded" in result.stderr) == (4, True), result.stderr


@pytest.mark.parametrize("name", ["users.parquet", "ratings/part-1.parquet"])
def test_train_names_missing_and_damaged_files(tmp_path, name):
    file = written(tmp_path / "encoded") / name
    file.write_bytes(b"PAR1 and no more")
    result = call("train", tmp_path / "encoded", "-o", tmp_path / "model")
    assert (result.status, str(file) in result.stderr) == (3, True), result.stderr
    file.unlink()
    result = call("train", tmp_path / "encoded", "-o", tmp_path / "model")
    assert (result.status, "encoded" in result.stderr) == (3, True), result.stderr
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("name", ["users.parquet", "ratings", "ratings/part-1.parquet"])
@pytest.mark.parametrize("command", [("train",), ("prepare", "--encoded")])
def test_a_pipe_is_no_partition_and_nobody_waits_for_it(tmp_path, name, command):
    file = written(tmp_path / "encoded") / name
    file.rename(tmp_path / "elsewhere")
    os.mkfifo(file)
    result = call(*command, tmp_path / "encoded", "-o", tmp_path / "output")
    assert (result.status, file.name in result.stderr) == (3, True), result.stderr
    assert "not Parquet" in result.stderr or "a pipe or a device" in result.stderr


def test_a_partition_that_is_a_link_to_nowhere_is_named(tmp_path):
    file = written(tmp_path / "encoded") / "ratings" / "part-1.parquet"
    file.unlink()
    file.symlink_to("nowhere")
    result = call("train", tmp_path / "encoded", "-o", tmp_path / "model")
    assert (result.status, f"cannot read {file}: No such file" in result.stderr) == (3, True), result.stderr


def test_rows_that_no_process_reads_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(encoded_ratings, "BATCH_ROWS", 2)
    users, items = changed(USERS, n_ratings=[3, 1, 3]), changed(ITEMS, n_ratings=[3, 2, 2])
    folder = written(tmp_path / "encoded", users=users, items=items)
    # The first user's process needs no more than two batches, and no other process opens this partition.
    rows = {"user": [0, 0, 0, 2, 0], "item": [0, 1, 2, 0, 0], "rating": [4, 3, 2, 5, 1]}
    pl.DataFrame(rows, schema=RATINGS.schema).write_parquet(folder / "ratings" / "part-2.parquet")
    RATINGS[2:3].write_parquet(folder / "ratings" / "part-0.parquet")
    errors = [str(error) for error in opened(folder, 3)]
    assert any("ratings have 9 rows, and 7 by users.parquet" in error for error in errors), errors
