"""The processes that train one network together: which of them this one is, and what they say to each other.

`torchrun` starts them and `torch.distributed` carries their messages: gloo between CPUs, nccl between GPUs. A world of
one says nothing, so that the same code trains in a single process.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np

from autorec_cli.csr import Array
from autorec_cli.errors import LostPeerError, describe

if TYPE_CHECKING:
    from torch import Tensor
    from torch.distributed.distributed_c10d import Store

LAUNCHER = "TORCHELASTIC_RUN_ID"
"""What torchrun sets in the environment of every process that it starts."""

PATIENCE = timedelta(minutes=10)
"""How long a process waits for one message before it takes the sender's machine for lost.

A process that ends closes its connections, which is seen at once; this is for a machine that loses power or its
network. It counts from one message to the next, so that slow processes are waited for: one step may take that long.
"""

PATIENCE_IN_EVALUATION = timedelta(days=1)
"""The same where a process works on its whole share between two messages."""

PATIENCE_FOR_REASON = 5.0
"""Seconds to wait for what a lost process has told."""

REASON = "reason"
"""Where it has."""


@dataclass(eq=False)
class World:
    """All processes of a run, numbered from 0.

    Attributes:
        rank: Which one this is.
        size: How many there are.
        n_reduced: Bytes of the tensors that `add_up` has summed.
        store: What torchrun keeps for all of them, while they are connected.
    """

    rank: int = 0
    size: int = 1
    n_reduced: int = 0
    store: Store | None = field(default=None, repr=False)

    @property
    def is_first(self) -> bool:
        """Whether this is the process that talks and writes."""
        return self.rank == 0

    def add_up(self, tensor: Tensor) -> Tensor:
        """Replace `tensor` by its sum over all processes, the same bits in each."""
        if self.size > 1:
            from torch import distributed

            self.n_reduced += tensor.nbytes
            with self.talking():
                distributed.all_reduce(tensor)
        return tensor

    def total(self, values: Array | Sequence[float] | float) -> Array:
        """The sum of `values` over all processes, float64, in the shape of `values`."""
        return self._combined(values, "SUM")

    def most(self, values: Array | float) -> Array:
        """The largest of `values` over all processes, float64, in the shape of `values`."""
        return self._combined(values, "MAX")

    def _combined(self, values: Array | Sequence[float] | float, operation: str) -> Array:
        combined = np.array(values, dtype=np.float64)
        if self.size > 1:
            import torch
            from torch import distributed

            with self.talking():
                distributed.all_reduce(torch.from_numpy(combined), getattr(distributed.ReduceOp, operation))
        return combined

    def from_first(self, values: Array) -> Array:
        """The first process's `values`; all give an array of one shape and type, which is overwritten."""
        if self.size > 1:
            import torch
            from torch import distributed

            with self.talking():
                distributed.broadcast(torch.from_numpy(values), 0)
        return values

    def text_from_first(self, text: str) -> str:
        """The first process's `text`."""
        own = np.frombuffer(text.encode(), dtype=np.uint8)
        length = int(self.from_first(np.array([len(own)], dtype=np.int64))[0])
        return self.from_first(own.copy() if self.is_first else np.empty(length, dtype=np.uint8)).tobytes().decode()

    def gather(self, values: Array) -> list[Array]:
        """The `values` of every process, by rank; all of one shape and type."""
        if self.size == 1:
            return [values]
        import torch
        from torch import distributed

        gathered = [np.empty_like(values) for _ in range(self.size)]
        with self.talking():
            distributed.all_gather([torch.from_numpy(part) for part in gathered], torch.from_numpy(values))
        return gathered

    def collect(self, values: Array, owners: Iterator[Array]) -> Iterator[Array]:
        """Rows that are spread over the processes, in their common order, block by block.

        Args:
            values: (n_own, ...) C-contiguous, the rows that this process holds, in that order.
            owners: Blocks (n,) of the ranks that hold the next n rows; only the first process reads it.

        Yields:
            In the first process, each block's rows; the other processes only send, and yield nothing.
        """
        sent = 0
        while True:
            block = next(owners, None) if self.is_first else None
            counts = np.full(self.size, -1) if block is None else np.bincount(block, minlength=self.size)
            counts = self.from_first(counts.astype(np.int64))
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
        """To the first process, unless there is nothing."""
        if values.size:
            import torch
            from torch import distributed

            with self.talking():
                distributed.send(torch.from_numpy(values.reshape(-1).view(np.uint8)), 0)

    def _receive(self, rank: int, shape: tuple[int, ...], like: Array) -> Array:
        """What process `rank` sent, in the type of `like`."""
        import torch
        from torch import distributed

        values = np.empty(shape, dtype=like.dtype)
        if values.size:
            with self.talking():
                distributed.recv(torch.from_numpy(values.reshape(-1).view(np.uint8)), rank)
        return values

    def tell_why(self, error: Exception) -> None:
        """Leave the sentence for `error`, which ends this process, to those who lose it; the first to tell is heard."""
        if self.store is not None:
            why = f"process {self.rank + 1} of {self.size} says: {describe(error).message}"
            with suppress(Exception):  # nothing may take the place of `error`
                self.store.compare_set(REASON, "", why.encode(errors="backslashreplace").decode())

    def _reason(self) -> str | None:
        """What the process that was lost has told, if it had time to; the store may be lost with it."""
        told: list[str] = []

        def ask(store: Store) -> None:
            with suppress(Exception):
                if store.check([REASON]):
                    told.append(store.get(REASON).decode())

        if self.store is not None:
            asking = threading.Thread(target=ask, args=(self.store,), daemon=True)
            asking.start()
            asking.join(PATIENCE_FOR_REASON)
        return told[0] if told else None

    @contextmanager
    def talking(self) -> Iterator[None]:
        """Turn what torch raises when a connection breaks into an error of ours.

        Raises:
            LostPeerError: torch could not send or receive; it says why the other process ended, if that has told.
        """
        try:
            yield
        except RuntimeError as error:
            why = self._reason() or "it has ended or cannot be reached; look for its error above"
            advice = "once that is mended run the same command again, train with --resume"
            raise LostPeerError(f"the connection to another process of this run was lost: {why}; {advice}") from error


