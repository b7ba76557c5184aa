"""Description of a dataset, and check of all its contents."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from autorec_cli.csr import add_splits
from autorec_cli.data.dataset import UNREADABLE_ERRORS, Dataset, damaged, load_dataset, read_document, require_file
from autorec_cli.data.dataset_checks import SPLITS
from autorec_cli.data.item_columns import OWN, TITLE
from autorec_cli.errors import counted
from autorec_cli.storage.file_kinds import FILES


def describe(path: Path) -> dict[str, Any]:
    """Describe a dataset as JSON types, without reading ratings and ids.

    Raises:
        ArtifactError: it cannot be read.
    """
    document = read_document(path)
    try:
        for name in FILES:
            require_file(path / name)
        with (path / "items.parquet").open("rb") as handle:
            columns = pl.read_parquet_schema(handle)
    except (*UNREADABLE_ERRORS, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise damaged(path, error) from error
    named = [name for name in columns if name not in OWN]
    return {"kind": "dataset", "has_titles": TITLE in named, "item_columns": named, **document}


def check(path: Path) -> None:
    """Check everything about a dataset.

    Raises:
        ArtifactError: it cannot be loaded, its fingerprint or a number of ratings is wrong, or a cell is in two sets.
    """
    dataset, document = load_dataset(path), read_document(path)
    try:
        _check_counts(dataset, document)
        _check_whole(dataset, document)
    except UNREADABLE_ERRORS as error:
        raise damaged(path, error) from error


def _check_counts(dataset: Dataset, document: Mapping[str, Any]) -> None:
    """Check the numbers of ratings of the tables and of the document.

    Raises:
        ValueError: they are not those of the matrices.
    """
    parts = [dataset.split(name) for name in SPLITS]
    of_users = [np.diff(part.indptr) for part in parts]
    of_items = [np.bincount(part.indices, minlength=dataset.n_items) for part in parts]
    for table, counts in ((dataset.users, of_users), (dataset.items, of_items)):
        for column, wanted in (("n_ratings", np.sum(counts, axis=0)), ("n_train_ratings", counts[0])):
            if column in table.columns and not np.array_equal(table[column].to_numpy(), wanted):
                raise ValueError(f"{column} are not the numbers of ratings")
    found = {f"n_{name}": int(part.nnz) for name, part in zip(SPLITS, parts, strict=True)}
    found["n_ratings"] = sum(found.values())
    written = document.get("counts", {})  # a dataset that a program made may have none
    wrong = [name for name, number in found.items() if written.get(name, number) != number]
    if wrong:
        raise ValueError(f"{wrong[0]} is wrong")


def _check_whole(dataset: Dataset, document: Mapping[str, Any]) -> None:
    """Check the fingerprint, and that no cell is in two sets.

    Both take long.

    Raises:
        ValueError: one of them is wrong.
    """
    union = add_splits(add_splits(dataset.train, dataset.valid), dataset.test)
    n_cells = sum(dataset.split(name).nnz for name in SPLITS)
    if union.nnz != n_cells:
        raise ValueError(f"{counted(n_cells - union.nnz, 'rating')} are in two sets")
    if dataset.fingerprint() != document["fingerprint"]:
        raise ValueError("its fingerprint is not that of its ratings and ids")
