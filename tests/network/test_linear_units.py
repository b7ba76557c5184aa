"""Linear units: what they add to a network, and that nothing else changes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from autorec_cli.defaults import EASE_RIDGE, ratings_per_side
from autorec_cli.evaluation.linear_autoencoder import linear_autoencoder
from autorec_cli.network import linear_units
from autorec_cli.network.activations import sigmoid
from autorec_cli.network.autoencoder import Network
from autorec_cli.network.encoder_input import make_inputs
from autorec_cli.network.linear_units import add_linear_units, without_linear_units

SHAPES = [(40, 25), (25, 40)]


def make_examples(shape, density=0.2):
    examples = sparse.csr_array(sparse.random_array(shape, density=density, format="csr", rng=3))
    examples.data = np.ceil(5 * examples.data).astype(np.float32)
    return examples


def make_network(n_columns, n_units=4):
    rng = np.random.default_rng(0)
    first, last = (rng.normal(size=(n_columns, n_units)).astype(np.float32) for _ in range(2))
    biases = (rng.normal(size=n_units).astype(np.float32),)
    bias = rng.normal(size=n_columns).astype(np.float32)
    return Network((first,), biases, last, bias, "sigmoid", "identity", (0.0, 5.0))


def codes_of(network, inputs):
    return sigmoid(inputs @ network.encoder_weights[0] + network.encoder_biases[0])


def scores_of(network, inputs):
    return codes_of(network, inputs) @ network.decoder_weight.T + network.decoder_bias


def added_scores(network, wide, inputs):
    """What the linear units add to half the scores of the others."""
    return scores_of(wide, inputs) - scores_of(network, inputs) / 2


def with_units(examples, n_units, normalize=False):
    """A network, the same with linear units, and their inputs."""
    inputs, _ = make_inputs(examples, implicit=False, normalize=normalize)
    network = make_network(examples.shape[1])
    codes = codes_of(network, inputs[:])
    return network, add_linear_units(network, codes, inputs, n_units, seed=0), inputs[:].toarray()


@pytest.mark.parametrize("shape", SHAPES)
def test_as_many_units_as_singular_vectors_score_unrated_items_as_ease_does(shape, monkeypatch):
    monkeypatch.setattr(linear_units, "SPREAD", 0.01)  # where a sigmoid is linear
    examples = make_examples(shape)
    added = added_scores(*with_units(examples, min(shape)))
    # Users with a single rating are left out of the matrix there, which is the same.
    ridge = EASE_RIDGE * ratings_per_side(*shape, examples.nnz)
    published = linear_autoencoder(examples, ridge)(np.arange(shape[0]))
    unrated = examples.toarray() == 0
    factor = (added[unrated] @ published[unrated]) / (published[unrated] @ published[unrated])
    np.testing.assert_allclose(added[unrated], factor * published[unrated], atol=0.002 * np.abs(added).max())


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_both_kinds_of_units_have_the_same_say(shape, normalize):
    network, wide, inputs = with_units(make_examples(shape), 12, normalize)
    theirs = scores_of(network, inputs) / 2
    added = added_scores(network, wide, inputs)
    spreads = [np.sqrt(np.square(scores - scores.mean(1, keepdims=True)).mean()) for scores in (theirs, added)]
    assert spreads[0] == pytest.approx(spreads[1], rel=0.02)


def test_linear_units_add_nothing_to_an_empty_example():
    network, wide, inputs = with_units(make_examples((40, 25)), 12)
    np.testing.assert_allclose(added_scores(network, wide, np.zeros_like(inputs[:1])), 0, atol=1e-4)


def test_a_network_is_found_again_below_its_linear_units():
    network, wide, _ = with_units(make_examples((40, 25)), 12)
    found = without_linear_units(wide, 12)
    for one, other in zip(found.parameters(), network.parameters(), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    "examples", [make_examples((30, 20), 0.01), make_examples((6, 20)), 0 * make_examples((30, 20))]
)
def test_units_beyond_the_rank_have_no_effect(examples):
    _, wide, inputs = with_units(examples, 20)
    assert all(np.isfinite(parameter).all() for parameter in wide.parameters())
    rank = np.linalg.matrix_rank(examples.toarray())
    assert np.count_nonzero(np.abs(wide.encoder_weights[0][:, 4:]).max(0) > 1e-6) <= rank
    assert np.abs(scores_of(wide, inputs)).max() < 1e3


def test_they_do_not_depend_on_the_unit_of_ratings():
    added = []
    for factor in (1, 1000):
        network, wide, inputs = with_units(make_examples((40, 25)) * np.float32(factor), 12)
        # The trained units saturate, so only the shares of the others can be compared.
        scores = added_scores(network, wide, inputs)
        added.append(scores / np.abs(scores).max())
    np.testing.assert_allclose(added[1], added[0], atol=0.01)


@pytest.mark.parametrize("shape", [(300, 200), (200, 300)])
def test_singular_vectors_of_larger_matrices_are_nearly_the_exact_ones(shape, monkeypatch):
    examples = make_examples(shape)
    network, exact, inputs = with_units(examples, 60)  # of 200
    monkeypatch.setattr(linear_units, "EXTRA", 30)
    searched = []
    monkeypatch.setattr(np.linalg, "qr", lambda basis, qr=np.linalg.qr: (searched.append(basis.shape), qr(basis))[1])
    _, found, _ = with_units(examples, 60)
    assert searched == [(200, 90)] * linear_units.ITERATIONS
    scores, expected = added_scores(network, found, inputs), added_scores(network, exact, inputs)
    assert np.corrcoef(scores.ravel(), expected.ravel())[0, 1] > 0.97
