"""Memory used by this process and available to it."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from autorec_cli.errors import NotEnoughMemoryError, UsageError

CELL = 8
"""Bytes of a stored cell: a float32 value and an int32 index."""
MIN_OPEN_FILES = 64
MIN_ADDRESS_SPACE = 5 << 29
"""Bytes of address space to load the libraries: with less, numpy, polars and torch abort or hang."""

CONTROL_GROUP = Path("/sys/fs/cgroup")
PROCESS = Path("/proc/self")
MACHINE = Path("/proc/meminfo")
VM_STAT = "/usr/bin/vm_stat"
"""Program of macOS that prints the use of memory in pages."""


def used_bytes() -> int:
    """Peak memory of this process so far.

    Read from /proc if possible: getrusage(2) includes the peak of the parent process before exec.
    """
    peak = _of_process("VmHWM")
    if peak is not None:
        return peak
    # Only a fallback: on Linux it includes the peak of the process that started this one.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def available_bytes() -> int:
    """Memory available to this process.

    Free memory of the machine, within the limits of control groups and ulimit.
    """
    # The smallest of all limits decides; a container's is often far below the machine's.
    left = [_free_of_machine(), *map(_left_in_group, _control_groups())]
    for limit, counted in ((resource.RLIMIT_DATA, "VmData"), (resource.RLIMIT_AS, "VmSize")):  # ulimit -d and -v
        soft, _ = resource.getrlimit(limit)
        if soft != resource.RLIM_INFINITY:
            used = _of_process(counted)
            left.append(soft - (used_bytes() if used is None else used))
    return max(0, min(amount for amount in left if amount is not None))


def check_limits() -> None:
    """Check that `ulimit -v` and `ulimit -n` suffice for the libraries.

    Raises:
        NotEnoughMemoryError: there are too few addresses.
        UsageError: there are too few open files; polars would panic, or call a dataset damaged.
    """
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files != resource.RLIM_INFINITY and files < MIN_OPEN_FILES:
        raise UsageError(f"`ulimit -n` allows {files} open files, too few; set it to {MIN_OPEN_FILES} or more")
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY and soft < MIN_ADDRESS_SPACE:
        raise NotEnoughMemoryError(
            f"`ulimit -v` allows {soft >> 20:,} MiB of address space, too little to load the libraries; "
            f"set it to {MIN_ADDRESS_SPACE >> 20:,} MiB or more"
        )


def _of_process(field: str) -> int | None:
    """Size of this process in /proc; None without /proc."""
    try:
        lines = (PROCESS / "status").read_text().splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(f"{field}:")), None)


def _free_of_machine() -> int:
    try:
        lines = MACHINE.read_text().splitlines()
    except OSError:  # macOS has no /proc
        lines = []
    for line in lines:
        if line.startswith("MemAvailable:"):
            return 1024 * int(line.split()[1])
    free = _free_by_vm_stat()
    # Without both, other programs are ignored: an overestimate.
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") - used_bytes() if free is None else free


def _free_by_vm_stat() -> int | None:
    """Free and inactive memory; None without `vm_stat`.

    Activity Monitor and psutil count it so.
    """
    try:
        text = subprocess.run([VM_STAT], capture_output=True, text=True, timeout=5, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    size = re.search(r"page size of (\d+) bytes", text)
    pages = re.findall(r"^Pages (?:free|inactive|speculative): +(\d+)", text, flags=re.MULTILINE)
    return int(size[1]) * sum(map(int, pages)) if size and pages else None


@lru_cache(maxsize=1)
def _control_groups() -> tuple[Path, ...]:
    """Directories of this process's control groups, with parents.

    Both versions, 1 and 2.
    """
    places = [
        (CONTROL_GROUP, "/"),
        (CONTROL_GROUP / "memory", "/"),
    ]  # a container may see only its own group, at the root
    try:
        lines = (PROCESS / "cgroup").read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        # One line per hierarchy; number 0 is that of version 2.
        number, controllers, path = line.split(":", 2)
        if number == "0":
            places += [(CONTROL_GROUP, path), (CONTROL_GROUP / "unified", path)]
        elif "memory" in controllers.split(","):
            places.append((CONTROL_GROUP / "memory", path))
    # A parent group may have a lower limit than the one that the process is in.
    folders = [folder for root, path in places for folder in _nested(root, Path(path).parts[1:])]
    return tuple(folder for folder in dict.fromkeys(folders) if folder.is_dir())


def _nested(root: Path, names: Sequence[str]) -> list[Path]:
    """Directories from `root` down along `names`."""
    return [root.joinpath(*names[:depth]) for depth in range(len(names) + 1)]


def _left_in_group(group: Path) -> int | None:
    """Memory left in a control group; None without a limit.

    The kernel reclaims inactive file cache on demand, so it counts as free.
    """
    names = ("memory.max", "memory.current", "inactive_file")
    # Version 1; it writes a huge number for no limit, which never is the smallest.
    if (group / "memory.limit_in_bytes").exists():
        names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
    limit, used = _number(group / names[0]), _number(group / names[1])
    return None if limit is None or used is None else limit - used + _statistic(group, names[2])


def _number(path: Path) -> int | None:
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None  # "max" is no limit


def _statistic(group: Path, name: str) -> int:
    try:
        lines = (group / "memory.stat").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{name} ")), 0)
