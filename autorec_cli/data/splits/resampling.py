"""Repeated splits of a dataset, for cross-validation.

A split is made when it is needed, so memory holds the pool and one split.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from autorec_cli.csr import add_splits
from autorec_cli.data.dataset import Dataset
from autorec_cli.data.splits.splitting import DEFAULT_FRACTION, SplitSettings, split, split_matrices
from autorec_cli.errors import UsageError

if TYPE_CHECKING:
    import polars as pl

DEFAULT_REPEATS = 5
"""As in the AutoRec paper: five random hold-outs of a tenth."""


@dataclass(frozen=True)
class Plan:
    """Number, kind and fractions of the splits.

    Attributes:
        n_splits: Number of splits, at least 2.
        disjoint: Test sets are folds: every rating is in exactly one. Otherwise they are repeated hold-outs.
        test: Fraction of the ratings in the test set; 1 / n_splits for folds.
        valid: Fraction of the others in the validation set.
        seed: Source of the seeds of the splits.
    """

    n_splits: int
    disjoint: bool
    test: float
    valid: float
    seed: int

    def seeds(self) -> list[int]:
        """Seed of each split, for its draw and its training.

        With more splits, the first ones stay the same.
        """
        return [int(seed) for seed in np.random.SeedSequence(self.seed).generate_state(self.n_splits)]


def choose_plan(
    repeats: int | None = None,
    folds: int | None = None,
    test: float | None = None,
    valid: float = DEFAULT_FRACTION,
    seed: int = 0,
) -> Plan:
    """Choose repeated hold-outs or folds; by default the paper's.

    Raises:
        UsageError: a value is out of range, or two contradict each other.
    """
    if folds is not None and repeats is not None:
        raise UsageError("--repeats makes hold-outs and --folds makes folds; leave out one of them")
    if folds is not None and test is not None:
        raise UsageError("--test cannot be used with --folds, which test every rating once; leave out one of them")
    flag, n_splits = ("--repeats", DEFAULT_REPEATS if repeats is None else repeats)
    if folds is not None:
        flag, n_splits = ("--folds", folds)
    if n_splits < 2:
        raise UsageError(f"{flag} must be 2 or more, as an interval needs two splits, not {n_splits}")
    if folds is not None:
        test = 1 / folds
    elif test is None:
        test = DEFAULT_FRACTION
    SplitSettings("random", test, valid, seed)  # checks them
    if test == 0:
        raise UsageError("--test 0 leaves nothing to measure; give a fraction above 0")
    return Plan(n_splits, folds is not None, test, valid, seed)


@dataclass(frozen=True)
class Pool:
    """Ratings of a dataset, regardless of its split.

    Attributes:
        ratings: CSR n_users x n_items, indices sorted.
        users, items: As in the dataset.
        rating_scale: As given to `prepare --rating-scale`; None is the lowest and highest training rating of a split.
    """

    ratings: sparse.csr_array
    users: pl.DataFrame
    items: pl.DataFrame
    rating_scale: tuple[float, float] | None


def pool(dataset: Dataset) -> Pool:
    """Unite the training, validation and test sets of `dataset`."""
    ratings = add_splits(add_splits(dataset.train, dataset.valid), dataset.test)
    # A scale other than that of its training ratings was given by the user, and holds for every split.
    found = _range(dataset.train) if dataset.train.nnz else None
    scale = tuple(map(float, dataset.rating_scale))
    return Pool(ratings, dataset.users, dataset.items, None if scale == found else dataset.rating_scale)


@dataclass(frozen=True)
class Split:
    """Split with its number and seed.

    Attributes:
        number: From 1.
        seed: With it `autorec prepare --seed` draws the same hold-out and `autorec train --seed` fits the same network.
        dataset: Training, validation and test sets.
    """

    number: int
    seed: int
    dataset: Dataset


def make_split(pooled: Pool, plan: Plan, number: int) -> Split:
    """Make split number `number`, from 1, of `plan`.

    Raises:
        UsageError: the training or the test set would be empty.
    """
    seed = plan.seeds()[number - 1]
    given_test = _folds(pooled.ratings.nnz, plan) == number - 1 if plan.disjoint else None
    settings = SplitSettings("random", plan.test, plan.valid, seed)
    labels = split(pooled.ratings, settings, given_test=given_test)
    train, valid, test = split_matrices(pooled.ratings, labels)
    if not (train.nnz and test.nnz):
        raise UsageError(
            f"{pooled.ratings.nnz} ratings are too few for these splits, which leave {train.nnz} to train and "
            f"{test.nnz} to test on; use other fractions or more ratings"
        )
    scale = pooled.rating_scale or _range(train)
    return Split(number, seed, Dataset(train, valid, test, pooled.users, pooled.items, scale, info={}))


def _folds(n_ratings: int, plan: Plan) -> NDArray[np.uint32]:
    """Fold of every rating, (n_ratings,), from 0, sizes nearly equal."""
    folds = np.arange(n_ratings, dtype=np.uint32) % np.uint32(plan.n_splits)
    np.random.default_rng(plan.seed).shuffle(folds)
    return folds


def _range(ratings: sparse.csr_array) -> tuple[float, float]:
    return float(ratings.data.min()), float(ratings.data.max())
