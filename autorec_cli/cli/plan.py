"""What `autorec train` says before it starts: shapes, device and memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autorec_cli.cli.console import show_facts
from autorec_cli.config import TrainSettings
from autorec_cli.errors import NotEnoughMemoryError, counted
from autorec_cli.runtime import memory

if TYPE_CHECKING:
    from autorec_cli.data.dataset import Dataset


def shape_of(prepared: Dataset) -> memory.Shape:
    """What the run's memory depends on."""
    n_ratings = (prepared.train.nnz, prepared.valid.nnz, prepared.test.nnz)
    return memory.Shape(prepared.n_users, prepared.n_items, *n_ratings)


def examples_and_layers(shape: memory.Shape, settings: TrainSettings) -> tuple[int, str]:
    """How many examples there are, and the sizes of all layers."""
    n_examples, n_columns = shape.n_items, shape.n_users
    if settings.variant == "user":
        n_examples, n_columns = n_columns, n_examples
    return n_examples, "-".join(str(size) for size in (n_columns, *settings.hidden_sizes, n_columns))


def show_plan(shape: memory.Shape, settings: TrainSettings, device: str, need: memory.Need, free: memory.Need) -> None:
    """Say what would be trained on `device` ("cpu (compiled)"), what it needs and what there is."""
    n_examples, layers = examples_and_layers(shape, settings)
    used = memory.used_bytes()
    facts = [
        ("examples", f"{n_examples:,} ({settings.variant} variant), {shape.n_train:,} training ratings"),
        ("layers", layers),
        ("parameters", f"{memory.n_parameters(shape, settings):,}"),
        ("steps", f"{-(-n_examples // settings.batch_size)} an epoch, {counted(settings.epochs, 'epoch')} at most"),
        ("device", device),
        ("memory", f"about {_mib(used + need.host)} at the peak; {_mib(used + free.host)} can be had"),
    ]
    if need.device:
        facts.append(("device memory", f"about {_mib(need.device)} at the peak; {_mib(free.device)} free"))
    show_facts("dry run", facts)


def require_memory(need: memory.Need, free: memory.Need) -> None:
    """Check that the run fits.

    Raises:
        NotEnoughMemoryError: it does not.
    """
    for wanted, had, where in ((need.host, free.host, ""), (need.device, free.device, " on the device")):
        if wanted > had:
            raise NotEnoughMemoryError(
                f"training needs about {_mib(wanted)} more memory{where} and {_mib(had)} can be had, so it was not "
                "started; try a smaller --hidden-size or --batch-size, or the other --variant"
            )


def _mib(n_bytes: int) -> str:
    return f"{n_bytes / 2**20:,.0f} MiB"
