"""Histories: ratings of users, from files and datasets.

A model file knows which items its users have rated, but not the ratings. For its users in a history these are read from
its dataset, or the fold-in would rest on the history alone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from autorec_cli.csr import Array
from autorec_cli.data import dataset as datasets
from autorec_cli.data.builder.csr_builder import read_user_items
from autorec_cli.data.dataset import Dataset
from autorec_cli.data.readers.options import ReadOptions
from autorec_cli.errors import ArtifactError, counted
from autorec_cli.inference.catalog import UNKNOWN, positions
from autorec_cli.inference.scorer import History, Scorer

if TYPE_CHECKING:
    from scipy import sparse

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Histories:
    """Users to fold in.

    Attributes:
        user_ids: In the order of the source.
        ratings: The history of each, of items that the model knows.
        seen: (n,) item_index of all that each has rated, held-out ratings of the model's dataset included.
        warnings: Sentences about ratings that were ignored or are missing.
    """

    user_ids: Sequence[str]
    ratings: Sequence[History]
    seen: Sequence[Array]
    warnings: Sequence[str]


def read_histories(
    model: Scorer,
    source: Any,  # noqa: ANN401 - a pandas frame, among others
    options: ReadOptions | None = None,
    dataset: Dataset | Path | str | None = None,
) -> Histories:
    """Read ratings of users, and add those in the model's dataset.

    Args:
        model: Its items are those of the histories.
        source: A file or a polars or pandas frame. Its rating of an item replaces the dataset's.
        options: Format of a file; None detects everything.
        dataset: The model's dataset or its directory; None looks where it was at training time.

    Raises:
        InputDataError: the source cannot be used.
        ArtifactError: `dataset` is not the one that the model was trained on.
    """
    user_ids, item_ids, user_items = read_user_items(source, options)
    item_index, user_index = positions(model.catalog.item_ids, item_ids), positions(model.catalog.user_ids, user_ids)
    warnings = _warnings(model, user_items.data, item_index, _name_of(source))
    # Known, and with training ratings: the network has learned nothing of the others.
    is_trained = user_index != UNKNOWN
    is_trained[is_trained] = model.catalog.user_counts[user_index[is_trained]] > 0
    known: dict[str, History] = {}
    if is_trained.any():
        trained = [user_ids[row] for row in np.flatnonzero(is_trained)]
        known, problem = _fitted_ratings(model, trained, dataset)
        warnings += [problem] if problem else []
    histories: list[History] = []
    seen: list[Array] = []
    for row, user_id in enumerate(user_ids):
        cells = slice(user_items.indptr[row], user_items.indptr[row + 1])
        items, ratings = item_index[user_items.indices[cells]], user_items.data[cells]
        own = items[items != UNKNOWN], ratings[items != UNKNOWN]
        histories.append(_joined(own, known[user_id]) if user_id in known else own)
        # Empty for a new user.
        before = user_index[row : row + 1][user_index[row : row + 1] != UNKNOWN]
        seen.append(np.union1d(own[0], model.catalog.seen.of(before)[1]))
    return Histories(user_ids, histories, seen, warnings)


def fitted_histories(model: Scorer, dataset: Dataset | Path | str | None = None) -> Callable[[Array], list[History]]:
    """Ratings that the scores of a model's users rest on.

    Args:
        model: Its part that ranks was fitted on some splits of the dataset.
        dataset: The model's dataset or its directory; None looks where it was at training time.

    Returns:
        user_index (B,) -> histories; an UNKNOWN user has none.

    Raises:
        ArtifactError: the dataset is not there, or not the one that the model was trained on.
    """
    try:
        found = _dataset_of(model, dataset)
    except ArtifactError as error:
        if dataset is not None:
            raise
        raise ArtifactError(
            f"--explain needs the ratings of the model's users, and its dataset is not there ({error}); name it with "
            "--data DIR"
        ) from error
    return _ratings_in(found, model, model.catalog.user_ids, model.ranker.provenance["fitted_parts"])


def _ratings_in(
    dataset: Dataset, model: Scorer, user_ids: Sequence[str], splits: Sequence[str]
) -> Callable[[Array], list[History]]:
    """Ratings of some users in splits of a dataset.

    They are of items that the model knows, by position in `user_ids`.
    """
    parts = [dataset.split(name) for name in splits]
    rows = np.append(positions(dataset.users["id"], user_ids), UNKNOWN)  # the last is that of UNKNOWN
    items = positions(model.catalog.item_ids, dataset.items["id"])
    return lambda index: [_cells_of(parts, items, row) for row in rows[index].tolist()]


def _cells_of(splits: Sequence[sparse.csr_array], items: Array, row: int) -> History:
    """Ratings of a row in several splits, of `items` by column."""
    cells = [
        (split, slice(split.indptr[row], split.indptr[row + 1]) if row != UNKNOWN else slice(0)) for split in splits
    ]
    index = items[np.concatenate([split.indices[of_user] for split, of_user in cells])]
    ratings = np.concatenate([split.data[of_user] for split, of_user in cells])
    return index[index != UNKNOWN], ratings[index != UNKNOWN]


def _joined(new: History, old: History) -> History:
    """All ratings of a user; new ones replace old ones."""
    only_old = ~np.isin(old[0], new[0])
    return np.concatenate([new[0], old[0][only_old]]), np.concatenate([new[1], old[1][only_old]])


def _fitted_ratings(
    model: Scorer, user_ids: Sequence[str], asked: Dataset | Path | str | None
) -> tuple[dict[str, History], str | None]:
    """Ratings of some users that the model was fitted on.

    Returns:
        Histories by user id, and a warning if there are none.
    """
    n_users = f"{counted(len(user_ids), 'user')} of the history"
    try:
        dataset = _dataset_of(model, asked)
    except ArtifactError as error:
        if asked is not None:
            raise
        return {}, (
            f"the model knows {n_users}, but not their earlier ratings, and its dataset is not there ({error}): "
            "recommendations and predictions for them rest on the history alone; name the dataset with --data"
        )
    ratings_at = _ratings_in(dataset, model, user_ids, model.provenance["fitted_parts"])
    found = dict(zip(user_ids, ratings_at(np.arange(len(user_ids))), strict=True))
    logger.info(f"the model knows {n_users}; their ratings in its dataset were added")
    return found, None


def _dataset_of(model: Scorer, asked: Dataset | Path | str | None) -> Dataset:
    """Dataset that the model was trained on.

    Raises:
        ArtifactError: it is not there, or is another one.
    """
    if isinstance(asked, Dataset):
        fingerprint, place = asked.fingerprint(), "the dataset"
    else:
        place = str(asked or model.provenance["dataset"])
        if not place:
            raise ArtifactError("it was in memory only")
        fingerprint = datasets.read_document(Path(place))["fingerprint"]
    if fingerprint != model.provenance["fingerprint"]:
        raise ArtifactError(f"{place} is not the dataset that the model was trained on: their fingerprints differ")
    return asked if isinstance(asked, Dataset) else datasets.load_dataset(place)


def _name_of(history: Any) -> str:  # noqa: ANN401
    if not isinstance(history, str | Path):
        return "the history"
    return "stdin" if str(history) == "-" else str(history)


def _warnings(model: Scorer, ratings: Array, item_index: Array, source: str) -> list[str]:
    low, high = model.catalog.rating_scale
    n_outside, n_unknown = int(((ratings < low) | (ratings > high)).sum()), int((item_index == UNKNOWN).sum())
    warnings = []
    if n_outside:
        warnings.append(f"{counted(n_outside, 'rating')} of {source} outside the model's scale, {low:g} to {high:g}")
    if n_unknown:
        n_items = counted(len(item_index), "item")
        warnings.append(f"ignored {n_unknown:,} of {n_items} of {source} that the model does not know")
    return warnings
