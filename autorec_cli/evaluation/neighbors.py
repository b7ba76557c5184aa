"""Agreement of a model's similar items with the ratings themselves."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from autorec_cli.csr import Array, row_indices
from autorec_cli.data.bias import damped_means

PAIRS_AT_ONCE = 256


def rating_agreement(ratings: sparse.csr_array, items: Array, others: Array) -> Array:
    """Cosine of the ratings of pairs of items, (n_pairs,).

    Ratings are taken less their user+item bias, and 0 where there are none: an item agrees with another if the users
    who like it more than expected like the other more than expected too. Ratings that are all equal, as interactions
    are, count as they are.

    Args:
        ratings: CSR, n_users x n_items.
        items: (n_pairs,) item_index.
        others: (n_pairs,) item_index of the similar item.

    Returns:
        (n_pairs,); 0 for items without ratings.
    """
    values = ratings.data.astype(np.float64)
    if len(values) and values.min() < values.max():
        values -= damped_means(ratings).predict(row_indices(ratings), ratings.indices)
    columns = sparse.csr_array((values, ratings.indices, ratings.indptr), shape=ratings.shape).tocsc()
    lengths = np.sqrt(np.bincount(ratings.indices, weights=np.square(values), minlength=ratings.shape[1]))
    products = np.zeros(len(items))
    # In blocks, as every pair takes copies of two columns.
    for start in range(0, len(items), PAIRS_AT_ONCE):
        block = slice(start, start + PAIRS_AT_ONCE)
        products[block] = columns[:, items[block]].multiply(columns[:, others[block]]).sum(axis=0)
    scales = lengths[items] * lengths[others]
    cosines: Array = np.divide(products, scales, out=np.zeros(len(items)), where=scales > 0)
    return cosines
