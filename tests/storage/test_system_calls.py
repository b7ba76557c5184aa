"""Exchanging names and forcing data to disk, by the calls of Linux, of macOS and of neither."""

import ctypes
import errno
import fcntl
import os
from pathlib import Path

import pytest

from autorec_cli.storage import files, system_calls


class Library:
    """C library that has only these functions."""

    def __init__(self, **functions):
        self.__dict__.update(functions)


@pytest.fixture
def library(monkeypatch):
    """Puts another C library in the place of the real one."""

    def put(**functions):
        monkeypatch.setattr(system_calls, "CDLL", lambda *_, **__: Library(**functions))

    return put


@pytest.fixture
def folders(tmp_path):
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "of").write_text(name)
    return tmp_path / "first", tmp_path / "second"


def renamex_np(first, second, flags):
    """macOS' call, by three renames."""
    assert flags == 2, "RENAME_SWAP of <sys/stdio.h>"
    one, two = Path(os.fsdecode(first)), Path(os.fsdecode(second))
    one.rename(one.with_suffix(".aside"))
    two.rename(one)
    one.with_suffix(".aside").rename(two)
    return 0


def test_two_folders_are_exchanged(folders):
    if not system_calls.exchange(*folders):
        pytest.skip("this file system cannot exchange names")
    assert [(folder / "of").read_text() for folder in folders] == ["second", "first"]


def test_macos_exchanges_by_its_own_call(folders, library):
    library(renamex_np=renamex_np)
    assert system_calls.exchange(*folders)
    assert [(folder / "of").read_text() for folder in folders] == ["second", "first"]


def test_a_system_without_either_call_cannot(folders, library):
    library()
    assert not system_calls.exchange(*folders)
    assert [(folder / "of").read_text() for folder in folders] == ["first", "second"]


@pytest.mark.parametrize("number", [errno.ENOTSUP, errno.EACCES])
def test_a_refusal_of_macos_is_an_answer_or_an_error(folders, library, number):
    def refuse(*_):
        ctypes.set_errno(number)
        return -1

    library(renamex_np=refuse)
    if number in system_calls.CANNOT_EXCHANGE:
        assert not system_calls.exchange(*folders)
    else:
        with pytest.raises(PermissionError):
            system_calls.exchange(*folders)


def test_folders_are_replaced_on_a_system_without_either_call(folders, library):
    library()
    with files.replace_folder(folders[0]) as temporary:
        (temporary / "of").write_text("new")
    assert (folders[0] / "of").read_text() == "new"
    assert {path.name for path in folders[0].parent.iterdir()} == {"first", "second"}


def test_macos_flushes_the_cache_of_the_drive(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(fcntl, "F_FULLFSYNC", 51, raising=False)
    monkeypatch.setattr(fcntl, "fcntl", lambda *given: calls.append(given))
    monkeypatch.setattr(os, "fsync", lambda _: pytest.fail("it leaves data in the cache"))
    with files.replace_file(tmp_path / "f") as stream:
        stream.write(b"text")
        descriptor = stream.fileno()
    assert (descriptor, 51) in calls
    assert len(calls) == 2, "the file, and the folder with its name"


def test_a_drive_that_cannot_flush_is_synced(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOTSUP, "not supported")

    synced = []
    monkeypatch.setattr(fcntl, "F_FULLFSYNC", 51, raising=False)
    monkeypatch.setattr(fcntl, "fcntl", refuse)
    monkeypatch.setattr(os, "fsync", synced.append)
    with files.replace_file(tmp_path / "f"):
        pass
    assert len(synced) == 2
