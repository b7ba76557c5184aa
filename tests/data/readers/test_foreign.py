"""Files of other formats are named, and refused with what helps."""

import gzip
import io
import pickle
import sqlite3
import tarfile
import zipfile
from contextlib import closing

import numpy as np
import pytest

from autorec_cli.data.readers.sources import open_source
from autorec_cli.errors import InputDataError
from tests.program import run

CSV = b"user,item,rating\na,x,1\nb,y,2\n"


def zipped(*names):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name in names:
            archive.writestr(name, "<x/>")
    return packed.getvalue()


def tarred():
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        member = tarfile.TarInfo("ratings.csv")
        member.size = len(CSV)
        archive.addfile(member, io.BytesIO(CSV))
    return packed.getvalue()


def numpy_saved(save):
    packed = io.BytesIO()
    save(packed, np.arange(6))
    return packed.getvalue()


FOREIGN = {
    "xlsx": (zipped("[Content_Types].xml", "xl/workbook.xml"), "an Excel workbook", "save the sheet as CSV"),
    "xls": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500), "an Excel workbook", "save the sheet as CSV"),
    "ods": (
        zipped("mimetype") + b"application/vnd.oasis.opendocument.spreadsheet",
        "an OpenDocument spreadsheet",
        "as CSV",
    ),
    "zip": (zipped("ratings.csv"), "a zip file", "unpack it first"),
    "npz": (numpy_saved(np.savez), "a NumPy archive", "write it as CSV or Parquet"),
    "npy": (numpy_saved(np.save), "a NumPy array", "write it as CSV or Parquet"),
    "pickle": (pickle.dumps([1, 2, 3]), "a Python pickle", "write it as CSV or Parquet"),
    "tar": (tarred(), "a tar archive", "unpack it first"),
    "tar.gz": (gzip.compress(tarred()), "a tar archive, compressed with gzip", "unpack it first"),
    "avro": (b"Obj\x01\x04\x14avro.codec", "an Avro file", "write it as CSV or Parquet"),
    "orc": (b"ORC\0\1\0\1", "an ORC file", "write it as CSV or Parquet"),
    "h5": (b"\x89HDF\r\n\x1a\n" + bytes(100), "an HDF5 file", "write it as CSV or Parquet"),
    "html": (b"<!DOCTYPE html>\n<html><body>Sign in</body></html>", "a web page", "download the file itself"),
    "mysqldump": (b"-- MySQL dump 10.13\n--\n-- Host: x\n", "an SQL dump", "use --database"),
    "pg_dump": (b"--\n-- PostgreSQL database dump\n--\n", "an SQL dump", "use --database"),
    "inserts": (b"INSERT INTO ratings VALUES (1,2,3);\n", "an SQL dump", "export the table as CSV"),
    "copy": (b"COPY public.r (u, i, r) FROM stdin;\n1\t2\t3\n", "an SQL dump", "export the table as CSV"),
    "psql": (b" user | item | rating\n------+------+--------\n    1 |    2 |      3\n", "a printed table", "as CSV"),
    "mysql": (b"+------+------+\n| user | item |\n+------+------+\n", "a printed table", "export it as CSV"),
    "Markdown": (b"| user | item | rating |\n|---|:--|---|\n| 1 | 2 | 3 |\n", "a printed table", "export it as CSV"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer", "git lfs pull"),
}


@pytest.mark.parametrize(("content", "name", "advice"), FOREIGN.values(), ids=FOREIGN)
def test_a_foreign_format_is_named_with_what_helps(tmp_path, content, name, advice):
    file = tmp_path / "ratings.csv"
    file.write_bytes(content)
    with pytest.raises(InputDataError) as raised, open_source(str(file)) as source:
        list(source.chunks)
    assert f"ratings.csv is {name}" in str(raised.value)
    assert advice in str(raised.value)


def test_a_database_file_is_sent_to_the_option_that_reads_it(tmp_path):
    with closing(sqlite3.connect(tmp_path / "r.db")) as database, database:
        database.execute("create table ratings (user, item, rating)")
    result = run("prepare", "r.db", "-o", "d", cwd=tmp_path)
    assert (result.status, result.stdout) == (3, "")
    assert "an SQLite database" in result.stderr
    assert "--database" in result.stderr


@pytest.mark.parametrize("word", ["ORC", "RDX", "PARE", "BZh9", "FEA1", "Obj"])
def test_text_that_begins_like_a_foreign_format_is_text(tmp_path, word):
    (tmp_path / "r.csv").write_bytes(CSV.replace(b"user", word.encode()))
    with open_source(str(tmp_path / "r.csv")) as source:
        assert b"".join(source.chunks).startswith(word.encode())


def test_a_compressed_parquet_file_is_named(tmp_path):
    (tmp_path / "r.parquet.gz").write_bytes(gzip.compress(b"PAR1" + bytes(100)))
    with (
        pytest.raises(InputDataError, match=r"holds Parquet.*decompress"),
        open_source(str(tmp_path / "r.parquet.gz")) as source,
    ):
        list(source.chunks)


@pytest.mark.parametrize(
    ("url", "advice"),
    [
        ("https://example.org/ratings.csv?download=1", "download it first"),
        ("s3://bucket/part-*.parquet", "download it first"),
        ("file:///tmp/ratings.csv", "give the path alone"),
        ("postgresql://me:hunter2@db/shop", "--database"),
    ],
)
def test_a_url_is_no_file(tmp_path, url, advice):
    result = run("prepare", url, "-o", "d", "--summary", "run.json", cwd=tmp_path)
    assert (result.status, result.stdout) == (3, "")
    assert advice in result.stderr
    assert "hunter2" not in result.stderr + (tmp_path / "run.json").read_text()
