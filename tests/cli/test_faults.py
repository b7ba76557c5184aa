"""Whatever the operating system refuses: one sentence, a status, and the old output as it was."""

import errno
import os
import shutil
import subprocess
import sys
import tempfile

import pytest
import torch

from tests.forking import program
from tests.program import SMALL, call, run

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


def limited(blocks, *arguments):
    """Run the real program in a shell that lets no file grow beyond so many KiB, as a full disk would."""
    script = f'ulimit -f {blocks}; exec "$@"'
    return subprocess.run(
        ["bash", "-c", script, "bash", program(), *map(str, arguments)], capture_output=True, text=True, check=False,
    )  # fmt: skip


def assert_full(finished, name):
    assert (finished.returncode, finished.stdout) == (2, ""), finished.stderr
    assert "Traceback" not in finished.stderr
    last = finished.stderr.splitlines()[-1]
    assert f" {name}: " in last
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
        *((*RESULTS[name], f"{name}_x") for name in RESULTS),
        ("prepare", "ratings.csv", "-o", "data", "--force"),
        ("train", "data", "-o", "item.model", "--force", "--epochs", 1, "--hidden-size", 2),
    ):
        assert_one_sentence(call(*arguments), f": {os.strerror(number)}; make room or ")
    assert snapshot(shop) == before


def test_a_folder_that_vanishes_while_training_is_one_sentence(shop, monkeypatch):
    from autorec_cli.training import networks

    real = networks.fit_networks

    def fit(*arguments, **options):
        shutil.rmtree(shop / "models")
        return real(*arguments, **options)

    (shop / "models").mkdir()
    monkeypatch.setattr(networks, "fit_networks", fit)
    result = call("train", "data", "-o", "models/m", "--epochs", 1, "--hidden-size", 2)
    assert result.status == 2
    assert "error: cannot write models/m: the directory models does not exist" in result.stderr.splitlines()[-1]
    assert not (shop / "models").exists()


@pytest.mark.parametrize("output", ["recommend", "evaluate", "prepare", "log", "summary"])
def test_a_folder_that_vanishes_meanwhile_is_one_sentence(shop, monkeypatch, output):
    from autorec_cli.data import dataset, preparation
    from autorec_cli.inference.files import model_file

    place = shop / "there"
    place.mkdir()

    def vanish_and(real):
        def work(*arguments, **options):
            shutil.rmtree(place, ignore_errors=True)
            return real(*arguments, **options)

        return work

    models = [(model_file, "load_model"), (model_file, "load_users")]
    for module, name in (*models, (dataset, "load_dataset"), (preparation, "prepare")):
        monkeypatch.setattr(module, name, vanish_and(getattr(module, name)))
    result = call(*OUTPUTS[output], "there/x")
    assert result.status == 2
    assert "error: cannot write there/x: " in result.stderr.splitlines()[-1]
    assert not place.exists()


