"""A directory in which other users write too: what they put there is neither followed nor written."""

import fcntl
import os
import subprocess
import sys

import pytest

from autorec_cli.errors import UsageError
from autorec_cli.storage import files, locks
from autorec_cli.storage.files import create_file, open_special, replace_file, replace_folder, sweep
from autorec_cli.storage.locks import hold
from tests.program import ROOT, call

NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


def silent(message):
    raise AssertionError(message)


@pytest.fixture
def precious(tmp_path):
    """A file that no run may touch."""
    file = tmp_path / "precious"
    file.write_text("precious")
    yield file
    assert file.read_text() == "precious"


def plant(kind, place, target):
    match kind:
        case "symbolic link":
            place.symlink_to(target)
        case "dangling link":
            place.symlink_to(target.with_name("nothing"))
        case "hard link":
            os.link(target, place)
        case "named pipe":
            os.mkfifo(place)
        case "directory":
            place.mkdir()


KINDS = ("symbolic link", "dangling link", "hard link", "named pipe", "directory")


@pytest.mark.parametrize("kind", KINDS)
def test_anything_but_a_lock_file_under_its_name_is_refused(tmp_path, lists_model, precious, kind):
    plant(kind, tmp_path / ".x.csv.lock", precious)
    before = sorted(path.name for path in tmp_path.iterdir())
    result = call("recommend", lists_model, "--user", "007", "-q", "-o", tmp_path / "x.csv")
    assert (result.status, result.stdout) == (2, "")
    assert f"error: {tmp_path / '.x.csv.lock'} is a link or a special file" in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@as_root
def test_a_lock_that_another_user_holds_is_status_7_and_not_written(tmp_path, lists_model):
    lock = tmp_path / ".x.csv.lock"
    lock.write_text("123456\n")
    os.chown(lock, NOBODY, NOBODY)
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        result = call("recommend", lists_model, "--user", "007", "-q", "-o", tmp_path / "x.csv")
    assert (result.status, result.stdout) == (7, "")
    assert "process 123456" in result.stderr
    assert lock.read_text() == "123456\n"


@as_root
def test_a_lock_of_another_users_killed_run_is_removed_and_not_written(tmp_path):
    lock = tmp_path / ".f.lock"
    lock.write_text("123456\n")
    os.chown(lock, NOBODY, NOBODY)
    with lock.open() as before, hold(tmp_path / "f", 0, silent, silent):
        assert lock.read_text() == f"{os.getpid()}\n"
        assert lock.stat().st_uid == os.geteuid()
        assert before.read() == "123456\n"
    assert list(tmp_path.iterdir()) == []


def test_a_lock_of_another_user_that_cannot_be_removed_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(locks.os, "geteuid", lambda: NOBODY)

    def refuse(self, missing_ok=False):
        raise PermissionError(1, "Operation not permitted", str(self))

    monkeypatch.setattr(type(tmp_path), "unlink", refuse)
    with (
        pytest.raises(UsageError, match="left from a killed run of another user"),
        hold(tmp_path / "f", 0, silent, silent),
    ):
        raise AssertionError


AS_NOBODY = """
import os, sys
from pathlib import Path
from autorec_cli.errors import AutoRecError
from autorec_cli.storage.files import replace_file
from autorec_cli.storage.locks import hold
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
try:
    with hold(Path(sys.argv[1]), 0, print, print), replace_file(Path(sys.argv[1])) as stream:
        stream.write(b"new")
except AutoRecError as error:
    sys.exit(f"{error.exit_status} {error}")
"""


@as_root
@pytest.mark.parametrize("held", [True, False])
def test_a_user_who_may_only_read_a_lock_learns_whether_it_is_held(tmp_path, held):
    for folder in tmp_path.parents[:3]:
        folder.chmod(folder.stat().st_mode | 0o001)
    tmp_path.chmod(0o777)
    lock = tmp_path / ".f.lock"
    lock.write_text("123456\n")
    lock.chmod(0o644)
    with lock.open() as handle:
        if held:
            fcntl.flock(handle, fcntl.LOCK_EX)
        finished = subprocess.run(
            [sys.executable, "-c", AS_NOBODY, tmp_path / "f"],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
    if held:
        assert finished.stderr.startswith("7 "), finished.stderr
        assert lock.exists()
    else:
        assert (finished.returncode, finished.stderr) == (0, "")
        assert [path.name for path in tmp_path.iterdir()] == ["f"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_others_put_under_a_temporary_name_is_not_opened(tmp_path, monkeypatch, precious, kind):
    monkeypatch.setattr(files.secrets, "token_hex", lambda n_bytes: "abcd1234")
    plant(kind, tmp_path / ".f.abcd1234.tmp", precious)
    with pytest.raises(UsageError, match="cannot write"), replace_file(tmp_path / "f"):
        raise AssertionError
    assert not (tmp_path / "f").exists()


@pytest.mark.parametrize("replace", [replace_file, replace_folder])
def test_a_temporary_that_others_replace_does_not_become_the_output(tmp_path, precious, replace):
    def write():
        with replace(tmp_path / "f"):
            (temporary,) = tmp_path.glob(".f.*")
            temporary.rename(tmp_path / "taken")
            temporary.symlink_to(precious)

    with pytest.raises(UsageError, match="another user has replaced"):
        write()
    assert not (tmp_path / "f").exists()


def test_a_file_in_a_new_directory_is_created_and_never_opened(tmp_path, precious):
    (tmp_path / "train.npz").symlink_to(precious)
    with pytest.raises(FileExistsError):
        create_file(tmp_path / "train.npz")


@as_root
def test_a_link_that_another_user_made_is_no_output(tmp_path, lists_model, precious):
    for link, target in (("x.csv", precious), ("first", "x.csv")):
        (tmp_path / link).symlink_to(target)
    os.chown(tmp_path / "x.csv", NOBODY, NOBODY, follow_symlinks=False)
    for name in ("x.csv", "first"):
        result = call("recommend", lists_model, "--user", "007", "-q", "-o", tmp_path / name)
        assert result.status == 2
        assert "is a symbolic link of another user" in result.stderr
    with pytest.raises(UsageError, match="of another user"), replace_folder(tmp_path / "x.csv"):
        raise AssertionError


@as_root
def test_sweeping_puts_nothing_back_that_another_user_made(tmp_path):
    (tmp_path / ".d.abcd1234.old" / "old").mkdir(parents=True)
    os.chown(tmp_path / ".d.abcd1234.old", NOBODY, NOBODY)
    sweep(tmp_path / "d")
    assert not (tmp_path / "d").exists()


def test_sweeping_removes_links_and_not_what_they_point_at(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "kept").touch()
    (tmp_path / ".d.abcd1234.tmp").symlink_to("folder")
    (tmp_path / ".d.abcd1234.old").symlink_to("folder")
    sweep(tmp_path / "d")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
    assert (tmp_path / "folder" / "kept").exists()


def test_a_device_that_has_become_a_file_is_not_emptied(precious):
    with pytest.raises(OSError, match="has become a regular file"):
        open_special(precious)


def test_a_lock_of_another_run_is_not_removed(tmp_path):
    with hold(tmp_path / "f", 0, silent, silent):
        (tmp_path / ".f.lock").unlink()
        (tmp_path / ".f.lock").write_text("of another run")
    assert (tmp_path / ".f.lock").read_text() == "of another run"
