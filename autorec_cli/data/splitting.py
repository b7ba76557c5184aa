"""Splits of the ratings into training, validation and test sets.

A splitter labels every stored cell of the ratings matrix TRAIN, VALID or TEST, given the shares of test (of all
ratings) and of valid (of what test leaves); a share that rounds to zero holds out nothing. To add one, write the
function and add its line to `STRATEGIES`, and one to `WITHOUT_FRACTION` if it has no use for shares.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from autorec_cli.errors import UsageError
from autorec_cli.runtime.threads import in_order

if TYPE_CHECKING:  # scipy takes a while to import, and `--help` lists the strategies
    from scipy import sparse

TRAIN, VALID, TEST = 0, 1, 2
DEFAULT_FRACTION = 0.1  # of test and of valid
SLICE = 1 << 17  # cells handled at once where a step needs scratch memory
# What a seed draws depends on these two.
SHUFFLED_AT_ONCE = 1 << 20  # cells; with more of them, shuffling would leave the processor's cache
DRAWN_AT_ONCE = 1 << 16
MOST_TO_DRAW_FROM = 10**9  # the end of numpy's hypergeometric draws
Labels = NDArray[np.uint8]


@dataclass(frozen=True)
class SplitSettings:
    """How to split.

    Attributes:
        strategy: A key of `STRATEGIES`.
        test: Share of the ratings to test on, in [0, 1).
        valid: Share of the remaining ratings to choose settings on, in [0, 1).
        seed: Seeds the strategies that draw.
    """

    strategy: str = "random"
    test: float = DEFAULT_FRACTION
    valid: float = DEFAULT_FRACTION
    seed: int = 0

    def __post_init__(self) -> None:
        if self.strategy not in STRATEGIES:
            raise UsageError(f"--split {self.strategy} is not one of {', '.join(STRATEGIES)}")
        for flag, share in (("--test", self.test), ("--valid", self.valid)):
            if not 0 <= share < 1:
                raise UsageError(f"{flag} {share:g} is not a share from 0 to below 1")
        if self.seed < 0:
            raise UsageError(f"--seed {self.seed} is negative; give a number from 0")


def choose_split(
    strategy: str = "random", test: float | None = None, valid: float | None = None, seed: int = 0
) -> SplitSettings:
    """The settings from what was asked for; a share of None was not.

    Raises:
        UsageError: a value makes no sense, or a share was asked for that the strategy cannot honour.
    """
    shares = {"test": test, "valid": valid}
    given = {part: share for part, share in shares.items() if share is not None}
    settings = SplitSettings(strategy, seed=seed, **given)
    if strategy in WITHOUT_FRACTION and any(given.values()):
        flags = " and ".join(f"--{part} {share:g}" for part, share in given.items() if share)
        others = ", ".join(name for name in STRATEGIES if name not in WITHOUT_FRACTION)
        raise UsageError(
            f"{flags} cannot be honoured by --split {strategy}, which {WITHOUT_FRACTION[strategy]}; "
            f"leave out the share or use one of --split {others}"
        )
    return settings


@dataclass(frozen=True)
class Ratings:
    """What a splitter works on.

    Attributes:
        matrix: CSR (n_users, n_items), indices sorted.
        timestamps: Of the stored cells, in storage order, (nnz,); None if unknown.
        test: Share of the cells to label TEST.
        valid: Share of the others to label VALID.
        rng: Where random draws come from.
        seed: What `rng` was made from.
        ids: Of the rows and of the columns; None where they have none but their numbers.
    """

    matrix: sparse.csr_array
    timestamps: NDArray[Any] | None
    test: float
    valid: float
    rng: np.random.Generator
    seed: int
    ids: tuple[Iterable[str], Iterable[str]] | None


Splitter = Callable[[Ratings], Labels]
"""Gives a label to every stored cell, uint8 (nnz,), in storage order."""


def split(
    matrix: sparse.csr_array,
    settings: SplitSettings,
    timestamps: NDArray[Any] | None = None,
    given_test: NDArray[np.bool_] | None = None,
    ids: tuple[Iterable[str], Iterable[str]] | None = None,
) -> Labels:
    """Label every stored cell of `matrix`.

    Args:
        matrix: All ratings, CSR with sorted indices.
        settings: The strategy, its shares and its seed.
        timestamps: Of the stored cells, if known.
        given_test: Cells that are the test part already; then only valid is held out, from the others.
        ids: Of the rows and of the columns, if they have any.

    Raises:
        UsageError: the strategy needs timestamps and there are none.
    """
    rng = np.random.default_rng(settings.seed)
    splitter = STRATEGIES[settings.strategy]
    if given_test is None:
        return splitter(Ratings(matrix, timestamps, settings.test, settings.valid, rng, settings.seed, ids))
    others = ~given_test
    times = None if timestamps is None else timestamps[others]
    labels = np.full(matrix.nnz, TEST, dtype=np.uint8)
    rest = Ratings(take_cells(matrix, others), times, 0.0, settings.valid, rng, settings.seed, ids)
    labels[others] = splitter(rest)
    return labels


def split_matrices(matrix: sparse.csr_array, labels: Labels, n_parts: int = 3) -> list[sparse.csr_array]:
    """Matrices of the stored cells with label 0, 1, ... `n_parts` - 1, zeros among them too; shape and order stay."""
    with in_order(lambda label: take_cells(matrix, labels == label), range(n_parts)) as parts:
        return list(parts)


def take_cells(matrix: sparse.csr_array, keep: NDArray[np.bool_]) -> sparse.csr_array:
    """Stored cells of `matrix` where `keep` is true, zeros among them too; shape and order stay."""
    from scipy import sparse

    n_kept = np.count_nonzero(keep)
    data, indices = np.empty(n_kept, matrix.data.dtype), np.empty(n_kept, matrix.indices.dtype)
    pointers = np.zeros_like(matrix.indptr)
    end = 0
    for start in range(0, matrix.nnz, SLICE):  # places are 64 bits wide, so only some of them at once
        cells = slice(start, start + SLICE)
        places = np.flatnonzero(keep[cells])
        rows = slice(*np.searchsorted(matrix.indptr, [start, start + SLICE], side="right"))
        pointers[rows] = end + np.searchsorted(places, matrix.indptr[rows] - start)
        begin, end = end, end + len(places)
        data[begin:end], indices[begin:end] = matrix.data[cells].take(places), matrix.indices[cells].take(places)
    taken = sparse.csr_array((data, indices, pointers), shape=matrix.shape)
    taken.has_canonical_format = True
    return taken


def none(ratings: Ratings) -> Labels:
    """Everything is training."""
    return np.zeros(ratings.matrix.nnz, dtype=np.uint8)


def random(ratings: Ratings) -> Labels:
    """Ratings drawn from all, whoever's they are; exactly round(share * n) of them, every choice equally likely.

    Many cells are drawn stretch by stretch: how many of those wanted are in a stretch is a hypergeometric draw, and
    which cells of the stretch they are is drawn without replacement.
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
    for start in range(0, n_cells, DRAWN_AT_ONCE):
        stretch, n_left = labels[start : start + DRAWN_AT_ONCE], n_cells - start
        here_test = int(ratings.rng.hypergeometric(n_test, n_left - n_test, len(stretch)))
        n_others = n_left - n_test - n_valid
        here_valid = int(ratings.rng.hypergeometric(n_valid, n_others, len(stretch) - here_test))
        drawn = ratings.rng.choice(len(stretch), here_test + here_valid, replace=False)
        stretch[drawn[:here_test]] = TEST
        stretch[drawn[here_test:]] = VALID
        n_test, n_valid = n_test - here_test, n_valid - here_valid
    return labels