TINY = ("--epochs", 1, "--hidden-size", 2)
OUTPUTS = {
    "recommend": ("recommend", "item.model", "--user", "007", "-o"),
    "evaluate": ("evaluate", "item.model", "-o"),
    "prepare": ("prepare", "ratings.csv", "--force", "-o"),
    "train": ("train", "data", "--force", *TINY, "-o"),
    "log": ("train", "data", "-o", "new.model", *TINY, "--log"),
    "summary": ("recommend", "item.model", "--user", "007", "--summary"),
}
PLACES = {
    "loop": "loop is a symbolic link to itself; name another path",
    "loop/x": "loop/x is a symbolic link to itself; name another path",
    "circle": "circle is a symbolic link to itself; name another path",
    "none/x": "cannot write none/x: the directory none does not exist; create it first",
    "ratings.csv/x": "cannot write ratings.csv/x: the directory ratings.csv does not exist; create it first",
    "astray": "cannot write astray: the directory /nowhere does not exist; create it first",
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("output", OUTPUTS)
def test_a_place_where_nothing_can_be_is_one_sentence(shop, output, place):
    for link, target in (("loop", "loop"), ("circle", "elcric"), ("elcric", "circle"), ("astray", "/nowhere/x")):
        (shop / link).symlink_to(target)
    before = snapshot(shop)
    result = call(*OUTPUTS[output], place)
    assert (result.status, result.stdout) == (2, "")
    assert result.stderr.splitlines()[-1].endswith(f"error: {PLACES[place]}")
    assert snapshot(shop) == before


@pytest.mark.parametrize("output", OUTPUTS)
def test_what_a_symbolic_link_points_at_is_replaced_and_the_link_stays(shop, output):
    (shop / "there").mkdir()
    (shop / "link").symlink_to("there/x")
    for _ in range(2):  # nothing is there at first
        result = call(*OUTPUTS[output], "link")
        assert result.status == 0, result.stderr
        assert (shop / "link").is_symlink()
        assert [path.name for path in (shop / "there").iterdir()] == ["x"]
        (shop / "new.model").unlink(missing_ok=True)


def test_a_folder_that_is_gone_is_one_sentence(shop, monkeypatch):
    (shop / "gone").mkdir()
    monkeypatch.chdir(shop / "gone")
    (shop / "gone").rmdir()
    commands = [("recommend", "../item.model", "-o", "x"), ("prepare", "../ratings.csv", "-o", "x"), ("doctor",)]
    for arguments in commands:
        result = call(*arguments)
        assert (result.status, result.stdout) == (2, "")
        assert "error: the current directory has been removed; change to another one" in result.stderr


def test_a_full_disk_leaves_the_old_summary(shop):
    (shop / "s").write_text(OLD)
    finished = limited(0, "recommend", "item.model", "--user", "007", "--summary", "s")
    assert finished.returncode == 2
    assert "error: cannot write s: File too large" in finished.stderr.splitlines()[-1]
    assert (shop / "s").read_text() == OLD


POWERLESS = """
import ctypes
assert not ctypes.CDLL(None).capset((ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)())
"""


@pytest.mark.skipif(os.geteuid() == 0 and sys.platform != "linux", reason="nothing is forbidden to root")
@pytest.mark.parametrize("output", OUTPUTS)
def test_a_folder_without_permission_keeps_the_old_output(shop, output):
    """Real permissions: root is run without the capabilities that overrule them."""
    (shop / "there").mkdir()
    (shop / "there" / "x").write_text(OLD)
    (shop / "there").chmod(0o555)
    before = snapshot(shop)
    finished = run(*OUTPUTS[output], "there/x", first=POWERLESS if os.geteuid() == 0 else "")
    (shop / "there").chmod(0o755)
    assert finished.status == 2
    last = finished.stderr.splitlines()[-1]
    assert last.endswith("error: cannot write there/x: Permission denied; make room or choose another path")
    assert snapshot(shop) == before


def test_a_reader_that_is_overtaken_reads_the_new_dataset(shop, monkeypatch):
    """The folder is exchanged between the reading of one of its files and the next."""
    from autorec_cli.data import dataset

    old = dataset.load_dataset(shop / "data")
    call("prepare", "ratings.csv", "-o", "other", "--seed", 1)
    real, loaded = dataset.load_matrix, []

    def load_matrix(file):
        loaded.append(file)
        if len(loaded) == 2:
            dataset.save_dataset(dataset.load_dataset(shop / "other"), shop / "data")
        return real(file)

    monkeypatch.setattr(dataset, "load_matrix", load_matrix)
    new = dataset.load_dataset(shop / "data")
    assert new.fingerprint() != old.fingerprint()
    assert new.fingerprint() == dataset.load_dataset(shop / "other").fingerprint()


# --- status 6


def test_status_6_a_gpu_that_runs_out_of_memory_leaves_the_old_model(shop, monkeypatch):
    from autorec_cli.training.loop import trainer

    real = trainer.make_engine

    def make(*arguments, **options):
        def step(*_):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.50 GiB. GPU 0 has 1.00 GiB free.")

        engine = real(*arguments, **options)
        engine.step = step
        return engine

    monkeypatch.setattr(trainer, "make_engine", make)
    before = snapshot(shop)
    result = call("train", "data", "-o", "item.model", *SMALL, "--force")
    assert (result.status, result.stdout) == (6, "")
    assert "Traceback" not in result.stderr
    assert "GPU: 20.50 GiB" in result.stderr.splitlines()[-1]
    assert snapshot(shop) == before


# --- status 7


@pytest.fixture
def held(shop):
    """Every output of the shop is locked by this process."""
    from contextlib import ExitStack
    from pathlib import Path

    from autorec_cli.storage.locks import hold

    with ExitStack() as stack:
        for name in ("item.model", "data", "out", "log"):
            stack.enter_context(hold(Path(name), 0, print, print))
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
