"""The dense step that benchmarks compare with takes the steps that our engines take."""

import numpy as np
import pytest

from autorec_cli.network.autoencoder import Loss
from autorec_cli.network.encoder_input import Batch, make_inputs
from autorec_cli.network.pytorch.engine import TorchEngine
from autorec_cli.training.loop.examples import make_examples
from autorec_cli.training.loop.randomness import draw_dropout, initial_network
from benchmarks.dense import DenseEngine
from tests.networks import in_float32, random_examples, random_network
from tests.planted import planted_dataset
from tests.simulated_device import SimulatedDevice, simulate_cuda
from tests.trained import small_settings


@pytest.mark.parametrize("decoder_mean", [False, True])
@pytest.mark.parametrize("implicit", [False, True])
def test_the_dense_reference_takes_the_same_steps(implicit, decoder_mean):
    rng = np.random.default_rng(0)
    network = in_float32(random_network([30, 9], "sigmoid", "identity", rng, 0.1, n_inputs=60 if implicit else 30))
    examples, _ = random_examples(12, 30, 0.3, rng)
    examples = examples.astype(np.float32)
    inputs, _ = make_inputs(examples, implicit, normalize=implicit)
    ours = TorchEngine(network, "cpu", 5, Loss(decoder_mean=decoder_mean))
    dense = DenseEngine(network, "cpu", 12, Loss(decoder_mean=decoder_mean))
    for _ in range(3):
        errors = [
            float(engine.step(Batch(examples, inputs.of(examples, slice(None))), 0.001, 2.0))
            for engine in (ours, dense)
        ]
        assert errors[0] == pytest.approx(errors[1], rel=1e-5)
    np.testing.assert_allclose(dense.predict(inputs, examples), ours.predict(inputs, examples), rtol=1e-4)
    for parameter, reference in zip(ours.network().parameters(), dense.network().parameters(), strict=True):
        np.testing.assert_allclose(parameter, reference, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("implicit", [False, True])
def test_on_a_gpu_the_dense_reference_takes_the_same_steps(monkeypatch, implicit):
    gpu, settings = simulate_cuda(monkeypatch), small_settings(implicit=implicit, dropout=0.2)
    examples = make_examples(planted_dataset().train, (1.0, 5.0), settings)
    generator = np.random.default_rng(0)
    network, dropped = (
        initial_network(examples, settings, generator),
        draw_dropout(9, examples.partition.columns, 0.2, generator),
    )
    with SimulatedDevice():
        ours, dense = (make(network, gpu, 16, Loss(decoder_mean=True)) for make in (TorchEngine, DenseEngine))
        for engine in (ours, dense):
            engine.step(engine.batch(examples.inputs, np.arange(9) * 2, dropped), 0.001, 2.0)
        predictions = [engine.predict(examples.inputs, examples.matrix) for engine in (ours, dense)]
        networks = [engine.network().parameters() for engine in (ours, dense)]
    np.testing.assert_allclose(*predictions, rtol=1e-3, atol=1e-5)
    for parameter, reference in zip(*networks, strict=True):
        np.testing.assert_allclose(parameter, reference, rtol=1e-3, atol=1e-5)
