"""What commands that train do around `training.fit`: load torch late, find the device, follow the epochs."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, NamedTuple, TypeVar, cast

from autorec_cli.cli.plan import require_memory, shape_of
from autorec_cli.config import TrainSettings
from autorec_cli.runtime import memory

if TYPE_CHECKING:
    import torch

    from autorec_cli.data.dataset import Dataset

Told = TypeVar("Told")
Made = TypeVar("Made")


class Place(NamedTuple):
    """Where a network is trained: the device, the engine there ("compiled", "torch" or "cuda"), and CPU threads."""

    device: torch.device
    engine: str
    threads: int

    def __str__(self) -> str:
        """As people read it: `cpu (compiled)`."""
        return f"{self.device} ({self.engine})"

    def to_document(self) -> dict[str, str | int]:
        """As JSON types."""
        return {"device": str(self.device), "engine": self.engine, "threads": self.threads}


def find_place(device: str, threads: int) -> Place:
    """Load torch, which takes seconds, and find out where it will train.

    Raises:
        UsageError: the device cannot be had, or the number of threads makes no sense.
    """
    from autorec_cli.network import engine
    from autorec_cli.training import trainer

    target = trainer.resolve_device(device)
    trainer.use_threads(threads)
    return Place(target, engine.engine_name(target), trainer.n_threads())


def memory_of(prepared: Dataset, settings: TrainSettings, place: Place) -> tuple[memory.Need, memory.Need]:
    """What training on `prepared` will need, and what can be had."""
    from autorec_cli.training import trainer

    need = memory.training_need(shape_of(prepared), settings, place.engine)
    return need, memory.Need(memory.available_bytes(), trainer.free_on_device(place.device))


def check_memory(prepared: Dataset, settings: TrainSettings, place: Place) -> None:
    """Check that training on `prepared` fits into memory.

    Raises:
        NotEnoughMemoryError: it does not.
    """
    require_memory(*memory_of(prepared, settings, place))


def drain(results: Generator[Told, None, Made], report: Callable[[Told], None]) -> Made:
    """Run the generator to its end, reporting what it yields; returns what it returns."""
    while True:
        try:
            report(next(results))
        except StopIteration as end:
            return cast("Made", end.value)
