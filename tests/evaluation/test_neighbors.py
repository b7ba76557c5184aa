"""Agreement of similar items with ratings."""

import numpy as np
import pytest

from autorec_cli.data.bias import damped_means
from autorec_cli.evaluation import neighbors
from autorec_cli.evaluation.neighbors import rating_agreement
from tests.planted import matrix_of, planted_dataset


@pytest.mark.parametrize("at_once", [2, 256])
def test_agreement_is_the_cosine_of_deviations_from_the_bias_baseline(monkeypatch, at_once):
    monkeypatch.setattr(neighbors, "PAIRS_AT_ONCE", at_once)
    ratings = planted_dataset().train
    users, items = ratings.nonzero()
    dense = np.zeros(ratings.shape)
    dense[users, items] = ratings.data - damped_means(ratings).predict(users, items)
    unit = dense / np.linalg.norm(dense, axis=0)
    ours, others = np.array([0, 3, 3]), np.array([1, 3, 7])
    found = rating_agreement(ratings, ours, others)
    np.testing.assert_allclose(found, (unit.T @ unit)[ours, others], atol=1e-12)
    assert found[1] == pytest.approx(1)


def test_interactions_agree_by_the_users_in_common():
    ratings = matrix_of({(0, 0): 1, (1, 0): 1, (1, 1): 1, (2, 2): 1}, (3, 4))
    found = rating_agreement(ratings, np.array([0, 0, 0]), np.array([1, 2, 3]))
    np.testing.assert_allclose(found, [1 / np.sqrt(2), 0, 0])
