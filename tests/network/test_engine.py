"""Every engine against the plain dense step in float64, and against each other."""

import dataclasses
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from autorec_cli.config import HIDDEN_ACTIVATIONS, OUTPUT_ACTIVATIONS
from autorec_cli.network import engine as engines
from autorec_cli.network.autoencoder import Loss
from autorec_cli.network.encoder_input import Batch, Inputs
from autorec_cli.network.engine import engine_name, make_engine
from autorec_cli.network.ordinal import Offsets
from autorec_cli.network.pytorch.engine import TorchEngine, encode
from autorec_cli.network.pytorch.sparse_tensors import to_csr
from tests.networks import (
    COMPILED,
    NAMES,
    dense_step,
    in_float32,
    numba_is_here,
    ordinal_examples,
    random_examples,
    random_network,
)
from tests.program import ROOT

CPU = "cpu"


def engine_called(name, network, rows_at_once=5, threads=2, **loss):
    if name == COMPILED:
        return engines.CompiledEngine(in_float32(network), threads, rows_at_once, Loss(**loss))
    return TorchEngine(in_float32(network), CPU, rows_at_once, Loss(**loss))


def assert_near(ours, reference, tolerance=1e-5):
    """Within `tolerance` of the reference, in the norm of the whole tensor."""
    assert (ours.double() - reference).norm() <= tolerance * reference.norm() + 1e-12


