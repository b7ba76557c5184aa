"""Test ratings from outside the dataset."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from scipy import sparse

from autorec_cli.csr import Array, row_indices
from autorec_cli.data.builder.csr_builder import RatingsMatrix, build_ratings
from autorec_cli.data.builder.read_ratings import ratings_from_frame, read_ratings
from autorec_cli.data.dataset import Dataset
from autorec_cli.data.readers.options import ReadOptions
from autorec_cli.data.readers.tables.frames import polars_frame
from autorec_cli.errors import InputDataError, counted
from autorec_cli.evaluation.measurement import Models
from autorec_cli.inference.alignment import unseen
from autorec_cli.inference.catalog import UNKNOWN, SeenItems, positions

logger = logging.getLogger(__name__)


def with_test_ratings(
    models: Models,
    dataset: Dataset,
    source: Any,  # noqa: ANN401 - a pandas frame, among others
    options: ReadOptions | None = None,
) -> tuple[Models, Dataset]:
    """Replace the test set of a dataset by ratings from outside.

    Pairs of the training and validation sets are left out, as a model may be fitted on them. New users and items are
    added to the dataset and to the models, where they are cold.

    Args:
        models: Names and models, trained on `dataset`.
        dataset: Its other sets stay.
        source: A file that `prepare` reads, "-" for stdin, or a polars or pandas frame; the last rating of a pair
            counts.
        options: Format of a file; None detects everything.

    Raises:
        InputDataError: the ratings cannot be used, or none is left.
    """
    name = str(source) if isinstance(source, str | Path) else "the frame"
    ratings = _read(source, dataset, options or ReadOptions(), name)
    users, new_users = _index(dataset.users["id"], ratings.user_ids)
    items, new_items = _index(dataset.items["id"], ratings.item_ids)
    given = ratings.matrix
    shape = dataset.n_users + len(new_users), dataset.n_items + len(new_items)
    cells = users[row_indices(given)], items[given.indices]
    test = sparse.csr_array((given.data, cells), shape=shape)
    train, valid = (_padded(dataset.split(split), shape) for split in ("train", "valid"))
    for fitted in (train, valid):
        test = unseen(test, SeenItems(fitted.indptr, fitted.indices))
    _report(given, test, dataset, (len(new_users), len(new_items)), name)
    extended = replace(
        dataset,
        train=train,
        valid=valid,
        test=test,
        users=_with_ids(dataset.users, new_users),
        items=_with_ids(dataset.items, new_items),
    )
    if shape == dataset.train.shape:
        return models, extended
    user_ids, item_ids = extended.users["id"].to_list(), extended.items["id"].to_list()
    return [(model_name, model.aligned(user_ids, item_ids)) for model_name, model in models], extended


def _read(source: Any, dataset: Dataset, options: ReadOptions, name: str) -> RatingsMatrix:  # noqa: ANN401
    """Ratings of a file or frame, in the values of the dataset."""
    are_interactions = dataset.info.get("feedback") == "interactions"
    options = replace(options, interactions=are_interactions)
    if isinstance(source, str | Path):
        table = read_ratings([name], options)
    else:
        table = ratings_from_frame(polars_frame(source), options)
    if not are_interactions and any(file.layout.columns.rating is None for file in table.sources):
        raise InputDataError(f"{name} has no ratings to compare predictions with; name their column with --columns")
    ratings = build_ratings(table)
    if are_interactions:
        ratings.matrix.data[:] = 1
    return ratings


def _index(known: pl.Series, ids: pl.Series) -> tuple[Array, list[str]]:
    """Index of each id, new ones last, and the new ids."""
    index = positions(known, ids)
    is_new = index == UNKNOWN
    index[is_new] = len(known) + np.arange(is_new.sum())
    return index, ids.filter(pl.Series(is_new)).to_list()


def _padded(matrix: sparse.csr_array, shape: tuple[int, int]) -> sparse.csr_array:
    """The same cells in a larger shape."""
    pointers = np.pad(matrix.indptr, (0, shape[0] - matrix.shape[0]), mode="edge")
    return sparse.csr_array((matrix.data, matrix.indices, pointers), shape=shape)


def _with_ids(table: pl.DataFrame, ids: Sequence[str]) -> pl.DataFrame:
    """Table of users or items, with new ones that have no ratings."""
    index = range(table.height, table.height + len(ids))
    new = pl.DataFrame({"index": index, "id": ids, "n_ratings": 0, "n_train_ratings": 0}, strict=False)
    # "diagonal": the other columns of the new ones are null.
    return pl.concat([table, new.cast({"id": pl.String})], how="diagonal_relaxed") if ids else table


def _report(
    given: sparse.csr_array, test: sparse.csr_array, dataset: Dataset, n_new: tuple[int, int], name: str
) -> None:
    """Log what was left out and what is new.

    Raises:
        InputDataError: no rating is left.
    """
    n_ratings, n_fitted = counted(given.nnz, "rating"), given.nnz - test.nnz
    if not test.nnz:
        raise InputDataError(
            f"all {n_ratings} of {name} are in the training and validation sets of the dataset; measure them there "
            "with --on train and --on valid"
        )
    low, high = dataset.rating_scale
    n_outside = int(((given.data < low) | (given.data > high)).sum())
    if n_fitted:
        logger.warning(
            f"left out {n_fitted:,} of {n_ratings} of {name}, whose pairs are in the training or validation set: their "
            "errors would be training errors"
        )
    if n_outside:
        logger.warning(f"{n_outside:,} of {n_ratings} of {name} are outside the rating scale, {low:g} to {high:g}")
    new = " and ".join(counted(n, f"new {noun}") for n, noun in zip(n_new, ("user", "item"), strict=True))
    logger.info(f"the test set is {counted(test.nnz, 'rating')} of {name}, with {new}")
    for noun, n, total in zip(("user", "item"), n_new, given.shape, strict=True):
        if n == total:
            logger.warning(f"no {noun} of {name} is in the dataset; check that ids are written alike, and --columns")
