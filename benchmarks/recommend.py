"""Top-10 lists of all users: ours against the `implicit` library on the same factors, and the whole command.

    python -m benchmarks.recommend DATASET [--hidden-size 128 --hidden-size 500] [--users 20000] [--runs 5]

DATASET is a directory made by `autorec prepare`; its ratings are what a user has seen. The factors are random, which
changes no time: a product and a selection take the same steps whatever the numbers are. Lists as arrays are made in one
process, ours and implicit's in turn; implicit in both ways of using the cores, its own threads or those of the matrix
product, and its better median counts.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import polars as pl
from scipy import sparse

from autorec_cli.csr import Array, add_splits
from autorec_cli.data import dataset
from autorec_cli.data.bias import DampedMeans
from autorec_cli.data.dataset import Dataset
from autorec_cli.inference.catalog import Catalog, SeenItems
from autorec_cli.inference.files import model_file
from autorec_cli.inference.model import Model
from autorec_cli.inference.ranking.top_k import rank_items
from autorec_cli.inference.users.target_users import known_users
from autorec_cli.training.plan import complete
from autorec_cli.training.settings import TrainSettings
from benchmarks import results
from benchmarks.measure import AUTOREC, measure

K = 10
CONTENDERS = ("autorec", "implicit, own threads", "implicit, threads of the product")
ARRAYS = {"hidden size": "{:,}", **dict.fromkeys(CONTENDERS, "{:,.0f}"), "ratio to the better one": "{:.2f}"}
"""Columns of users per second."""
COMMANDS = {"hidden size": "{:,}", "users": "{:,}", "seconds": "{:.2f} s", "peak memory": "{:,.0f} MiB"}
"""Columns of whole commands."""


def random_model(data: Dataset, variant: str, hidden_size: int, rng: np.random.Generator) -> Model:
    """A model of the shape of `data` with random parameters."""
    seen = add_splits(add_splits(data.train, data.valid), data.test)
    sizes = (data.n_items, data.n_users) if variant == "item" else (data.n_users, data.n_items)

    def normal(*shape: int) -> Array:
        return rng.standard_normal(shape, dtype=np.float32) / np.float32(np.sqrt(hidden_size))

    means = DampedMeans(3.5, rng.normal(0, 0.3, data.n_users), rng.normal(0, 0.3, data.n_items))
    # Ordinal outputs are not inner products, which is what is compared here.
    plain = {
        "hidden_sizes": (hidden_size,),
        "implicit": False,
        "normalize": False,
        "output_activation": "identity",
    }
    return Model(
        settings=complete(TrainSettings(variant=variant, **plain), data),
        encoder_weights=(normal(sizes[1], hidden_size),),
        encoder_biases=(normal(hidden_size),),
        codes=1 / (1 + np.exp(-normal(sizes[0], hidden_size))),
        decoder_weight=normal(sizes[1], hidden_size),
        decoder_bias=normal(sizes[1]),
        output_range=(-2.0, 2.0),
        thresholds=None,
        unit=1.0,
        output_unit=1.0,
        input_norm=None,
        centering=means,
        baseline=means,
        catalog=Catalog(
            user_ids=data.users["id"].to_list(),
            item_ids=data.items["id"].to_list(),
            items=pl.DataFrame(),
            user_counts=np.diff(data.train.indptr),
            item_counts=np.bincount(data.train.indices, minlength=data.n_items),
            seen=SeenItems(seen.indptr, seen.indices),
            rating_scale=data.rating_scale,
        ),
        provenance={"dataset": "", "fingerprint": "", "fitted_parts": []},
    )


def our_lists(model: Model, n_users: int) -> Callable[[], Array]:
    """Maker of the recommendations for the first `n_users` users, one array of item_index."""
    users = known_users(model, None).first(n_users)
    candidates = model.catalog.item_counts > 0

    def run() -> Array:
        score = model.user_scorer()
        blocks = rank_items(n_users, lambda part: score(users.index[part]), users.seen, candidates, K)
        return np.concatenate([block.items for block in blocks])

    return run


def implicit_lists(model: Model, n_users: int, own_threads: bool) -> Callable[[], Array]:
    """The same by `implicit`: biases are factors of their own, and unlisted items are filtered."""
    from implicit.cpu.matrix_factorization_base import MatrixFactorizationBase
    from threadpoolctl import threadpool_limits

    class Factors(MatrixFactorizationBase):  # type: ignore[misc]
        fit = save = None

    item_variant = model.settings.variant == "item"
    items, users = (model.codes, model.decoder_weight)[:: 1 if item_variant else -1]
    inner = model.decoder_bias[:, None] * np.float32(model.output_unit)
    by_item = model.centering.item_bias.astype(np.float32)[:, None] + (0 if item_variant else inner)
    by_user = (model.centering.mean + model.centering.user_bias).astype(np.float32)[:, None]
    by_user = by_user + (inner if item_variant else 0)
    recommender = Factors(num_threads=0 if own_threads else 1)
    recommender.item_factors = np.hstack([items, by_item, np.ones_like(by_item)])
    recommender.user_factors = np.hstack([users * np.float32(model.output_unit), np.ones_like(by_user), by_user])
    ratings = np.ones(len(model.catalog.seen.indices), dtype=np.float32)
    catalog = model.catalog
    shape = (catalog.n_users, catalog.n_items)
    seen = sparse.csr_matrix((ratings, catalog.seen.indices, catalog.seen.indptr), shape=shape)
    seen = seen[:n_users]
    unlisted = np.flatnonzero(model.catalog.item_counts == 0)

    def run() -> Array:
        with threadpool_limits(1 if own_threads else None, "blas"):
            return recommender.recommend(np.arange(n_users), seen, N=K, filter_items=unlisted)[0]

    return run


def alternate(runs: Mapping[str, Callable[[], Array]], n_runs: int) -> tuple[dict[str, float], dict[str, Array]]:
    """Median seconds and the last result of each of `runs`, taken in turn after one warm-up."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    results = {}
    for _ in range(n_runs + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            results[name] = run()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times[1:]) for name, times in seconds.items()}, results


