"""Writing so that nobody ever sees half a file: a temporary name beside the target, fsync, rename."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from autorec_cli.errors import UsageError


def require_parent(path: Path) -> None:
    """Check that `path` can be created where it is named.

    Raises:
        UsageError: its folder does not exist or is not a folder.
    """
    if not path.parent.is_dir():
        raise UsageError(f"cannot write {path}: the folder {path.parent} does not exist; create it first")


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


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`; on a clean exit it becomes `path` in one rename.

    If the block raises, the temporary file is removed and an existing `path` is left as it was. A symbolic link stays
    one: what it points at is replaced.
    """
    path = path.resolve()
    require_parent(path)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        sync_file(temporary)
        temporary.replace(path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replace_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; on a clean exit its files are synced and it becomes `path`.

    An existing `path` is moved aside first and removed only when the new one is in place; between those two renames
    there is no `path`. If the block raises, or a signal arrives at any point, the old folder stays or is put back.
    """
    path = path.resolve()
    require_parent(path)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
    try:
        yield temporary
        temporary.chmod(0o777 & ~_umask())
        for file in temporary.iterdir():
            sync_file(file)
        sync_folder(temporary)
        _swap_folder(temporary, path)
        sync_folder(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _swap_folder(new: Path, path: Path) -> None:
    if not path.exists():
        new.replace(path)
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


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
