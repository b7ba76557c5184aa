"""One run at a time for each output, whatever becomes of the others."""

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from autorec_cli.errors import LockedError, UsageError
from autorec_cli.storage import locks
from autorec_cli.storage.locks import hold
from tests.program import ROOT, call

HOLDER = """
import sys, time
from pathlib import Path
from autorec_cli.storage.locks import hold
with hold(Path(sys.argv[1]), 0, print, print):
    print("held", flush=True)
    time.sleep(60)
"""


def silent(message):
    raise AssertionError(message)


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock of the output `f`."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, tmp_path / "f"],
        stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True,
    )  # fmt: skip
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_lock_leaves_nothing_behind(tmp_path):
    for _ in range(2):
        with hold(tmp_path / "f", 0, silent, silent):
            assert (tmp_path / ".f.lock").read_text() == f"{os.getpid()}\n"
        assert list(tmp_path.iterdir()) == []


def test_an_output_that_another_process_writes_is_refused_with_its_number(tmp_path, holder):
    with pytest.raises(LockedError, match=f"being written by process {holder.pid}; wait for it with --wait-lock"):  # noqa: SIM117
        with hold(tmp_path / "f", 0, silent, silent):
            raise AssertionError
    with hold(tmp_path / "g", 0, silent, silent):
        pass


def test_two_names_of_one_file_share_a_lock(tmp_path, holder):
    (tmp_path / "link").symlink_to("f")
    with pytest.raises(LockedError), hold(tmp_path / "link", 0, silent, silent):
        raise AssertionError


def test_a_killed_holder_holds_nothing(tmp_path, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (tmp_path / ".f.lock").exists()
    with hold(tmp_path / "f", 0, silent, silent):
        pass
    assert list(tmp_path.iterdir()) == []


def test_waiting_says_so_once_and_ends_with_the_holder(tmp_path, holder):
    told = []
    timer = threading.Timer(0.4, holder.kill)
    timer.start()
    with hold(tmp_path / "f", 30, told.append, silent):
        pass
    timer.join()
    assert told == [f"waiting for process {holder.pid}, which is writing {tmp_path / 'f'}"]


def test_waiting_ends_after_the_time_given(tmp_path, holder):
    start = time.monotonic()
    with pytest.raises(LockedError), hold(tmp_path / "f", 0.3, lambda message: None, lambda message: None):
        raise AssertionError
    assert 0.3 <= time.monotonic() - start < 10


def test_a_lock_file_that_its_holder_removed_meanwhile_is_made_anew(tmp_path, monkeypatch):
    """The other run unlocks between our opening its file and locking it: what we then hold has no name any more."""
    real, opened = os.open, []

    def open_and_remove(file, *arguments):
        descriptor = real(file, *arguments)
        opened.append(descriptor)
        if len(opened) == 1:
            file.unlink()
        return descriptor

    monkeypatch.setattr(os, "open", open_and_remove)
    with hold(tmp_path / "f", 0, silent, silent):
        assert (tmp_path / ".f.lock").exists()
    assert len(opened) == 2


def test_a_signal_as_soon_as_the_lock_is_held_leaves_nothing(tmp_path, monkeypatch):
    def terminate(*arguments):
        raise SystemExit(143)

    monkeypatch.setattr(locks, "_sign", terminate)
    with pytest.raises(SystemExit), hold(tmp_path / "f", 0, silent, silent):
        raise AssertionError
    assert list(tmp_path.iterdir()) == []


def test_many_threads_never_hold_one_lock_together(tmp_path):
    inside, together = [], []

    def run():
        for _ in range(10):
            with hold(tmp_path / "f", 60, lambda message: None, lambda message: None):
                inside.append(1)
                together.append(len(inside))
                time.sleep(0.001)
                inside.pop()

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == [1] * 40


def test_what_a_dead_run_left_is_swept_under_the_lock(tmp_path):
    (tmp_path / ".f.abcd1234.tmp").touch()
    with hold(tmp_path / "f", 0, silent, silent):
        assert [path.name for path in tmp_path.iterdir()] == [".f.lock"]


def test_a_file_system_without_locks_is_told_and_used(tmp_path, monkeypatch):
    def no_locks(descriptor, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    told = []
    with hold(tmp_path / "f", 0, silent, told.append):
        pass
    assert len(told) == 1
    assert "this file system has no locks" in told[0]


@pytest.mark.parametrize("wait", [-1, float("nan"), float("inf")])
def test_a_time_that_is_none_is_refused(tmp_path, wait):
    with pytest.raises(UsageError, match="--wait-lock must be"), hold(tmp_path / "f", wait, silent, silent):
        raise AssertionError


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path, monkeypatch):
    def refuse(*arguments):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(locks.os, "open", refuse)
    with (
        pytest.raises(UsageError, match=r"cannot write .*: Read-only file system"),
        hold(tmp_path / "f", 0, silent, silent),
    ):
        raise AssertionError


def test_a_missing_folder_is_told(tmp_path):
    with pytest.raises(UsageError, match="does not exist"), hold(tmp_path / "no" / "f", 0, silent, silent):
        raise AssertionError


def test_quiet_runs_too_are_warned_of_a_file_system_without_locks(lists_model, tmp_path, monkeypatch):
    def no_locks(descriptor, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    result = call("recommend", lists_model, "--user", "007", "-o", tmp_path / "x", "-q", "--summary", tmp_path / "s")
    assert result.status == 0
    assert "warning: this file system has no locks" in result.stderr
    (warning,) = json.loads((tmp_path / "s").read_text())["warnings"]
    assert warning.startswith("this file system has no locks")