@pytest.mark.parametrize("name", NAMES)
@given(
    n_rows=st.integers(1, 40),
    n_columns=st.integers(1, 40),
    hidden_sizes=st.lists(st.sampled_from([1, 3, 63, 64, 65, 130]), min_size=1, max_size=3),
    density=st.sampled_from([0.0, 0.05, 0.5, 1.0]),
    hidden_activation=st.sampled_from(HIDDEN_ACTIVATIONS),
    output_activation=st.sampled_from(OUTPUT_ACTIVATIONS),
    decay=st.sampled_from([0.0, 3.0]),
    missing_weight=st.sampled_from([0.0, 0.3]),
    dropout=st.booleans(),
    implicit=st.booleans(),
    decoder_mean=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_loss_and_gradients_equal_those_of_a_dense_float64_step(
    name,
    n_rows,
    n_columns,
    hidden_sizes,
    density,
    hidden_activation,
    output_activation,
    decay,
    missing_weight,
    dropout,
    implicit,
    decoder_mean,
    seed,
):
    rng = np.random.default_rng(seed)
    # Far from where float32 loses digits whatever the engine: saturated units, predictions that meet their targets.
    sizes, n_inputs = [n_columns, *hidden_sizes], n_columns * (2 if implicit else 1)
    network = random_network(sizes, hidden_activation, output_activation, rng, deviation=0.03, n_inputs=n_inputs)
    exact = network.map(lambda tensor: tensor.float().double())  # so that only the arithmetic differs
    examples, observed = random_examples(n_rows, n_columns, density, rng, ratings=range(5, 9))
    offsets = None
    if output_activation != "identity":
        missing_weight = 0.0
    if output_activation == "ordinal":
        examples, offsets = ordinal_examples(examples, rng)
        decoder_mean = False  # its thresholds have means of their own
    kept = (rng.random(examples.nnz) < 0.5).astype(np.float32) if dropout else None
    inputs = Inputs(examples, implicit, None).of(examples, slice(None), kept).astype(np.float64)
    if decoder_mean:
        missing_weight = 0.0
    single = offsets and Offsets(*(part.astype(np.float32) for part in offsets))
    engine = engine_called(name, exact, missing_weight=missing_weight, decoder_mean=decoder_mean, offsets=single)
    parameters = [part.double() for part in tensors(engine.state().parameters)]
    deviations = dataclasses.replace(exact, decoder_weight=parameters[len(hidden_sizes)])
    loss, gradients = dense_step(
        deviations if decoder_mean else exact,
        torch.from_numpy(examples.toarray()),
        torch.from_numpy(observed),
        missing_weight,
        torch.from_numpy(inputs.toarray()),
        parameters[-1] if decoder_mean else None,
        offsets,
    )
    batch = Batch(examples.astype(np.float32), inputs.astype(np.float32), np.arange(n_rows))
    squared_error = engine.step(batch, rate=0.01, decay=decay)
    assert_near(torch.as_tensor(squared_error), loss)
    means = tensors(engine.state().means)  # Adam's first average is a tenth of the gradient
    ours = [mean / (1 - 0.9) for mean in means]
    penalties = [decay if index in (0, len(hidden_sizes)) else 0 for index in range(len(means))]
    expected = [g + penalty * p for g, penalty, p in zip(gradients, penalties, parameters, strict=True)]
    assert_near(*(torch.cat([part.flatten() for part in parts]) for parts in (ours, expected)))
    for gradient, reference in zip(ours, expected, strict=True):
        assert_near(gradient, reference, 1e-3)  # sums that cancel lose digits; no single tensor may be wrong


def tensors(pieces):
    return [torch.from_numpy(part.whole()) for part in pieces]


@numba_is_here
@pytest.mark.parametrize("decoder_mean", [False, True])
@pytest.mark.parametrize("hidden_sizes", [(70,), (70, 20)])
def test_engines_take_the_same_steps(hidden_sizes, decoder_mean):
    """Large gradients everywhere, so that Adam does not blow rounding up; 2,500 columns are two blocks."""
    rng = np.random.default_rng(0)
    network = random_network([2500, *hidden_sizes], "tanh", "identity", rng)
    examples, _ = random_examples(60, 2500, 0.3, rng)
    examples = examples.astype(np.float32)
    both = [engine_called(name, network, decoder_mean=decoder_mean) for name in (COMPILED, "torch")]
    for _ in range(4):
        losses = [float(engine.step(Batch(examples, examples), 0.001, 2.0)) for engine in both]
        assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    for ours, reference in zip(*(tensors(engine.state().parameters) for engine in both), strict=True):
        assert_near(ours, reference.double(), 1e-4)


@numba_is_here
def test_the_number_of_threads_does_not_change_a_bit():
    rng = np.random.default_rng(0)
    network = random_network([300, 70], "sigmoid", "identity", rng)
    examples, _ = random_examples(200, 300, 0.2, rng)
    states = []
    for threads in (1, 2, 5):
        engine = engine_called(COMPILED, network, threads=threads)
        for _ in range(3):
            engine.step(Batch(examples.astype(np.float32), examples.astype(np.float32)), 0.01, 1.0)
        states.append(tensors(engine.state().parameters))
    for state in states[1:]:
        assert all(map(torch.equal, states[0], state))


@pytest.mark.parametrize("decoder_mean", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_a_restored_engine_goes_on_as_if_nothing_had_happened(name, decoder_mean):
    rng = np.random.default_rng(1)
    network = random_network([40, 70, 9], "sigmoid", "identity", rng)
    examples, _ = random_examples(30, 40, 0.3, rng)
    examples = examples.astype(np.float32)
    engine, other = (
        engine_called(name, network, decoder_mean=decoder_mean),
        engine_called(name, random_network([40, 70, 9], "sigmoid", "identity", rng), decoder_mean=decoder_mean),
    )
    for _ in range(3):
        engine.step(Batch(examples, examples), 0.01, 1.0)
    other.restore(engine.state())
    for _ in range(3):
        engine.step(Batch(examples, examples), 0.01, 1.0)
        other.step(Batch(examples, examples), 0.01, 1.0)
    ours, theirs = other.state(), engine.state()
    assert ours.n_steps == theirs.n_steps == 6
    for name in ("parameters", "means", "squares"):
        assert all(map(torch.equal, tensors(getattr(ours, name)), tensors(getattr(theirs, name))))


@pytest.mark.parametrize("decoder_mean", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_predictions_are_entries_of_the_dense_output(name, decoder_mean):
    rng = np.random.default_rng(2)
    network = random_network([26, 70, 5], "sigmoid", "sigmoid", rng)
    examples, _ = random_examples(12, 26, 0.4, rng)
    cells, wanted = random_examples(12, 26, 0.2, rng)
    hidden = torch.from_numpy(examples.toarray())
    for weight, bias in zip(network.encoder_weights, network.encoder_biases, strict=True):
        hidden = torch.sigmoid(hidden @ weight + bias)
    dense, _ = network.output(hidden @ network.decoder_weight.T + network.decoder_bias, torch.sigmoid)
    engine = engine_called(name, network, decoder_mean=decoder_mean)
    inputs = Inputs(examples.astype(np.float32), implicit=False, scale=None)
    predictions = engine.predict(inputs, cells.astype(np.float32))
    np.testing.assert_allclose(predictions, dense.numpy()[wanted], rtol=1e-4)
    nothing = sparse.csr_array((12, 26), dtype=np.float32)
    assert engine.predict(inputs, nothing).shape == (0,)


@pytest.mark.parametrize("name", NAMES)
def test_codes_are_the_last_hidden_layer_in_any_order_of_rows(name):
    rng = np.random.default_rng(1)
    network = random_network([9, 70, 3], "tanh", "identity", rng)
    examples, _ = random_examples(20, 9, 0.4, rng)
    inputs = Inputs(examples.astype(np.float32), implicit=False, scale=None)
    expected = encode(network, to_csr(examples, torch.device("cpu")))[-1].numpy()
    engine = engine_called(name, network, rows_at_once=7)
    np.testing.assert_allclose(engine.codes(inputs), expected, rtol=1e-4, atol=1e-6)
    rows = rng.permutation(20)[:9]
    # Not the same bytes: a BLAS rounds a row by how many rows its product has.
    np.testing.assert_allclose(engine.codes(inputs, rows), engine.codes(inputs)[rows], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_the_network_of_an_engine_is_a_copy_of_what_it_was_given(name):
    network = random_network([26, 70, 5], "sigmoid", "identity", np.random.default_rng(2))
    engine = engine_called(name, network)
    copy, decoder = engine.network(), engine.decoder()
    assert all(map(np.array_equal, copy.parameters(), in_float32(network).parameters()))
    assert all(map(np.array_equal, decoder, (copy.decoder_weight, copy.decoder_bias)))
    for parameter in (*copy.parameters(), *decoder):
        parameter[:] = 0
    assert all(map(np.array_equal, engine.network().parameters(), in_float32(network).parameters()))


@pytest.mark.parametrize("name", NAMES)
def test_the_mean_row_is_part_of_every_row_of_the_network(name):
    rng = np.random.default_rng(2)
    network, (examples, _) = random_network([26, 70, 5], "sigmoid", "identity", rng), random_examples(12, 26, 0.4, rng)
    engine = engine_called(name, network, decoder_mean=True)
    np.testing.assert_allclose(engine.network().decoder_weight, in_float32(network).decoder_weight, rtol=1e-5)
    engine.step(Batch(examples.astype(np.float32), examples.astype(np.float32)), 0.1, 0.5)
    *_, mean = tensors(engine.state().parameters)
    deviation = tensors(engine.state().parameters)[2]
    assert np.array_equal(engine.network().decoder_weight, (deviation + mean).numpy())
    assert np.array_equal(engine.decoder()[0], (deviation + mean).numpy())
    assert not torch.allclose(mean, network.decoder_weight.float().mean(0))


@pytest.mark.parametrize("name", NAMES)
def test_parameters_that_are_not_finite_are_told(name):
    network = random_network([26, 70], "identity", "identity", np.random.default_rng(2))
    examples, _ = random_examples(12, 26, 0.4, np.random.default_rng(3))
    engine = engine_called(name, network)
    assert engine.is_finite()
    engine.step(Batch(examples.astype(np.float32), examples.astype(np.float32)), float("inf"), 0.0)
    assert not engine.is_finite()


def test_without_numba_torch_trains(monkeypatch):
    network = in_float32(random_network([6, 3], "sigmoid", "identity", np.random.default_rng(0)))
    monkeypatch.setattr(engines, "CompiledEngine", None)
    assert isinstance(make_engine(network, CPU, 4), TorchEngine)
    assert engine_name(CPU) == "torch"


@numba_is_here
def test_with_numba_compiled_loops_train_on_a_cpu():
    network = in_float32(random_network([6, 3], "sigmoid", "identity", np.random.default_rng(0)))
    assert isinstance(make_engine(network, CPU, 4), engines.CompiledEngine)
    assert engine_name(CPU) == COMPILED


@numba_is_here
def test_a_cache_that_cannot_be_used_does_not_stop_training(tmp_path):
    """numba raises from the first call if its cache is on a full disk or was cut off; training compiles without it."""
    code = """
import errno, sys
import numpy as np
from numba.core import caching
def fail(*arguments):
    raise {error}
caching.FunctionCache.{method} = fail
from autorec_cli.network.compiled.tiles import block_pointers
print(block_pointers(np.array([0, 2], dtype=np.int32), np.array([0, 1], dtype=np.int32), 5).tolist())
"""
    full = "OSError(errno.ENOSPC, 'No space left on device')"
    for method, error in (("save_overload", full), ("load_overload", "EOFError('Ran out of input')")):
        environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
        command = [sys.executable, "-c", code.format(method=method, error=error)]
        result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False)
        assert result.stdout.strip() == "[[0], [2]]", result.stderr
