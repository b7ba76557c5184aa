"""Whatever the operating system refuses: one sentence, a status, and the old output as it was."""

import errno
import os
import shutil
import subprocess
import sys
import tempfile

import pytest

from tests.conftest import SMALL
from tests.program import ROOT, call, run

OLD = "the old one"
RESULTS = {
    "recommend": ("recommend", "item.model", "-o"),
    "evaluate": ("evaluate", "item.model", "--format", "json", "-o"),
    "parquet": ("recommend", "item.model", "--format", "parquet", "-o"),
}


@pytest.fixture
def shop(workshop, tmp_path, monkeypatch):
    """A copy of the workshop to write in, which is the current folder."""
    for name in ("item.model", "ratings.csv"):
        shutil.copy(workshop / name, tmp_path)
    shutil.copytree(workshop / "data", tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def snapshot(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_one_sentence(result, message):
    assert (result.status, result.stdout) == (2, ""), result.stderr
    assert "Traceback" not in result.stderr
    assert message in result.stderr.splitlines()[-1]
    assert "make room or" in result.stderr.splitlines()[-1]


def limited(blocks, *arguments):
    """Run the real program in a shell that lets no file grow beyond so many KiB, as a full disk would."""
    script = f'ulimit -f {blocks}; exec "$@"'
    return subprocess.run(
        ["bash", "-c", script, "bash", sys.executable, "-m", "autorec_cli", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def assert_full(finished, name):
    assert (finished.returncode, finished.stdout) == (2, ""), finished.stderr
    assert "Traceback" not in finished.stderr
    last = finished.stderr.splitlines()[-1]
    assert f"cannot write {name}: " in last
    assert "File too large" in last


@pytest.mark.parametrize("command", RESULTS)
def test_a_full_disk_leaves_the_old_results(shop, command):
    (shop / "out").write_text(OLD)
    before = snapshot(shop)
    assert_full(limited(0, *RESULTS[command], "out"), "out")
    assert snapshot(shop) == before


def test_a_full_disk_leaves_the_old_model_and_log(shop):
    (shop / "log").write_text(OLD)
    before = snapshot(shop)
    assert_full(limited(8, "train", "data", "-o", "item.model", *SMALL, "--force"), "item.model")
    assert_full(limited(2, "train", "data", "-o", "item.model", *SMALL, "--force", "--log", "log"), "log")
    assert snapshot(shop) == before


@pytest.mark.parametrize("longest", ["train.npz", "users.parquet"])
def test_a_full_disk_leaves_the_old_dataset(shop, longest):
    """Scipy writes matrices and polars writes tables; long ids make the tables the largest files."""
    if longest == "users.parquet":
        ids = [f"{os.urandom(60).hex()}" for _ in range(100)]
        rows = (f"{user},i{item},{item + 1}\n" for user in ids for item in range(2))
        (shop / "ratings.csv").write_text("user,item,rating\n" + "".join(rows))
    before = snapshot(shop)
    assert_full(limited(8, "prepare", "ratings.csv", "-o", "data", "--force"), "data")
    assert snapshot(shop) == before


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("step", ["lock", "temporary"])
def test_a_folder_that_takes_no_files_is_one_sentence(shop, monkeypatch, number, step):
    """As root runs the tests, permissions alone refuse nothing."""
    real = os.open

    def refuse(path, flags, mode=0o777, **rest):
        if flags & os.O_CREAT and (step == "lock") == str(path).endswith(".lock"):
            raise OSError(number, os.strerror(number), path)
        return real(path, flags, mode, **rest)

    def refuse_folder(path, mode=0o777):
        raise OSError(number, os.strerror(number), path)

    before = snapshot(shop)
    monkeypatch.setattr(tempfile._os, "open", refuse)
    monkeypatch.setattr(tempfile._os, "mkdir", refuse_folder)
    for arguments in (
        *((*RESULTS[name], f"{name}.x") for name in RESULTS),
        ("prepare", "ratings.csv", "-o", "data", "--force"),
        ("train", "data", "-o", "item.model", "--force", "--epochs", 1, "--hidden-size", 2),
    ):
        assert_one_sentence(call(*arguments), f": {os.strerror(number)}; make room or ")
    assert snapshot(shop) == before


def test_a_folder_that_vanishes_while_training_is_one_sentence(shop, monkeypatch):
    from autorec_cli import training

    real = training.fit

    def fit(*arguments):
        shutil.rmtree(shop / "models")
        return real(*arguments)

    (shop / "models").mkdir()
    monkeypatch.setattr(training, "fit", fit)
    result = call("train", "data", "-o", "models/m", "--epochs", 1, "--hidden-size", 2)
    assert result.status == 2
    assert "error: cannot write models/m: the folder models does not exist" in result.stderr.splitlines()[-1]
    assert not (shop / "models").exists()


def test_a_reader_that_is_overtaken_reads_the_new_dataset(shop, monkeypatch):
    """The folder is exchanged between the reading of one of its files and the next."""
    from autorec_cli import dataset

    old = dataset.load(shop / "data")
    call("prepare", "ratings.csv", "-o", "other", "--seed", 1)
    real, loaded = dataset._load_matrix, []

    def load_matrix(file):
        loaded.append(file)
        if len(loaded) == 2:
            dataset.save(dataset.load(shop / "other"), shop / "data")
        return real(file)

    monkeypatch.setattr(dataset, "_load_matrix", load_matrix)
    new = dataset.load(shop / "data")
    assert new.fingerprint() != old.fingerprint()
    assert new.fingerprint() == dataset.load(shop / "other").fingerprint()


# --- status 7


@pytest.fixture
def held(shop):
    """Every output of the shop is locked by this process."""
    from contextlib import ExitStack
    from pathlib import Path

    from autorec_cli.locks import hold

    with ExitStack() as stack:
        for name in ("item.model", "data", "out", "log"):
            stack.enter_context(hold(Path(name), 0, print))
        yield shop


def test_status_7_another_run_writes_the_output(held):
    before = snapshot(held)
    holder = f"is being written by process {os.getpid()}; wait for it with --wait-lock SECONDS"
    for arguments in (
        *((*RESULTS[name], "out") for name in RESULTS),
        ("prepare", "ratings.csv", "-o", "data", "--force"),
        ("train", "data", "-o", "item.model", "--force"),
        ("train", "data", "-o", "new.model", "--log", "log"),
    ):
        result = call(*arguments, "--wait-lock", 0.01)
        assert (result.status, result.stdout) == (7, ""), arguments
        assert holder in result.stderr.splitlines()[-1]
        assert f"waiting for process {os.getpid()}, which is writing " in result.stderr
    result = run("prepare", "ratings.csv", "-o", "data", "--force")
    assert (result.status, result.stdout) == (7, "")
    assert f"error: data {holder}" in result.stderr
    assert snapshot(held) == before


def test_stdout_and_devices_are_not_locked(held):
    for output in ("-", "/dev/null"):
        assert call("recommend", "item.model", "--user", "007", "-o", output).status == 0
