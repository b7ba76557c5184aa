"""Every tensor of a training run on a GPU is where it should be, shown without one; see `tests.simulated_device`."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from autorec_cli.defaults import RatingFacts
from autorec_cli.network import engine as engines
from autorec_cli.network.pytorch import engine as torch_engine
from autorec_cli.network.pytorch import sparse_tensors
from autorec_cli.training.fit import train
from autorec_cli.training.loop.examples import make_examples
from autorec_cli.training.loop.phases import NetworkTraining, select_and_refit
from autorec_cli.training.loop.trainer import drain, make_trainer
from autorec_cli.training.settings import TrainSettings
from tests.planted import planted_dataset
from tests.simulated_device import CPU, PlacementError, SimulatedDevice, simulate_cuda

GPU = torch.device("cuda:0")
CASES = {
    "item": {},
    "user": {"variant": "user"},
    "deep": {"hidden_sizes": (8, 4, 8)},
    "paper": {"implicit": False, "normalize": False, "center": "none", "decoder_mean": False, "dropout": 0.0},
    "identity": {"output_activation": "identity"},
    "sigmoid": {"output_activation": "sigmoid"},
    "ranking": {"objective": "ranking"},
    "ranking, user": {"objective": "ranking", "variant": "user"},
    "no refit": {"refit": False},
}


@pytest.fixture
def without_numba(monkeypatch):
    monkeypatch.setattr(engines, "CompiledEngine", None)


def settings_of(case):
    given = {"hidden_sizes": (8,), "epochs": 3, "batch_size": 16, "dropout": 0.3, **CASES[case]}
    return TrainSettings(**given).complete((80, 50), 1000, RatingFacts(3.0, 1.0, 5))


def trained(settings, device):
    results = []
    fitted = drain(select_and_refit(NetworkTraining(planted_dataset(), settings, device)), results.append)
    return [(result.train_rmse, result.valid or 0.0) for result in results], fitted.network.parameters()


@pytest.mark.parametrize("product", ["embedding_bag", "sparse"])
@pytest.mark.parametrize("memory", ["resident", "streamed"])
@pytest.mark.parametrize("case", CASES)
def test_a_run_on_a_gpu_places_every_tensor_and_is_that_of_the_cpu(monkeypatch, without_numba, case, memory, product):
    settings = settings_of(case)
    expected, parameters = trained(settings, "cpu")
    simulate_cuda(monkeypatch, 1 << 40 if memory == "resident" else 0)
    monkeypatch.setattr(sparse_tensors, "GPU_PRODUCT", product)
    with SimulatedDevice():
        found, ours = trained(settings, "cuda:0")
    np.testing.assert_allclose(found, expected, rtol=1e-5 if product == "sparse" else 0)
    for parameter, reference in zip(ours, parameters, strict=True):
        np.testing.assert_allclose(parameter, reference, rtol=1e-3, atol=1e-5) if product == "sparse" else (
            np.testing.assert_array_equal(parameter, reference)
        )


@pytest.fixture
def watching():
    """The mode, watching this file as if it were the engine."""
    with SimulatedDevice(watched=Path(__file__)) as mode:
        yield mode


def test_a_tensor_without_a_device_is_found(watching):
    for make in (torch.zeros, torch.ones, torch.empty, torch.arange, torch.randperm):
        assert make(3, device=GPU).device == GPU
        with pytest.raises(PlacementError, match=f"{make.__name__} without a device"):
            make(3)
    with pytest.raises(PlacementError, match="tensor without a device"):
        torch.tensor([1.0])


def test_an_operation_that_mixes_devices_is_found(watching):
    here, there = torch.ones(3, device="cpu"), torch.ones(3, device="cuda")
    number = torch.tensor(2.0, device=CPU)
    assert (there * number).device == (there + there).device == there.to("cpu").to(there).device == GPU
    assert (here + here).device == there.cpu().device == CPU
    index = torch.tensor([0], device=CPU)
    mixes = [
        lambda: here + there,
        lambda: torch.dot(there, here),
        lambda: torch.cat([there, here]),
        lambda: there.add_(here),
        lambda: there[index],
        lambda: setattr(there, "grad", here),
    ]
    for mix in mixes:
        with pytest.raises(PlacementError, match="mixes"):
            mix()


def test_a_view_by_numpy_and_a_copy_from_memory_that_is_not_pinned_are_found(watching):
    with pytest.raises(PlacementError, match="numpy"):
        torch.ones(3, device=GPU).numpy()
    plain = torch.from_numpy(np.ones(3))
    with pytest.raises(PlacementError, match="not pinned"):
        plain.to(GPU, non_blocking=True)
    assert plain.pin_memory().to(GPU, non_blocking=True).device == GPU
    assert plain.device == CPU


BREAKAGES = {
    "function": (torch_engine, "FUNCTIONS", dict.fromkeys(("sigmoid",), lambda z: torch.ones(z.shape, device=CPU))),
    "send": (sparse_tensors, "send", lambda array, device: torch.from_numpy(array)),
    "row sums": (torch_engine, "row_sums", lambda matrix: torch.ones(matrix.shape[0], device=CPU)),
    "row of cell": (torch_engine, "row_of_cell", lambda rows: torch.arange(rows.values().numel(), device=CPU)),
}


@pytest.mark.parametrize("breakage", BREAKAGES)
def test_a_run_that_leaves_a_tensor_on_the_cpu_fails(monkeypatch, without_numba, breakage):
    simulate_cuda(monkeypatch)
    monkeypatch.setattr(*BREAKAGES[breakage])
    with pytest.raises(PlacementError, match="mixes"), SimulatedDevice():
        trained(settings_of("item"), "cuda:0")


def test_a_factory_in_the_package_without_a_device_fails(monkeypatch, without_numba):
    simulate_cuda(monkeypatch)
    source = Path(sparse_tensors.__file__)
    scope = {}
    # As if it stood in that file.
    code = "import torch\ndef row_sums(matrix): return torch.zeros(matrix.shape[0])"
    exec(compile(code, str(source), "exec"), scope)
    monkeypatch.setattr(torch_engine, "row_sums", scope["row_sums"])
    with pytest.raises(PlacementError, match=f"{source.name}:2: torch.zeros without a device"), SimulatedDevice():
        trained(settings_of("item"), "cuda:0")


def first_trainer(settings, device="cuda:0"):
    dataset = planted_dataset()
    examples = make_examples(dataset.train, dataset.rating_scale, settings)
    return make_trainer(examples, settings, device, valid=dataset.valid)


@pytest.mark.parametrize("memory", ["resident", "streamed"])
@pytest.mark.parametrize("case", ["item", "user", "deep", "paper", "ranking"])
def test_a_step_waits_for_nothing_and_copies_only_what_is_new(monkeypatch, without_numba, case, memory):
    settings = dataclasses.replace(settings_of(case), batch_size=10)
    simulate_cuda(monkeypatch, 1 << 40 if memory == "resident" else 0)
    with SimulatedDevice() as mode, first_trainer(settings) as trainer:
        batches = trainer.batches()
        trainer.step(next(batches))  # copies what stays
        mode.copied.clear()
        mode.waits.clear()
        batch = next(batches)
        trainer.step(batch)
        assert mode.waits == []
        of_rows = 10 * (8 + 4 + 8 + 8) + 4  # offset, bound, number and dropout key of every row
        if settings.output_activation == "ordinal":
            of_rows += 10 * 4  # the center of each
        of_cells = 8 * batch.targets.rows.values().numel()
        assert 0 < sum(mode.copied) <= of_rows + (of_cells if memory == "streamed" else 0)
        assert (sum(mode.copied) > of_cells) == (memory == "streamed")
        # The whole of it: what waits is noticed.
        trainer.end_epoch()
        assert "copy to the CPU" in mode.waits


@pytest.mark.parametrize("case", ["item", "ranking"])
def test_a_checkpoint_of_a_gpu_is_that_of_a_cpu_and_back(monkeypatch, without_numba, case):
    settings = settings_of(case)
    simulate_cuda(monkeypatch)
    with SimulatedDevice(), first_trainer(settings) as first, first_trainer(settings) as second:
        for batch in first.batches():
            first.step(batch)
        state = first.state()
        second.restore(state)
        for name in ("parameters", "means", "squares"):
            for ours, reference in zip(getattr(second.engine.state(), name), getattr(state.adam, name), strict=True):
                np.testing.assert_array_equal(ours.whole(), reference.whole())
        for batch in second.batches():
            second.step(batch)
        assert second.engine.is_finite()


def test_a_run_stays_on_the_gpu_that_was_asked_for(monkeypatch, without_numba):
    settings = settings_of("item")
    simulate_cuda(monkeypatch)
    with SimulatedDevice(), first_trainer(settings, "cuda:1") as trainer:
        batch = next(trainer.batches())
        trainer.step(batch)
        trainer.end_epoch()
        used = [*trainer.engine._parameters(), batch.targets.rows, batch.inputs.columns]
        assert {str(tensor.device) for tensor in used} == {"cuda:1"}


@pytest.mark.parametrize("name", ["auto", "cuda", "cuda:0"])
def test_a_training_takes_the_gpu_that_is_asked_for(monkeypatch, without_numba, name):
    simulate_cuda(monkeypatch)
    settings = TrainSettings(variant="item", hidden_sizes=(8,), epochs=2)
    with SimulatedDevice() as mode:
        train(planted_dataset(), settings, device=name)
        assert mode.copied
        mode.copied.clear()
        train(planted_dataset(), settings, device="cpu")
        assert not mode.copied
