"""Process groups for distributed runs, and their collective operations.

`torchrun` starts them and `torch.distributed` carries their messages: gloo between CPUs, nccl between GPUs. In a group
of one every operation returns at once, so that the same code runs in a single process.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from autorec_cli.csr import Array, distinct_values
from autorec_cli.errors import LostPeerError, describe, is_out_of_memory
from autorec_cli.runtime.torchrun import rank_and_size, restart_count

if TYPE_CHECKING:
    from torch import Tensor
    from torch.distributed.distributed_c10d import Store

Values = TypeVar("Values", Array, "Tensor")

MESSAGE_TIMEOUT = timedelta(minutes=10)
"""Longest wait for one message.

With gloo the end of a process is noticed at once, because its connections close. This is for a machine that loses power
or its network, and for nccl, which only notices by the time. The clock restarts with every message, so a slow process
has this long for each step.
"""

EVALUATION_TIMEOUT = timedelta(days=1)
"""Longest wait where a process works through its whole partition between two messages."""

REASON_TIMEOUT = 5.0
"""Seconds to wait for the error message of a failed process."""

REASON = "reason"
"""Store key of that message."""


@dataclass(eq=False)
class ProcessGroup:
    """Processes of a run.

    Attributes:
        rank: Number of this process, from 0.
        size: World size.
        n_reduced: Bytes of what `all_reduce` has summed.
        store: torchrun's key-value store, while connected.
    """

    rank: int = 0
    size: int = 1
    n_reduced: int = 0
    store: Store | None = field(default=None, repr=False)

    @property
    def is_first(self) -> bool:
        """True in the process that prints and writes."""
        return self.rank == 0

    def all_reduce(self, values: Values) -> Values:
        """Replace an array or a tensor by its sum over all processes.

        All processes get the same bits.
        """
        if self.size > 1:
            import torch
            from torch import distributed

            # Shown with --verbose, and tested: communication per step must not grow with the catalog.
            self.n_reduced += values.nbytes
            with self._explained():
                distributed.all_reduce(torch.as_tensor(values))
        return values

    def sum(self, values: Array | Sequence[float] | float) -> Array:
        """Sum over all processes, float64, in the shape of `values`."""
        return self._reduced(values, "SUM")

    def max(self, values: Array | Sequence[float] | float) -> Array:
        """Maximum over all processes, float64, in the shape of `values`."""
        return self._reduced(values, "MAX")

    def _reduced(self, values: Array | Sequence[float] | float, operation: str) -> Array:
        # Always a copy: all_reduce works in place, and the values are the caller's.
        reduced = np.array(values, dtype=np.float64)
        if self.size > 1:
            import torch
            from torch import distributed

            with self._explained():
                distributed.all_reduce(torch.from_numpy(reduced), getattr(distributed.ReduceOp, operation))
        return reduced

    def broadcast(self, values: Array) -> Array:
        """Overwrite `values` with those of the first process.

        All processes pass the same shape and type.
        """
        if self.size > 1:
            import torch
            from torch import distributed

            with self._explained():
                distributed.broadcast(torch.from_numpy(values), 0)
        return values

    def broadcast_text(self, text: str) -> str:
        """Return the first process's `text`."""
        own = np.frombuffer(text.encode(), dtype=np.uint8)
        # Receivers must know the length before they can allocate for the text.
        length = int(self.broadcast(np.array([len(own)], dtype=np.int64))[0])
        return self.broadcast(own.copy() if self.is_first else np.empty(length, dtype=np.uint8)).tobytes().decode()

    def distinct(self, values: Array, most: int) -> Array:
        """Distinct values of all processes, ascending float32.

        Of more than `most`, some `most` + 1 or more.
        """
        # Padded with NaN: all processes must gather the same shape.
        padded = np.full(most + 1, np.nan, dtype=np.float32)
        own = distinct_values(values, most)
        padded[: len(own)] = own
        found: Array = np.unique(np.concatenate(self.all_gather(padded)))
        return found[~np.isnan(found)]

    def all_gather(self, values: Array) -> list[Array]:
        """Return the `values` of every process, by rank.

        All processes pass the same shape and type.
        """
        if self.size == 1:
            return [values]
        import torch
        from torch import distributed

        # One buffer per process: torch writes into the tensors it is given.
        gathered = [np.empty_like(values) for _ in range(self.size)]
        with self._explained():
            distributed.all_gather([torch.from_numpy(values) for values in gathered], torch.from_numpy(values))
        return gathered

    def gather_rows(self, values: Array, owners: Iterator[Array]) -> Iterator[Array]:
        """Gather partitioned rows on the first process, in blocks.

        Args:
            values: (n_own, ...) C-contiguous, the rows of this process, in the common order.
            owners: Blocks (n,) of the ranks that hold the next n rows; read by the first process only.

        Yields:
            On the first process, the rows of each block; the others only send.
        """
        sent = 0
        # Blocks, so that the first process never holds all rows.
        while True:
            block = next(owners, None) if self.is_first else None
            counts = np.full(self.size, -1) if block is None else np.bincount(block, minlength=self.size)
            counts = self.broadcast(counts.astype(np.int64))
            if counts[0] < 0:
                return
            own = values[sent : sent + counts[self.rank]]
            sent += counts[self.rank]
            if block is None:
                self._send(own)
                continue
            rows = np.empty((len(block), *values.shape[1:]), dtype=values.dtype)
            for rank, count in enumerate(counts.tolist()):
                if count:
                    rows[block == rank] = own if rank == 0 else self._receive(rank, (count, *values.shape[1:]), values)
            yield rows

    def _send(self, values: Array) -> None:
        """Send `values` to the first process, unless they are empty."""
        if values.size:
            import torch
            from torch import distributed

            with self._explained():
                distributed.send(torch.from_numpy(values.reshape(-1).view(np.uint8)), 0)

    def _receive(self, rank: int, shape: tuple[int, ...], like: Array) -> Array:
        """Receive an array of `shape` and the type of `like`."""
        import torch
        from torch import distributed

        values = np.empty(shape, dtype=like.dtype)
        if values.size:
            with self._explained():
                distributed.recv(torch.from_numpy(values.reshape(-1).view(np.uint8)), rank)
        return values

    def report_failure(self, error: Exception) -> None:
        """Store the message of `error` for the other processes.

        The first message stored wins: later ones only say that a peer is gone.
        """
        if self.store is not None:
            reason = f"process {self.rank + 1} of {self.size} says: {describe(error).message}"
            with suppress(Exception):  # nothing may take the place of `error`
                # The message may name a path that is not UTF-8, as the store's values must be.
                self.store.compare_set(REASON, "", reason.encode(errors="backslashreplace").decode())

    def _reason(self) -> str | None:
        """Message of the failed process, if it stored one.

        The store may be lost with it.
        """
        # On a thread of its own, because a store whose process is gone may block for minutes.
        found: list[str] = []

        def ask(store: Store) -> None:
            with suppress(Exception):
                if store.check([REASON]):
                    found.append(store.get(REASON).decode())

        if self.store is not None:
            asking = threading.Thread(target=ask, args=(self.store,), daemon=True)
            asking.start()
            asking.join(REASON_TIMEOUT)
        return found[0] if found else None

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn torch's connection errors into ours.

        Raises:
            LostPeerError: torch could not send or receive; names the other process's error where it is known.
        """
        try:
            yield
        # gloo raises plain RuntimeErrors, nccl subclasses of it.
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            reason = self._reason() or "it has ended or cannot be reached; look for its error above"
            advice = "once that is fixed, run the same command again, train with --resume"
            raise LostPeerError(
                f"the connection to another process of this run was lost: {reason}; {advice}"
            ) from error


SINGLE_PROCESS = ProcessGroup()


def current_process_group(environment: Mapping[str, str] = os.environ) -> ProcessGroup:
    """Process group of torchrun; a group of one without it."""
    return ProcessGroup(*rank_and_size(environment))


@contextmanager
def connected(process_group: ProcessGroup, timeout: timedelta | None = None) -> Iterator[None]:
    """Connect the processes of a group while the block runs.

    Imports torch, which takes seconds.

    Raises:
        LostPeerError: a process cannot be reached, has ended, or has sent nothing for longer than `timeout`, which is
            MESSAGE_TIMEOUT if it is None.
    """
    if process_group.size == 1:
        yield
        return
    import torch
    from torch import distributed

    if distributed.is_initialized():  # by our caller
        yield
        return
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    # Control messages are numpy arrays on the CPU even where tensors are on GPUs.
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    with process_group._explained():
        store, rank, size = next(rendezvous("env://"))
        # torchrun's store outlives a restart and still has the addresses of the processes before it.
        store = PrefixStore(f"autorec/{restart_count()}", store)
        timeout = timeout or MESSAGE_TIMEOUT
        distributed.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=timeout)
    process_group.store = store
    try:
        yield
        process_group.sum(0.0)  # a barrier: no process leaves while another still reads from it
    except LostPeerError:
        raise
    except Exception as error:
        process_group.report_failure(error)
        raise
    finally:
        process_group.store = None
        distributed.destroy_process_group()  # or its threads would abort the process at exit
