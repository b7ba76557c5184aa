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
from typing import Self, TypeVar

from autorec_cli.runtime.process_group import rank_on_host

MOST_THREADS = 4  # what is in flight takes memory

Task = TypeVar("Task")
Result = TypeVar("Result")


def n_threads() -> int:
    """How many threads to use: this process's part of the processors that it may run on, at most `MOST_THREADS`."""
    n_processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    _, n_here = rank_on_host()
    return min(max(n_processors // n_here, 1), MOST_THREADS)


def load_meanwhile(module: str) -> None:
    """Import `module`, which will soon be needed, while this thread goes on; if that fails, it is seen when it is."""
    executor = ThreadPoolExecutor(1, thread_name_prefix="autorec")
    executor.submit(importlib.import_module, module)
    executor.shutdown(wait=False)


class Following:
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
        else:
            self._executor.shutdown(cancel_futures=True)

    def finish(self) -> None:
        """Wait for all calls; no more can be made."""
        self._executor.shutdown()
        while self._pending:
            self._pending.popleft().result()


def in_order(work: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[Result]:
    """`work(task)` for every task, in the order of the tasks.

    At most one task more than there are threads has been taken from `tasks` and not yet been yielded. An exception,
    of `work` or of `tasks`, is raised where its result would come, after all results before it.
    """
    threads = n_threads()
    if threads == 1:
        yield from map(work, tasks)
        return
    remaining = iter(tasks)
    pending: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="autorec") as executor:
        try:
            while True:
                try:
                    pending.append(executor.submit(work, next(remaining)))
                except StopIteration:
                    break
                except Exception:
                    while pending:
                        yield pending.popleft().result()
                    raise
                if len(pending) > threads:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
