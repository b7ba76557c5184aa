"""System calls that Linux and macOS spell differently, or that Python lacks."""

from __future__ import annotations

import errno
import fcntl
import os
from ctypes import CDLL, get_errno
from pathlib import Path

AT_FDCWD = -100  # of Linux: names are relative to the current directory
SWAP = 2
"""RENAME_EXCHANGE of Linux and RENAME_SWAP of macOS."""
CANNOT_EXCHANGE = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EXDEV)


def exchange(first: Path, second: Path) -> bool:
    """Exchange two names atomically.

    Returns:
        False if the system or the file system cannot.
    """
    library = CDLL(None, use_errno=True)
    names = os.fsencode(first), os.fsencode(second)
    if hasattr(library, "renameat2"):  # Linux
        failed = library.renameat2(AT_FDCWD, names[0], AT_FDCWD, names[1], SWAP)
    elif hasattr(library, "renamex_np"):  # macOS, on APFS
        failed = library.renamex_np(*names, SWAP)
    else:
        return False
    if not failed:
        return True
    number = get_errno()
    if number in CANNOT_EXCHANGE:
        return False
    raise OSError(number, os.strerror(number), str(second))


def sync(descriptor: int) -> None:
    """Force an open file or directory to disk.

    Raises:
        OSError: the disk refuses.
    """
    # On macOS, fsync(2) leaves data in the drive's cache, which a power cut loses.
    flush = getattr(fcntl, "F_FULLFSYNC", None)
    if flush is not None:
        try:
            fcntl.fcntl(descriptor, flush)
            return
        except OSError:  # network drives know fsync only, and each refuses with another number
            pass
    os.fsync(descriptor)
