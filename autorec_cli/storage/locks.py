"""Locks: one run at a time writes an output.

The lock is `flock` on `.NAME.lock` beside the output; the kernel drops it when its holder dies. The file names the
holder's process and is removed with the lock; a lock file of a killed run is reused. The holder may remove temporary
files of earlier runs.

The directory may be shared: links and special files under the lock's name are refused, and a file of another user is
never written.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from autorec_cli.errors import LockedError, UsageError
from autorec_cli.storage.files import cannot_write, require_parent, sweep
from autorec_cli.storage.links import output_target

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.1
WITHOUT_LOCKS = (errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOLCK)
"""Errors of file systems without locks."""

Tell = Callable[[str], None]


@contextmanager
def hold(path: Path, wait: float, tell: Tell = logger.info, warn: Tell = logger.warning) -> Iterator[None]:
    """Hold the lock of `path` while the block runs.

    Temporary files of killed runs are removed first.

    Args:
        path: The output; a symbolic link is followed, so that two names of one file share a lock.
        wait: Seconds to wait for another run; 0 gives up at once.
        tell: Called when waiting begins; by default it is logged.
        warn: Called if the file system has no locks; by default it is logged.

    Raises:
        LockedError: another run still holds the lock after `wait` seconds.
        UsageError: `wait` is negative, or the directory of `path` does not exist or cannot be written.
    """
    if not 0 <= wait < float("inf"):
        raise UsageError(f"--wait-lock must be a number of seconds from 0, not {wait}")
    require_parent(path)
    target = output_target(path)
    # A file of its own: the output is replaced by a rename, which would leave the lock on the old one.
    file = target.with_name(f".{target.name}.lock")
    descriptor = _acquire(file, path, wait, tell, warn)
    try:
        sweep(target)
        yield
    finally:
        with suppress(OSError):
            if _is_still_named(descriptor, file):
                file.unlink()  # before the lock is dropped, so that it cannot be another run's
        os.close(descriptor)


def _acquire(file: Path, path: Path, wait: float, tell: Tell, warn: Tell) -> int:
    """Open `file` and lock it; return the descriptor."""
    # By polling: a blocking flock has no timeout.
    deadline = time.monotonic() + wait
    announced = False
    while True:
        descriptor = _open(file, path)
        locked = False
        try:
            locked = _locked_by_us(descriptor, warn)
            if locked:
                # Otherwise we hold a lock on a deleted file, and a third run could lock the new one.
                if _is_still_named(descriptor, file):
                    if os.fstat(descriptor).st_uid == os.geteuid():
                        _sign(descriptor)
                        return descriptor
                    _remove_foreign(file)
            elif time.monotonic() >= deadline:
                holder = _holder(descriptor)
                raise LockedError(f"{path} is being written by {holder}; wait for it with --wait-lock SECONDS")
            else:
                if not announced:
                    tell(f"waiting for {_holder(descriptor)}, which is writing {path}")
                    announced = True
                time.sleep(min(POLL_SECONDS, max(0.0, deadline - time.monotonic())))
        except BaseException:  # a signal's SystemExit too
            with suppress(OSError):
                if locked and _is_still_named(descriptor, file):
                    file.unlink()
            os.close(descriptor)
            raise
        os.close(descriptor)


# O_NONBLOCK, or opening a named pipe would wait for its other end.
SAFELY = os.O_NOFOLLOW | os.O_NONBLOCK


def _open(file: Path, path: Path) -> int:
    """Open the lock file, which is made if necessary.

    Raises:
        UsageError: it cannot be opened, or is not a regular file with one name.
    """
    try:
        descriptor = _open_any(file)
    except OSError as error:
        if os.path.lexists(file) and not stat.S_ISREG(file.lstat().st_mode):
            raise _no_lock(file) from error
        raise cannot_write(path, error) from error
    status = os.fstat(descriptor)
    # A second name could be any file of ours; without a name it was removed meanwhile.
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        os.close(descriptor)
        raise _no_lock(file)
    return descriptor


def _open_any(file: Path) -> int:
    try:
        return os.open(file, os.O_RDWR | os.O_CREAT | SAFELY, 0o666)
    except PermissionError:
        # Another user's: reading is enough to see whether it is held.
        with suppress(OSError):
            return os.open(file, os.O_RDONLY | SAFELY)
        raise


def _no_lock(file: Path) -> UsageError:
    return UsageError(f"{file} is a link or a special file, not a lock file; see who made it and remove it")


def _remove_foreign(file: Path) -> None:
    """Remove the lock file of another user whose run was killed."""
    try:
        file.unlink()
    except OSError as error:
        raise UsageError(f"{file} is left from a killed run of another user ({error.strerror}); remove it") from error


def _locked_by_us(descriptor: int, warn: Tell) -> bool:
    try:
        # flock and not fcntl's lockf, whose locks vanish when any descriptor of the file is closed.
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in WITHOUT_LOCKS:
            raise
        warn("this file system has no locks: nothing prevents two runs from writing the same output")
    return True


def _is_still_named(descriptor: int, file: Path) -> bool:
    """Check that `file` is the file that was locked.

    Its last holder may have removed it between our open and our lock.
    """
    try:
        return os.path.samestat(os.fstat(descriptor), file.lstat())
    except FileNotFoundError:
        return False


def _sign(descriptor: int) -> None:
    """Write our process id into the lock file."""
    # For the message of waiting runs only, so a full disk is no reason to fail.
    with suppress(OSError):
        # A longer number of an earlier holder would leave digits behind ours.
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)


def _holder(descriptor: int) -> str:
    text = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()
    return f"process {text}" if text.isdigit() else "another run"
