"""One run at a time for each output: an advisory lock beside it, which the kernel drops when its holder dies.

The lock is `flock` on `.NAME.lock` in the output's folder. The file names the holder's process and goes with the lock;
one that a killed run left behind holds nothing and is used again. Whoever holds the lock may clear away what earlier
runs left half-written.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from autorec_cli.errors import LockedError, UsageError
from autorec_cli.storage.files import cannot_write, followed, require_parent, sweep

POLL_SECONDS = 0.1
WITHOUT_LOCKS = (errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOLCK)
"""How a file system says that it has no locks."""

Tell = Callable[[str], None]


@contextmanager
def hold(path: Path, wait: float, tell: Tell, warn: Tell) -> Iterator[None]:
    """Keep other runs from writing `path` while the block runs, and sweep away what dead runs left beside it.

    Args:
        path: The output; a symbolic link is followed, so that two names of one file share a lock.
        wait: Seconds to wait for another run to finish; 0 gives up at once.
        tell: Is told when waiting begins.
        warn: Is told that a file system has no locks.

    Raises:
        LockedError: another run still holds the lock after `wait` seconds.
        UsageError: `wait` is negative, or the folder of `path` is missing or cannot be written.
    """
    if not 0 <= wait < float("inf"):
        raise UsageError(f"--wait-lock must be a number of seconds from 0, not {wait}")
    require_parent(path)
    target = followed(path)
    file = target.with_name(f".{target.name}.lock")
    descriptor = _acquire(file, path, wait, tell, warn)
    try:
        sweep(target)
        yield
    finally:
        with suppress(OSError):
            file.unlink()  # while it is still locked, so that it is ours
        os.close(descriptor)


def _acquire(file: Path, path: Path, wait: float, tell: Tell, warn: Tell) -> int:
    """An open descriptor of `file` that holds its lock."""
    deadline = time.monotonic() + wait
    told = False
    while True:
        descriptor = _open(file, path)
        locked = False
        try:
            locked = _locked_by_us(descriptor, warn)
            if locked:
                if _is_still_named(descriptor, file):
                    _sign(descriptor)
                    return descriptor
            elif time.monotonic() >= deadline:
                holder = _holder(descriptor)
                raise LockedError(f"{path} is being written by {holder}; wait for it with --wait-lock SECONDS")
            else:
                if not told:
                    tell(f"waiting for {_holder(descriptor)}, which is writing {path}")
                    told = True
                time.sleep(min(POLL_SECONDS, max(0.0, deadline - time.monotonic())))
        except BaseException:  # a signal's SystemExit too
            if locked and _is_still_named(descriptor, file):
                file.unlink()
            os.close(descriptor)
            raise
        os.close(descriptor)


def _open(file: Path, path: Path) -> int:
    try:
        return os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise cannot_write(path, error) from error


def _locked_by_us(descriptor: int, warn: Tell) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in WITHOUT_LOCKS:
            raise
        warn("this file system has no locks, so nothing keeps two runs from writing one output")
    return True


def _is_still_named(descriptor: int, file: Path) -> bool:
    """Whether `file` is what we locked: its last holder may have removed it between our opening and locking it."""
    try:
        return os.path.samestat(os.fstat(descriptor), file.stat())
    except FileNotFoundError:
        return False


def _sign(descriptor: int) -> None:
    """Name the holder, as far as a full disk lets us: the lock holds without it."""
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)


def _holder(descriptor: int) -> str:
    text = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()
    return f"process {text}" if text.isdigit() else "another run"
