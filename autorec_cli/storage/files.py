"""Atomic writes: a temporary name beside the target, fsync, rename."""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from autorec_cli.errors import UsageError
from autorec_cli.storage.links import followed, output_target
from autorec_cli.storage.permissions import Permissions, permissions_of
from autorec_cli.storage.system_calls import exchange, sync


def require_parent(path: Path) -> None:
    """Check that the directory of `path` exists.

    Raises:
        UsageError: it does not.
    """
    folder = followed(path).parent if path.is_symlink() else path.parent
    if not folder.is_dir():
        raise UsageError(f"cannot write {path}: the directory {folder} does not exist; create it first")


def is_special(path: Path) -> bool:
    """True for a pipe, a device or a socket.

    They are read once, and perhaps never to an end.
    """
    return path.exists() and not (path.is_file() or path.is_dir())


def sync_folder(folder: Path) -> None:
    """Make renames in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)


def sweep(path: Path) -> None:
    """Remove temporary files that killed runs left beside `path`.

    The caller holds its lock, so no file of a running process is removed. A directory that was moved aside and not yet
    replaced is put back first.
    """
    # Only names that we make: a user's file that looks similar must stay.
    leftover = re.compile(rf"\.{re.escape(path.name)}\.[a-z0-9_]{{8}}\.(tmp|old)")
    with suppress(OSError):  # unreadable directories stay
        for other in [other for other in path.parent.iterdir() if leftover.fullmatch(other.name)]:
            with suppress(OSError):  # so do files of other users
                _sweep_one(other, path)


def _remove_folder(folder: Path) -> None:
    # Twice, as a call that fails once, such as a read error in passing, would leave all of it.
    for _ in range(2):
        shutil.rmtree(folder, ignore_errors=True)


def _sweep_one(leftover: Path, path: Path) -> None:
    if not stat.S_ISDIR(leftover.lstat().st_mode):  # a link to a directory neither
        leftover.unlink()
        return
    old = leftover / "old"
    # Others could have made it, to choose what is put back.
    is_ours = leftover.lstat().st_uid == os.geteuid()
    if leftover.suffix == ".old" and is_ours and not os.path.lexists(path) and old.is_dir() and not old.is_symlink():
        old.replace(path)
    _remove_folder(leftover)


def cannot_write(path: Path | str, error: OSError) -> UsageError:
    """Error for a `path` that cannot be written."""
    return UsageError(f"cannot write {path}: {error.strerror or error}; make room or choose another path")


@contextmanager
def replace_file(path: Path, like: Path | None = None) -> Iterator[BinaryIO]:
    """Yield a temporary file, open for writing, that becomes `path` afterwards.

    If the block raises, the temporary file is removed and an existing `path` is kept. A symbolic link stays, and its
    target is replaced. The new file gets the permissions of the old one; without one it follows the umask.

    Args:
        path: The file.
        like: File whose permissions it gets instead, if that exists.

    Raises:
        UsageError: the operating system refuses, for example because the disk is full.
    """
    target = output_target(path)
    require_parent(path)
    try:
        # In the same directory: a rename is atomic only within a file system.
        temporary = _temporary_name(target)
        kept = (None if like is None else permissions_of(followed(like))) or permissions_of(target)
        try:
            # Opened once and never by name again: in a shared directory others could put a link there.
            with os.fdopen(_create(temporary, 0o666 if kept is None else 0o600), "wb") as stream:
                yield stream
                stream.flush()
                if kept is not None:
                    kept.give(stream.fileno())
                # Before the rename, or a power cut could leave an empty file under the final name.
                sync(stream.fileno())
                _require_ours(temporary, stream.fileno())
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

    Where the system can exchange two names, `path` is a complete directory at every moment. Elsewhere an existing
    `path` is moved aside first and removed when the new one is in place; between these two renames there is no `path`.
    If the block raises, or a signal arrives at any point, the old directory is kept or put back. The new directory and
    its files get the permissions of the old ones.

    Raises:
        UsageError: the operating system refuses, for example because the disk is full.
    """
    target = output_target(path)
    require_parent(path)
    try:
        temporary = _temporary_name(target)
        kept = permissions_of(target)
        try:
            temporary.mkdir(0o777 if kept is None else 0o700)
            with _opened_folder(temporary) as descriptor:
                yield temporary
                _require_ours(temporary, descriptor)
                # The rename may reach the disk before the contents, and a power cut would leave empty files.
                for file in temporary.iterdir():
                    _finish(file, permissions_of(target / file.name))
                if kept is not None:
                    kept.give(descriptor)
                sync(descriptor)
            _swap_folder(temporary, target)
            sync_folder(target.parent)
        finally:
            _remove_folder(temporary)
    except OSError as error:
        raise cannot_write(path, error) from error


