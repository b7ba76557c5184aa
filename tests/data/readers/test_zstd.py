"""Zstd is unpacked whole or refused, however it arrives."""

import shutil
import subprocess

import polars as pl
import pytest

from autorec_cli.data.builder.ratings_table import read_ratings
from autorec_cli.data.readers import zstd
from autorec_cli.data.readers.options import ReadOptions
from autorec_cli.errors import InputDataError
from tests.fuzz import PLAIN
from tests.program import run

ZSTD = shutil.which("zstd")
pytestmark = pytest.mark.skipif(not ZSTD, reason="no zstd to pack with")
needs_libzstd = pytest.mark.skipif(zstd.library() is None, reason="no libzstd")


def packed(data, *options):
    return subprocess.run([ZSTD, "-q", *options], input=data, capture_output=True, check=True).stdout


@needs_libzstd
@pytest.mark.parametrize("step", [1, 7, 1 << 20])
def test_zstd_is_unpacked_whatever_the_pieces(step):
    data = b"".join(f"{n * n}\n".encode() for n in range(60_000)) + bytes(3 * zstd.PIECE_BYTES)
    for whole in (packed(data), packed(data, "-19", "--no-check"), packed(data[:5]) + packed(b"") + packed(data[5:])):
        pieces = [whole[start : start + step] for start in range(0, len(whole), step)]
        unpacked = list(zstd.unpacked(pieces, zstd.library()))
        assert b"".join(unpacked) == data
        assert max(map(len, unpacked)) <= zstd.PIECE_BYTES


@needs_libzstd
@pytest.mark.parametrize("n_bytes", [0, 5, zstd.PIECE_BYTES, 2 * zstd.PIECE_BYTES, 2 * zstd.PIECE_BYTES + 1])
def test_zstd_that_ends_where_a_piece_ends_is_whole(n_bytes):
    whole = packed(b"x" * n_bytes)
    assert b"".join(zstd.unpacked([whole], zstd.library())) == b"x" * n_bytes
    for damaged in (whole[:-1], whole[:7], whole + b"more", whole[:5] + b"\xff" * 20):
        with pytest.raises(zstd.ZstdError):
            list(zstd.unpacked([damaged], zstd.library()))


@needs_libzstd
def test_zstd_comes_through_a_pipe_in_any_encoding(tmp_path):
    text = "user,item,rating\n" + "".join(f"é{n % 9},i{n % 7},{1 + n % 5}\n" for n in range(99))
    arguments = ("prepare", "-", "-o", "d", "--encoding", "latin-1")
    result = run(*arguments, stdin=packed(text.encode("latin-1")), cwd=tmp_path, env={"TMPDIR": "/nowhere"})
    assert result.status == 0, result.stderr
    assert pl.read_parquet(tmp_path / "d" / "users.parquet")["id"][0] == "é0"


def test_without_libzstd_polars_unpacks(tmp_path, monkeypatch):
    monkeypatch.setattr(zstd, "library", lambda: None)
    (tmp_path / "r.zst").write_bytes(packed(PLAIN))
    assert read_ratings([str(tmp_path / "r.zst")], ReadOptions()).n_ratings == 60
    (tmp_path / "r.zst").write_bytes(packed(PLAIN)[:-20])
    with pytest.raises(InputDataError, match="is a damaged zstd file"):
        read_ratings([str(tmp_path / "r.zst")], ReadOptions())
