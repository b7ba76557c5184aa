import numpy as np
import pytest
import torch

from autorec_cli.config import HIDDEN_ACTIVATIONS
from autorec_cli.network.activations import ACTIVATIONS, DERIVATIVES, sigmoid
from autorec_cli.network.autoencoder import new_network
from autorec_cli.network.pytorch.engine import FUNCTIONS
from autorec_cli.runtime.partition import single_partition
from autorec_cli.training.settings import TrainSettings

Z = torch.tensor([-3.0, -0.5, 0.25, 2.0], dtype=torch.float64)


@pytest.mark.parametrize("name", HIDDEN_ACTIVATIONS)
def test_derivative_from_the_output_is_the_derivative(name):
    function, derivative = FUNCTIONS[name], DERIVATIVES[name]
    z = Z.clone().requires_grad_()
    (expected,) = torch.autograd.grad(function(z).sum(), z)
    torch.testing.assert_close(torch.ones_like(Z) * derivative(function(Z)), expected)
    np.testing.assert_allclose(np.ones(len(Z)) * derivative(ACTIVATIONS[name](Z.numpy())), expected)


@pytest.mark.parametrize("name", HIDDEN_ACTIVATIONS)
def test_numpy_activations_are_the_torch_ones(name):
    np.testing.assert_allclose(ACTIVATIONS[name](Z.numpy()), FUNCTIONS[name](Z).numpy(), rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_sigmoid_of_a_large_number_is_an_end(dtype):
    z = np.array([-np.inf, -1e4, -90, 0, 90, 1e4, np.inf, np.nan], dtype=dtype)
    found = sigmoid(z)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, [0, 0, np.exp(-90), 0.5, 1, 1, 1, np.nan], rtol=1e-6, atol=1e-38)
    assert sigmoid(z, out=z) is z
    np.testing.assert_array_equal(z, found)


@pytest.mark.parametrize("output_activation", ["identity", "sigmoid"])
def test_new_network_predicts_column_means(output_activation):
    settings = TrainSettings(hidden_sizes=(4,), output_activation=output_activation).complete((9, 9), 9)
    means = np.array([1.5, 2.0, 3.0])
    network = new_network(settings, means, 2.0, (1.0, 5.0), np.random.default_rng(0), single_partition(3))
    predictions, _ = network.output(network.decoder_bias, sigmoid)
    np.testing.assert_allclose(predictions, means, rtol=1e-5)


def test_new_network_depends_on_its_generator_only():
    settings = TrainSettings(hidden_sizes=(4, 3)).complete((9, 9), 9)
    first = new_network(settings, np.ones(5), 2.0, (1.0, 5.0), np.random.default_rng(7), single_partition(5))
    second = new_network(settings, np.ones(5), 2.0, (1.0, 5.0), np.random.default_rng(7), single_partition(5))
    other = new_network(settings, np.ones(5), 2.0, (1.0, 5.0), np.random.default_rng(8), single_partition(5))
    assert np.array_equal(first.encoder_weights[0], second.encoder_weights[0])
    assert not np.array_equal(first.encoder_weights[0], other.encoder_weights[0])
    assert [tuple(parameter.shape) for parameter in first.penalized()] == [(10, 4), (5, 3)]
    assert [tuple(parameter.shape) for parameter in first.free()] == [(4, 3), (4,), (3,), (5,)]
