"""The sparse step against a dense one written plainly, in float64, with autograd."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from autorec_cli.config import HIDDEN_ACTIVATIONS, OUTPUT_ACTIVATIONS
from autorec_cli.csr import row_indices
from autorec_cli.network.pytorch.engine import step, to_device
from autorec_cli.network.pytorch.sparse_tensors import to_both_orders
from tests.networks import dense_step, ordinal_examples, random_examples, random_network

CPU = torch.device("cpu")
DEVICES = [
    CPU,
    pytest.param(
        torch.device("cuda"),
        marks=[pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")],
    ),
]


@given(
    n_rows=st.integers(1, 12),
    n_columns=st.integers(1, 12),
    hidden_sizes=st.lists(st.integers(1, 7), min_size=1, max_size=3),
    density=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    hidden_activation=st.sampled_from(HIDDEN_ACTIVATIONS),
    output_activation=st.sampled_from(OUTPUT_ACTIVATIONS),
    has_mean=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_step_equals_dense_step_with_autograd(
    n_rows, n_columns, hidden_sizes, density, hidden_activation, output_activation, has_mean, seed
):
    rng = np.random.default_rng(seed)
    network = random_network([n_columns, *hidden_sizes], hidden_activation, output_activation, rng)
    examples, observed = random_examples(n_rows, n_columns, density, rng)
    offsets = centers = None
    if output_activation == "ordinal":
        examples, offsets = ordinal_examples(examples, rng)
        centers = torch.from_numpy(offsets.rows[row_indices(examples)] + offsets.columns[examples.indices])
    mean = torch.from_numpy(rng.normal(0, 0.5, hidden_sizes[-1])) if has_mean else None
    dense = torch.from_numpy(examples.toarray()), torch.from_numpy(observed)
    loss, gradients = dense_step(network, *dense, mean=mean, offsets=offsets)
    result = step(network, *to_device(examples, examples, CPU), mean=mean, centers=centers)
    torch.testing.assert_close(result.squared_error, loss, rtol=1e-9, atol=1e-9)
    for ours, reference in zip(result.gradients, gradients, strict=True):
        torch.testing.assert_close(ours, reference, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("device", DEVICES)
def test_float32_gradients_are_within_1e_5_of_float64(device):
    rng = np.random.default_rng(0)
    network = random_network([300, 40], "sigmoid", "identity", rng)
    examples, _ = random_examples(200, 300, 0.1, rng)
    exact = step(network, *to_device(examples, examples, CPU))
    single = network.map(lambda tensor: tensor.float().to(device))
    single_examples = examples.astype(np.float32)
    result = step(single, *to_device(single_examples, single_examples, device))
    for ours, reference in zip(result.gradients, exact.gradients, strict=True):
        assert (ours.cpu().double() - reference).norm() <= 1e-5 * reference.norm()


def test_batch_keeps_cells_whose_rating_is_zero():
    examples = sparse.csr_array((np.array([0.0, 2.0]), (np.array([0, 1]), np.array([1, 0]))), shape=(2, 2))
    batch = to_both_orders(examples, CPU)
    assert batch.rows.values().tolist() == [0.0, 2.0]
    assert batch.columns.values().tolist() == [2.0, 0.0]
