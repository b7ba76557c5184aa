"""Closed forms of linear autoencoders, and EASE as a baseline."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from autorec_cli.evaluation import linear_autoencoder as linear
from autorec_cli.evaluation.linear_autoencoder import ease, linear_autoencoder


def make_ratings(shape, density=0.05):
    """Ratings from 1 to 5; some users have one, or none."""
    ratings = sparse.csr_array(sparse.random_array(shape, density=density, format="csr", rng=1))
    ratings.data = np.ceil(5 * ratings.data).astype(np.float32)
    return ratings


@pytest.mark.parametrize("shape", [(30, 50), (50, 30)])
def test_linear_autoencoder_is_the_published_closed_form(shape):
    ratings = make_ratings(shape)
    x, counts = ratings.toarray(), np.diff(ratings.indptr)
    assert {0, 1} <= set(counts)
    weights = np.maximum(counts, 1) ** -0.5
    gram = x.T @ (weights[:, None] * x)
    cell = np.sum(weights[:, None] * x**2) / ratings.nnz
    inverse = np.linalg.inv(gram + np.diag(3 * cell + 0.25 / 0.75 * np.diag(gram)))
    items = -inverse / np.diag(inverse)
    np.fill_diagonal(items, 0)
    users = np.arange(shape[0])[::2]
    scores = linear_autoencoder(ratings, 3.0, dropout=0.25, row_power=0.5)(users)
    np.testing.assert_allclose(scores, (x @ items)[users], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("factor", [1e-30, 1e30])
@pytest.mark.parametrize("shape", [(30, 50), (50, 30)])
def test_order_of_items_does_not_depend_on_the_unit_of_ratings(shape, factor):
    ratings = make_ratings(shape, 0.3)
    users = np.arange(shape[0])
    scaled = sparse.csr_array((ratings.data * np.float32(factor), ratings.indices, ratings.indptr), shape=shape)
    assert np.allclose(ease(ratings)(users), ease(scaled)(users), atol=1e-4)


@pytest.mark.parametrize(
    "ratings",
    [
        sparse.csr_array(np.eye(3, 5, dtype=np.float32)),  # one rating for each user
        sparse.csr_array(np.eye(5, 3, dtype=np.float32)),
        sparse.csr_array(np.ones((1, 1), dtype=np.float32)),
        sparse.csr_array((np.zeros(4, dtype=np.float32), [0, 1, 1, 2], [0, 2, 4]), shape=(2, 3)),  # zeros are ratings
    ],
)
def test_scores_of_degenerate_ratings_are_finite(ratings):
    assert np.isfinite(ease(ratings)(np.arange(ratings.shape[0]))).all()


def test_large_datasets_are_left_out(monkeypatch):
    monkeypatch.setattr(linear, "MAX_EASE_ROWS", 29)
    assert ease(make_ratings((30, 50))) is None
