"""The sparse step against a dense one written plainly, in float64, with autograd."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from autorec_cli.config import HIDDEN_ACTIVATIONS, OUTPUT_ACTIVATIONS
from autorec_cli.model import ACTIVATIONS, Network
from autorec_cli.sparse import codes, encode, make_batch, predict_cells, shuffled_batches, step, to_rows

CPU = torch.device("cpu")
DEVICES = [
    CPU,
    pytest.param(
        torch.device("cuda"),
        marks=[pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")],
    ),
]


def random_network(sizes, hidden_activation, output_activation, rng):
    def tensor(*shape):
        return torch.from_numpy(rng.normal(0, 0.5, shape))

    return Network(
        encoder_weights=tuple(tensor(sizes[i], sizes[i + 1]) for i in range(len(sizes) - 1)),
        encoder_biases=tuple(tensor(size) for size in sizes[1:]),
        decoder_weight=tensor(sizes[0], sizes[-1]),
        decoder_bias=tensor(sizes[0]),
        hidden_activation=hidden_activation,
        output_activation=output_activation,
        output_range=(-1.0, 4.0),
    )


def random_examples(n_rows, n_columns, density, rng):
    observed = rng.random((n_rows, n_columns)) < density
    rows, columns = np.nonzero(observed)
    values = rng.integers(-2, 5, len(rows)).astype(np.float64)  # zeros are ratings too
    examples = sparse.csr_array((values, (rows, columns)), shape=observed.shape)
    return examples, observed


def dense_step(network, dense, observed):
    """Squared error over observed cells, and its gradients by autograd."""
    parameters = [parameter.clone().requires_grad_() for parameter in network.parameters()]
    depth = len(network.encoder_weights)
    weights, decoder_weight = parameters[:depth], parameters[depth]
    biases, decoder_bias = parameters[depth + 1 : -1], parameters[-1]
    hidden = dense
    for weight, bias in zip(weights, biases, strict=True):
        hidden = ACTIVATIONS[network.hidden_activation][0](hidden @ weight + bias)
    output, _ = network.output(hidden @ decoder_weight.T + decoder_bias)
    loss = ((output - dense)[observed] ** 2).sum()
    return loss.detach(), torch.autograd.grad(loss, parameters)


@settings(max_examples=60, deadline=None)
@given(
    n_rows=st.integers(1, 12),
    n_columns=st.integers(1, 12),
    hidden_sizes=st.lists(st.integers(1, 7), min_size=1, max_size=3),
    density=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    hidden_activation=st.sampled_from(HIDDEN_ACTIVATIONS),
    output_activation=st.sampled_from(OUTPUT_ACTIVATIONS),
    seed=st.integers(0, 2**32 - 1),
)
def test_step_equals_dense_step_with_autograd(
    n_rows, n_columns, hidden_sizes, density, hidden_activation, output_activation, seed
):
    rng = np.random.default_rng(seed)
    network = random_network([n_columns, *hidden_sizes], hidden_activation, output_activation, rng)
    examples, observed = random_examples(n_rows, n_columns, density, rng)
    loss, gradients = dense_step(network, torch.from_numpy(examples.toarray()), torch.from_numpy(observed))
    result = step(network, make_batch(examples, CPU))
    torch.testing.assert_close(result.squared_error, loss, rtol=1e-9, atol=1e-9)
    for ours, reference in zip(result.gradients, gradients, strict=True):
        torch.testing.assert_close(ours, reference, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("device", DEVICES)
def test_float32_gradients_are_within_1e_5_of_float64(device):
    rng = np.random.default_rng(0)
    network = random_network([300, 40], "sigmoid", "identity", rng)
    examples, _ = random_examples(200, 300, 0.1, rng)
    exact = step(network, make_batch(examples, CPU))
    single = Network(
        tuple(weight.float() for weight in network.encoder_weights),
        tuple(bias.float() for bias in network.encoder_biases),
        network.decoder_weight.float(),
        network.decoder_bias.float(),
        "sigmoid",
        "identity",
        network.output_range,
    ).to(device)
    result = step(single, make_batch(examples.astype(np.float32), device))
    for ours, reference in zip(result.gradients, exact.gradients, strict=True):
        assert (ours.cpu().double() - reference).norm() <= 1e-5 * reference.norm()


def test_batch_keeps_cells_whose_rating_is_zero():
    examples = sparse.csr_array((np.array([0.0, 2.0]), (np.array([0, 1]), np.array([1, 0]))), shape=(2, 2))
    batch = make_batch(examples, CPU)
    assert batch.rows.values().tolist() == [0.0, 2.0]
    assert batch.columns.values().tolist() == [2.0, 0.0]


def test_shuffled_batches_visit_every_row_once_and_differ_between_epochs():
    examples = sparse.csr_array(np.diag(np.arange(1.0, 11.0)))
    generator = torch.Generator().manual_seed(0)
    epochs = [
        [value for batch in shuffled_batches(examples, 3, generator, CPU) for value in batch.rows.values().tolist()]
        for _ in range(2)
    ]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(1, 11))
    assert epochs[0] != epochs[1]


def test_codes_in_blocks_equal_codes_at_once():
    rng = np.random.default_rng(1)
    network = random_network([9, 5, 3], "tanh", "identity", rng)
    examples, _ = random_examples(20, 9, 0.4, rng)
    at_once = encode(network, to_rows(examples, CPU))[-1]
    torch.testing.assert_close(codes(network, examples, 7), at_once)


def test_predictions_of_cells_are_entries_of_the_dense_output():
    rng = np.random.default_rng(2)
    network = random_network([6, 4], "sigmoid", "sigmoid", rng)
    hidden = torch.from_numpy(rng.normal(size=(5, 4)))
    dense, _ = network.output(hidden @ network.decoder_weight.T + network.decoder_bias)
    rows, columns = torch.tensor([0, 4, 2]), torch.tensor([5, 0, 3])
    torch.testing.assert_close(predict_cells(network, hidden, rows, columns), dense[rows, columns])
    assert predict_cells(network, hidden, rows[:0], columns[:0]).shape == (0,)
