import os
import sys

import pytest
import torch

from autorec_cli.errors import UsageError
from autorec_cli.network import device
from autorec_cli.network import engine as engines
from autorec_cli.network.device import find_place, resolve_device
from autorec_cli.network.engine import engine_name
from autorec_cli.runtime import threads as threading
from autorec_cli.runtime.threads import compute_threads, use_threads

CPU = "cpu"


def test_devices():
    assert resolve_device("cpu") == CPU
    with pytest.raises(UsageError, match="--device must be"):
        resolve_device("tpu")
    with pytest.raises(UsageError, match="--device must be"):
        resolve_device("cpu:1")
    with pytest.raises(UsageError, match="CUDA devices here"):
        resolve_device(f"cuda:{torch.cuda.device_count()}")


def test_each_process_of_a_machine_takes_a_gpu(monkeypatch):
    monkeypatch.setattr(device, "has_driver", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr("autorec_cli.network.device.local_rank", lambda: (1, 2))
    assert resolve_device("auto") == resolve_device("cuda") == "cuda:1"
    assert resolve_device("cpu") == CPU
    monkeypatch.setattr("autorec_cli.network.device.local_rank", lambda: (1, 3))
    with pytest.raises(UsageError, match="3 processes on a machine of 2 GPUs"):
        resolve_device("auto")


def test_processes_cannot_share_a_gpu(monkeypatch):
    monkeypatch.setattr(device, "has_driver", lambda: True)
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
    assert place.device == name
    assert numbers == ([1] if name == "cuda:1" else [])
    assert place.engine == (engine_name(CPU) if name == "cpu" else "cuda")


@pytest.mark.parametrize("installed", [True, False])
def test_without_a_driver_no_gpu_is_looked_for(monkeypatch, tmp_path, installed):
    monkeypatch.setattr(device, "CUDA_DRIVER", {sys.platform: "libc.so.6" if installed else "libnowhere.so.1"})
    monkeypatch.setattr(device, "ROCM_DRIVER", tmp_path / "kfd")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert device.has_driver() is installed
    assert resolve_device("auto") == ("cuda" if installed else "cpu")
    (tmp_path / "kfd").touch()
    assert device.has_driver()


def test_threads_are_those_asked_for(monkeypatch):
    before = torch.get_num_threads()
    monkeypatch.setattr(engines, "CompiledEngine", None)
    try:
        for threads in (2, 1, 3):
            assert find_place("cpu", threads).threads == compute_threads() == torch.get_num_threads() == threads
    finally:
        use_threads(0)
        torch.set_num_threads(before)


def test_by_default_there_is_a_thread_for_every_core(monkeypatch, tmp_path):
    monkeypatch.setattr(threading, "PROCESSORS", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 2, 3, 5}, raising=False)
    for processor, siblings in enumerate(("0,2", "1,3", "0,2", "1,3", "4-5", "4-5")):
        (tmp_path / f"cpu{processor}" / "topology").mkdir(parents=True)
        (tmp_path / f"cpu{processor}" / "topology" / "thread_siblings_list").write_text(siblings)
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert compute_threads() == 3
    monkeypatch.setattr(threading, "PROCESSORS", tmp_path / "nowhere")
    assert compute_threads() == 5
    for given, threads in (("2", 2), ("4,2", 4), ("", 5), ("all", 5)):
        monkeypatch.setenv("OMP_NUM_THREADS", given)
        assert compute_threads() == threads


@pytest.mark.parametrize("threads", [-1, 100_000])
def test_impossible_numbers_of_threads_are_refused(threads):
    with pytest.raises(UsageError, match="--threads"):
        find_place("cpu", threads)
