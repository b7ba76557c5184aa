"""Split strategies: each labels every rating TRAIN, VALID or TEST.

The test fraction is of all ratings, the validation fraction of the rest; a fraction that rounds to zero ratings holds
out nothing. To add one, write the function and register it in `STRATEGIES`, and in `WITHOUT_FRACTION` if it cannot
honor a fraction.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from autorec_cli.errors import UsageError

if TYPE_CHECKING:  # scipy takes a while to import, and `--help` lists the strategies
    from scipy import sparse

TRAIN, VALID, TEST = 0, 1, 2
# Changing these two changes what a seed draws, and so every published figure.
SHUFFLED_AT_ONCE = 1 << 20  # cells; labels of more would not fit in the processor's cache while they are shuffled
DRAWN_AT_ONCE = 1 << 16
MOST_TO_DRAW_FROM = 10**9  # numpy's limit for hypergeometric draws
Labels = NDArray[np.uint8]


@dataclass(frozen=True)
class SplitterInput:
    """Ratings to split, with fractions and a random generator.

    Attributes:
        matrix: CSR (n_users, n_items), indices sorted.
        timestamps: (nnz,) of the stored cells, in storage order; None if unknown.
        test: Fraction of the cells to label TEST.
        valid: Fraction of the others to label VALID.
        rng: Source of random draws.
        seed: Seed of `rng`.
        ids: Of rows and columns; None uses their indices.
    """

    matrix: sparse.csr_array
    timestamps: NDArray[Any] | None
    test: float
    valid: float
    rng: np.random.Generator
    seed: int
    ids: tuple[Iterable[str], Iterable[str]] | None


Splitter = Callable[[SplitterInput], Labels]
"""Ratings -> label of every stored cell, uint8 (nnz,), in storage order."""


def none(ratings: SplitterInput) -> Labels:
    """No held-out ratings."""
    return np.zeros(ratings.matrix.nnz, dtype=np.uint8)


def random(ratings: SplitterInput) -> Labels:
    """Ratings drawn uniformly at random from all users.

    Exactly round(fraction * n) of them. Large matrices are drawn block by block: the number of held-out cells in a
    block is a hypergeometric draw, and the cells are then drawn without replacement.
    """
    n_cells = ratings.matrix.nnz
    n_test = round(ratings.test * n_cells)
    n_valid = round(ratings.valid * (n_cells - n_test))
    labels = np.zeros(n_cells, dtype=np.uint8)
    if not SHUFFLED_AT_ONCE < n_cells < MOST_TO_DRAW_FROM:
        labels[:n_test] = TEST
        labels[n_test : n_test + n_valid] = VALID
        ratings.rng.shuffle(labels)
        return labels
    # Shuffling labels of all cells misses the processor's cache with every swap; a block fits.
    for start in range(0, n_cells, DRAWN_AT_ONCE):
        block, n_left = labels[start : start + DRAWN_AT_ONCE], n_cells - start
        here_test = int(ratings.rng.hypergeometric(n_test, n_left - n_test, len(block)))
        n_others = n_left - n_test - n_valid
        here_valid = int(ratings.rng.hypergeometric(n_valid, n_others, len(block) - here_test))
        drawn = ratings.rng.choice(len(block), here_test + here_valid, replace=False)
        block[drawn[:here_test]] = TEST
        block[drawn[here_test:]] = VALID
        n_test, n_valid = n_test - here_test, n_valid - here_valid
    return labels


def per_user(ratings: SplitterInput) -> Labels:
    """Random fraction of each user's ratings.

    Every user keeps at least one in the training set.
    """
    n_ratings = np.diff(ratings.matrix.indptr)
    n_test = np.minimum(np.rint(ratings.test * n_ratings), np.maximum(n_ratings - 1, 0)).astype(np.int64)
    n_rest = n_ratings - n_test
    n_valid = np.minimum(np.rint(ratings.valid * n_rest), np.maximum(n_rest - 1, 0)).astype(np.int64)
    return _label_first(
        ratings.matrix, lambda cells: ratings.rng.permutation(cells.stop - cells.start), n_test, n_valid
    )


def leave_last(ratings: SplitterInput) -> Labels:
    """Last rating of each user for test, previous for validation.

    Every user keeps at least one in the training set. A fraction of 0 leaves a set empty; others make no difference.
    Ties are broken by item: the one that appears later in the sources counts as later.
    """
    times = _times(ratings, "leave-last")
    n_ratings = np.diff(ratings.matrix.indptr)
    n_test = np.where((ratings.test > 0) & (n_ratings >= 2), 1, 0)
    n_valid = np.where((ratings.valid > 0) & (n_ratings - n_test >= 2), 1, 0)
    return _label_first(ratings.matrix, lambda cells: np.argsort(times[cells], kind="stable")[::-1], n_test, n_valid)


def temporal(ratings: SplitterInput) -> Labels:
    """Latest ratings for test, those before for validation.

    No training rating is later than a held-out one. Ratings with exactly the time of a cut stay on its earlier side, so
    a set may be smaller than its fraction.
    """
    times = _times(ratings, "temporal")
    labels = np.zeros(len(times), dtype=np.uint8)
    earlier = times.copy()
    for label, fraction in ((TEST, ratings.test), (VALID, ratings.valid)):
        n_later = round(fraction * len(earlier))
        if not n_later:
            continue
        place = max(len(earlier) - n_later - 1, 0)
        earlier.partition(place)  # linear, where a sort of all timestamps would not be
        cut = earlier[place]  # the latest time on the earlier side
        labels[(labels == TRAIN) & (times > cut)] = label
        earlier = earlier[earlier <= cut]
    return labels


def stable(ratings: SplitterInput) -> Labels:
    """Ratings chosen by a hash of ids and seed.

    A held-out rating is held out in every later dataset too, so no model of an earlier one has seen it. Fractions are
    met on average.
    """
    n_users, n_items = ratings.matrix.shape
    users, items = ratings.ids or (map(str, range(n_users)), map(str, range(n_items)))
    of_users, of_items = _id_hashes(users, b"user", ratings.seed), _id_hashes(items, b"item", ratings.seed)
    n_cells = ratings.matrix.nnz
    labels = np.zeros(n_cells, dtype=np.uint8)
    for start in range(0, n_cells, SHUFFLED_AT_ONCE):
        cells = slice(start, start + SHUFFLED_AT_ONCE)
        places = np.arange(start, min(n_cells, cells.stop))
        rows = np.searchsorted(ratings.matrix.indptr, places, side="right") - 1
        drawn = _mix(of_users[rows] ^ of_items[ratings.matrix.indices[cells]]) / 2**64
        # Below the second bound a rating is for test, whatever the first one said.
        labels[cells][drawn < ratings.test + (1 - ratings.test) * ratings.valid] = VALID
        labels[cells][drawn < ratings.test] = TEST
    return labels


def _id_hashes(ids: Iterable[str], kind: bytes, seed: int) -> NDArray[np.uint64]:
    """Hash ids to 64 bits, independent of machine and version."""
    blake = hashlib.blake2b(digest_size=8, person=kind, salt=(seed % 2**64).to_bytes(8, "little"))
    digests = []
    for identifier in ids:
        digest = blake.copy()
        digest.update(identifier.encode())
        digests.append(digest.digest())
    return np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)


def _mix(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Finalizer of splitmix64 (Steele, Lea and Flood 2014).

    Every output bit depends on every input bit.
    """
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def _times(ratings: SplitterInput, strategy: str) -> NDArray[Any]:
    if ratings.timestamps is None:
        raise UsageError(
            f"--split {strategy} needs timestamps and the ratings have none; "
            "name their column with --columns timestamp= or use --split random or per-user"
        )
    return ratings.timestamps


