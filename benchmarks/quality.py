"""Seconds to a test RMSE: `autorec train` against the dense step, Surprise, LIBMF and myFM, alternating.

    python -m benchmarks.quality DATASET [--runs 5] [--only autorec,dense] [--python ENV/bin/python] [-- TRAIN OPTIONS]

DATASET is a directory made by `autorec prepare`. Every contender is fitted on train and valid with the settings given
here, and measured on test. Ours are whole commands; of a library, importing it and reading the ratings do not count. A
library that `--python` cannot import is left out. The dense step runs inside `autorec train` in place of our engine,
with the same settings, schedule and start.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from scipy import sparse

from benchmarks import results

COLUMNS = {"contender": "", "runs": "{:,}", "seconds": "{:.1f}", "test RMSE": "{:.4f}"}
Pairs = tuple[np.ndarray, np.ndarray, np.ndarray]


def surprise_svd(train: Pairs, test: Pairs) -> np.ndarray:
    """Biased matrix factorization by SGD, the library's defaults but 20 epochs and 0.05 for its penalty."""
    from surprise import SVD, Reader, Trainset

    users, items, ratings = (part.tolist() for part in train)
    by_user: dict[int, list[tuple[int, float]]] = {}
    by_item: dict[int, list[tuple[int, float]]] = {}
    for user, item, rating in zip(users, items, ratings, strict=True):
        by_user.setdefault(user, []).append((item, rating))
        by_item.setdefault(item, []).append((user, rating))
    inner_users, inner_items = {u: n for n, u in enumerate(by_user)}, {i: n for n, i in enumerate(by_item)}
    trainset = Trainset(
        {inner_users[u]: [(inner_items[i], r) for i, r in rows] for u, rows in by_user.items()},
        {inner_items[i]: [(inner_users[u], r) for u, r in rows] for i, rows in by_item.items()},
        len(by_user), len(by_item), len(ratings), Reader(rating_scale=(1, 5)).rating_scale, inner_users, inner_items,
    )  # fmt: skip
    model = SVD(n_epochs=20, reg_all=0.05, random_state=0).fit(trainset)
    return np.array([model.predict(u, i).est for u, i in zip(*(part.tolist() for part in test[:2]), strict=True)])


def libmf_mf(train: Pairs, test: Pairs) -> np.ndarray:
    """Real-valued matrix factorization, two threads."""
    from libmf import mf

    model = mf.MF(k=64, nr_iters=40, lambda_p2=0.05, lambda_q2=0.05, eta=0.05, nr_threads=2, quiet=True)
    model.fit(np.ascontiguousarray(np.stack(train, 1), dtype=np.float64))
    users, items = model.p_factors(), model.q_factors()  # its own predict() has other values for the same pairs
    predictions = np.einsum("pk,pk->p", users[test[0]], items[test[1]])
    return np.where(np.isfinite(predictions), predictions, train[2].mean())  # of pairs without training ratings


def myfm_gibbs(train: Pairs, test: Pairs) -> np.ndarray:
    """Bayesian factorization machine by Gibbs sampling on user and item alone."""
    import myfm

    shape = [int(max(train[0].max(), test[0].max())) + 1, int(max(train[1].max(), test[1].max())) + 1]

    def one_hot(users: np.ndarray, items: np.ndarray) -> sparse.csr_matrix:
        columns = np.stack([users, shape[0] + items], 1).ravel()
        rows = np.repeat(np.arange(len(users)), 2)
        return sparse.csr_matrix((np.ones(len(columns)), (rows, columns)), shape=(len(users), sum(shape)))

    model = myfm.MyFMRegressor(rank=10, random_seed=0)
    model.fit(one_hot(*train[:2]), train[2], n_iter=50, group_shapes=shape)
    return model.predict(one_hot(*test[:2]))


