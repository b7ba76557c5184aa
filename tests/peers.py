"""Several processes of a run played by threads of this one: quick, for what they say to each other."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any

import numpy as np

from autorec_cli.csr import Array
from autorec_cli.runtime.process_group import ProcessGroup

SECONDS = 60
"""Seconds that one waits for the others before the test fails."""


class Peer(ProcessGroup):
    """A process_group whose messages go from thread to thread."""

    def __init__(self, rank: int, meeting: threading.Barrier, said: list[Any], sent: list[SimpleQueue[Array]]) -> None:
        super().__init__(rank, len(said))
        self._meeting, self._said, self._sent = meeting, said, sent

    def leave(self) -> None:
        """End, so that the others fail in their next message."""
        self._meeting.abort()

    def _send(self, values: Array) -> None:
        if values.size:
            self._sent[self.rank].put(values)

    def _receive(self, rank: int, shape: tuple[int, ...], like: Array) -> Array:
        received = self._sent[rank].get(timeout=SECONDS)
        assert (received.shape, received.dtype) == (shape, like.dtype)
        return received

    def all_gather(self, values: Array) -> list[Array]:
        """See `ProcessGroup`."""
        self._said[self.rank] = np.array(values)
        self._meeting.wait()
        heard = list(self._said)
        self._meeting.wait()
        return heard

    def broadcast(self, values: Array) -> Array:
        """See `ProcessGroup`."""
        values[...] = self.all_gather(values)[0]
        return values

    def _reduced(self, values: Any, operation: str) -> Array:
        heard = np.array(self.all_gather(np.array(values, dtype=np.float64)))
        combined: Array = heard.max(axis=0) if operation == "MAX" else heard.sum(axis=0)
        return combined


def together(size: int, work: Callable[[ProcessGroup], Any]) -> list[Any]:
    """Results of `work`, or errors it raises, for each of `size` processes."""
    meeting, said = threading.Barrier(size, timeout=SECONDS), [None] * size
    sent: list[SimpleQueue[Array]] = [SimpleQueue() for _ in range(size)]

    def play(rank: int) -> Any:
        try:
            return work(Peer(rank, meeting, said, sent))
        except Exception as error:
            return error.with_traceback(None)  # or it would hold open files

    with ThreadPoolExecutor(size) as threads:
        return list(threads.map(play, range(size)))
