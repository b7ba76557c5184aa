"""Atomic writes: a temporary name beside the target, fsync, rename."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from autorec_cli.errors import UsageError


def require_parent(path: Path) -> None:
    """Check that the directory of `path` exists.

    Raises:
        UsageError: it does not.
    """
    folder = followed(path).parent if path.is_symlink() else path.parent
    if not folder.is_dir():
        raise UsageError(f"cannot write {path}: the directory {folder} does not exist; create it first")


def followed(path: Path) -> Path:
    """Resolve symbolic links to an absolute path.

    Raises:
        UsageError: the links form a loop, or the current directory is gone.
    """
    try:
        return path.resolve()
    except FileNotFoundError as error:
        raise UsageError("the current directory has been removed; change to another one") from error
    except (OSError, RuntimeError) as error:  # RuntimeError up to Python 3.12
        raise UsageError(f"{path} is a symbolic link to itself; name another path") from error


def sync_folder(folder: Path) -> None:
    """Make renames in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Force the contents of `path` to disk."""
    with path.open("rb") as handle:
        os.fsync(handle.fileno())


def sweep(path: Path) -> None:
    """Remove temporary files that killed runs left beside `path`.

    The caller holds its lock, so no file of a running process is removed. A directory that was moved aside and not yet
    replaced is put back first.
    """
    # Only names that tempfile makes: a user's file that looks similar must stay.
    leftover = re.compile(rf"\.{re.escape(path.name)}\.[a-z0-9_]{{8}}\.(tmp|old)")
    with suppress(OSError):  # files of other users, and unreadable directories, stay
        found = [other for other in path.parent.iterdir() if leftover.fullmatch(other.name)]
        for other in found:
            if other.suffix == ".old" and not path.exists() and (other / "old").exists():
                (other / "old").replace(path)
            if other.is_dir():
                shutil.rmtree(other, ignore_errors=True)
            else:
                other.unlink()


def cannot_write(path: Path | str, error: OSError) -> UsageError:
    """Error for a `path` that cannot be written."""
    return UsageError(f"cannot write {path}: {error.strerror or error}; make room or choose another path")


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Yield a temporary file that becomes `path` afterwards.

    If the block raises, the temporary file is removed and an existing `path` is kept. A symbolic link stays, and its
    target is replaced.

    Raises:
        UsageError: the operating system refuses, for example because the disk is full.
    """
    target = followed(path)
    require_parent(path)
    try:
        # In the same directory: a rename is atomic only within a file system.
        descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
        os.close(descriptor)
        temporary = Path(name)
        try:
            yield temporary
            temporary.chmod(0o666 & ~_umask())  # mkstemp lets only its owner read
            # Before the rename, or a power cut could leave an empty file under the final name.
            sync_file(temporary)
            # rename(2) is atomic: readers see the old file or the new one, whole.
            temporary.replace(target)
            sync_folder(target.parent)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from error


@contextmanager
def replace_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary directory that becomes `path` afterwards.

    Linux can exchange two names, so `path` is a complete directory at every moment. Elsewhere an existing `path` is
    moved aside first and removed when the new one is in place; between these two renames there is no `path`. If the
    block raises, or a signal arrives at any point, the old directory is kept or put back.

    Raises:
        UsageError: the operating system refuses, for example because the disk is full.
    """
    target = followed(path)
    require_parent(path)
    try:
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent))
        try:
            yield temporary
            temporary.chmod(0o777 & ~_umask())
            # The rename may reach the disk before the contents, and a power cut would leave empty files.
            for file in temporary.iterdir():
                sync_file(file)
            sync_folder(temporary)
            _swap_folder(temporary, target)
            sync_folder(target.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise cannot_write(path, error) from error


def _swap_folder(new: Path, path: Path) -> None:
    if not path.exists():
        new.replace(path)
        return
    # Afterwards `new` holds the old directory, which the caller removes with its temporary name.
    if _exchange(new, path):
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".old", dir=path.parent))
    old = aside / "old"
    try:
        path.replace(old)
        new.replace(path)
    except BaseException:  # also a signal's SystemExit: the old directory is all there is
        if old.exists() and not path.exists():
            old.replace(path)
        if not (old.exists() and new.exists()):  # empty, or the new directory is in place
            shutil.rmtree(aside, ignore_errors=True)
        raise
    shutil.rmtree(aside, ignore_errors=True)


AT_FDCWD = -100
RENAME_EXCHANGE = 2
CANNOT_EXCHANGE = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EXDEV)


def _exchange(first: Path, second: Path) -> bool:
    """Exchange two names atomically.

    Returns:
        False if the system or the file system cannot.
    """
    # Python offers renameat2(2) only through the C library.
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    if renameat2(AT_FDCWD, os.fsencode(first), AT_FDCWD, os.fsencode(second), RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in CANNOT_EXCHANGE:
        return False
    raise OSError(number, os.strerror(number), str(second))


def _umask() -> int:
    mask = os.umask(0)  # it can only be read by setting it
    os.umask(mask)
    return mask
