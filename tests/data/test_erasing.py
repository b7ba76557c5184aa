"""A person who asked for it is in no file afterwards."""

import json
import zipfile

import polars as pl
import pytest

from autorec_cli.data import dataset
from tests.program import SMALL, call

PERSON, SECRET = "the-person-42", "seen-by-that-person-only"


@pytest.fixture
def shop(workshop, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = (workshop / "ratings.csv").read_text()
    theirs = f"{PERSON},00001,5,1600000000\n{PERSON},{SECRET},1,1600000001\n{PERSON},00002,3,1600000002\n"
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "ratings.csv").write_text(rows + theirs)
    (tmp_path / "in" / "erased").write_text(f"{PERSON}\nnobody\n")
    (tmp_path / "out").mkdir()
    return tmp_path


def texts_of(file):
    """The bytes of a file, and what is compressed in it."""
    yield file.read_bytes()
    if file.suffix == ".parquet":
        yield pl.read_parquet(file).write_csv().encode()
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            yield from (archive.read(name) for name in archive.namelist())


def made(shop, *options):
    commands = (
        ("prepare", "in/ratings.csv", "-o", "out/data", "--force", "--summary", "out/p.json", *options),
        ("train", "out/data", "-o", "out/m", *SMALL, "--force", "--log", "out/log", "--summary", "out/t.json"),
        ("evaluate", "out/m", "--data", "out/data", "-o", "out/metrics.json", "--format", "json"),
        ("recommend", "out/m", "-k", 50, "-o", "out/top.csv", "--summary", "out/r.json"),
        ("recommend", "out/m", "-k", 50, "-o", "out/top.parquet"),
    )
    said = ""
    for arguments in commands:
        result = call(*arguments)
        assert result.status == 0, result.stderr
        said += result.stdout + result.stderr
    return [said.encode(), *(text for file in (shop / "out").rglob("*") if file.is_file() for text in texts_of(file))]


def test_an_erased_user_is_in_no_file(shop):
    assert any(PERSON.encode() in text for text in made(shop)), "or the test would find nothing"
    for text in made(shop, "--exclude-users", "in/erased"):
        assert PERSON.encode() not in text
        assert SECRET.encode() not in text
    document = json.loads((shop / "out" / "data" / "dataset.json").read_text())
    assert document["counts"]["n_excluded"] == 3
    assert call("recommend", "out/m", "--user", PERSON).status == 3


def test_the_dataset_is_that_of_sources_without_the_user(shop, workshop):
    assert (
        call("prepare", "in/ratings.csv", "-o", "one", "--exclude-users", "in/erased", "--split", "stable").status == 0
    )
    assert call("prepare", workshop / "ratings.csv", "-o", "other", "--split", "stable").status == 0
    one, other = (dataset.load_dataset(shop / name) for name in ("one", "other"))
    assert one.fingerprint() == other.fingerprint()


def test_an_empty_list_excludes_nobody(shop):
    (shop / "in" / "erased").write_text("")
    assert call("prepare", "in/ratings.csv", "-o", "d", "--exclude-users", "in/erased").status == 0
    assert json.loads((shop / "d" / "dataset.json").read_text())["counts"]["n_excluded"] == 0
    assert PERSON in dataset.load_dataset(shop / "d").users["id"].to_list()


def test_excluding_everybody_is_a_sentence(shop, workshop):
    ids = {line.split(",")[0] for line in (shop / "in" / "ratings.csv").read_text().splitlines()[1:]}
    (shop / "in" / "erased").write_text("\n".join(ids))
    result = call("prepare", "in/ratings.csv", "-o", "d", "--exclude-users", "in/erased")
    assert result.status == 3
    assert "no rating is left with --exclude-users" in result.stderr
    assert not (shop / "d").exists()


def test_lines_of_a_table_erase_nobody_and_are_refused(tmp_path):
    (tmp_path / "r.csv").write_text("user,item,rating\n" + "".join(f"u{n % 9},i{n % 7},{n % 5}\n" for n in range(60)))
    (tmp_path / "erased").write_text("u1,2024-01-31\n")
    result = call("prepare", tmp_path / "r.csv", "-o", tmp_path / "d", "--exclude-users", tmp_path / "erased")
    assert result.status == 3
    assert "no user of --exclude-users is in the ratings; whole lines were read as ids" in result.stderr
    assert "u1" not in result.stderr
    (tmp_path / "erased").write_text("u100\n")
    assert call("prepare", tmp_path / "r.csv", "-o", tmp_path / "d", "--exclude-users", tmp_path / "erased").status == 0
