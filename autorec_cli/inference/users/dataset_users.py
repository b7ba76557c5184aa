"""Users of a dataset that is newer than the model."""

from __future__ import annotations

import numpy as np

from autorec_cli.csr import Array, add_splits, row_sums
from autorec_cli.data.dataset import Dataset
from autorec_cli.inference.catalog import UNKNOWN, SeenItems, positions
from autorec_cli.inference.scorer import History, Scorer
from autorec_cli.inference.users.target_users import TargetUsers, history_scorers


def dataset_users(model: Scorer, dataset: Dataset) -> TargetUsers:
    """All users of `dataset`; new ones are folded in.

    Args:
        model: Of its own users and items; recommendations are made with the same model aligned with the dataset.
        dataset: Its ratings, in any split, are those that folded-in users have, and are seen.
    """
    user_ids, item_ids = dataset.users["id"].to_list(), dataset.items["id"].to_list()
    aligned = model.aligned(user_ids, item_ids)
    rated = add_splits(add_splits(dataset.train, dataset.valid), dataset.test)
    known, fitted_items = aligned.catalog.user_counts > 0, aligned.catalog.item_counts > 0
    # Fold-in rests on all users and items of the model, those that the dataset has lost too.
    place = positions(model.catalog.item_ids, item_ids)
    score_known, (score_new, rate_new) = aligned.user_scorer(), history_scorers(model)

    def histories(user_index: Array) -> list[History]:
        cells = [slice(rated.indptr[user], rated.indptr[user + 1]) for user in user_index.tolist()]
        found = [(place[rated.indices[of_user]], rated.data[of_user]) for of_user in cells]
        return [(items[items != UNKNOWN], ratings[items != UNKNOWN]) for items, ratings in found]

    def score_at(index: Array) -> Array:
        scores = score_known(index)
        new = np.flatnonzero(~known[index])
        if len(new):
            # Scores of unknown items are those of any other one: they are no candidates.
            scores[new] = score_new(histories(index[new]))[:, place]
        return scores

    def rate_at(index: Array, items: Array) -> Array:
        predicted = aligned.predict_pairs(index, items)
        new = np.flatnonzero(~known[index])
        if len(new):
            users, rows = np.unique(index[new], return_inverse=True)
            predicted[new] = rate_new(histories(users))[rows, place[items[new]]]
        return predicted

    n_fitted = row_sums(rated.indptr, fitted_items[rated.indices].astype(np.float32))
    return TargetUsers(
        user_ids=user_ids,
        index=np.arange(dataset.n_users),
        unknown=~known & (n_fitted == 0),
        score_at=score_at,
        seen_at=SeenItems(rated.indptr, rated.indices).of,
        rate_at=rate_at,
    )
