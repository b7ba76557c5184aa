"""Work on several threads whose results come in order.

Threads pay off only for work that releases the GIL: numpy, scipy, polars, hashing, reading and writing.
"""

from __future__ import annotations

import importlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Generic, Self, TypeVar

from autorec_cli.runtime.process_group import local_rank

MAX_THREADS = 4  # every pending result takes memory

Task = TypeVar("Task")
Result = TypeVar("Result")


def n_threads() -> int:
    """Number of threads for this process, at most MAX_THREADS.

    The processors that it may run on are divided among the processes of a run on this machine.
    """
    n_processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    _, n_here = local_rank()
    return min(max(n_processors // n_here, 1), MAX_THREADS)


def import_in_background(module: str) -> None:
    """Import `module` on another thread.

    An error is raised only where the module is imported again.
    """
    executor = ThreadPoolExecutor(1, thread_name_prefix="autorec")
    executor.submit(importlib.import_module, module)
    executor.shutdown(wait=False)


class BackgroundCalls:
    """Calls made one after the other on a background thread.

    As a context manager it waits for all calls at the end of the block; if the block raises, pending calls are dropped.

    Args:
        max_pending: Calls that may be pending; `call` blocks while there are more.
    """

    def __init__(self, max_pending: int = 2) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="autorec")
        self._pending: deque[Future[object]] = deque()
        self._max_pending = max_pending

    def call(self, function: Callable[..., object], *arguments: object) -> None:
        """Call `function(*arguments)` after all earlier calls.

        Errors of earlier calls are raised here or by `finish`.
        """
        self._pending.append(self._executor.submit(function, *arguments))
        while len(self._pending) > self._max_pending:
            self._pending.popleft().result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.finish()
        else:  # a generator is not waited for, see in_order
            self._executor.shutdown(wait=kind is not GeneratorExit, cancel_futures=True)

    def finish(self) -> None:
        """Wait for all calls, and accept no more."""
        self._executor.shutdown()
        while self._pending:
            self._pending.popleft().result()


class in_order(AbstractContextManager[Iterator[Result]], Generic[Task, Result]):  # noqa: N801 (reads as a verb)
    """Map `work` over `tasks` on several threads, results in order.

    As a context manager it yields the iterator of results. At most one task more than there are threads has been taken
    from `tasks` and not yet been yielded. An exception of `work` or `tasks` is raised in its place, after all earlier
    results. At the end of the block running tasks are waited for and pending ones canceled.
    """

    def __init__(self, work: Callable[[Task], Result], tasks: Iterable[Task]) -> None:
        self._work = work
        self._tasks = tasks
        self._threads = n_threads()
        self._executor: ThreadPoolExecutor | None = None

    def __enter__(self) -> Iterator[Result]:
        if self._threads == 1:
            return map(self._work, self._tasks)
        self._executor = ThreadPoolExecutor(self._threads, thread_name_prefix="autorec")
        return _ordered(self._executor, self._work, self._tasks, self._threads)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # The garbage collector may close an abandoned generator anywhere, even in the start of another thread, which
        # holds a lock that joining threads needs: waiting would deadlock.
        if self._executor is not None:
            self._executor.shutdown(wait=kind is not GeneratorExit, cancel_futures=True)


def _ordered(
    executor: ThreadPoolExecutor, work: Callable[[Task], Result], tasks: Iterable[Task], n_ahead: int
) -> Iterator[Result]:
    """Yield results in order, `n_ahead` + 1 tasks ahead."""
    pending: deque[Future[Result]] = deque()
    remaining = iter(tasks)
    while True:
        try:
            pending.append(executor.submit(work, next(remaining)))
        except StopIteration:
            break
        except Exception:
            while pending:
                yield pending.popleft().result()
            raise
        if len(pending) > n_ahead:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()
