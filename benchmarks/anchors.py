"""Anchors for `benchmarks.unseen`: baselines and other libraries, each fitted and measured in a process of its own.

    python -m benchmarks.anchors NAME DATASET

prints a line of JSON. It needs numpy, scipy and the library of the anchor, but neither torch nor polars, so that it
runs in an environment made for the libraries. Hyperparameters are chosen on valid, then an anchor is fitted on train
and valid together. A process may take 4 GiB and 20 minutes of CPU.
"""

from __future__ import annotations

import importlib.util
import json
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from autorec_cli.csr import Array, add_splits, row_indices
from autorec_cli.evaluation.linear_autoencoder import linear_autoencoder
from autorec_cli.evaluation.metrics import UserErrors, mae, rmse
from autorec_cli.evaluation.ranking import RankingProtocol, RankingTask, measure_rankings

MEMORY_LIMIT = 4 << 30
CPU_LIMIT = 20 * 60
TOO_LARGE_TO_RANK = 10**8
"""Users x items above which what predicts ratings is not ranked by them."""


@dataclass(frozen=True)
class Data:
    """Ratings of a prepared dataset, CSR n_users x n_items.

    Attributes:
        train, valid, test: Its splits.
        known: `train` and `valid` together.
        scale: Lowest and highest training rating.
    """

    train: sparse.csr_array
    valid: sparse.csr_array
    test: sparse.csr_array
    known: sparse.csr_array
    scale: tuple[float, float]


@dataclass(frozen=True)
class Fitted:
    """A fitted anchor.

    Attributes:
        chosen: Its hyperparameters, as text.
        predict: (users, items) -> ratings; None if it only ranks.
        score: Users -> scores (n_users, n_items) float32; None if that is too slow.
    """

    chosen: str
    predict: Callable[[Array, Array], Array] | None = None
    score: Callable[[Array], Array] | None = None


def load(folder: Path) -> Data:
    """Read the matrices of a prepared dataset."""
    train, valid, test = (
        sparse.csr_array(sparse.load_npz(folder / f"{name}.npz")) for name in ("train", "valid", "test")
    )
    return Data(train, valid, test, add_splits(train, valid), (float(train.data.min()), float(train.data.max())))


def errors(data: Data, held_out: sparse.csr_array, predict: Callable[[Array, Array], Array]) -> UserErrors:
    """Errors of clipped predictions."""
    users, items = row_indices(held_out), held_out.indices
    predictions = np.clip(predict(users, items), *data.scale)
    return UserErrors.of(predictions - held_out.data, users, held_out.shape[0])


def rank(
    data: Data, seen: sparse.csr_array, held_out: sparse.csr_array, score: Callable[[Array], Array]
) -> dict[str, float]:
    """Metrics of top-10 lists as `autorec evaluate --ranking` measures them."""
    counts = np.bincount(seen.indices, minlength=seen.shape[1])
    return measure_rankings(score, RankingTask(held_out, seen, counts, RankingProtocol.for_scale(data.scale))).metrics()


