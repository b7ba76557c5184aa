"""EASE in benchmarks: its scores are those of the published closed form, whichever matrix is inverted."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from benchmarks.lists import ease


@pytest.mark.parametrize("shape", [(30, 50), (50, 30)])
def test_scores_are_those_of_the_closed_form(shape: tuple[int, int]) -> None:
    ratings = sparse.random_array(shape, density=0.2, format="csr", rng=1)
    ratings.data = np.ceil(5 * ratings.data)
    x = ratings.toarray()
    inverse = np.linalg.inv(x.T @ x + 3.0 * np.eye(shape[1]))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0)
    np.testing.assert_allclose(ease(ratings, 3.0), x @ weights, rtol=1e-5, atol=1e-6)
