"""Symbolic links on the way to outputs, and who made them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from autorec_cli.errors import UsageError


def followed(path: Path) -> Path:
    """Resolve symbolic links to an absolute path.

    Raises:
        UsageError: the links form a loop, or the current directory is gone.
    """
    try:
        found = path.resolve()
    except FileNotFoundError as error:
        raise UsageError("the current directory has been removed; change to another one") from error
    except (OSError, RuntimeError):  # RuntimeError up to Python 3.12
        found = None
    # From Python 3.13 on, links of a loop are left in the path.
    if found is None or any(part.is_symlink() for part in (found, *found.parents)):
        raise UsageError(f"{path} is a symbolic link to itself; name another path")
    return found


def output_target(path: Path) -> Path:
    """Resolve the symbolic links of an output, as `followed` does.

    Raises:
        UsageError: it is the root directory, or a link is neither ours nor root's: whoever made it would choose the
            file that we overwrite. On the way to the output, links of the owner of their directory are followed too.
    """
    target = followed(path)
    if not target.name:
        raise UsageError(f"{path} is the root of the file system; name a file or directory in it")
    for link, is_last in _links(path):
        trusted = {os.geteuid(), 0} if is_last else {os.geteuid(), 0, link.parent.stat().st_uid}
        if link.lstat().st_uid not in trusted:
            raise UsageError(f"{link} is a symbolic link of another user; name {target} itself, or remove the link")
    return target


def _links(path: Path) -> Iterator[tuple[Path, bool]]:
    """Symbolic links that lead to `path`.

    With each: True if it is in the place of the output itself.
    """
    place, ahead = Path.cwd(), list(reversed(path.parts))
    while ahead:
        part = ahead.pop()
        place = place.parent if part == ".." else place / part  # an absolute one begins anew
        if place.is_symlink():
            yield place, not ahead
            ahead += reversed(place.readlink().parts)
            place = place.parent
