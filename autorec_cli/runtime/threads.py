"""Threads for work that releases Python's global interpreter lock.

numpy, scipy, polars, hashing, reading and writing do; Python code does not and gains nothing here.
"""

from __future__ import annotations

import importlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Generic, Self, TypeVar

from autorec_cli.errors import UsageError, quoted
from autorec_cli.runtime.torchrun import local_rank

MAX_THREADS = 4  # every task in flight takes memory

PROCESSORS = Path("/sys/devices/system/cpu")

Task = TypeVar("Task")
Result = TypeVar("Result")


def n_threads() -> int:
    """Number of threads to use, from 1 to `MAX_THREADS`.

    The processors that this process may run on are divided among the processes of its group on this machine.
    """
    # os.cpu_count ignores taskset and the cpusets of containers and batch systems.
    n_processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    _, n_here = local_rank()
    return min(max(n_processors // n_here, 1), MAX_THREADS)


_asked_for = 0


def use_threads(threads: int) -> None:
    """Set the number of threads that train; 0 is one per core."""
    global _asked_for
    _asked_for = threads


def compute_threads() -> int:
    """Number of threads that train.

    It is that of `use_threads` or OMP_NUM_THREADS, or one per core. Two hardware threads of a core would share its
    vector units.
    """
    given = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return _asked_for or (int(given) if given.isdecimal() else 0) or _n_cores()


def _n_cores() -> int:
    """Number of cores that this process may run on."""
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    cores = set()
    for processor in os.sched_getaffinity(0):
        try:
            cores.add((PROCESSORS / f"cpu{processor}/topology/thread_siblings_list").read_text())
        except OSError:
            cores.add(str(processor))
    return len(cores)


def check_variables() -> None:
    """Check environment variables with which libraries would end in a traceback.

    Raises:
        UsageError: one is no number of threads.
    """
    for name in ("POLARS_MAX_THREADS", "NUMBA_NUM_THREADS"):
        value = os.environ.get(name)
        if value is not None and not (value.strip().isascii() and value.strip().isdigit() and int(value) > 0):
            raise UsageError(f"the environment variable {name} must be a whole number from 1, not {quoted(value)}")


def product_limit() -> Callable[[], AbstractContextManager[object]] | None:
    """Find how to keep each matrix product on one thread.

    None without threadpoolctl.

    Products on threads of their own are one fifth faster than products that split their work over threads, and more if
    the machine is busy: the threads of one product wait for each other.

    Returns:
        A function that makes a context for the products of the libraries loaded so far.
    """
    try:
        from threadpoolctl import ThreadpoolController
    except ImportError:
        return None
    return partial(ThreadpoolController().limit, limits=1, user_api="blas")


def one_thread_per_product() -> AbstractContextManager[object] | None:
    """Keep each matrix product on one thread.

    None if that is not possible, see `product_limit`.
    """
    limit = product_limit()
    return None if limit is None else limit()


def import_in_background(module: str) -> None:
    """Start importing `module` on another thread.

    A failure is ignored here: the import that needs the module raises it again.
    """
    executor = ThreadPoolExecutor(1, thread_name_prefix="autorec")
    executor.submit(importlib.import_module, module)
    # Without waiting: the thread ends by itself, and the caller wants to go on.
    executor.shutdown(wait=False)


class BackgroundThread:
    """Thread that runs calls one after the other.

    As a context manager it ends with the block: it finishes all calls, or drops the pending ones if the block raises.

    Args:
        max_pending: Calls that may be pending; `call` waits while there are more.
    """

    def __init__(self, max_pending: int = 2) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="autorec")
        self._pending: deque[Future[object]] = deque()
        self._max_pending = max_pending

    def call(self, function: Callable[..., object], *arguments: object) -> None:
        """Run `function(*arguments)` after the earlier calls.

        An exception from an earlier call is raised here or by `finish`.
        """
        self._pending.append(self._executor.submit(function, *arguments))
        # Every pending call holds its arguments, often a block of data, in memory.
        while len(self._pending) > self._max_pending:
            self._pending.popleft().result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.finish()
        else:  # GeneratorExit: see _OrderedResults
            self._executor.shutdown(wait=kind is not GeneratorExit, cancel_futures=True)

    def finish(self) -> None:
        """Wait for all calls and end the thread."""
        self._executor.shutdown()
        while self._pending:
            self._pending.popleft().result()


def in_order(work: Callable[[Task], Result], tasks: Iterable[Task]) -> AbstractContextManager[Iterator[Result]]:
    """Run `work(task)` on several threads, with results in order.

    Enter the context to get an iterator of the results. At most one task more than there are threads is in flight, that
    is, taken from `tasks` and its result not yet yielded. An exception, from `work` or from `tasks`, is raised in place
    of its result, after all earlier results. Leaving the context waits for running tasks and cancels pending ones.
    """
    threads = n_threads()
    return _OrderedResults(work, tasks, threads if threads > 1 else 0)


def one_ahead(
    work: Callable[[Task], Result], tasks: Iterable[Task], is_threaded: bool
) -> AbstractContextManager[Iterator[Result]]:
    """Run `work(task)` one result ahead of the iterator.

    On another thread if `is_threaded`; otherwise the caller works. See `in_order`.
    """
    return _OrderedResults(work, tasks, int(is_threaded))


def for_each(work: Callable[[Task], object], tasks: Iterable[Task]) -> None:
    """Run `work(task)` for all tasks, on several threads."""
    with in_order(work, tasks) as results:
        for _ in results:
            pass


class _OrderedResults(AbstractContextManager[Iterator[Result]], Generic[Task, Result]):
    """Context of `in_order`, which shuts its thread pool down.

    Without threads, the caller works.
    """

    def __init__(self, work: Callable[[Task], Result], tasks: Iterable[Task], threads: int) -> None:
        self._work = work
        self._tasks = tasks
        self._threads = threads
        self._executor: ThreadPoolExecutor | None = None

    def __enter__(self) -> Iterator[Result]:
        if self._threads == 0:
            return map(self._work, self._tasks)
        self._executor = ThreadPoolExecutor(self._threads, thread_name_prefix="autorec")
        return _ordered(self._executor, self._work, self._tasks, self._threads)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._executor is not None:
            # The garbage collector may close an abandoned generator while a thread starts, under a lock that joining a
            # thread takes: waiting would deadlock.
            self._executor.shutdown(wait=kind is not GeneratorExit, cancel_futures=True)


def _ordered(
    executor: ThreadPoolExecutor, work: Callable[[Task], Result], tasks: Iterable[Task], n_ahead: int
) -> Iterator[Result]:
    """Results in order, at most `n_ahead` + 1 tasks ahead."""
    pending: deque[Future[Result]] = deque()
    remaining = iter(tasks)
    while True:
        try:
            # Tasks are taken here and not in the workers: their iterator is not thread-safe.
            pending.append(executor.submit(work, next(remaining)))
        except StopIteration:
            break
        # Results before the failing task are still owed, in order.
        except Exception:
            while pending:
                yield pending.popleft().result()
            raise
        if len(pending) > n_ahead:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()
