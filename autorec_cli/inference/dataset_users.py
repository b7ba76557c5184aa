"""Users of a dataset that is newer than the model."""

from __future__ import annotations

import numpy as np

from autorec_cli.csr import Array, add_splits, row_sums
from autorec_cli.data.dataset import Dataset
from autorec_cli.inference.catalog import SeenItems
from autorec_cli.inference.scorer import History, Scorer
from autorec_cli.inference.target_users import TargetUsers, history_scorers


def dataset_users(model: Scorer, dataset: Dataset) -> TargetUsers:
    """All users of `dataset`; those that the model was not fitted to are folded in.

    Args:
        model: Aligned with the dataset.
        dataset: Its ratings, in any split, are those that folded-in users have, and are seen.
    """
    rated = add_splits(add_splits(dataset.train, dataset.valid), dataset.test)
    catalog, seen = model.catalog, SeenItems(rated.indptr, rated.indices)
    known, fitted_items = catalog.user_counts > 0, catalog.item_counts > 0
    score_known, (score_new, rate_new) = model.user_scorer(), history_scorers(model)

    def histories(user_index: Array) -> list[History]:
        cells = [slice(rated.indptr[user], rated.indptr[user + 1]) for user in user_index.tolist()]
        return [(rated.indices[of_user], rated.data[of_user]) for of_user in cells]

    def score_at(index: Array) -> Array:
        scores = score_known(index)
        new = np.flatnonzero(~known[index])
        if len(new):
            scores[new] = score_new(histories(index[new]))
        return scores

    def rate_at(index: Array, items: Array) -> Array:
        predicted = model.predict_pairs(index, items)
        new = np.flatnonzero(~known[index])
        if len(new):
            users, rows = np.unique(index[new], return_inverse=True)
            predicted[new] = rate_new(histories(users))[rows, items[new]]
        return predicted

    n_fitted = row_sums(rated.indptr, fitted_items[rated.indices].astype(np.float32))
    return TargetUsers(
        user_ids=dataset.users["id"].to_list(),
        index=np.arange(dataset.n_users),
        unknown=~known & (n_fitted == 0),
        score_at=score_at,
        seen_at=seen.of,
        rate_at=rate_at,
    )
