"""Device, engine and CPU threads of a training run."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path
from typing import NamedTuple

from autorec_cli.config import check_device
from autorec_cli.errors import UsageError, counted
from autorec_cli.network.engine import engine_name
from autorec_cli.runtime.threads import compute_threads, use_threads
from autorec_cli.runtime.torchrun import local_rank

THREADS_PER_CORE = 4  # more than that is a mistake
CUDA_DRIVER = {"linux": "libcuda.so.1", "win32": "nvcuda.dll"}
"""Library that comes with a GPU's driver, and that PyTorch calls."""
ROCM_DRIVER = Path("/dev/kfd")  # of AMD; PyTorch calls its GPUs "cuda" too


class Place(NamedTuple):
    """Device, engine and number of CPU threads of a run."""

    device: str
    engine: str
    threads: int

    def __str__(self) -> str:
        """Name for messages: `cpu (compiled)`."""
        return f"{self.device} ({self.engine})"

    def to_document(self) -> dict[str, str | int]:
        """Convert to JSON types."""
        return {"device": self.device, "engine": self.engine, "threads": self.threads}


def find_place(device: str, threads: int) -> Place:
    """Find the device, make it current, set the CPU threads.

    Raises:
        UsageError: the device is not available, or `threads` is out of range.
    """
    found = resolve_device(device)
    maximum = THREADS_PER_CORE * (os.cpu_count() or 1)
    if not 0 <= threads <= maximum:
        raise UsageError(f"--threads must be a whole number from 0 to {maximum} on this machine, not {threads}")
    use_threads(threads)
    engine = engine_name(found)
    if engine != "compiled":
        import torch

        torch.set_num_threads(compute_threads())
        if ":" in found:  # "cuda" is the current one already, and `set_device` wants a number
            # Libraries below torch (nccl, pinned memory) take the current device; left at 0, all would use that.
            torch.cuda.set_device(found)
    return Place(found, engine, compute_threads())


def has_driver() -> bool:
    """Check for the driver of a GPU, without importing PyTorch.

    The import takes a second.
    """
    try:
        ctypes.CDLL(CUDA_DRIVER[sys.platform])
    except (KeyError, OSError):
        return ROCM_DRIVER.exists()
    return True


def resolve_device(name: str) -> str:
    """Find the name of a device.

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
    if name == "cpu" or (name == "auto" and not has_driver()):
        return "cpu"
    import torch

    if n_local > 1 and name in ("auto", "cuda") and torch.cuda.is_available():
        if n_local > torch.cuda.device_count():
            raise UsageError(
                f"torchrun has started {n_local} processes on a machine of "
                f"{counted(torch.cuda.device_count(), 'GPU')}, and each takes one; start as many as "
                "there are GPUs (--nproc-per-node), or use --device cpu"
            )
        name = f"cuda:{rank}"
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    # Asked for by name, so an absent device is an error and never a silent fallback.
    _, _, number = name.partition(":")
    if int(number or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"--device {name} was asked for, but PyTorch {torch.__version__} sees "
            f"{counted(torch.cuda.device_count(), 'CUDA device')} here; use --device cpu or --device auto"
        )
    return name
