"""A GPU that is not there: the CPU computes its tensors, and what a real one would refuse or wait for is seen.

Inside `SimulatedDevice` every tensor has a place. A tensor made with `device="cuda:0"` or copied there is marked,
results are marked as their arguments are, and `Tensor.device` says so. Errors are:

- a tensor made from nothing in the watched files without an explicit device;
- an operation on tensors of different places, but for copies and CPU scalars, as in torch;
- numpy's view of a tensor that is not on the CPU;
- a copy that is to be queued and cannot be, because its source is not pinned.

Copies to the device and operations that wait for it are counted.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

import autorec_cli
from autorec_cli.network import device

CPU = torch.device("cpu")
FACTORIES = {
    torch.arange, torch.as_tensor, torch.empty, torch.eye, torch.full, torch.linspace, torch.ones, torch.rand,
    torch.randint, torch.randn, torch.randperm, torch.scalar_tensor, torch.tensor, torch.zeros,
}  # fmt: skip
ACROSS = {Tensor.copy_, Tensor.to, Tensor.cpu, Tensor.pin_memory}
"""Functions that may have tensors of several places, or make one elsewhere."""
WAITING = {
    Tensor.__bool__, Tensor.__float__, Tensor.__int__, Tensor.item, Tensor.tolist, Tensor.nonzero, torch.nonzero,
    Tensor.masked_select, torch.unique, torch.bincount,
}  # fmt: skip
"""Functions for which the host waits until a GPU has done all its work."""


class PlacementError(AssertionError):
    """A tensor is not where it should be."""


class SimulatedDevice(TorchFunctionMode):
    """See the module.

    Attributes:
        copied: Bytes of each copy to the device, in order.
        waits: Names of the functions that waited for the device.
    """

    def __init__(self, watched: Path = Path(autorec_cli.__file__).parent) -> None:
        super().__init__()
        self._watched = str(watched)
        self.copied: list[int] = []
        self.waits: list[str] = []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if function == Tensor.device.__get__:
            return place_of(args[0])
        if function in ACROSS:
            return self._copy(function, args, kwargs)
        tensors = list(tensors_in((args, kwargs)))
        requested = kwargs.get("device")
        if requested is not None:
            kwargs["device"] = CPU
            place = normalized(requested)
        else:
            self._require_device(function, tensors)
            place = CPU
        place = common_place(function, tensors, place)
        if place != CPU:
            self._note_waits(function, args, kwargs)
        return marked(function(*args, **kwargs), place)

    def _copy(self, function, args, kwargs):
        source, *others = args
        if function == Tensor.pin_memory:
            if place_of(source) != CPU:
                raise PlacementError("only CPU tensors can be pinned")
            pinned = source.clone()
            pinned.is_pinned_here = True
            return pinned
        if function == Tensor.copy_:
            self._count(others[0], place_of(source))
            return function(*args, **kwargs)
        target = CPU if function == Tensor.cpu else place_of(source)
        named = kwargs.pop("device", None)
        rest = []
        for other in ([] if named is None else [named]) + others:
            if isinstance(other, (torch.device, str)):
                target = normalized(other)
            elif isinstance(other, Tensor):
                target = place_of(other)
                rest.append(other.dtype)
            else:
                rest.append(other)
        if target == place_of(source):
            return marked(source.to(*rest, **kwargs), target)
        if kwargs.get("non_blocking") and target != CPU and not hasattr(source, "is_pinned_here"):
            raise PlacementError("a copy from memory that is not pinned waits for the device")
        self._count(source, target)
        return marked(source.to(*rest, **{**kwargs, "copy": True}), target)

    def _count(self, source, target):
        if target == CPU and place_of(source) != CPU:
            self.waits.append("copy to the CPU")
        if target != CPU and place_of(source) == CPU:
            self.copied.append(source.numel() * source.element_size())

    def _require_device(self, function, tensors):
        if function not in FACTORIES or tensors:
            return
        caller = sys._getframe(2)
        if caller.f_code.co_filename.startswith(self._watched):
            where = f"{caller.f_code.co_filename}:{caller.f_lineno}"
            raise PlacementError(f"{where}: torch.{function.__name__} without a device")

    def _note_waits(self, function, args, kwargs):
        if function == Tensor.numpy:
            raise PlacementError("numpy cannot see a tensor that is not on the CPU")
        by_mask = function in (Tensor.__getitem__, Tensor.__setitem__) and any(
            tensor.dtype == torch.bool for tensor in tensors_in(args[1:])
        )
        unsized = function in (torch.repeat_interleave, Tensor.repeat_interleave) and "output_size" not in kwargs
        if function in WAITING or by_mask or unsized:
            self.waits.append(function.__name__)


def place_of(tensor: Tensor) -> torch.device:
    """Device where the tensor would be."""
    return getattr(tensor, "simulated_place", CPU)


def normalized(device: torch.device | str | int) -> torch.device:
    """With a number, as that of a tensor has."""
    device = torch.device(device)
    return torch.device(device.type, device.index or 0) if device.type == "cuda" else device


def common_place(function, tensors: list[Tensor], requested: torch.device) -> torch.device:
    """The place of an operation's results."""
    # Scalars of the CPU go anywhere, as numbers do.
    places = {place_of(tensor) for tensor in tensors if tensor.dim() or place_of(tensor) != CPU}
    if len(places) > 1:
        raise PlacementError(f"{getattr(function, '__name__', function)} mixes {sorted(map(str, places))}")
    return next(iter(places)) if places and requested == CPU else requested


def marked(result: object, place: torch.device) -> object:
    """The result, its tensors marked."""
    for tensor in tensors_in(result):
        if place != CPU:
            tensor.simulated_place = place
    return result


def tensors_in(value: object) -> Iterator[Tensor]:
    """All tensors in nested tuples, lists and dicts."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from tensors_in(part)
    elif isinstance(value, dict):
        yield from tensors_in(list(value.values()))


class SimulatedGenerator(torch.Generator):
    """A generator of the CPU, whatever device is asked for."""

    def __new__(cls, device=CPU):
        return super().__new__(cls, CPU)


def simulate_cuda(monkeypatch, free_bytes: int = 1 << 40) -> torch.device:
    """Make torch.cuda answer as if there were one GPU with so much free memory."""
    monkeypatch.setattr(device, "has_driver", lambda: True)
    monkeypatch.setattr(torch, "Generator", SimulatedGenerator)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    # The optimizer asks one or the other; a build with CUDA would ask the driver, which is not there.
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available=False: None)
    monkeypatch.setattr(torch._C, "_cuda_setDevice", lambda number: None, raising=False)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device=None: (free_bytes, 1 << 40))
    for name in ("memory_reserved", "memory_allocated", "max_memory_allocated"):
        monkeypatch.setattr(torch.cuda, name, lambda device=None: 0)
    for name in ("synchronize", "reset_peak_memory_stats", "empty_cache"):
        monkeypatch.setattr(torch.cuda, name, lambda device=None: None)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: "a simulated GPU")
    return torch.device("cuda:0")