ALONE = World()


def named_world(environment: Mapping[str, str] = os.environ) -> World:
    """The world that torchrun says this process is in; a world of one without torchrun."""
    if LAUNCHER not in environment:
        return World()
    return World(int(environment["RANK"]), int(environment["WORLD_SIZE"]))


def n_restarts(environment: Mapping[str, str] = os.environ) -> int:
    """How often torchrun has started all processes again after one was lost."""
    return int(environment.get("TORCHELASTIC_RESTART_COUNT", "0")) if LAUNCHER in environment else 0


def rank_on_host(environment: Mapping[str, str] = os.environ) -> tuple[int, int]:
    """The number of this process among those of torchrun on its machine, and how many these are."""
    if LAUNCHER not in environment:
        return 0, 1
    return int(environment.get("LOCAL_RANK", "0")), int(environment.get("LOCAL_WORLD_SIZE", "1"))


@contextmanager
def joined(world: World, patience: timedelta | None = None) -> Iterator[None]:
    """Connect this process with the others of `world` while the block runs; loads torch, which takes seconds.

    Args:
        world: The processes.
        patience: The longest time to wait for a message; PATIENCE if it is None.

    Raises:
        LostPeerError: the others cannot be reached, one of them has ended, or nothing was heard of one for too long.
    """
    if world.size == 1:
        yield
        return
    import torch
    from torch import distributed

    if distributed.is_initialized():  # by whoever calls us
        yield
        return
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    with world.talking():
        store, rank, size = next(rendezvous("env://"))
        # torchrun's c10d store outlives a restart, and in it the addresses of processes that are no more.
        store = PrefixStore(f"autorec/{n_restarts()}", store)
        distributed.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=patience or PATIENCE)
    world.store = store
    try:
        yield
        world.total(0.0)  # so that none leaves while another still reads from it
    except LostPeerError:
        raise
    except Exception as error:
        world.tell_why(error)
        raise
    finally:
        world.store = None
        distributed.destroy_process_group()  # or its threads would abort the process as it ends