def _label_first(
    matrix: sparse.csr_array,
    order: Callable[[slice], NDArray[Any]],
    n_test: NDArray[Any],
    n_valid: NDArray[Any],
) -> Labels:
    """Label the first cells of each row TEST, others VALID.

    Args:
        matrix: The ratings.
        order: Slice of whole rows -> the order of its cells, a permutation counted from its start.
        n_test: (n_users,) cells per row to label TEST.
        n_valid: (n_users,) cells after those to label VALID.
    """
    from scipy import sparse

    labels = np.zeros(matrix.nnz, dtype=np.uint8)
    row = 0
    # Blocks of whole rows, because orders and positions take 64 bits per cell, as much as the ratings.
    while row < matrix.shape[0]:
        fit = int(np.searchsorted(matrix.indptr, matrix.indptr[row] + SHUFFLED_AT_ONCE, side="right")) - 1
        rows = slice(row, max(row + 1, fit))
        cells = slice(int(matrix.indptr[rows.start]), int(matrix.indptr[rows.stop]))
        n_ratings = np.diff(matrix.indptr[rows.start : rows.stop + 1])
        row_of_cell = np.repeat(np.arange(len(n_ratings)), n_ratings)
        # Group the cells by row, in `order` within a row: scipy's conversion to CSR is a counting sort.
        ordered = order(cells)
        place = np.arange(len(ordered))
        grouped = sparse.coo_array((ordered, (row_of_cell[ordered], place)), shape=(len(n_ratings), len(ordered)))
        grouped.has_canonical_format = True
        by_row = grouped.tocsr().data
        rank = place - np.repeat(matrix.indptr[rows] - cells.start, n_ratings)
        block = labels[cells]
        block[by_row[rank < (n_test + n_valid)[rows][row_of_cell]]] = VALID
        block[by_row[rank < n_test[rows][row_of_cell]]] = TEST
        row = rows.stop
    return labels


STRATEGIES: dict[str, Splitter] = {
    "random": random,
    "per-user": per_user,
    "leave-last": leave_last,
    "temporal": temporal,
    "stable": stable,
    "none": none,
}
WITHOUT_FRACTION = {
    "leave-last": "holds out one rating of each user for each set",
    "none": "holds out nothing",
}
"""Strategies that cannot honor a fraction other than 0, and what they do instead."""