LIBRARIES = {"surprise": surprise_svd, "libmf": libmf_mf, "myfm": myfm_gibbs}
LABELS = {
    "autorec": "autorec",
    "dense": "dense step",
    "surprise": "Surprise, SVD, 20 epochs, penalty 0.05",
    "libmf": "LIBMF, 64 factors, 40 iterations",
    "myfm": "myFM, rank 10, 50 iterations",
}
"""Names of the rows; ours are followed by the options of training."""


def run_library(name: str, folder: Path) -> None:
    """In a process of its own: fit, predict, print seconds (reading and importing left out) and RMSE."""
    if importlib.util.find_spec(name) is None:
        print("missing")
        return
    parts = {part: sparse.load_npz(folder / f"{part}.npz").tocoo() for part in ("train", "valid", "test")}
    known = [parts["train"], parts["valid"]]
    train = tuple(np.concatenate([getattr(part, name) for part in known]) for name in ("row", "col", "data"))
    test = tuple(getattr(parts["test"], name) for name in ("row", "col", "data"))
    start = time.perf_counter()
    predictions = LIBRARIES[name](train, test)
    seconds = time.perf_counter() - start
    error = np.clip(predictions, train[2].min(), train[2].max()) - test[2]
    print(f"{seconds} {np.sqrt(np.mean(error**2))}")


def run_dense(arguments: list[str]) -> None:
    """`autorec train` with the dense step in the place of our engine."""
    from autorec_cli.cli import main
    from autorec_cli.training.loop import trainer
    from benchmarks.dense import DenseEngine

    trainer.make_engine = DenseEngine
    # It has no ordinal output, which would only be added to both.
    sys.argv = ["autorec", *arguments, "--output-activation", "identity"]
    main.main()


def run_ours(data: Path, options: list[str], dense: bool) -> tuple[float, float]:
    """Seconds of the whole command, and the model's test RMSE as `autorec evaluate` gives it."""
    with tempfile.TemporaryDirectory() as folder:
        model = str(Path(folder) / "model")
        program = [sys.executable, "-m", *(["benchmarks.quality", "--dense-train"] if dense else ["autorec_cli"])]
        start = time.perf_counter()
        subprocess.run(
            [*program, "train", str(data), "-o", model, "--objective", "rating", *options],
            check=True,
            stderr=subprocess.DEVNULL,
        )
        seconds = time.perf_counter() - start
        evaluate = [sys.executable, "-m", "autorec_cli", "evaluate", model, "--format", "csv"]
        table = subprocess.run(evaluate, check=True, capture_output=True, text=True).stdout.splitlines()
        return seconds, float(dict(zip(table[0].split(","), table[1].split(","), strict=True))["rmse"])


def main() -> None:
    """The command line."""
    if sys.argv[1:2] == ["--dense-train"]:
        run_dense(sys.argv[2:])
        return
    if sys.argv[1:2] == ["--library"]:
        run_library(sys.argv[2], Path(sys.argv[3]))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", default="autorec,dense," + ",".join(LIBRARIES))
    parser.add_argument("--python", default=sys.executable, help="an interpreter that has the other libraries")
    results.add_option(parser)
    end = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    arguments, options = parser.parse_args(sys.argv[1:end]), sys.argv[end + 1 :]
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in arguments.only.split(",")}
    for _ in range(arguments.runs):
        for name in list(measured):
            if name in LIBRARIES:
                command = [arguments.python, __file__, "--library", name, str(arguments.dataset)]
                environment = {**os.environ, "OMP_NUM_THREADS": str(os.cpu_count())}
                output = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
                if output.strip() == "missing":
                    del measured[name]
                    print(f"{name}: not installed")
                    continue
                seconds, rmse = map(float, output.split()[-2:])
            else:
                seconds, rmse = run_ours(arguments.dataset, options, name == "dense")
            measured[name].append((seconds, rmse))
    cells = []
    for name, values in measured.items():
        contender = LABELS[name] if name in LIBRARIES else " ".join([LABELS[name], *options])
        cells.append([contender, len(values), *(statistics.median(column) for column in zip(*values, strict=True))])
    results.report(COLUMNS, cells, arguments.result)


if __name__ == "__main__":
    main()
