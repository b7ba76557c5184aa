"""Splits of ratings into training, validation and test sets.

A strategy of `strategies` labels the cells of the ratings matrix; here its settings are checked and its labels are
applied.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from autorec_cli.csr import csr_of
from autorec_cli.data.builder.sorted_cells import slices
from autorec_cli.data.splits.strategies import STRATEGIES, TEST, WITHOUT_FRACTION, Labels, SplitterInput
from autorec_cli.errors import UsageError
from autorec_cli.runtime.threads import in_order

if TYPE_CHECKING:  # scipy takes a while to import, and `--help` needs this module
    from scipy import sparse

DEFAULT_FRACTION = 0.1  # for test and for validation


@dataclass(frozen=True)
class SplitSettings:
    """Strategy, fractions and seed of a split.

    Attributes:
        strategy: A key of `STRATEGIES`.
        test: Fraction of the ratings in the test set, in [0, 1).
        valid: Fraction of the other ratings in the validation set, in [0, 1).
        seed: Seed of the strategies that draw at random.

    Raises:
        UsageError: a value is out of range.
    """

    strategy: str = "random"
    test: float = DEFAULT_FRACTION
    valid: float = DEFAULT_FRACTION
    seed: int = 0

    def __post_init__(self) -> None:
        if self.strategy not in STRATEGIES:
            raise UsageError(f"--split {self.strategy} is not one of {', '.join(STRATEGIES)}")
        for flag, fraction in (("--test", self.test), ("--valid", self.valid)):
            if not 0 <= fraction < 1:
                raise UsageError(f"{flag} must be in [0, 1), not {fraction:g}")
        if self.seed < 0:
            raise UsageError(f"--seed must be 0 or more, not {self.seed}")


def choose_split(
    strategy: str = "random", test: float | None = None, valid: float | None = None, seed: int = 0
) -> SplitSettings:
    """Make the settings, with default fractions where they are None.

    Raises:
        UsageError: a value is out of range, or a given fraction is one that the strategy cannot honor.
    """
    fractions = {"test": test, "valid": valid}
    given = {name: fraction for name, fraction in fractions.items() if fraction is not None}
    settings = SplitSettings(strategy, seed=seed, **given)
    if strategy in WITHOUT_FRACTION and any(given.values()):
        flags = " and ".join(f"--{name} {fraction:g}" for name, fraction in given.items() if fraction)
        others = ", ".join(name for name in STRATEGIES if name not in WITHOUT_FRACTION)
        raise UsageError(
            f"{flags} cannot be honored by --split {strategy}, which {WITHOUT_FRACTION[strategy]}; "
            f"leave the fraction out or use one of --split {others}"
        )
    return settings


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
        settings: Strategy, fractions and seed.
        timestamps: Of the stored cells, if known.
        given_test: (nnz,) cells of an existing test set; then only the validation set is drawn, from the others.
        ids: Of rows and columns, if known.

    Raises:
        UsageError: the strategy needs timestamps and there are none.
    """
    rng = np.random.default_rng(settings.seed)
    splitter = STRATEGIES[settings.strategy]
    if given_test is None:
        return splitter(SplitterInput(matrix, timestamps, settings.test, settings.valid, rng, settings.seed, ids))
    others = ~given_test
    times = None if timestamps is None else timestamps[others]
    labels = np.full(matrix.nnz, TEST, dtype=np.uint8)
    rest = SplitterInput(take_cells(matrix, others), times, 0.0, settings.valid, rng, settings.seed, ids)
    labels[others] = splitter(rest)
    return labels


def split_matrices(matrix: sparse.csr_array, labels: Labels, n_labels: int = 3) -> list[sparse.csr_array]:
    """Take the cells of each label from 0; see `take_cells`."""
    with in_order(lambda label: take_cells(matrix, labels == label), range(n_labels)) as taken:
        return list(taken)


def take_cells(matrix: sparse.csr_array, keep: NDArray[np.bool_], *, overwrite: bool = False) -> sparse.csr_array:
    """Take the stored cells where `keep` (nnz,) is true.

    Zeros, shape and order stay. With `overwrite`, cells move within the arrays of `matrix`, which takes no more memory
    and ruins `matrix`.
    """
    n_kept = np.count_nonzero(keep)
    data, indices = (
        values if overwrite else np.empty(n_kept, values.dtype) for values in (matrix.data, matrix.indices)
    )
    pointers = np.zeros_like(matrix.indptr)
    end = 0
    for cells in slices(matrix.nnz):  # positions take 64 bits, as much as a cell
        places = np.flatnonzero(keep[cells])
        start, end = end, end + len(places)
        data[start:end] = matrix.data[cells].take(places)
        indices[start:end] = matrix.indices[cells].take(places)
        # Rows that begin within this slice, and the kept cells before them.
        rows = slice(*np.searchsorted(matrix.indptr, [cells.start, cells.stop], side="right"))
        pointers[rows] = start + np.searchsorted(places, matrix.indptr[rows] - cells.start)
    return csr_of(data[:n_kept], indices[:n_kept], pointers, matrix.shape)
