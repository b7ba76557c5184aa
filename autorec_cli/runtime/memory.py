"""Memory that this process has used and can still take."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from autorec_cli.errors import NotEnoughMemoryError

CELL = 8
"""Bytes of a stored cell: a float32 value and an int32 index."""
MIN_ADDRESS_SPACE = 5 << 29
"""What the libraries need to be loaded: with less, numpy, polars and torch abort or hang."""

CONTROL_GROUP = Path("/sys/fs/cgroup")
PROCESS = Path("/proc/self")


def used_bytes() -> int:
    """The most that this process has used so far.

    Where there is /proc, it is asked: getrusage(2) counts what the process that started us had used, too.
    """
    peak = _of_process("VmHWM")
    if peak is not None:
        return peak
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def available_bytes() -> int:
    """What this process can still take: free memory of the machine, within the limits of control groups and ulimit."""
    left = [_free_of_machine(), *map(_left_in_group, _control_groups())]
    for limit, counted in ((resource.RLIMIT_DATA, "VmData"), (resource.RLIMIT_AS, "VmSize")):  # ulimit -d and -v
        soft, _ = resource.getrlimit(limit)
        if soft != resource.RLIM_INFINITY:
            used = _of_process(counted)
            left.append(soft - (used_bytes() if used is None else used))
    return max(0, min(amount for amount in left if amount is not None))


def check_addresses() -> None:
    """Check that `ulimit -v` lets the libraries be loaded.

    Raises:
        NotEnoughMemoryError: it does not.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY and soft < MIN_ADDRESS_SPACE:
        raise NotEnoughMemoryError(
            f"`ulimit -v` allows {soft >> 20:,} MiB of addresses, of which the libraries alone take more, used or not; "
            f"allow {MIN_ADDRESS_SPACE >> 20:,} MiB or more"
        )


def _of_process(field: str) -> int | None:
    """A size that /proc tells of this process; None where there is no /proc."""
    try:
        lines = (PROCESS / "status").read_text().splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(f"{field}:")), None)


def _free_of_machine() -> int:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    except OSError:
        pass
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") - used_bytes()


@lru_cache(maxsize=1)
def _control_groups() -> tuple[Path, ...]:
    """The folders of the control groups that this process is in, version 1 or 2, each with all that it is nested in."""
    places = [(CONTROL_GROUP, "/"), (CONTROL_GROUP / "memory", "/")]  # in a container all that is seen may be its own
    try:
        lines = (PROCESS / "cgroup").read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if number == "0":
            places += [(CONTROL_GROUP, path), (CONTROL_GROUP / "unified", path)]
        elif "memory" in controllers.split(","):
            places.append((CONTROL_GROUP / "memory", path))
    folders = [folder for root, path in places for folder in _nested(root, Path(path).parts[1:])]
    return tuple(folder for folder in dict.fromkeys(folders) if folder.is_dir())


def _nested(root: Path, names: Sequence[str]) -> list[Path]:
    """`root` and every folder on the way down along `names`."""
    return [root.joinpath(*names[:depth]) for depth in range(len(names) + 1)]


def _left_in_group(group: Path) -> int | None:
    """What a control group can still take, its file cache counted as free; None if it has no limit."""
    names = ("memory.max", "memory.current", "inactive_file")
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
