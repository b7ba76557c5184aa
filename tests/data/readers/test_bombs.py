"""Small files that unpack to very much: refused with a sentence, soon, and without filling memory or disk."""

import gzip
import json
import os
import subprocess
import sys

import polars as pl
import pytest

from autorec_cli.data.builder import read_ratings as reading
from autorec_cli.data.builder.read_ratings import read_ratings
from autorec_cli.data.readers import sources
from autorec_cli.data.readers.options import ReadOptions
from autorec_cli.data.readers.text.blocks import cut_blocks
from autorec_cli.data.readers.text.exact_csv import TextFormat
from autorec_cli.errors import InputDataError, NotEnoughMemoryError
from autorec_cli.inference.users import id_file
from autorec_cli.runtime import memory
from tests.fuzz import PLAIN
from tests.program import ROOT, run

MIB = 1 << 20
LONG_ROW = "has a row of more than 16 MiB"
LONG_GAP = "has more than 16 MiB of consecutive blank lines"


def bomb(folder, packer, unit, n_mib=100):
    """A good file, and then `unit` over and over."""
    name = f"bomb.csv.{packer}"
    opened = gzip.GzipFile if packer == "gz" else sources.zstd.ZstdFile
    options = {"compresslevel": 1} if packer == "gz" else {"level": 1}
    with opened(folder / name, "wb", **options) as file:
        file.write(PLAIN)
        for _ in range(n_mib):
            file.write(unit * (MIB // len(unit)))
    return name


@pytest.mark.parametrize(
    ("packer", "unit", "message"),
    [
        *(("gz", unit, LONG_ROW) for unit in (b"0", b"\0", b'"')),
        *(("gz", unit, LONG_GAP) for unit in (b"\n", b" \t\r\n")),
        ("zst", b"0", LONG_ROW),
        ("zst", b"\n", LONG_GAP),
    ],
)
def test_a_bomb_is_refused_before_it_fills_the_memory(tmp_path, packer, unit, message):
    name = bomb(tmp_path, packer, unit)
    result = run("prepare", name, "-o", "d", "--summary", "run.json", cwd=tmp_path, fresh=True)
    assert (result.status, result.stdout) == (3, "")
    assert f"error: {name} {message}" in result.stderr.splitlines()[-1]
    assert json.loads((tmp_path / "run.json").read_text())["peak_memory_bytes"] < 300e6
    assert {path.name for path in tmp_path.iterdir()} == {name, "run.json"}


@pytest.mark.parametrize(
    ("magic", "kind"), [(b"PK\x03\x04", "a zip"), (b"\xfd7zXZ\0", "an xz"), (b"BZh91AY&SY\0", "a bzip2")]
)
def test_what_is_packed_in_another_way_is_not_unpacked_at_all(tmp_path, magic, kind):
    (tmp_path / "r.csv").write_bytes(magic + b"0" * 100)
    result = run("prepare", "r.csv", "-o", "d", cwd=tmp_path)
    assert (result.status, result.stdout) == (3, "")
    assert f"error: r.csv is {kind} file" in result.stderr


def test_a_long_row_is_refused_without_reading_on():
    def endless():
        while True:
            yield b"0" * MIB

    with pytest.raises(InputDataError, match="x has a row of more than 16 MiB"):
        list(cut_blocks(b"", endless(), TextFormat(",", b"\n"), "x"))


@pytest.mark.parametrize("gap", ["\n", "\r\n", "  \n \t\n"])
def test_blank_lines_between_rows_are_many_and_cheap(tmp_path, gap):
    """Lines are counted on through them."""
    rows = "".join(f"u{n % 9},i{n % 7},{1 + n % 5}\n{gap * 30_000}" for n in range(40))
    file = tmp_path / "r.csv"
    file.write_text("user,item,rating\n" + rows)
    read = read_ratings([str(file)], ReadOptions())
    assert (read.n_ratings, read.n_skipped) == (40, 0)
    file.write_text("user,item,rating\n" + rows + "u,i,x\n")
    line = file.read_text().count("\n")
    with pytest.raises(InputDataError, match=f"r.csv, line {line}, column rating: 'x' is not a number"):
        read_ratings([str(file)], ReadOptions())


def test_skipping_ends_where_there_is_hardly_a_good_row(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "MAX_BAD_ROWS", 1000)
    file = tmp_path / "r.csv"
    file.write_text("user,item,rating\nu,i,4\n" + "u,i,x\n" * 100_000)
    with pytest.raises(InputDataError, match=r"bad rows and 1 good ones so far \(.*line 3, column rating: 'x' is not"):
        read_ratings([str(file)], ReadOptions(skip_bad_rows=True))


def test_ratings_that_will_not_fit_are_refused_while_they_are_read(tmp_path, monkeypatch):
    file = tmp_path / "r.csv"
    file.write_bytes(PLAIN)
    monkeypatch.setattr(memory, "available_bytes", lambda: reading.MIN_FREE_MEMORY + 60 * memory.CELL)
    assert read_ratings([str(file)], ReadOptions()).n_ratings == 60
    monkeypatch.setattr(memory, "available_bytes", lambda: reading.MIN_FREE_MEMORY + 60 * memory.CELL - 1)
    with pytest.raises(NotEnoughMemoryError, match="60 ratings only 64 MiB of memory") as error:
        read_ratings([str(file)], ReadOptions())
    assert error.value.exit_status == 6


def test_a_huge_id_in_parquet_is_not_copied_for_every_row(tmp_path):
    frame = pl.DataFrame({"user": ["0" * (20 * MIB)] * 20 + ["a"], "item": ["x", *"y" * 20], "rating": [*range(21)]})
    frame.write_parquet(tmp_path / "r.parquet")
    result = run("prepare", "r.parquet", "-o", "d", "--summary", "run.json", cwd=tmp_path, fresh=True)
    assert result.status == 0, result.stderr
    assert json.loads((tmp_path / "run.json").read_text())["peak_memory_bytes"] < 400e6


# --- items and ids


def test_endless_files_of_items_are_refused(monkeypatch):
    monkeypatch.setattr(sources, "MAX_WHOLE_BYTES", MIB)
    source = sources.OpenSource("items.csv", sources.FileDigest(), chunks=iter([b"x" * (MIB // 2)] * 3))
    with pytest.raises(InputDataError, match=r"items\.csv has more than 1 MiB"):
        sources.read_whole(source)


def test_endless_ids_are_refused(monkeypatch):
    monkeypatch.setattr(id_file, "MAX_IDS_BYTES", 2 * MIB)
    with pytest.raises(InputDataError, match="--users /dev/zero has more than 2 MiB; it is not a list of ids"):
        id_file.read_ids("/dev/zero", "--users")


def test_no_room_for_a_temporary_file_is_one_sentence(tmp_path):
    frame = pl.DataFrame({"user": [f"u{n}" for n in range(9999)], "item": ["x"] * 9999, "rating": [1.0] * 9999})
    frame.write_parquet(tmp_path / "r.parquet")
    script = f'ulimit -f 2; exec "{sys.executable}" -m autorec_cli prepare - -o d < r.parquet'
    (tmp_path / "tmp").mkdir()
    finished = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path / "tmp")},
    )  # fmt: skip
    assert (finished.returncode, finished.stdout) == (2, "")
    assert "error: cannot write a temporary file: File too large" in finished.stderr
    assert "Traceback" not in finished.stderr
    assert list((tmp_path / "tmp").iterdir()) == []
