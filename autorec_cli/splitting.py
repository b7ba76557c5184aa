"""Which ratings are held out.

A splitter labels every stored cell of the ratings matrix TRAIN, VALID or TEST, given the shares of test (of all
ratings) and of valid (of what test leaves); a share that rounds to zero holds out nothing. To add one, write the
function and add its line to `SPLITS`, and one to `SHARELESS` if it has no use for shares.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from autorec_cli.errors import UsageError

if TYPE_CHECKING:  # scipy takes a while to import, and `--help` lists the strategies
    from scipy import sparse

TRAIN, VALID, TEST = 0, 1, 2
DEFAULT_SHARE = 0.1  # of test and of valid
SLICE = 1 << 20  # cells handled at once where a step needs scratch memory
Labels = NDArray[np.uint8]


@dataclass(frozen=True)
class SplitSettings:
    """How to split.

    Attributes:
        strategy: A key of `SPLITS`.
        test: Share of the ratings to test on, in [0, 1).
        valid: Share of the remaining ratings to choose settings on, in [0, 1).
        seed: Seeds the strategies that draw.
    """

    strategy: str = "random"
    test: float = DEFAULT_SHARE
    valid: float = DEFAULT_SHARE
    seed: int = 0

    def __post_init__(self) -> None:
        if self.strategy not in SPLITS:
            raise UsageError(f"--split {self.strategy} is not one of {', '.join(SPLITS)}")
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
    if strategy in SHARELESS and any(given.values()):
        flags = " and ".join(f"--{part} {share:g}" for part, share in given.items() if share)
        others = ", ".join(name for name in SPLITS if name not in SHARELESS)
        raise UsageError(
            f"{flags} cannot be honoured by --split {strategy}, which {SHARELESS[strategy]}; "
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
    """

    matrix: sparse.csr_array
    timestamps: NDArray[Any] | None
    test: float
    valid: float
    rng: np.random.Generator


Splitter = Callable[[Ratings], Labels]
"""Gives a label to every stored cell, uint8 (nnz,), in storage order."""


def split(
    matrix: sparse.csr_array,
    settings: SplitSettings,
    timestamps: NDArray[Any] | None = None,
    given_test: NDArray[np.bool_] | None = None,
) -> Labels:
    """Label every stored cell of `matrix`.

    Args:
        matrix: All ratings, CSR with sorted indices.
        settings: The strategy, its shares and its seed.
        timestamps: Of the stored cells, if known.
        given_test: Cells that are the test part already; then only valid is held out, from the others.

    Raises:
        UsageError: the strategy needs timestamps and there are none.
    """
    rng = np.random.default_rng(settings.seed)
    splitter = SPLITS[settings.strategy]
    if given_test is None:
        return splitter(Ratings(matrix, timestamps, settings.test, settings.valid, rng))
    others = ~given_test
    times = None if timestamps is None else timestamps[others]
    labels = np.full(matrix.nnz, TEST, dtype=np.uint8)
    labels[others] = splitter(Ratings(take_cells(matrix, others), times, 0.0, settings.valid, rng))
    return labels


def take_cells(matrix: sparse.csr_array, keep: NDArray[np.bool_]) -> sparse.csr_array:
    """The stored cells of `matrix` where `keep` is true, zeros among them too; shape and order stay."""
    from scipy import sparse

    indptr = np.zeros_like(matrix.indptr)
    n_kept = 0
    for start in range(0, matrix.nnz, SLICE):  # the sums of one slice at a time, to save four bytes a rating
        before = np.concatenate([[0], np.cumsum(keep[start : start + SLICE])])
        inside = slice(*np.searchsorted(matrix.indptr, [start, start + SLICE], side="right"))
        indptr[inside] = n_kept + before[np.minimum(matrix.indptr[inside] - start, len(before) - 1)]
        n_kept += int(before[-1])
    taken = sparse.csr_array((matrix.data[keep], matrix.indices[keep], indptr), shape=matrix.shape)
    taken.has_canonical_format = True
    return taken


def none(ratings: Ratings) -> Labels:
    """Everything is training."""
    return np.zeros(ratings.matrix.nnz, dtype=np.uint8)


def random(ratings: Ratings) -> Labels:
    """Ratings drawn from all, whoever's they are; exactly round(share * n) of them."""
    n_test = round(ratings.test * ratings.matrix.nnz)
    n_valid = round(ratings.valid * (ratings.matrix.nnz - n_test))
    labels = np.zeros(ratings.matrix.nnz, dtype=np.uint8)
    labels[:n_test] = TEST
    labels[n_test : n_test + n_valid] = VALID
    ratings.rng.shuffle(labels)
    return labels


