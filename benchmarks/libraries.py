"""Other libraries that predict ratings, for `benchmarks.quality`: one fit in a process of its own.

    ENV/bin/python benchmarks/libraries.py NAME SETTING DATASET

fits a library to train and valid together and predicts test; it prints the seconds of the fit, those of the prediction,
and the RMSE. Importing the library and reading the ratings do not count. It needs numpy, scipy and the library, nothing
of this repository, so that it runs in an environment made for the libraries.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import sparse

Array = np.ndarray
Predict = Callable[[Array, Array], Array]
"""(users, items) -> ratings."""
TRIPLETS = ("row", "col", "data")


@dataclass(frozen=True)
class Library:
    """A model of a library.

    Attributes:
        label: Its name in the table.
        modules: Modules to import before the clock starts.
        fit: (ratings, setting) -> predictions.
        settings: Keyword arguments of `fit`, such as "n_epochs=5".
    """

    label: str
    modules: tuple[str, ...]
    fit: Callable[..., Predict]
    settings: tuple[str, ...]


def surprise_svd(ratings: sparse.coo_array, n_epochs: int) -> Predict:
    """Biased matrix factorization by SGD, the library's defaults but 0.05 for its penalty."""
    from surprise import SVD, Reader, Trainset

    by_user: dict[int, list[tuple[int, float]]] = {}
    by_item: dict[int, list[tuple[int, float]]] = {}
    for user, item, rating in zip(*(getattr(ratings, name).tolist() for name in TRIPLETS), strict=True):
        by_user.setdefault(user, []).append((item, rating))
        by_item.setdefault(item, []).append((user, rating))
    inner_users, inner_items = {u: n for n, u in enumerate(by_user)}, {i: n for n, i in enumerate(by_item)}
    trainset = Trainset(
        {inner_users[u]: [(inner_items[i], r) for i, r in rows] for u, rows in by_user.items()},
        {inner_items[i]: [(inner_users[u], r) for u, r in rows] for i, rows in by_item.items()},
        len(by_user), len(by_item), ratings.nnz, Reader(rating_scale=scale_of(ratings)).rating_scale,
        inner_users, inner_items,
    )  # fmt: skip
    model = SVD(n_epochs=n_epochs, reg_all=0.05, random_state=0).fit(trainset)
    return lambda users, items: np.array(
        [model.predict(user, item).est for user, item in zip(users.tolist(), items.tolist(), strict=True)]
    )


def libmf_mf(ratings: sparse.coo_array, nr_iters: int) -> Predict:
    """Real-valued matrix factorization with 64 factors."""
    from libmf import mf

    penalties = {"lambda_p2": 0.05, "lambda_q2": 0.05}
    model = mf.MF(k=64, nr_iters=nr_iters, eta=0.05, nr_threads=os.cpu_count(), quiet=True, **penalties)
    model.fit(np.stack([ratings.row, ratings.col, ratings.data], 1).astype(np.float64))

    def predict(users: Array, items: Array) -> Array:
        of_users, of_items = model.p_factors(), model.q_factors()  # its predict() has other values for the same pairs
        predictions = np.full(len(users), np.nan)
        known = (users < len(of_users)) & (items < len(of_items))  # factors end at the last row and column with ratings
        predictions[known] = np.einsum("pk,pk->p", of_users[users[known]], of_items[items[known]])
        return np.where(np.isfinite(predictions), predictions, ratings.data.mean())

    return predict


def myfm_gibbs(ratings: sparse.coo_array, n_iter: int) -> Predict:
    """Bayesian factorization machine of rank 10 by Gibbs sampling on user and item alone."""
    from myfm import MyFMRegressor

    def one_hot(users: Array, items: Array) -> sparse.csr_matrix:
        columns = np.stack([users, ratings.shape[0] + items], 1).ravel()
        rows = np.repeat(np.arange(len(users)), 2)
        return sparse.csr_matrix((np.ones(len(columns)), (rows, columns)), shape=(len(users), sum(ratings.shape)))

    model = MyFMRegressor(rank=10, random_seed=0)
    model.fit(one_hot(ratings.row, ratings.col), ratings.data, n_iter=n_iter, group_shapes=list(ratings.shape))
    return lambda users, items: model.predict(one_hot(users, items))


