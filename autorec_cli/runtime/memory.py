"""How much memory a training run will need, and how much this process can have."""

from __future__ import annotations

import ctypes
import os
import resource
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

from autorec_cli.config import TrainSettings
from autorec_cli.errors import NotEnoughMemoryError

TILE = 64
"""Columns that the compiled engine keeps together; the last ones are filled up with zeros."""
CELL = 8
"""Bytes of a stored cell: a float32 value and an int32 index."""
MAKE_EXAMPLES = 48
"""Bytes a rating while it is centred and turned: float64 values, offsets, and the examples themselves."""
JOIN_PARTS = 40
"""Bytes a rating while two parts become one matrix: coordinates, their sorted copy, the result."""
STEP = 40
"""Bytes a cell of a batch: the batch, its transpose, its order, predictions, residuals, errors."""
INPUT = 28
"""Bytes a cell of a batch's input with a pattern of its own: the matrix, its transpose, its order."""
RUNTIME = 160 * 2**20
"""What libraries take on their first use: thread stacks, code compiled or loaded, work space; measured."""
LISTS = 100 * 2**20
"""Blocks of scores while lists are judged after each epoch, and what ranks them; measured."""

LEAST_ADDRESSES = 5 << 29
"""What the libraries need to be loaded: with less, numpy, polars and torch abort or hang."""

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
PR_SET_THP_DISABLE, PR_GET_THP_DISABLE = 41, 42  # of sys/prctl.h
OWN_PAGES = 4 << 20
"""Allocations from this size on get pages of their own, which do go back to the system at once."""

CONTROL_GROUP = Path("/sys/fs/cgroup")
PROCESS = Path("/proc/self")


@dataclass(frozen=True)
class Shape:
    """What a training run's memory depends on besides its settings.

    Attributes:
        n_users, n_items: Of the dataset.
        n_train, n_valid, n_test: Ratings of each part.
    """

    n_users: int
    n_items: int
    n_train: int
    n_valid: int
    n_test: int


def n_parameters(shape: Shape, settings: TrainSettings) -> int:
    """Weights and biases of the network."""
    n_columns = shape.n_users if settings.variant == "item" else shape.n_items
    sizes = (n_columns * settings.n_channels, *settings.hidden_sizes, n_columns)
    return sum(above * below + below for above, below in pairwise(sizes))


@dataclass(frozen=True)
class Need:
    """The most bytes that training will allocate beyond the loaded dataset: an estimate, within a quarter either way.

    Attributes:
        host: In the process.
        device: On a GPU; 0 if training is on the CPU.
    """

    host: int
    device: int = 0


def training_need(shape: Shape, settings: TrainSettings, engine: str) -> Need:
    """Estimate what a run needs.

    Args:
        shape: Of the dataset.
        settings: Of the run.
        engine: "compiled", which needs no gradients of the size of V and W; "torch"; or "cuda", torch on a GPU.
    """
    n_examples, n_columns = shape.n_items, shape.n_users
    if settings.variant == "user":
        n_examples, n_columns = n_columns, n_examples
    edges = (settings.hidden_sizes[0], settings.hidden_sizes[-1])
    rows = (settings.n_channels * n_columns, n_columns)  # of V and W
    plain = 4 * sum(n * size for n, size in zip(rows, edges, strict=True))
    tiled = 4 * sum(n * -(-size // TILE) * TILE for n, size in zip(rows, edges, strict=True))
    # Parameters and two moments; gradients as well, and the tile that a product copies, with torch's operations.
    weights = 3 * tiled if engine == "compiled" else 4 * plain + 4 * n_columns * TILE
    refit = settings.refit and shape.n_valid > 0
    n_fitted = shape.n_train + (shape.n_valid if refit else 0)
    batch_share = min(1.0, settings.batch_size / n_examples)
    cell = STEP + (2 * INPUT if settings.implicit else INPUT // 2)
    step = int(n_fitted * batch_share) * cell + 4 * settings.batch_size * 4 * (sum(edges) + sum(settings.hidden_sizes))
    # The deep form's dense layers: parameters, gradients, two moments.
    weights += 4 * 4 * sum(above * below for above, below in pairwise(settings.hidden_sizes))
    joined = CELL * n_fitted if refit else 0  # train and valid together, a matrix of its own
    data = joined + CELL * n_fitted
    preparing = joined + max(JOIN_PARTS if refit else 0, MAKE_EXAMPLES) * n_fitted
    codes = 4 * n_examples * settings.hidden_sizes[-1]
    n_all = shape.n_train + shape.n_valid + shape.n_test
    ids = 150 * (shape.n_users + shape.n_items)
    saving = data + plain + codes + JOIN_PARTS * n_all + ids
    if engine == "cuda":
        return Need(RUNTIME + max(preparing, saving), weights + step + codes)
    missing = 0
    if settings.objective == "ranking":  # the decoder untiled, the gradient of its missing cells, and that in tiles
        missing = (3 if engine == "compiled" else 2) * 4 * n_columns * edges[1] + LISTS
    # Without a second fit the best network so far is kept. At the end of the last epoch the network is copied out.
    best = plain if not refit else 0
    training = data + weights + best + max(step, plain) + missing
    return Need(RUNTIME + max(preparing, training, saving))


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


def reuse_freed(n_bytes: int) -> None:
    """Let glibc, where it is the C library, keep up to `n_bytes` of freed memory, for each thread that allocates.

    For commands that read block by block, as this holds for the whole process. By itself glibc gives freed memory back
    to the system, which makes it anew, page by page, for the next block of text.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_TRIM_THRESHOLD, n_bytes)
        mallopt(M_MMAP_THRESHOLD, OWN_PAGES)


@contextmanager
def small_pages() -> Iterator[None]:
    """Have Linux make memory in pages of 4 KiB in the block, also where numpy asks for 2 MiB; the whole process.

    For work that writes most of its memory once. Whole 2 MiB are often not to be had without moving others' pages, and
    on a virtual machine they are mostly those that the host has yet to make.
    """
    prctl = getattr(ctypes.CDLL(None), "prctl", None) if sys.platform == "linux" else None
    if prctl is None or prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0):
        yield
        return
    prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0)
    try:
        yield
    finally:
        prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0)


def check_addresses() -> None:
    """Check that `ulimit -v` lets the libraries be loaded.

    Raises:
        NotEnoughMemoryError: it does not.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY and soft < LEAST_ADDRESSES:
        raise NotEnoughMemoryError(
            f"`ulimit -v` allows {soft >> 20:,} MiB of addresses, of which the libraries alone take more, used or not; "
            f"allow {LEAST_ADDRESSES >> 20:,} MiB or more"
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