def per_user(ratings: Ratings) -> Labels:
    """A share of each user's ratings, drawn at random; everyone keeps at least one in training."""
    n_ratings = np.diff(ratings.matrix.indptr)
    n_test = np.minimum(np.rint(ratings.test * n_ratings), np.maximum(n_ratings - 1, 0)).astype(np.int64)
    n_rest = n_ratings - n_test
    n_valid = np.minimum(np.rint(ratings.valid * n_rest), np.maximum(n_rest - 1, 0)).astype(np.int64)
    return _label_first(ratings.matrix, ratings.rng.permutation(ratings.matrix.nnz), n_test, n_valid)


def leave_last(ratings: Ratings) -> Labels:
    """Each user's last rating to test and the one before to valid; everyone keeps at least one in training.

    The shares only say whether a part is wanted: a share of 0 leaves it empty. Of ratings given at the same time, the
    one of the item that appears later in the sources is the later one.
    """
    times = _times(ratings, "leave-last")
    n_ratings = np.diff(ratings.matrix.indptr)
    n_test = np.where((ratings.test > 0) & (n_ratings >= 2), 1, 0)
    n_valid = np.where((ratings.valid > 0) & (n_ratings - n_test >= 2), 1, 0)
    latest_first = np.argsort(times, kind="stable")[::-1]
    return _label_first(ratings.matrix, latest_first, n_test, n_valid)


def temporal(ratings: Ratings) -> Labels:
    """The latest share of all ratings to test, the latest of the rest to valid.

    No training rating is later than a held-out one. Ratings at the very time of a cut stay on its earlier side, so that
    a part may be smaller than asked for.
    """
    times = _times(ratings, "temporal")
    labels = np.zeros(len(times), dtype=np.uint8)
    labels[_latest(times, ratings.test)] = TEST
    rest = np.flatnonzero(labels == TRAIN)
    labels[rest[_latest(times[rest], ratings.valid)]] = VALID
    return labels


def _latest(times: NDArray[Any], share: float) -> NDArray[np.bool_]:
    """Which of `times` are the latest `share` of them, (n,); fewer if there are ties."""
    n_later = round(share * len(times))
    if not n_later:
        return np.zeros(len(times), dtype=bool)
    place = max(len(times) - n_later - 1, 0)
    later: NDArray[np.bool_] = times > np.partition(times, place)[place]
    return later


def _times(ratings: Ratings, strategy: str) -> NDArray[Any]:
    if ratings.timestamps is None:
        raise UsageError(
            f"--split {strategy} needs timestamps and the ratings have none; "
            "name their column with --columns timestamp= or use --split random or per-user"
        )
    return ratings.timestamps


def _label_first(matrix: sparse.csr_array, order: NDArray[Any], n_test: NDArray[Any], n_valid: NDArray[Any]) -> Labels:
    """In each row, the first `n_test` cells in `order` become TEST and the next `n_valid` ones VALID.

    Args:
        matrix: The ratings.
        order: A permutation of the stored cells.
        n_test: How many of each row, (n_users,).
        n_valid: How many after those, (n_users,).
    """
    from scipy import sparse

    n_users, n_cells = matrix.shape[0], matrix.nnz
    row_of_cell = np.repeat(np.arange(n_users, dtype=np.int32), np.diff(matrix.indptr))
    # Cells grouped by row, in `order` within a row: a counting sort, done by a matrix with one cell a column.
    order = order.astype(np.int32 if n_cells < np.iinfo(np.int32).max else np.int64)
    grouped = sparse.coo_array((order, (row_of_cell[order], np.arange(n_cells))), shape=(n_users, n_cells))
    grouped.has_canonical_format = True
    cells = grouped.tocsr().data
    rank = np.arange(n_cells) - np.repeat(matrix.indptr[:-1], np.diff(matrix.indptr))
    labels = np.zeros(n_cells, dtype=np.uint8)
    labels[cells[rank < (n_test + n_valid)[row_of_cell]]] = VALID
    labels[cells[rank < n_test[row_of_cell]]] = TEST
    return labels


SPLITS: dict[str, Splitter] = {
    "random": random,
    "per-user": per_user,
    "leave-last": leave_last,
    "temporal": temporal,
    "none": none,
}
SHARELESS = {
    "leave-last": "holds out one rating of each user for each part",
    "none": "holds out nothing",
}
"""Strategies that cannot honour a share other than 0, and what they do instead."""