def choose(candidates: Mapping[str, Sequence[Any]], measure: Callable[..., float]) -> dict[str, Any]:
    """Candidates with the highest measure: one hyperparameter after the other, from the middle of each."""
    best = {name: values[len(values) // 2] for name, values in candidates.items()}
    highest = measure(**best)
    for name, values in candidates.items():
        for value in values:
            if value != best[name] and (found := measure(**{**best, name: value})) > highest:
                highest, best = found, {**best, name: value}
    return best


def described(chosen: Mapping[str, Any]) -> str:
    """Hyperparameters as text: "of ratings, lambda 100"."""
    texts = []
    for name, value in chosen.items():
        numbers = value if isinstance(value, tuple) else (value,)
        texts.append(value if isinstance(value, str) else f"{name} {', '.join(f'{number:g}' for number in numbers)}")
    return ", ".join(texts)


def choose_ranker(
    data: Data,
    candidates: Mapping[str, Sequence[Any]],
    fit: Callable[..., Callable[[Array], Array]],
) -> Fitted:
    """A ranker whose hyperparameters have the best nDCG@10 on valid, fitted to train and valid."""

    def on_valid(**values: object) -> float:
        return rank(data, data.train, data.valid, fit(data.train, *values.values())).get("ndcg@10", 0.0)

    chosen = choose(candidates, on_valid)
    return Fitted(described(chosen), score=fit(data.known, *chosen.values()))


def fit_means(ratings: sparse.csr_array, user_damping: float, item_damping: float) -> tuple[float, Array, Array]:
    """Mean, user biases and item biases that minimize squared error plus damping * bias^2, by turns."""
    users, items, values = row_indices(ratings), ratings.indices, ratings.data.astype(np.float64)
    n_users, n_items = (np.bincount(side, minlength=n) for side, n in zip((users, items), ratings.shape, strict=True))
    mean, user_bias, item_bias = float(values.mean()), np.zeros(len(n_users)), np.zeros(len(n_items))
    for _ in range(100):
        before = user_bias
        item_bias = np.bincount(items, values - mean - user_bias[users], len(n_items)) / (n_items + item_damping)
        user_bias = np.bincount(users, values - mean - item_bias[items], len(n_users)) / (n_users + user_damping)
        mean = float(np.mean(values - user_bias[users] - item_bias[items]))
        if np.abs(user_bias - before).max() < 1e-4 * values.std():
            break
    return mean, user_bias, item_bias


def additive(
    mean: float, user_bias: Array, item_bias: Array, user_factors: Array, item_factors: Array
) -> dict[str, Any]:
    """`predict` and `score` of a mean, biases and an inner product of factors."""

    def predict(users: Array, items: Array) -> Array:
        product = np.empty(len(users))
        for start in range(0, len(users), 4096):
            part = slice(start, start + 4096)
            product[part] = np.einsum("pk,pk->p", user_factors[users[part]], item_factors[items[part]])
        return mean + user_bias[users] + item_bias[items] + product

    def score(users: Array) -> Array:
        return (item_bias + user_factors[users] @ item_factors.T).astype(np.float32)

    return {"predict": predict, "score": score}


def bias(data: Data) -> Fitted:
    """Damped means, iterated to convergence; dampings chosen on valid."""
    dampings = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)

    def model(ratings: sparse.csr_array, pair: tuple[float, float]) -> dict[str, Any]:
        means = fit_means(ratings, *pair)
        return additive(*means, *(np.zeros((n, 1), dtype=np.float32) for n in ratings.shape))

    def on_valid(pair: tuple[float, float]) -> float:
        return -rmse(errors(data, data.valid, model(data.train, pair)["predict"])).value

    pair = choose({"pair": list(product(dampings, dampings))}, on_valid)["pair"]
    return Fitted(f"damping {pair[0]:g} of users, {pair[1]:g} of items", **model(data.known, pair))


def surprise_trainset(data: Data) -> Any:  # noqa: ANN401, the library is not installed where this is checked
    """Surprise's own form of train and valid; its inner numbers are those of users and items that have ratings."""
    import pandas
    from surprise import Dataset, Reader

    frame = pandas.DataFrame({"u": row_indices(data.known), "i": data.known.indices, "r": data.known.data})
    return Dataset.load_from_df(frame, Reader(rating_scale=data.scale)).build_full_trainset()


def surprise_svd(data: Data) -> Fitted:
    """Biased matrix factorization by SGD, the library's defaults."""
    from surprise import SVD

    trainset = surprise_trainset(data)
    model = SVD(random_state=0).fit(trainset)
    n_users, n_items = data.known.shape
    user_index, item_index = (
        np.array([raw(inner) for inner in range(n)])
        for raw, n in ((trainset.to_raw_uid, trainset.n_users), (trainset.to_raw_iid, trainset.n_items))
    )

    def spread(values: Array, index: Array, n: int) -> Array:
        full = np.zeros((n, *values.shape[1:]))
        full[index] = values
        return full

    return Fitted(
        "100 factors, 20 epochs",
        **additive(
            trainset.global_mean,
            spread(model.bu, user_index, n_users),
            spread(model.bi, item_index, n_items),
            spread(model.pu, user_index, n_users),
            spread(model.qi, item_index, n_items),
        ),
    )


def surprise_knn(data: Data) -> Fitted:
    """Item neighbors on top of biases: 40 of them, by shrunk Pearson correlation."""
    from surprise import KNNBaseline

    model = KNNBaseline(sim_options={"name": "pearson_baseline", "user_based": False}, verbose=False)
    model.fit(surprise_trainset(data))

    def predict(users: Array, items: Array) -> Array:
        return np.array([model.predict(user, item).est for user, item in zip(users, items, strict=True)])

    return Fitted("40 neighbors", predict=predict)


def feature_blocks(rated: sparse.csr_array, implicit: bool) -> list[sparse.csr_matrix]:
    """Features of users, and of items: one each, then, if `implicit`, those of what they rated or who rated them."""
    blocks = []
    for pattern in (rated, sparse.csr_array(rated.T)):
        parts = [sparse.eye_array(pattern.shape[0])]
        if implicit:
            counts = np.maximum(np.diff(pattern.indptr), 1)
            parts.append(sparse.diags_array(counts**-0.5) @ pattern)
        blocks.append(sparse.csr_matrix(sparse.hstack(parts), dtype=np.float64))
    return blocks


def sample_myfm(ratings: sparse.csr_array, implicit: bool, n_iterations: int) -> list[list[Array]]:
    """Gibbs samples of a Bayesian factorization machine of rank 10, all but the first five, as the library does.

    The implicit features of a user or item are divided by the root of their number: SVD++, and the same with users and
    items exchanged (Rendle, Zhang and Koren 2019).

    Returns:
        For each sample: mean, user part, item part, user factors and item factors, of which `additive` predicts.
    """
    from myfm import MyFMRegressor, RelationBlock

    n_users, n_items = ratings.shape
    shapes = [n_users, n_items, n_items, n_users] if implicit else [n_users, n_items]
    blocks = feature_blocks(binary(ratings), implicit)
    samples = []

    def keep(iteration: int, machine: Any, *_: object) -> tuple[bool, None]:  # noqa: ANN401
        parts, factors, start = [], [], 0
        for block in blocks if iteration >= 5 else ():
            features = slice(start, start + block.shape[1])
            weights, rows = np.asarray(machine.w)[features], np.asarray(machine.V)[features]
            summed = block @ rows
            own = (summed**2 - block.power(2) @ rows**2).sum(1) / 2  # of pairs of features on one side
            parts.append(block @ weights + own)
            factors.append(summed.astype(np.float32))
            start = features.stop
        if parts:
            samples.append([machine.w0, *parts, *factors])
        return False, None

    owners = (row_indices(ratings), ratings.indices)
    relations = [RelationBlock(owner.astype(np.int64), block) for owner, block in zip(owners, blocks, strict=True)]
    MyFMRegressor(rank=10, random_seed=0).fit(
        None, ratings.data.astype(np.float64), relations,
        n_iter=n_iterations, n_kept_samples=1, group_shapes=shapes, callback=keep,
    )  # fmt: skip
    return samples


def mean_of_samples(samples: list[list[Array]]) -> dict[str, Any]:
    """`predict` and `score` of the mean over samples."""
    mean, user_part, item_part = (np.mean(values, axis=0) for values in list(zip(*samples, strict=True))[:3])
    user_factors = np.concatenate([sample[3] for sample in samples], axis=1)
    user_factors /= len(samples)
    item_factors = np.concatenate([sample[4] for sample in samples], axis=1)
    return additive(mean, user_part, item_part, user_factors, item_factors)


def myfm_gibbs(data: Data, implicit: bool) -> Fitted:
    """Bayesian factorization machine, 500 iterations."""
    return Fitted("rank 10, 500 iterations", **mean_of_samples(sample_myfm(data.known, implicit, 500)))


def choose_iterations(data: Data) -> int:
    """Iterations of myFM with implicit features whose mean is best on valid."""
    samples = sample_myfm(data.train, True, 500)

    def on_valid(iterations: int) -> float:
        predict = mean_of_samples(samples[: iterations - 5])["predict"]
        return -rmse(errors(data, data.valid, predict)).value

    return int(choose({"iterations": (25, 50, 100, 200, 500)}, on_valid)["iterations"])


def myfm_stopped(data: Data) -> Fitted:
    """Bayesian factorization machine with implicit features; its iterations chosen on valid.

    On sparse data long chains explain the noise, so that means of few samples are better.
    """
    iterations = choose_iterations(data)
    samples = sample_myfm(data.known, True, iterations)
    return Fitted(f"rank 10, {iterations} iterations", **mean_of_samples(samples))


def binary(ratings: sparse.csr_array) -> sparse.csr_array:
    """Ones in the place of ratings."""
    return sparse.csr_array((np.ones_like(ratings.data), ratings.indices, ratings.indptr), shape=ratings.shape)


INPUTS: dict[str, Callable[[sparse.csr_array], sparse.csr_array]] = {
    "of ratings": lambda ratings: ratings,
    "of binary ratings": binary,
}


def ease(data: Data, name: str) -> Fitted:
    """EASE; lambda chosen on valid."""
    return choose_ranker(
        data,
        {"lambda": (3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10000.0)},
        lambda ratings, ridge: linear_autoencoder(INPUTS[name](ratings), ridge),
    )


def denoising_ease(data: Data) -> Fitted:
    """Weighted EASE with a ridge of dropout; its input, lambda and dropout chosen on valid."""
    return choose_ranker(
        data,
        {"input": tuple(INPUTS), "lambda": (3.0, 30.0, 300.0), "dropout": (0.25, 0.5, 0.75, 0.9)},
        lambda ratings, name, ridge, dropout: linear_autoencoder(INPUTS[name](ratings), ridge, dropout, 0.5),
    )


def implicit_als(data: Data) -> Fitted:
    """Factors of weighted binary ratings (Hu, Koren and Volinsky 2008); penalty and weight chosen on valid."""
    from implicit.als import AlternatingLeastSquares

    def fit(ratings: sparse.csr_array, pair: tuple[float, float]) -> Callable[[Array], Array]:
        penalty, alpha = pair
        model = AlternatingLeastSquares(factors=64, regularization=penalty, alpha=alpha, random_state=0, use_gpu=False)
        model.fit(sparse.csr_matrix(binary(ratings)), show_progress=False)
        return lambda users: np.asarray(model.user_factors[users] @ model.item_factors.T, dtype=np.float32)

    pairs = tuple(product((0.1, 1.0, 10.0, 100.0), (1.0, 5.0, 25.0, 100.0)))  # the best of one depends on the other
    return choose_ranker(data, {"lambda, alpha": pairs}, fit)


def popularity(data: Data) -> Fitted:
    """Number of ratings."""
    counts = np.bincount(data.known.indices, minlength=data.known.shape[1]).astype(np.float32)
    return Fitted("", score=lambda users: np.tile(counts, (len(users), 1)))


ANCHORS: dict[str, tuple[str | None, Callable[[Data], Fitted]]] = {
    "popularity": (None, popularity),
    "bias": (None, bias),
    "svd": ("surprise", surprise_svd),
    "knn": ("surprise", surprise_knn),
    "myfm": ("myfm", partial(myfm_gibbs, implicit=False)),
    "myfm-implicit": ("myfm", partial(myfm_gibbs, implicit=True)),
    "myfm-stopped": ("myfm", myfm_stopped),
    "als": ("implicit", implicit_als),
    "ease": (None, partial(ease, name="of binary ratings")),
    "ease-ratings": (None, partial(ease, name="of ratings")),
    "ease-denoising": (None, denoising_ease),
}
"""Name -> the library that it needs, and the function that fits it."""


def measure(name: str, folder: Path) -> dict[str, Any]:
    """Fit an anchor; its metrics by name, `seconds` of CPU of fitting, and `note`: what was chosen."""
    data = load(folder)
    start = time.process_time()
    fitted = ANCHORS[name][1](data)
    row: dict[str, Any] = {"seconds": time.process_time() - start, "note": fitted.chosen}
    if fitted.predict is not None:
        found = errors(data, data.test, fitted.predict)
        row |= {"rmse": rmse(found).value, "mae": mae(found).value}
    n_users, n_items = data.test.shape
    if fitted.score is not None and (fitted.predict is None or n_users * n_items <= TOO_LARGE_TO_RANK):
        row |= rank(data, data.known, data.test, fitted.score)
    return row


def main() -> None:
    """The command line."""
    name, folder = sys.argv[1], Path(sys.argv[2])
    library = ANCHORS[name][0]
    if library is not None and importlib.util.find_spec(library) is None:
        row: dict[str, Any] = {"missing": library}
    else:
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_LIMIT, MEMORY_LIMIT))
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_LIMIT, CPU_LIMIT + 60))  # SIGXCPU, then SIGKILL
        try:
            row = measure(name, folder)
        except MemoryError:
            row = {"note": "left out: it needs more than 4 GiB"}
    print(json.dumps(row))


if __name__ == "__main__":
    main()
