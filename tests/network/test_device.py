import pytest
import torch

from autorec_cli.errors import UsageError
from autorec_cli.network.device import find_place, resolve_device, use_threads
from autorec_cli.network.engine import engine_name

CPU = torch.device("cpu")


def test_devices():
    assert resolve_device("cpu") == CPU
    with pytest.raises(UsageError, match="--device must be"):
        resolve_device("tpu")
    with pytest.raises(UsageError, match="--device must be"):
        resolve_device("cpu:1")
    with pytest.raises(UsageError, match="CUDA devices here"):
        resolve_device(f"cuda:{torch.cuda.device_count()}")


def test_each_process_of_a_machine_takes_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr("autorec_cli.network.device.local_rank", lambda: (1, 2))
    assert resolve_device("auto") == resolve_device("cuda") == torch.device("cuda:1")
    assert resolve_device("cpu") == CPU
    monkeypatch.setattr("autorec_cli.network.device.local_rank", lambda: (1, 3))
    with pytest.raises(UsageError, match="3 processes on a machine of 2 GPUs"):
        resolve_device("auto")


def test_processes_cannot_share_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr("autorec_cli.network.device.local_rank", lambda: (1, 2))
    with pytest.raises(UsageError, match="cannot share --device cuda:1"):
        resolve_device("cuda:1")


@pytest.mark.parametrize("name", ["cuda:1", "cuda", "cpu"])
def test_the_gpu_of_a_run_is_the_current_one(monkeypatch, name):
    numbers = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    # Below `set_device`, whose checks are torch's own: it refuses a device without a number.
    monkeypatch.setattr(torch._C, "_cuda_setDevice", numbers.append, raising=False)
    place = find_place(name, 0)
    assert place.device == torch.device(name)
    assert numbers == ([1] if name == "cuda:1" else [])
    assert place.engine == (engine_name(CPU) if name == "cpu" else "cuda")


def test_threads_are_those_asked_for():
    before = torch.get_num_threads()
    try:
        for threads in (2, 1, 3):
            use_threads(threads)
            assert torch.get_num_threads() == threads
        use_threads(0)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("threads", [-1, 100_000])
def test_impossible_numbers_of_threads_are_refused(threads):
    with pytest.raises(UsageError, match="--threads"):
        use_threads(threads)
