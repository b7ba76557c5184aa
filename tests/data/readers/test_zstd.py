"""Zstd is unpacked whole or refused, however it arrives."""

import polars as pl
import pytest

from autorec_cli.data.builder.read_ratings import read_ratings
from autorec_cli.data.readers.options import ReadOptions
from autorec_cli.data.readers.sources import open_source, zstd
from autorec_cli.errors import InputDataError
from tests.fuzz import PLAIN
from tests.program import run


def unpacked(path):
    with open_source(str(path)) as source:
        return b"".join(source.chunks)


@pytest.mark.parametrize("n_bytes", [1, 5, 128 << 10, 1 << 20, 3_000_001])
def test_zstd_of_several_frames_is_unpacked(tmp_path, n_bytes):
    data = bytes(n % 251 for n in range(5000)) + b"x" * n_bytes
    frames = zstd.compress(data[:9]) + zstd.compress(b"") + zstd.compress(data[9:], 19)
    (tmp_path / "r.zst").write_bytes(frames)
    assert unpacked(tmp_path / "r.zst") == data


@pytest.mark.parametrize("damage", [lambda whole: whole[:-1], lambda whole: whole[:7], lambda whole: whole + b"more",
                                    lambda whole: whole[:5] + b"\xff" * 20])  # fmt: skip
def test_damaged_zstd_is_refused(tmp_path, damage):
    (tmp_path / "r.zst").write_bytes(damage(zstd.compress(PLAIN)))
    with pytest.raises(InputDataError, match=r"r\.zst is a damaged zstd file"):
        read_ratings([str(tmp_path / "r.zst")], ReadOptions())


def test_zstd_comes_through_a_pipe_in_any_encoding(tmp_path):
    text = "user,item,rating\n" + "".join(f"é{n % 9},i{n % 7},{1 + n % 5}\n" for n in range(99))
    arguments = ("prepare", "-", "-o", "d", "--encoding", "latin-1")
    result = run(*arguments, stdin=zstd.compress(text.encode("latin-1")), cwd=tmp_path, env={"TMPDIR": "/nowhere"})
    assert result.status == 0, result.stderr
    assert pl.read_parquet(tmp_path / "d" / "users.parquet")["id"][0] == "é0"