def per_user(ratings: Ratings) -> Labels:
    """A share of each user's ratings, drawn at random; everyone keeps at least one in training."""
    n_ratings = np.diff(ratings.matrix.indptr)
    n_test = np.minimum(np.rint(ratings.test * n_ratings), np.maximum(n_ratings - 1, 0)).astype(np.int64)
    n_rest = n_ratings - n_test
    n_valid = np.minimum(np.rint(ratings.valid * n_rest), np.maximum(n_rest - 1, 0)).astype(np.int64)
    return _label_first(
        ratings.matrix, lambda cells: ratings.rng.permutation(cells.stop - cells.start), n_test, n_valid
    )


def leave_last(ratings: Ratings) -> Labels:
    """Each user's last rating to test and the one before to valid; everyone keeps at least one in training.

    The shares only say whether a part is wanted: a share of 0 leaves it empty. Of ratings given at the same time, the
    one of the item that appears later in the sources is the later one.
    """
    times = _times(ratings, "leave-last")
    n_ratings = np.diff(ratings.matrix.indptr)
    n_test = np.where((ratings.test > 0) & (n_ratings >= 2), 1, 0)
    n_valid = np.where((ratings.valid > 0) & (n_ratings - n_test >= 2), 1, 0)
    return _label_first(ratings.matrix, lambda cells: np.argsort(times[cells], kind="stable")[::-1], n_test, n_valid)


