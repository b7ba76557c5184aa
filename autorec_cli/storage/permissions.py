"""Permissions of a replaced file or directory, given to its successor."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ACL = "system.posix_acl_"
"""Start of the names of extended attributes that hold access control lists."""


@dataclass(frozen=True)
class Permissions:
    """Mode, owner, group and access control lists.

    Attributes:
        mode: Permission bits; of a directory also setgid and the sticky bit.
        user, group: Numbers of owner and group.
        lists: Extended attributes with access control lists.
    """

    mode: int
    user: int
    group: int
    lists: Mapping[str, bytes]

    def give(self, descriptor: int) -> None:
        """Set them on an open file or directory.

        As far as this process may. A group that cannot be set gets no more permissions than all other users.

        Raises:
            OSError: the file system refuses the mode.
        """
        mode, now = self.mode, os.fstat(descriptor)
        if (now.st_uid, now.st_gid) != (self.user, self.group) and not (
            _chown(descriptor, self.user, self.group) or _chown(descriptor, -1, self.group)
        ):
            of_all_others = (mode & stat.S_IRWXO) << 3  # as bits of the group
            mode = mode & ~(stat.S_IRWXG | stat.S_ISGID) | mode & of_all_others
        # After the owner, as changing that clears setgid.
        if stat.S_IMODE(os.fstat(descriptor).st_mode) != mode:
            os.fchmod(descriptor, mode)
        for name, value in self.lists.items():
            with suppress(OSError):  # the mode, which is set, allows no more
                os.setxattr(descriptor, name, value)


def _chown(descriptor: int, user: int, group: int) -> bool:
    """True if it was allowed."""
    try:
        os.fchown(descriptor, user, group)
    except OSError:  # not ours to give, or a file system without owners
        return False
    return True


def permissions_of(path: Path) -> Permissions | None:
    """Permissions of `path`; None if it does not exist.

    A symbolic link is not followed.
    """
    try:
        status = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    # setuid and setgid files are no outputs of ours to make.
    kept = 0o3777 if stat.S_ISDIR(status.st_mode) else 0o777
    return Permissions(stat.S_IMODE(status.st_mode) & kept, status.st_uid, status.st_gid, _lists_of(path))


def _lists_of(path: Path) -> dict[str, bytes]:
    lists = {}
    if hasattr(os, "listxattr"):  # Linux
        with suppress(OSError):
            for name in os.listxattr(path, follow_symlinks=False):
                if name.startswith(ACL):
                    lists[name] = os.getxattr(path, name, follow_symlinks=False)
    return lists