def lenskit_als(ratings: sparse.coo_array, epochs: int) -> Predict:
    """Biased matrix factorization by alternating least squares, the library's defaults."""
    from lenskit.als import BiasedMFScorer

    return lenskit_pipeline(ratings, BiasedMFScorer(epochs=epochs))


def lenskit_knn(ratings: sparse.coo_array, max_nbrs: int) -> Predict:
    """Item neighborhoods, the library's defaults."""
    from lenskit.knn import ItemKNNScorer

    return lenskit_pipeline(ratings, ItemKNNScorer(max_nbrs=max_nbrs))


def lenskit_pipeline(ratings: sparse.coo_array, scorer: object) -> Predict:
    """A scorer trained in LensKit's pipeline, which predicts by biases what the scorer cannot."""
    import pandas as pd
    from lenskit.batch import predict
    from lenskit.data import from_interactions_df
    from lenskit.pipeline import predict_pipeline
    from lenskit.training import TrainingOptions

    frame = pd.DataFrame({"user_id": ratings.row, "item_id": ratings.col, "rating": ratings.data})
    pipeline = predict_pipeline(scorer)
    pipeline.train(from_interactions_df(frame), TrainingOptions(rng=0))

    def predictions(users: Array, items: Array) -> Array:
        pairs = pd.DataFrame({"user_id": users, "item_id": items})
        found = predict(pipeline, pairs, n_jobs=1).to_df()
        return pairs.merge(found, "left", ["user_id", "item_id"], validate="1:1")["score"].to_numpy()

    return predictions


LIBRARIES = {
    "surprise": Library("Surprise, SVD", ("surprise",), surprise_svd, tuple(f"n_epochs={n}" for n in (5, 10, 20, 40))),
    "libmf": Library("LIBMF", ("libmf.mf",), libmf_mf, tuple(f"nr_iters={n}" for n in (10, 20, 40, 80))),
    "myfm": Library("myFM", ("myfm",), myfm_gibbs, tuple(f"n_iter={n}" for n in (10, 25, 50, 100, 200))),
    "lenskit-als": Library(
        "LensKit, biased ALS",
        ("lenskit.als", "lenskit.batch", "lenskit.pipeline"),
        lenskit_als,
        tuple(f"epochs={n}" for n in (5, 10, 20)),
    ),
    "lenskit-knn": Library(
        "LensKit, item kNN", ("lenskit.knn", "lenskit.batch", "lenskit.pipeline"), lenskit_knn, ("max_nbrs=20",)
    ),
}


def scale_of(ratings: sparse.coo_array) -> tuple[float, float]:
    """Lowest and highest rating."""
    return float(ratings.data.min()), float(ratings.data.max())


def measure(library: Library, setting: str, folder: Path) -> tuple[float, float, float]:
    """Seconds of fit and prediction, and test RMSE of predictions clipped to the rating scale."""
    train, valid, test = (sparse.load_npz(folder / f"{split}.npz").tocoo() for split in ("train", "valid", "test"))
    rows, columns, values = (np.concatenate([getattr(part, name) for part in (train, valid)]) for name in TRIPLETS)
    ratings = sparse.coo_array((values, (rows, columns)), shape=train.shape)  # a sum would lose ratings of 0
    for module in library.modules:
        importlib.import_module(module)
    name, _, value = setting.partition("=")
    start = time.perf_counter()
    predict = library.fit(ratings, **{name: int(value)})
    fitted = time.perf_counter()
    predictions = predict(test.row, test.col)
    predicted = time.perf_counter()
    errors = np.clip(predictions, *scale_of(ratings)) - test.data
    return fitted - start, predicted - fitted, float(np.sqrt(np.mean(errors**2)))


if __name__ == "__main__":
    print(*measure(LIBRARIES[sys.argv[1]], sys.argv[2], Path(sys.argv[3])))
