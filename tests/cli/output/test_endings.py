"""Endings of names of results: formats and compression."""

import gzip
import sys

import pytest

from autorec_cli.cli.output.formats import choose_format
from autorec_cli.errors import UsageError
from tests.program import call

ONE = ("--user", "007")


@pytest.mark.parametrize("name", ["top.mdb", "o.html", "top.csv.bz2", "top.html.gz"])
def test_an_unknown_ending_is_refused_unless_the_format_is_named(tmp_path, lists_model, name):
    result = call("recommend", lists_model, *ONE, "-q", "-o", tmp_path / name)
    assert (result.status, list(tmp_path.iterdir())) == (2, [])
    assert f"({tmp_path / name}); end the name with .csv" in result.stderr
    assert call("recommend", lists_model, *ONE, "-q", "-o", tmp_path / name, "--format", "csv").status == 0


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "json"])
@pytest.mark.parametrize("suffix", ["gz", "zst"])
def test_results_are_compressed_by_their_ending(tmp_path, lists_model, ending, suffix):
    plain, packed = tmp_path / f"top.{ending}", tmp_path / f"top.{ending}.{suffix}"
    for output in (plain, packed):
        assert call("recommend", lists_model, "-q", "-o", output).status == 0
    if suffix == "gz":
        unpacked = gzip.decompress(packed.read_bytes())
    else:
        zstd = pytest.importorskip("backports.zstd" if sys.version_info < (3, 14) else "compression.zstd")
        unpacked = zstd.decompress(packed.read_bytes())
    assert unpacked == plain.read_bytes()
    before = packed.read_bytes()
    assert call("recommend", lists_model, "-q", "-o", packed).status == 0
    assert packed.read_bytes() == before


def test_parquet_is_not_compressed_twice():
    with pytest.raises(UsageError, match="compressed already"):
        choose_format(None, "top.parquet.gz")
