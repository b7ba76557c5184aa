"""Batches of the compiled engine are those of numpy and scipy, to the bit."""

import numpy as np
import pytest
import torch

from autorec_cli.csr import transposed
from autorec_cli.network.dropout import KEYS, Dropout
from autorec_cli.network.encoder_input import make_inputs
from autorec_cli.network.pytorch.engine import ordinal_outputs
from tests.networks import LEVELS, random_examples

pytest.importorskip("numba")

from autorec_cli.network.compiled import kernels
from autorec_cli.network.compiled.batches import make_batch, observed


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("implicit", [False, True])
@pytest.mark.parametrize("probability", [0.0, 0.4])
def test_a_batch_is_that_of_numpy_and_scipy(probability, implicit, normalize):
    rng = np.random.default_rng(4)
    examples, _ = random_examples(40, 30, 0.3, rng)
    inputs, _ = make_inputs(examples.astype(np.float32), implicit, normalize)
    rows = rng.permutation(40)[:17]
    dropout = None
    if probability:
        keys = rng.integers(0, KEYS, len(rows)).astype(np.uint32)
        columns = rng.integers(0, KEYS, 30).astype(np.uint32)  # of a process that has some of them
        dropout = Dropout(probability, keys, columns)
    for ours, theirs in zip(make_batch(inputs, rows, dropout)[:2], inputs.batch(rows, dropout)[:2], strict=True):
        assert ours.shape == theirs.shape
        columns, order = transposed(theirs)
        expected = (theirs.indptr, theirs.indices, theirs.data, columns.indptr, columns.indices, order)
        found = (ours.pattern.indptr, ours.pattern.indices, ours.values, *ours.pattern.transposed)
        for array, reference in zip(found, expected, strict=True):
            np.testing.assert_array_equal(array, reference)
        np.testing.assert_array_equal(ours.by_column, theirs.data[order])


def test_ordinal_outputs_are_those_of_torch_and_keep_what_is_no_number():
    rng = np.random.default_rng(5)
    examples, _ = random_examples(30, 50, 0.5, rng)
    pattern = observed(examples.astype(np.float32)).pattern
    z, targets = (rng.normal(0, 60, examples.nnz).astype(np.float32) for _ in range(2))
    z[7] = np.nan
    of_rows, of_columns = (rng.normal(0, 1, size).astype(np.float32) for size in examples.shape)
    thresholds = rng.normal(0, 1, (30, 4)).astype(np.float32)
    outputs, gradients = np.empty_like(z), np.empty_like(thresholds)
    gaps, midpoints = (np.array(values, dtype=np.float32) for values in (LEVELS.gaps, LEVELS.midpoints))
    arguments = (z, targets, True, pattern.indptr, pattern.indices, of_rows, of_columns, thresholds)
    levels = (np.float32(LEVELS.values[0]), gaps, midpoints, np.float32(LEVELS.slope))
    for rows in ((0, 11), (11, 30)):
        kernels.ordinal_outputs(*arguments, *levels, outputs, gradients, *rows)
    row = np.repeat(np.arange(30), np.diff(pattern.indptr))
    offsets = torch.from_numpy(of_rows[row] + of_columns[pattern.indices])

    def sums(values):
        return torch.zeros(30, dtype=torch.float64).index_add_(0, torch.from_numpy(row), values.double()).float()

    given = (torch.from_numpy(part) for part in (z, thresholds, row, targets))
    z_, thresholds_, row_, targets_ = given
    expected = ordinal_outputs(z_, offsets, thresholds_, row_, LEVELS, targets_, sums)
    np.testing.assert_allclose(outputs, expected.outputs.numpy(), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(gradients, expected.thresholds.numpy(), rtol=1e-5, atol=1e-5)
    assert np.isnan(outputs[7])
