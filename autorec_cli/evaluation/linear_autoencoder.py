"""Linear autoencoders in closed form: EASE and its variants.

The variants weigh users and drop inputs. The weights B without a diagonal that rebuild X from X B best are

    B = I - P / diag(P)    P = (X'WX + D)^-1    W = diag(n_u^-a)    D = ridge + p / (1 - p) diag(X'WX)

EASE (Steck, WWW 2019) has p = a = 0; the ridge of p is what dropout of inputs amounts to (Steck, "Autoencoders that
don't overfit towards the identity", NeurIPS 2020). Users with one rating add to the diagonal of X'WX only; without
them, the smaller of two matrices is inverted: items x items, or users x users by Woodbury's identity.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy import sparse

from autorec_cli.csr import Array
from autorec_cli.defaults import EASE_RIDGE, ratings_per_side

SINGLE_PRECISION_FROM = 2_000
"""Rows of a matrix that is inverted."""
MAX_EASE_ROWS = 4_000
"""Rows of the matrix up to which EASE takes a few seconds and 300 MB."""


def ease(ratings: sparse.csr_array) -> Callable[[Array], Array] | None:
    """EASE of the ratings themselves, its lambda by a rule.

    None where it would take long. It ranks better than with ones in the place of ratings (docs/benchmarks.md).
    """
    n_users, n_items = ratings.shape
    if min(n_users, n_items) > MAX_EASE_ROWS:
        return None
    # Scaled, as squares of large ratings overflow. Zeros are ratings, and weigh nothing when all are.
    scale = math.sqrt(np.square(ratings.data, dtype=np.float64).mean())
    values = ratings.data / scale if scale else np.ones_like(ratings.data)
    scaled = sparse.csr_array((values.astype(np.float32), ratings.indices, ratings.indptr), shape=ratings.shape)
    return linear_autoencoder(scaled, EASE_RIDGE * ratings_per_side(n_users, n_items, ratings.nnz))


def linear_autoencoder(
    ratings: sparse.csr_array, ridge: float, dropout: float = 0.0, row_power: float = 0.0
) -> Callable[[Array], Array]:
    """Scores of users, (n_users, n_items) float32.

    Args:
        ratings: X.
        ridge: Multiplied by the mean square of a cell of the weighted X, so that it keeps its meaning.
        dropout: p.
        row_power: a.
    """
    counts = np.diff(ratings.indptr)
    roots = np.repeat(np.maximum(counts, 1) ** (-row_power / 2), counts) * ratings.data
    diagonal = np.bincount(ratings.indices, roots**2, ratings.shape[1])
    weighted = sparse.csr_array((roots, ratings.indices, ratings.indptr), shape=ratings.shape)[counts > 1]
    pairs = np.bincount(weighted.indices, weighted.data**2, ratings.shape[1])
    # D, and what users with a single rating, who are left out of `weighted`, add to the diagonal.
    added = ridge * float(np.mean(roots**2)) + dropout / (1 - dropout) * diagonal + (diagonal - pairs)
    if weighted.shape[0] < weighted.shape[1]:
        # By Woodbury: P = 1/D - 1/D X' M X 1/D with M = (I + X 1/D X')^-1.
        right = sparse.csr_array(weighted / added[None, :])
        inverse = inverted(right @ weighted.T, np.ones(weighted.shape[0]))
        columns = sparse.csc_array(right)
        of_p = 1 / added - np.array([_quadratic(columns, inverse, item) for item in range(weighted.shape[1])])

        def rows_of_product(users: Array) -> Array:
            rows = ratings[users]
            product: Array = (rows / added[None, :]).toarray() - ((rows @ right.T) @ inverse) @ right
            return product

    else:
        inverse = inverted(weighted.T @ weighted, added)
        of_p = np.diag(inverse).copy()

        def rows_of_product(users: Array) -> Array:
            product: Array = ratings[users] @ inverse
            return product

    # X B = X - X P / diag(P)
    return lambda users: (ratings[users].toarray() - rows_of_product(users) / of_p).astype(np.float32)


def _quadratic(columns: sparse.csc_array, inverse: Array, item: int) -> float:
    """Quadratic form x' M x of a sparse column x."""
    part = slice(columns.indptr[item], columns.indptr[item + 1])
    rows, values = columns.indices[part], columns.data[part]
    return float(values @ inverse[np.ix_(rows, rows)] @ values)


def inverted(gram: sparse.csr_array, added: Array) -> Array:
    """Inverse of the dense form of `gram` + diag(`added`)."""
    from scipy import linalg  # slow to import

    dtype = np.float32 if gram.shape[0] >= SINGLE_PRECISION_FROM else np.float64
    dense = np.asfortranarray(gram.astype(dtype).toarray(order="F"))
    dense[np.diag_indices(len(dense))] += added
    if not dense.size:  # no user has two ratings, and LAPACK refuses
        return dense
    factor = linalg.cholesky(dense, lower=True, overwrite_a=True, check_finite=False)
    potri = linalg.get_lapack_funcs("potri", (factor,))
    inverse: Array
    inverse, status = potri(factor, lower=True, overwrite_c=True)
    if status:
        raise ValueError(f"potri: {status}")
    for start in range(0, len(inverse), 1024):  # the other triangle, without a copy of the whole
        block = slice(start, start + 1024)
        inverse[block, start:] = inverse[start:, block].T
        # Half of the block on the diagonal came from the triangle that potri leaves undefined.
        corner = inverse[block, block]
        inverse[block, block] = np.tril(corner.T) + np.tril(corner.T, -1).T
    return inverse
