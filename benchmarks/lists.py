"""Top-k lists of AutoRec in both objectives and variants, of EASE and of popularity, on the same random splits.

    python -m benchmarks.lists DATA [--repeats 5] [--only popularity,ease,ranking-user,...] [-- TRAIN OPTIONS]

Each split is the one of `autorec cross-validate DATA --seed 0`; test ratings from three quarters up the scale are
relevant, all items not rated in train or valid are ranked. EASE (Steck, WWW 2019) is fitted in closed form, to what was
rated as published ("ease") and to the ratings themselves, which makes it better ("ease-ratings"); its lambda is chosen
by nDCG@10 on valid, then it is fitted on train and valid together. Means over splits, half widths of 95% intervals by
Student's t. Options after -- go to the ranking networks.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy import sparse

from autorec_cli.csr import add_splits
from autorec_cli.data import dataset
from autorec_cli.data.dataset import Dataset
from autorec_cli.data.splits.resampling import Split, choose_plan, make_split, pool
from autorec_cli.evaluation.cross_validation import average
from autorec_cli.evaluation.linear_autoencoder import linear_autoencoder
from autorec_cli.evaluation.measurement import Row, metric_rows
from autorec_cli.evaluation.ranking import RankingProtocol, RankingTask, measure_rankings, popularity_scorer
from autorec_cli.training.export import to_model
from autorec_cli.training.loop.phases import NetworkTraining, select_and_refit
from autorec_cli.training.loop.trainer import drain
from autorec_cli.training.plan import complete
from autorec_cli.training.settings import TrainSettings
from benchmarks import results

K = 10
LAMBDAS = (100.0, 200.0, 400.0, 800.0, 1600.0)
COLUMNS = {"model": "", "nDCG@10": "{:.4f}", "recall@10": "{:.4f}", "coverage": "{:.3f}", "mean popularity": "{:,.0f}"}
METRICS = (f"ndcg@{K}", f"recall@{K}", f"coverage@{K}", f"mean_popularity@{K}")
NETWORKS = {
    "ranking-user": ("ranking", "user"),
    "ranking-item": ("ranking", "item"),
    "rating-user": ("rating", "user"),
    "rating-item": ("rating", "item"),
}
EASES = {"ease": True, "ease-ratings": False}
"""Name -> whether it sees only what was rated."""


def ease_row(data: Dataset, protocol: RankingProtocol, binary: bool) -> Row:
    """Metrics of EASE on the test part, its lambda chosen on valid."""

    def lists(seen: sparse.csr_array, held_out: sparse.csr_array, regularization: float) -> Row:
        inputs = seen.copy()
        if binary:
            inputs.data = np.ones_like(inputs.data)
        counts = np.bincount(seen.indices, minlength=data.n_items)
        task = RankingTask(held_out, seen, counts, protocol)
        return measure_rankings(linear_autoencoder(inputs, regularization), task).metrics()

    on_valid = [lists(data.train, data.valid, value)[f"ndcg@{K}"] for value in LAMBDAS]
    regularization = LAMBDAS[int(np.argmax(on_valid))]
    print(f"  lambda {regularization:g}, valid {max(on_valid):.4f}", flush=True)
    fitted = add_splits(data.train, data.valid)
    name = "EASE" if binary else "EASE of ratings"
    return {"model": name, **lists(fitted, data.test, regularization)}


def network_row(data: Dataset, protocol: RankingProtocol, name: str, seed: int, given: Row) -> Row:
    """Metrics of a network on the test part, its epochs chosen on valid."""
    objective, variant = NETWORKS[name]
    chosen = {"objective": objective, "seed": seed, **(given if objective == "ranking" else {})}
    settings = complete(TrainSettings(variant=variant, **chosen), data)
    fitted = drain(select_and_refit(NetworkTraining(data, settings, "cpu")), lambda _: None)
    model = to_model(fitted, data, settings, {"fitted_parts": list(fitted.fitted_parts)})
    return metric_rows([(name, model)], data, "test", protocol)[0]


def popularity_row(data: Dataset, protocol: RankingProtocol) -> Row:
    """Metrics of the most rated items."""
    fitted = add_splits(data.train, data.valid)
    counts = np.bincount(fitted.indices, minlength=data.n_items)
    task = RankingTask(data.test, fitted, counts, protocol)
    lists = measure_rankings(popularity_scorer(counts), task).metrics()
    return {"model": "popularity", **lists}


def row_of(name: str, split: Split, protocol: RankingProtocol, given: Row) -> Row:
    """Metrics of the contender called `name`."""
    if name == "popularity":
        return popularity_row(split.dataset, protocol)
    if name in EASES:
        return ease_row(split.dataset, protocol, EASES[name])
    return network_row(split.dataset, protocol, name, split.seed, given)


def label(name: str, options: str) -> str:
    """The name of a row: "ranking, user", with the options of a ranking network that has some."""
    objective, _, variant = name.partition("-")
    if name not in NETWORKS:
        return name
    return ", ".join([objective, variant, *([options.strip()] if options and objective == "ranking" else [])])


def parse_given(options: Sequence[str]) -> Row:
    """`--missing-weight 0.5 --hidden-size 1000` as settings."""
    given: Row = {}
    for flag, value in zip(options[::2], options[1::2], strict=True):
        name = flag.removeprefix("--").replace("-", "_")
        if name == "hidden_size":
            given["hidden_sizes"] = tuple(map(int, value.split(",")))
        else:
            given[name] = int(value) if value.isdigit() else float(value)
    return given


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", default=",".join(["popularity", *EASES, *NETWORKS]))
    results.add_option(parser)
    own, _, options = " ".join(sys.argv[1:]).partition(" -- ")
    arguments = parser.parse_args(own.split())
    prepared = dataset.load_dataset(arguments.data)
    protocol = RankingProtocol.for_scale(prepared.rating_scale, K)
    plan, pooled = choose_plan(arguments.repeats), pool(prepared)
    given = parse_given(options.split())
    measured = []
    for number in range(1, plan.n_splits + 1):
        split = make_split(pooled, plan, number)
        rows = []
        for name in arguments.only.split(","):
            start = time.perf_counter()
            rows.append(row_of(name, split, protocol, given))
            seconds = time.perf_counter() - start
            print(f"split {number} {name}: nDCG {rows[-1][f'ndcg@{K}']:.4f}, {seconds:.0f} s", flush=True)
        measured.append(rows)
    cells = [
        [
            label(row["model"], options),
            *([row[name], row[f"{name}_margin"]] for name in METRICS[:2]),
            *map(row.get, METRICS[2:]),
        ]
        for row in average(measured)
    ]
    results.report(COLUMNS, cells, arguments.result)


if __name__ == "__main__":
    main()
