"""Who may read and write an output stays as it was."""

import errno
import os
import shutil
import stat

import pytest

from autorec_cli.storage import permissions
from autorec_cli.storage.files import replace_file, replace_folder
from tests.program import SMALL, call

NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


def mode_of(path):
    return stat.S_IMODE(path.stat().st_mode)


def write_file(path, like=None):
    with replace_file(path, like) as stream:
        stream.write(b"new")


def write_folder(path):
    with replace_folder(path) as folder:
        (folder / "a").write_text("new")


@pytest.fixture
def umask():
    """Set the umask for one test."""
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o664, 0o400, 0o755])
def test_a_file_keeps_its_mode(tmp_path, umask, mode):
    (tmp_path / "f").write_text("old")
    (tmp_path / "f").chmod(mode)
    write_file(tmp_path / "f")
    assert ((tmp_path / "f").read_text(), mode_of(tmp_path / "f")) == ("new", mode)


@pytest.mark.parametrize("mode", [0o700, 0o750, 0o2770, 0o2775, 0o755])
def test_a_directory_and_its_files_keep_their_modes(tmp_path, umask, mode):
    (tmp_path / "d").mkdir()
    (tmp_path / "d").chmod(mode)
    (tmp_path / "d" / "a").touch(0o640)
    (tmp_path / "d" / "a").chmod(0o640)
    write_folder(tmp_path / "d")
    assert (mode_of(tmp_path / "d"), mode_of(tmp_path / "d" / "a")) == (mode, 0o640)


@pytest.mark.parametrize("mask", [0o077, 0o027, 0o002])
def test_what_is_new_follows_the_umask(tmp_path, umask, mask):
    umask(mask)
    write_file(tmp_path / "f")
    write_folder(tmp_path / "d")
    assert [mode_of(tmp_path / name) for name in ("f", "d")] == [0o666 & ~mask, 0o777 & ~mask]


def test_a_new_directory_in_a_setgid_directory_is_setgid(tmp_path, umask):
    tmp_path.chmod(0o2755)
    write_folder(tmp_path / "d")
    assert mode_of(tmp_path / "d") == 0o2755


@as_root
def test_owner_and_group_are_kept(tmp_path):
    (tmp_path / "f").touch()
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a").touch()
    for path in (tmp_path / "f", tmp_path / "d", tmp_path / "d" / "a"):
        os.chown(path, NOBODY, 1234)
    (tmp_path / "d").chmod(0o2750)
    write_file(tmp_path / "f")
    write_folder(tmp_path / "d")
    for path in (tmp_path / "f", tmp_path / "d", tmp_path / "d" / "a"):
        assert (path.stat().st_uid, path.stat().st_gid) == (NOBODY, 1234)
    assert mode_of(tmp_path / "d") == 0o2750


@as_root
@pytest.mark.parametrize(("before", "after"), [(0o664, 0o644), (0o660, 0o600), (0o666, 0o666), (0o604, 0o604)])
def test_a_group_that_may_not_be_kept_leaves_nothing_to_another_group(tmp_path, monkeypatch, before, after):
    def refuse(*arguments):
        raise OSError(errno.EPERM, "Operation not permitted")

    (tmp_path / "f").touch()
    (tmp_path / "f").chmod(before)
    os.chown(tmp_path / "f", NOBODY, 1234)
    monkeypatch.setattr(permissions.os, "fchown", refuse)
    write_file(tmp_path / "f")
    assert mode_of(tmp_path / "f") == after


def test_access_control_lists_are_kept(tmp_path):
    (tmp_path / "f").touch()
    try:  # version 2: owner rw, user 65534 r, group -, mask r, other -
        entries = ((1, 6, -1), (2, 4, NOBODY), (4, 0, -1), (16, 4, -1), (32, 0, -1))
        packed = b"".join(
            tag.to_bytes(2, "little") + perm.to_bytes(2, "little") + (who & 0xFFFFFFFF).to_bytes(4, "little")
            for tag, perm, who in entries
        )
        os.setxattr(tmp_path / "f", "system.posix_acl_access", b"\x02\0\0\0" + packed)
    except (OSError, AttributeError):
        pytest.skip("this file system has no access control lists")
    before = os.getxattr(tmp_path / "f", "system.posix_acl_access")
    write_file(tmp_path / "f")
    assert os.getxattr(tmp_path / "f", "system.posix_acl_access") == before


def test_a_checkpoint_is_as_private_as_its_model(tmp_path, umask):
    (tmp_path / "m").touch()
    (tmp_path / "m").chmod(0o600)
    write_file(tmp_path / "m.resume", like=tmp_path / "m")
    assert mode_of(tmp_path / "m.resume") == 0o600
    (tmp_path / "m").unlink()
    write_file(tmp_path / "m.resume", like=tmp_path / "m")
    assert mode_of(tmp_path / "m.resume") == 0o600, "of the older checkpoint"


def test_every_command_keeps_the_modes_of_its_outputs(tmp_path, workshop, umask, monkeypatch):
    shutil.copy(workshop / "ratings.csv", tmp_path)
    monkeypatch.chdir(tmp_path)
    commands = (
        ("prepare", "ratings.csv", "-o", "data", "--force", "--summary", "summary"),
        ("train", "data", "-o", "m", "--force", *SMALL, "--log", "log"),
        ("recommend", "m", "-o", "top.csv"),
    )
    outputs = [tmp_path / name for name in ("data", "summary", "m", "log", "top.csv")]
    for arguments in commands:
        assert call(*arguments, "-q").status == 0
    assert [mode_of(path) for path in outputs] == [0o755, *[0o644] * 4]
    for path in outputs:
        path.chmod(0o700 if path.is_dir() else 0o600)
    for arguments in commands:
        assert call(*arguments, "-q").status == 0
    assert [mode_of(path) for path in outputs] == [0o700, *[0o600] * 4]
