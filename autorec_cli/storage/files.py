"""Writing so that nobody ever sees half a file: a temporary name beside the target, fsync, rename."""

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
    """Check that `path` can be created where it is named.

    Raises:
        UsageError: its folder, or that of what a symbolic link points at, does not exist or is not a folder.
    """
    folder = followed(path).parent if path.is_symlink() else path.parent
    if not folder.is_dir():
        raise UsageError(f"cannot write {path}: the folder {folder} does not exist; create it first")


def followed(path: Path) -> Path:
    """What `path` points at, absolute.

    Raises:
        UsageError: its symbolic links go round in a circle, or the current folder is gone.
    """
    try:
        return path.resolve()
    except FileNotFoundError as error:
        raise UsageError("the current folder has been removed; change to another one") from error
    except (OSError, RuntimeError) as error:  # a RuntimeError up to Python 3.12
        raise UsageError(f"{path} is a symbolic link that leads back to itself; name another place") from error


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable (a rename is not until its folder is synced)."""
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
    """Clear away what runs that were killed left beside `path`; only for who holds its lock.

    A folder that a kill caught between moving aside and being replaced is put back first.
    """
    leftover = re.compile(rf"\.{re.escape(path.name)}\.[a-z0-9_]{{8}}\.(tmp|old)")
    with suppress(OSError):  # what belongs to another user, or cannot be listed, stays
        found = [other for other in path.parent.iterdir() if leftover.fullmatch(other.name)]
        for other in found:
            if other.suffix == ".old" and not path.exists() and (other / "old").exists():
                (other / "old").replace(path)
            if other.is_dir():
                shutil.rmtree(other, ignore_errors=True)
            else:
                other.unlink()


def cannot_write(path: Path | str, error: OSError) -> UsageError:
    """What to tell whoever asked for `path`, which `error` keeps from being written."""
    return UsageError(f"cannot write {path}: {error.strerror or error}; make room or choose another place")


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`; on a clean exit it becomes `path` in one rename.

    If the block raises, the temporary file is removed and an existing `path` is left as it was. A symbolic link stays
    one: what it points at is replaced.

    Raises:
        UsageError: the operating system refuses, for example because the disk is full.
    """
    target = followed(path)
    require_parent(path)
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
        os.close(descriptor)
        temporary = Path(name)
        try:
            yield temporary
            temporary.chmod(0o666 & ~_umask())
            sync_file(temporary)
            temporary.replace(target)
            sync_folder(target.parent)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from error


@contextmanager
def replace_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; on a clean exit its files are synced and it becomes `path`.

    Where the system can exchange two names (Linux), there is a whole folder at `path` at every moment. Elsewhere an
    existing `path` is moved aside first and removed only when the new one is in place; between those two renames there
    is no `path`. If the block raises, or a signal arrives at any point, the old folder stays or is put back.

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
    if _exchange(new, path):
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".old", dir=path.parent))
    old = aside / "old"
    try:
        path.replace(old)
        new.replace(path)
    except BaseException:  # a signal's SystemExit too: the old folder is all there is
        if old.exists() and not path.exists():
            old.replace(path)
        if not (old.exists() and new.exists()):  # empty, or the new folder is in place
            shutil.rmtree(aside, ignore_errors=True)
        raise
    shutil.rmtree(aside, ignore_errors=True)


AT_FDCWD = -100
RENAME_EXCHANGE = 2
CANNOT_EXCHANGE = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EXDEV)


def _exchange(first: Path, second: Path) -> bool:
    """Let two names change places in one step; False where the system or the file system has no such step.

    Python offers no way to renameat2(2) but the C library.
    """
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
    mask = os.umask(0)
    os.umask(mask)
    return mask
