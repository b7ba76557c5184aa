"""A directory in which other users write too: what they put there is neither followed nor written."""

import fcntl
import os
import socket
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
        case "socket":
            with socket.socket(socket.AF_UNIX) as bound:
                bound.bind(str(place))


KINDS = ("symbolic link", "dangling link", "hard link", "named pipe", "directory", "socket")


@as_root
@pytest.mark.parametrize("kind", ["symbolic link", "socket"])
def test_what_another_user_put_in_the_place_of_a_lock_is_named(tmp_path, precious, kind):
    """Linux refuses to open these in a sticky directory, as if we had no permission."""
    tmp_path.chmod(0o1777)
    plant(kind, tmp_path / ".f.lock", precious)
    os.chown(tmp_path / ".f.lock", NOBODY, NOBODY, follow_symlinks=False)
    with pytest.raises(UsageError, match="is a link or a special file"), hold(tmp_path / "f", 0, silent, silent):
        raise AssertionError


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
    monkeypatch.setattr(files.os, "urandom", lambda n_bytes: bytes.fromhex("abcd1234"))
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
@pytest.mark.parametrize("name", ["link/f", "link/../g", "first/f", "link/new"])
def test_a_link_on_the_way_that_another_user_made_is_not_followed(tmp_path, lists_model, precious, name):
    shared, private = tmp_path / "shared", tmp_path / "private"
    for folder in (shared, private):
        folder.mkdir()
    (private / "f").symlink_to(precious)
    (tmp_path / "g").symlink_to(precious)
    (shared / "link").symlink_to(private)
    (shared / "first").symlink_to("link")
    os.chown(shared / "link", NOBODY, NOBODY, follow_symlinks=False)
    result = call("recommend", lists_model, "--user", "007", "-q", "-o", shared / name)
    assert result.status == 2
    assert f"error: {shared / 'link'} is a symbolic link of another user" in result.stderr
    assert sorted(path.name for path in private.iterdir()) == ["f"]


@as_root
def test_a_link_in_a_directory_of_its_maker_is_followed(tmp_path, lists_model):
    home = tmp_path / "home"
    home.mkdir()
    (home / "link").symlink_to(tmp_path)
    for path in (home, home / "link"):
        os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    assert call("recommend", lists_model, "--user", "007", "-q", "-o", home / "link" / "f").status == 0
    assert (tmp_path / "f").is_file()


@as_root
@pytest.mark.parametrize("of_log", [False, True])
def test_a_named_pipe_of_another_user_is_not_written(tmp_path, lists_model, workshop, of_log):
    """Refused before it is opened, which would wait for the reader."""
    os.mkfifo(tmp_path / "pipe")
    os.chown(tmp_path / "pipe", NOBODY, NOBODY)
    recommend = ("recommend", lists_model, "--user", "007", "-o", tmp_path / "pipe")
    train = ("train", workshop / "data", "-o", tmp_path / "m", "--log", tmp_path / "pipe")
    result = call(*(train if of_log else recommend), "-q")
    assert result.status == 2
    assert f"error: {tmp_path / 'pipe'} is a named pipe of another user" in result.stderr


def test_a_pipe_without_a_name_is_written_whoever_made_it(tmp_path):
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as stream:
        if os.geteuid() == 0:
            os.fchown(writer, NOBODY, NOBODY)
        with open_special(files.Path(f"/dev/fd/{writer}")) as special:
            special.write(b"x")
        os.close(writer)
        assert stream.read() == b"x"


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
    with pytest.raises(OSError, match="has become another file"):
        open_special(precious)


def test_a_lock_of_another_run_is_not_removed(tmp_path):
    with hold(tmp_path / "f", 0, silent, silent):
        (tmp_path / ".f.lock").unlink()
        (tmp_path / ".f.lock").write_text("of another run")
    assert (tmp_path / ".f.lock").read_text() == "of another run"
