"""A real GPU, where there is one: what `test_placement` shows with a simulated one."""

import numpy as np
import pytest
import torch

from autorec_cli import errors
from autorec_cli.network.pytorch import engine as torch_engine
from autorec_cli.network.pytorch import examples as device_examples
from tests.network.test_placement import CASES, first_trainer, settings_of, trained

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU"),
]
CPU, GPU = "cpu", "cuda:0"


def use_memory(monkeypatch, memory):
    if memory == "streamed":
        monkeypatch.setattr(torch_engine, "free_bytes", lambda device: 0)


@pytest.mark.parametrize("memory", ["resident", "streamed"])
@pytest.mark.parametrize("case", CASES)
def test_a_run_is_that_of_the_cpu_but_for_rounding(monkeypatch, case, memory):
    settings = settings_of(case)
    expected, _ = trained(settings, CPU)
    use_memory(monkeypatch, memory)
    found, parameters = trained(settings, GPU)
    np.testing.assert_allclose(found, expected, rtol=1e-3)
    assert all(isinstance(parameter, np.ndarray) for parameter in parameters)


@pytest.mark.parametrize("case", ["item", "ranking"])
def test_a_run_repeats_to_the_byte(case):
    first, second = (trained(settings_of(case), GPU)[1] for _ in range(2))
    assert all(map(np.array_equal, first, second))


@pytest.mark.parametrize("memory", ["resident", "streamed"])
@pytest.mark.parametrize("case", CASES)
def test_a_step_does_not_wait_for_the_gpu(monkeypatch, case, memory):
    use_memory(monkeypatch, memory)
    with first_trainer(settings_of(case)) as trainer:
        batches = trainer.batches()
        trainer.step(next(batches))  # loads libraries, and copies what stays
        torch.cuda.set_sync_debug_mode("error")
        try:
            for batch in batches:
                trainer.step(batch)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        trainer.end_epoch()


def test_memory_that_is_not_there_has_status_6():
    with pytest.raises(torch.OutOfMemoryError) as raised:
        torch.empty(1 << 42, dtype=torch.uint8, device=GPU)
    failure = errors.describe(raised.value)
    assert failure.exit_status == 6
    assert "GPU: 4096.00 GiB could not" in failure.message


def test_free_memory_is_what_can_be_allocated():
    before = device_examples.free_bytes(GPU)
    held = torch.empty(1 << 28, dtype=torch.uint8, device=GPU)
    assert before - device_examples.free_bytes(GPU) == pytest.approx(1 << 28, rel=0.1)
    del held
    assert device_examples.free_bytes(GPU) == pytest.approx(before, rel=0.1)