def temporal(ratings: Ratings) -> Labels:
    """The latest share of all ratings to test, the latest of the rest to valid.

    No training rating is later than a held-out one. Ratings at the very time of a cut stay on its earlier side, so that
    a part may be smaller than asked for.
    """
    times = _times(ratings, "temporal")
    labels = np.zeros(len(times), dtype=np.uint8)
    earlier = times.copy()
    for part, share in ((TEST, ratings.test), (VALID, ratings.valid)):
        n_later = round(share * len(earlier))
        if not n_later:
            continue
        place = max(len(earlier) - n_later - 1, 0)
        earlier.partition(place)
        cut = earlier[place]
        labels[(labels == TRAIN) & (times > cut)] = part
        earlier = earlier[earlier <= cut]
    return labels


def stable(ratings: Ratings) -> Labels:
    """Each rating in the part that the seed and the ids of its user and its item say, whatever else there is.

    So a rating that is held out is held out in every later dataset too, and a model that learned from an earlier one
    has not learned from it. Shares are met on average.
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
        drawn = _mixed(of_users[rows] ^ of_items[ratings.matrix.indices[cells]]) / 2**64
        labels[cells][drawn < ratings.test + (1 - ratings.test) * ratings.valid] = VALID
        labels[cells][drawn < ratings.test] = TEST
    return labels


def _id_hashes(ids: Iterable[str], kind: bytes, seed: int) -> NDArray[np.uint64]:
    """64 bits of each id, the same on every machine and in every version."""
    blake = hashlib.blake2b(digest_size=8, person=kind, salt=(seed % 2**64).to_bytes(8, "little"))
    digests = []
    for identifier in ids:
        digest = blake.copy()
        digest.update(identifier.encode())
        digests.append(digest.digest())
    return np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)


def _mixed(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finalizer of splitmix64 (Steele, Lea and Flood 2014): every bit out depends on every bit in."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def _times(ratings: Ratings, strategy: str) -> NDArray[Any]:
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
    """In each row, the first `n_test` cells in some order become TEST and the next `n_valid` ones VALID.

    Args:
        matrix: The ratings.
        order: Gives the order of some whole rows' cells, as a permutation of them, counted from the slice's start.
        n_test: How many of each row, (n_users,).
        n_valid: How many after those, (n_users,).
    """
    from scipy import sparse

    labels = np.zeros(matrix.nnz, dtype=np.uint8)
    row = 0
    while row < matrix.shape[0]:
        fit = int(np.searchsorted(matrix.indptr, matrix.indptr[row] + SHUFFLED_AT_ONCE, side="right")) - 1
        rows = slice(row, max(row + 1, fit))
        cells = slice(int(matrix.indptr[rows.start]), int(matrix.indptr[rows.stop]))
        n_ratings = np.diff(matrix.indptr[rows.start : rows.stop + 1])
        row_of_cell = np.repeat(np.arange(len(n_ratings)), n_ratings)
        # Cells grouped by row, in `order` within a row: a counting sort, done by a matrix with one cell a column.
        ordered = order(cells)
        place = np.arange(len(ordered))
        grouped = sparse.coo_array((ordered, (row_of_cell[ordered], place)), shape=(len(n_ratings), len(ordered)))
        grouped.has_canonical_format = True
        by_row = grouped.tocsr().data
        rank = place - np.repeat(matrix.indptr[rows] - cells.start, n_ratings)
        part = labels[cells]
        part[by_row[rank < (n_test + n_valid)[rows][row_of_cell]]] = VALID
        part[by_row[rank < n_test[rows][row_of_cell]]] = TEST
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
    "leave-last": "holds out one rating of each user for each part",
    "none": "holds out nothing",
}
"""Strategies that cannot honour a share other than 0, and what they do instead."""
