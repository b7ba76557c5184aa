"""Encoder inputs: both halves, one length, dropout alike in both, and the same for one example alone."""

import numpy as np
import pytest
from scipy import sparse

from autorec_cli.network.encoder_input import RATED, Inputs, input_cells, make_inputs, typical_norm

EXAMPLES = sparse.csr_array(np.array([[0, 2, 0, -1], [0, 0, 0, 0], [3, 0, 0.5, 0], [0, 0, 0, 4]], dtype=np.float32))
RATED_CELLS = EXAMPLES.toarray() != 0


@pytest.fixture
def zero_rated():
    """Cells that are rated just as expected hold a stored 0."""
    examples = EXAMPLES.copy()
    examples.data[0] = 0
    return examples


def test_plain_inputs_are_the_examples():
    inputs, norm = make_inputs(EXAMPLES, implicit=False, normalize=False)
    assert (inputs.shape, norm) == ((4, 4), None)
    np.testing.assert_array_equal(inputs[:].toarray(), EXAMPLES.toarray())


def test_the_second_half_tells_what_is_rated_even_as_expected(zero_rated):
    inputs, _ = make_inputs(zero_rated, implicit=True, normalize=False)
    shown = inputs[:]
    assert shown.shape == inputs.shape == (4, 8)
    assert shown.has_sorted_indices
    np.testing.assert_array_equal(shown.toarray()[:, :4], zero_rated.toarray())
    np.testing.assert_array_equal(shown.toarray()[:, 4:], RATED * RATED_CELLS)


@pytest.mark.parametrize("implicit", [False, True])
def test_all_rows_are_of_one_length_and_empty_ones_stay_empty(implicit):
    inputs, norm = make_inputs(EXAMPLES, implicit, normalize=True)
    norms = np.linalg.norm(inputs[:].toarray(), axis=1)
    np.testing.assert_allclose(norms, [norm, 0, norm, norm], rtol=1e-6)
    assert norm == typical_norm(EXAMPLES, implicit)


def test_some_rows_are_those_rows_of_all():
    inputs, _ = make_inputs(EXAMPLES, implicit=True, normalize=True)
    rows = np.array([3, 0])
    np.testing.assert_array_equal(inputs[rows].toarray(), inputs[:].toarray()[rows])
    np.testing.assert_array_equal(inputs[1:3].toarray(), inputs[:].toarray()[1:3])


def test_what_is_kept_counts_in_both_halves():
    inputs = Inputs(EXAMPLES, implicit=True, scale=None)
    kept = np.array([0, 2, 2, 0, 2], dtype=np.float32)
    shown = inputs.of(EXAMPLES, slice(None), kept).toarray()
    factor = np.zeros((4, 4))
    factor[RATED_CELLS] = kept
    np.testing.assert_array_equal(shown[:, :4], EXAMPLES.toarray() * factor)
    np.testing.assert_array_equal(shown[:, 4:], RATED * factor)


@pytest.mark.parametrize("implicit", [False, True])
@pytest.mark.parametrize("normalize", [False, True])
def test_one_example_alone_is_shown_as_its_row(implicit, normalize):
    inputs, norm = make_inputs(EXAMPLES, implicit, normalize)
    for row in (0, 2, 3):
        columns = np.flatnonzero(RATED_CELLS[row])
        cells, values = input_cells(columns, EXAMPLES.toarray()[row, columns], 4, implicit, norm)
        dense = np.zeros(inputs.shape[1])
        dense[cells] = values
        np.testing.assert_allclose(dense, inputs[:].toarray()[row], rtol=1e-6)
