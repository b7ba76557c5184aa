"""Small datasets whose right answer is known by construction."""

from __future__ import annotations

import numpy as np
import polars as pl
from scipy import sparse

from autorec_cli.data.dataset import Dataset

PARTS = {"train": 0, "valid": 1, "test": 2}


def matrix_of(cells: dict[tuple[int, int], float], shape: tuple[int, int]) -> sparse.csr_array:
    """A CSR float32 matrix with exactly these cells, zeros included."""
    rows, columns = (list(side) for side in zip(*cells, strict=True)) if cells else ([], [])
    values = np.array(list(cells.values()), dtype=np.float32)
    matrix = sparse.csr_array((values, (rows, columns)), shape=shape)
    matrix.sort_indices()
    return matrix


def dataset_of(parts: dict[str, dict[tuple[int, int], float]], shape: tuple[int, int], titles: bool = False) -> Dataset:
    """A dataset with these cells in its parts; user ids are u0, u1, ... and item ids i0, i1, ...

    With titles, items also have a genre, a year, a price and whether they are available, some of them unknown.
    """
    matrices = {name: matrix_of(parts.get(name, {}), shape) for name in PARTS}
    values = matrices["train"].data
    items = pl.DataFrame({"id": [f"i{index}" for index in range(shape[1])]})
    if titles:
        items = items.with_columns(
            title=pl.Series([f"Title {index}" for index in range(shape[1])]),
            genre=pl.Series([(None, "Comedy", "Drama")[index % 3] for index in range(shape[1])]),
            year=pl.Series([None if index == 1 else 1990 + index for index in range(shape[1])]),
            price=pl.Series([None if index == 2 else index / 4 for index in range(shape[1])]),
            available=pl.Series([(True, False, None)[index % 3] for index in range(shape[1])]),
        )
    return Dataset(
        **matrices,
        users=pl.DataFrame({"id": [f"u{index}" for index in range(shape[0])]}),
        items=items,
        rating_scale=(float(values.min()), float(values.max())),
        info={"split": {"strategy": "random"}},
    )


def planted_dataset(n_users: int = 80, n_items: int = 50, seed: int = 0, titles: bool = False) -> Dataset:
    """Ratings 1 to 5 from biases and two factors with little noise; about half of all cells, split 80/10/10."""
    rng = np.random.default_rng(seed)
    liking = 3 + rng.normal(0, 0.4, (n_users, 1)) + rng.normal(0, 0.4, n_items)
    liking = liking + rng.normal(0, 0.7, (n_users, 2)) @ rng.normal(0, 0.7, (2, n_items))
    ratings = np.clip(np.round(liking + rng.normal(0, 0.1, liking.shape)), 1, 5)
    labels = rng.choice(4, size=liking.shape, p=[0.5, 0.4, 0.05, 0.05])
    parts: dict[str, dict[tuple[int, int], float]] = {name: {} for name in PARTS}
    for name, number in PARTS.items():
        for user, item in zip(*np.nonzero(labels == number + 1), strict=True):
            parts[name][int(user), int(item)] = float(ratings[user, item])
    return dataset_of(parts, (n_users, n_items), titles)
