"""Damped means: the mixed-model equations, the variances behind them, and ratings with nothing to estimate."""

import numpy as np
import pytest
from scipy import sparse

from autorec_cli.data.bias import damped_means

N_USERS, N_ITEMS = 400, 150
USER_SPREAD, ITEM_SPREAD, NOISE = 0.5, 0.3, 0.9


def random_ratings(density=0.1, seed=0):
    """Ratings drawn from the model: mean 3, normal biases, normal noise."""
    rng = np.random.default_rng(seed)
    rated = rng.random((N_USERS, N_ITEMS)) < density
    users, items = np.nonzero(rated)
    user_bias, item_bias = rng.normal(0, USER_SPREAD, N_USERS), rng.normal(0, ITEM_SPREAD, N_ITEMS)
    ratings = 3 + user_bias[users] + item_bias[items] + rng.normal(0, NOISE, len(users))
    return sparse.csr_array((ratings.astype(np.float32), (users, items)), shape=rated.shape), user_bias, item_bias


def mixed_model_solution(ratings, user_damping, item_damping):
    """Henderson's mixed model equations, solved densely: the ridge solution over all biases at once."""
    n_users, n_items = ratings.shape
    cells = ratings.tocoo()
    design = np.zeros((cells.nnz, n_users + n_items))
    design[np.arange(cells.nnz), cells.row] = 1
    design[np.arange(cells.nnz), n_users + cells.col] = 1
    ridge = np.diag(np.repeat([user_damping, item_damping], [n_users, n_items]))
    deviations = cells.data.astype(np.float64) - cells.data.mean(dtype=np.float64)
    return np.split(np.linalg.solve(design.T @ design + ridge, design.T @ deviations), [n_users])


def test_biases_solve_the_mixed_model_equations_with_the_true_variances():
    ratings, _, _ = random_ratings()
    means = damped_means(ratings)
    assert means.user_damping == pytest.approx(NOISE**2 / USER_SPREAD**2, rel=0.2)
    user_bias, item_bias = mixed_model_solution(ratings, means.user_damping, NOISE**2 / ITEM_SPREAD**2)
    np.testing.assert_allclose(means.user_bias, user_bias, atol=0.05)
    np.testing.assert_allclose(means.item_bias, item_bias, atol=0.05)
    assert np.corrcoef(means.item_bias, item_bias)[0, 1] > 0.999


def test_estimated_damping_is_as_good_as_the_best_of_a_grid():
    for density in (0.02, 0.1):
        ratings, true_user_bias, true_item_bias = random_ratings(density, seed=1)
        means = damped_means(ratings)

        def error(user_bias, item_bias, means=means, true=(true_user_bias, true_item_bias)):
            return np.square(user_bias - true[0]).mean() + np.square(item_bias - true[1]).mean() + 0 * means.mean

        grid = [error(*mixed_model_solution(ratings, u, i)) for u in (1, 3, 10) for i in (3, 9, 30)]
        assert error(means.user_bias, means.item_bias) < 1.05 * min(grid)


def test_a_side_that_is_left_out_has_no_bias():
    ratings, _, _ = random_ratings()
    items = damped_means(ratings, users=False)
    users = damped_means(ratings, items=False)
    assert not items.user_bias.any()
    assert items.user_damping == 0
    assert not users.item_bias.any()
    counts = np.bincount(ratings.indices, minlength=N_ITEMS)
    sums = ratings.sum(0, dtype=np.float64) - items.mean * counts
    damping = np.median(sums / items.item_bias - counts)
    assert damping == pytest.approx((NOISE**2 + USER_SPREAD**2) / ITEM_SPREAD**2, rel=0.2)
    np.testing.assert_allclose(items.item_bias, sums / (counts + damping), atol=1e-3)
    assert not damped_means(ratings, users=False, items=False).item_bias.any()


@pytest.mark.parametrize(
    "ratings",
    [
        sparse.csr_array((3, 2), dtype=np.float32),
        sparse.csr_array(np.full((3, 2), 4, dtype=np.float32)),
        sparse.csr_array(np.array([[1, 0], [0, 5]], dtype=np.float32)),
        sparse.csr_array(np.array([[1, 2], [3, 4]], dtype=np.float32)),
    ],
    ids=["none", "all equal", "one each", "explained by biases"],
)
def test_ratings_with_little_to_estimate_give_finite_means(ratings):
    means = damped_means(ratings)
    assert np.isfinite([means.mean, means.user_damping, *means.user_bias, *means.item_bias]).all()
    assert means.mean == pytest.approx(ratings.data.mean() if ratings.nnz else 0)
    users, items = ratings.nonzero()
    if ratings.nnz:
        assert means.predict(users, items).min() >= ratings.data.min() - 1e-9
        assert means.predict(users, items).max() <= ratings.data.max() + 1e-9


def test_users_and_items_without_ratings_have_no_bias():
    ratings, _, _ = random_ratings()
    wider = sparse.csr_array((ratings.data, ratings.indices, np.append(ratings.indptr, ratings.nnz)), shape=(401, 150))
    means, narrow = damped_means(wider), damped_means(ratings)
    assert means.user_bias[-1] == 0
    np.testing.assert_allclose(means.user_bias[:-1], narrow.user_bias)
