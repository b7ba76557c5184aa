"""Device, engine and CPU threads of a training run."""

from __future__ import annotations

import os
from typing import NamedTuple

import torch

from autorec_cli.config import check_device
from autorec_cli.errors import UsageError, counted
from autorec_cli.network.engine import engine_name
from autorec_cli.runtime.process_group import local_rank

THREADS_PER_CORE = 4
TORCH_VERSION = str(torch.__version__)


class Place(NamedTuple):
    """Device, engine and number of CPU threads of a run."""

    device: torch.device
    engine: str
    threads: int

    def __str__(self) -> str:
        """Name for messages: `cpu (compiled)`."""
        return f"{self.device} ({self.engine})"

    def to_document(self) -> dict[str, str | int]:
        """Convert to JSON types."""
        return {"device": str(self.device), "engine": self.engine, "threads": self.threads}


def find_place(device: str, threads: int) -> Place:
    """Find the device, make it current, and set the number of CPU threads.

    Raises:
        UsageError: the device is not available, or `threads` is out of range.
    """
    found = resolve_device(device)
    use_threads(threads)
    if found.index is not None:  # "cuda" is the current one already, and `set_device` wants a number
        # Libraries below torch (nccl, pinned memory) take the current device; left at 0, all processes would use that.
        torch.cuda.set_device(found)
    return Place(found, engine_name(found), torch.get_num_threads())


def resolve_device(name: str) -> torch.device:
    """Find a device by name.

    "auto" is CUDA if available, else the CPU. Processes on one machine get a GPU each.

    Raises:
        UsageError: the name is not a device, or the device is not available.
    """
    check_device(name)
    rank, n_local = local_rank()
    if n_local > 1 and name.startswith("cuda:"):
        raise UsageError(
            f"torchrun has started {n_local} processes on this machine, which cannot share --device {name}; "
            "with --device cuda each takes a GPU of its own"
        )
    if n_local > 1 and name in ("auto", "cuda") and torch.cuda.is_available():
        if n_local > torch.cuda.device_count():
            raise UsageError(
                f"torchrun has started {n_local} processes on a machine of "
                f"{counted(torch.cuda.device_count(), 'GPU')}, and each takes one; start as many as "
                "there are GPUs (--nproc-per-node), or use --device cpu"
            )
        name = f"cuda:{rank}"
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    # Asked for by name, so an absent device is an error and never a silent fallback.
    kind, _, number = name.partition(":")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"--device {name} was asked for, but PyTorch {torch.__version__} sees "
            f"{counted(torch.cuda.device_count(), 'CUDA device')} here; use --device cpu or --device auto"
        )
    return torch.device(name)


def use_threads(threads: int) -> None:
    """Set the number of CPU threads; 0 keeps torch's default.

    Raises:
        UsageError: the number is negative or far above the number of cores.
    """
    maximum = THREADS_PER_CORE * (os.cpu_count() or 1)
    if not 0 <= threads <= maximum:
        raise UsageError(f"--threads must be a whole number from 0 to {maximum} on this machine, not {threads}")
    if threads:
        torch.set_num_threads(threads)