def replace_link(link: Path, target: str) -> None:
    """Point the symbolic link `link` to `target` by one rename, durably.

    Raises:
        OSError: the operating system refuses.
    """
    temporary = _temporary_name(link)
    temporary.symlink_to(target)
    try:
        temporary.replace(link)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(link.parent)


def _temporary_name(target: Path, suffix: str = "tmp") -> Path:
    """New name beside `target`, which `sweep` knows."""
    return target.with_name(f".{target.name}.{os.urandom(4).hex()}.{suffix}")


def _create(file: Path, mode: int) -> int:
    """Create a file and open it for writing."""
    # It must not exist, not even as a link.
    return os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)


def create_file(file: Path) -> BinaryIO:
    """Create a file in a directory of `replace_folder`.

    One that others put there is refused.

    Raises:
        FileExistsError: it exists.
        OSError: it cannot be created.
    """
    return os.fdopen(_create(file, 0o666), "wb")


def open_special(path: Path) -> BinaryIO:
    """Open a device or a named pipe for writing.

    Raises:
        UsageError: it is a named pipe of another user, who would read what we write.
        OSError: it cannot be opened, or is another kind of file.
    """
    target, found = output_target(path), path.stat()
    # Other pipes, as of /dev/stdout, have no name in a directory.
    if stat.S_ISFIFO(found.st_mode) and target.exists() and found.st_uid not in (os.geteuid(), 0):
        raise UsageError(f"{path} is a named pipe of another user, who would read the output; remove it")
    # Neither made nor emptied: it may have become a regular file since the caller looked.
    stream = os.fdopen(os.open(path, os.O_WRONLY), "wb")
    status = os.fstat(stream.fileno())
    if stat.S_ISREG(status.st_mode) or not os.path.samestat(found, status):
        stream.close()
        raise OSError(errno.EEXIST, "it has become another file", str(path))
    return stream


@contextmanager
def _opened_folder(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _finish(file: Path, kept: Permissions | None) -> None:
    """Set permissions and force the contents to disk."""
    descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        if kept is not None:
            kept.give(descriptor)
        sync(descriptor)
    finally:
        os.close(descriptor)


def _require_ours(temporary: Path, descriptor: int) -> None:
    """Check that the name is still that of the open file.

    Raises:
        OSError: others have put something else there.
    """
    if not os.path.samestat(temporary.lstat(), os.fstat(descriptor)):
        raise OSError(errno.EPERM, f"another user has replaced {temporary.name}", str(temporary))


def _swap_folder(new: Path, path: Path) -> None:
    if not path.exists():
        new.replace(path)
        return
    # Afterwards `new` holds the old directory, which the caller removes with its temporary name.
    if exchange(new, path):
        return
    aside = _temporary_name(path, "old")
    aside.mkdir(0o700)
    old = aside / "old"
    try:
        path.replace(old)
        new.replace(path)
    except BaseException:  # also a signal's SystemExit: the old directory is all there is
        if old.exists() and not path.exists():
            old.replace(path)
        if not (old.exists() and new.exists()):  # empty, or the new directory is in place
            _remove_folder(aside)
        raise
    _remove_folder(aside)
