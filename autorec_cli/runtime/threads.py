"""Work on several threads whose results come in order.

The threads are worth having where the work is done by libraries that let go of Python's lock: numpy, scipy, polars,
hashing, reading and writing.
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

MAX_THREADS = 4  # what is in flight takes memory

Task = TypeVar("Task")
Result = TypeVar("Result")


def n_threads() -> int:
    """How many threads to use: this process's part of the processors that it may run on, at most `MAX_THREADS`."""
    n_processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    _, n_here = local_rank()
    return min(max(n_processors // n_here, 1), MAX_THREADS)


def import_in_background(module: str) -> None:
    """Import `module`, which will soon be needed, while this thread goes on; if that fails, it is seen when it is."""
    executor = ThreadPoolExecutor(1, thread_name_prefix="autorec")
    executor.submit(importlib.import_module, module)
    executor.shutdown(wait=False)


class BackgroundThread:
    """A thread that makes the calls it is given one after the other, while who gives them goes on.

    As a context it ends with the block: all calls are waited for, or, if the block raises, those not begun are dropped.

    Args:
        most: Calls that may be waiting; with more of them `call` waits too.
    """

    def __init__(self, most: int = 2) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="autorec")
        self._pending: deque[Future[object]] = deque()
        self._most = most

    def call(self, function: Callable[..., object], *arguments: object) -> None:
        """Have `function(*arguments)` called after the calls before; what these raise is raised here or by `finish`."""
        self._pending.append(self._executor.submit(function, *arguments))
        while len(self._pending) > self._most:
            self._pending.popleft().result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.finish()
        else:  # see in_order
            self._executor.shutdown(wait=kind is not GeneratorExit, cancel_futures=True)

    def finish(self) -> None:
        """Wait for all calls; no more can be made."""
        self._executor.shutdown()
        while self._pending:
            self._pending.popleft().result()


class in_order(AbstractContextManager[Iterator[Result]], Generic[Task, Result]):  # noqa: N801 (reads as a verb)
    """Runs `work(task)` for every task on several threads while a block runs, which gets the results in order.

    At most one task more than there are threads has been taken from `tasks` and not yet been yielded. An exception,
    of `work` or of `tasks`, is raised where its result would come, after all results before it. At the end of the
    block running tasks are waited for and pending ones canceled.

    A generator that is abandoned inside the block is closed from wherever the garbage collector runs, perhaps inside
    the start of another thread, which holds a lock that joining threads needs: then nothing is waited for.
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
        if self._executor is not None:
            self._executor.shutdown(wait=kind is not GeneratorExit, cancel_futures=True)


def _ordered(
    executor: ThreadPoolExecutor, work: Callable[[Task], Result], tasks: Iterable[Task], n_ahead: int
) -> Iterator[Result]:
    """The results of `work`, at most `n_ahead` and one tasks ahead of the reader."""
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
