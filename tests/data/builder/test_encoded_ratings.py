"""Ratings that another program has encoded: the contract of docs/scaling.md, and DuckDB's SQL there."""

import duckdb
import numpy as np
import polars as pl
import pytest

import autorec_cli as autorec
from autorec_cli.data import dataset
from benchmarks.encoded import sql
from tests.encoded import RATINGS, WRONG, written
from tests.program import call


def prepared(folder, *options):
    result = call("prepare", "--encoded", folder / "encoded", "-o", folder / "data", *options)
    return result, dataset.load_dataset(folder / "data") if result.status == 0 else None


def test_matrices_and_ids_are_those_of_the_tables(tmp_path):
    written(tmp_path / "encoded")
    result, data = prepared(tmp_path, "--split", "none")
    assert result.status == 0, result.stderr
    np.testing.assert_array_equal(data.train.toarray(), [[4, 3, 0], [0, 0, 0], [2, 1, 5]])
    assert data.train.nnz == 6  # the 0 is a rating
    assert (data.users["id"].to_list(), data.items["id"].to_list()) == (["b", "007", "a"], ["x", "y", "z"])
    assert data.info["sources"][0]["delimiter"] == "encoded"
    assert sum(source["n_ratings"] for source in data.info["sources"]) == 6
    assert all(len(source["sha256"]) == 64 for source in data.info["sources"])


def test_a_program_prepares_them_too(tmp_path):
    settings = autorec.PrepareSettings(split=autorec.SplitSettings("none"))
    found = autorec.prepare(autorec.EncodedRatings(written(tmp_path / "encoded")), settings)
    assert found.train.nnz == 6
    with pytest.raises(autorec.errors.UsageError, match="--test-file"):
        autorec.prepare(autorec.EncodedRatings(tmp_path / "encoded"), settings, test_files=["a.csv"])


@pytest.mark.parametrize("options", [(), ("--split", "temporal"), ("--split", "stable", "--test", 0.3, "--seed", 4)])
def test_duckdb_encodes_what_prepare_reads(workshop, tmp_path, monkeypatch, options):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "encoded" / "ratings").mkdir(parents=True)
    rows = (workshop / "ratings.csv").read_text().splitlines()
    user, item, *_ = rows[40].split(",")
    # The last of several ratings by time, and not by row, is kept; of equal times the last row.
    again = [f"{user},{item},1,1700000000", f"{user},{item},2,1700000000", f"{user},{item},3,1500000000"]
    (tmp_path / "ratings.csv").write_text("\n".join([*rows, *again, ""]))
    with duckdb.connect() as connection:
        connection.execute(sql())
    result, found = prepared(tmp_path, *options)
    assert result.status == 0, result.stderr
    read = call("prepare", "ratings.csv", "-o", "read", *options)
    assert read.status == 0, read.stderr
    wanted = dataset.load_dataset("read")
    for name in ("train", "valid", "test"):
        for array in ("indptr", "indices", "data"):
            np.testing.assert_array_equal(getattr(found.split(name), array), getattr(wanted.split(name), array))
    assert found.users.equals(wanted.users)
    assert found.items.equals(wanted.items)
    assert found.fingerprint() == wanted.fingerprint()


@pytest.mark.parametrize("kind", WRONG)
def test_a_broken_contract_is_named(tmp_path, kind):
    tables, said = WRONG[kind]
    written(tmp_path / "encoded", **tables)
    result, _ = prepared(tmp_path)
    assert result.status == 3, result.stderr
    assert said in result.stderr
    assert "--duplicates" not in result.stderr
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("name", ["users.parquet", "ratings", "ratings/part-1.parquet"])
def test_missing_and_damaged_files_are_named(tmp_path, name):
    file = written(tmp_path / "encoded") / name
    if file.is_dir():
        file.rename(tmp_path / "elsewhere")
    else:
        file.write_bytes(b"PAR1 and no more")
    result, _ = prepared(tmp_path)
    assert (result.status, str(file) in result.stderr) == (3, True), result.stderr


def test_timestamps_are_in_all_partitions_or_in_none(tmp_path):
    folder = written(tmp_path / "encoded")
    timed = RATINGS[3:4].with_columns(timestamp=pl.Series([1], dtype=pl.Int64))
    timed.write_parquet(folder / "ratings" / "part-1.parquet")
    result, _ = prepared(tmp_path)
    assert (result.status, "timestamp, unlike" in result.stderr) == (3, True), result.stderr


@pytest.mark.parametrize(
    "options",
    [("ratings.csv",), ("--dry-run",), ("--duplicates", "mean"), ("--delimiter", "tab"), ("--since", "2020-01-01"),
     ("--interactions",), ("--test-file", "t.csv"), ("--database", "sqlite:///a", "--query", "b")],
    ids=lambda options: options[0],
)  # fmt: skip
def test_options_for_reading_files_are_refused(tmp_path, options):
    written(tmp_path / "encoded")
    result, _ = prepared(tmp_path, *options)
    assert (result.status, "--encoded" in result.stderr) == (2, True), result.stderr