def compare(model: Model, n_users: int, n_runs: int) -> list[results.Cell]:
    """Users per second of each side, and the ratio of ours to the better one; prints how alike their lists are."""
    sides = (our_lists(model, n_users), *(implicit_lists(model, n_users, own_threads=own) for own in (True, False)))
    runs = dict(zip(CONTENDERS, sides, strict=True))
    medians, lists = alternate(runs, n_runs)
    # Users without a rating are predicted by means, which implicit does not have.
    warm = (model.catalog.user_counts > 0)[:n_users]
    best = min(list(runs)[1:], key=medians.__getitem__)
    for name in CONTENDERS[1:]:
        print(f"{name}: {(lists[name] == lists['autorec'])[warm].mean():.3%} of the places as ours")
    return [*(n_users / seconds for seconds in medians.values()), medians[best] / medians["autorec"]]


def run_commands(model: Model, path: Path, folder: Path, n_runs: int) -> list[list[results.Cell]]:
    """Users, seconds and peak MiB of whole commands that write CSV, for growing numbers of users."""
    rows: list[list[results.Cell]] = []
    for n_users in sorted({min(n, model.catalog.n_users) for n in (1, 10_000, 50_000, model.catalog.n_users)}):
        ids, output = folder / "users", folder / "top.csv"
        ids.write_text("".join(f"{identifier}\n" for identifier in model.catalog.user_ids[:n_users]))
        command = [*AUTOREC, "recommend", path, "--users", ids, "-k", str(K), "-o", output]
        measured = [measure(command) for _ in range(n_runs)]
        seconds = statistics.median(one.seconds for one in measured)
        peak = max(one.peak_mib for one in measured)
        rows.append([n_users, seconds, peak])
    return rows


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--variant", default="item")
    parser.add_argument("--hidden-size", type=int, action="append")
    parser.add_argument("--users", type=int, default=20_000, help="how many the comparison makes lists for")
    parser.add_argument("--runs", type=int, default=5)
    results.add_option(parser)
    parser.add_argument("--result-commands", type=Path, metavar="FILE", help="the same for the rows of whole commands")
    arguments = parser.parse_args()
    arrays, commands = [], []
    warnings.filterwarnings("ignore", message=".*BLAS", category=RuntimeWarning)  # implicit's advice, which is followed
    data = dataset.load_dataset(arguments.dataset)
    with tempfile.TemporaryDirectory() as folder:
        for hidden_size in arguments.hidden_size or [128, 500]:
            model = random_model(data, arguments.variant, hidden_size, np.random.default_rng(0))
            path = Path(folder) / "random.model"
            model_file.save_model(model, path)
            shape = f"{data.n_users:,} users x {data.n_items:,} items, {len(model.catalog.seen.indices):,} ratings seen"
            print(f"{shape}, hidden size {hidden_size}, model file {path.stat().st_size / 2**20:,.0f} MiB")
            arrays.append([hidden_size, *compare(model, min(arguments.users, data.n_users), arguments.runs)])
            commands += [[hidden_size, *row] for row in run_commands(model, path, Path(folder), arguments.runs)]
    results.report(ARRAYS, arrays, arguments.result)
    results.report(COMMANDS, commands, arguments.result_commands, n_keys=2)


if __name__ == "__main__":
    main()
