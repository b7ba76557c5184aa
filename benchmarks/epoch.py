"""Seconds of one training epoch: our engines against the dense step, strictly alternating in one process.

    python -m benchmarks.epoch DATASET [--variant user] [--batches 512,1024,2048,4096] [--runs 5]

DATASET is a directory made by `autorec prepare`. An epoch is making batches, gradients and the optimizer's steps. Every
engine runs with each of the batch sizes once; the best one of each is then timed `--runs` times, in alternation. The
valid RMSE is that of the best batch size after `--passes` epochs, trained as `autorec train` does. The network is the
paper's, uncentred; with --implicit it is that of the default settings.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse
import dataclasses
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from autorec_cli.config import Hyperparameters
from autorec_cli.data import dataset
from autorec_cli.network.engine import Engine, make_engine
from autorec_cli.network.pytorch.engine import TorchEngine
from autorec_cli.runtime.threads import compute_threads
from autorec_cli.training.loop.examples import Examples, make_examples
from autorec_cli.training.loop.randomness import initial_network
from autorec_cli.training.loop.trainer import Trainer, loss_of
from autorec_cli.training.loop.validation import make_validation
from autorec_cli.training.plan import complete
from autorec_cli.training.settings import TrainSettings
from benchmarks import results
from benchmarks.dense import DenseEngine

COLUMNS = {
    "dataset": "",
    "training ratings": "{:,}",
    "variant": "",
    "compiled": "{:.3f} s",
    "PyTorch operations": "{:.3f} s",
    "dense": "{:.3f} s",
    "dense / compiled": "{:.1f}",
}
"""Columns of the row where all three engines ran."""
MakeEngine = Callable[..., Engine]
ENGINES: dict[str, MakeEngine] = {"compiled": make_engine, "torch": TorchEngine, "dense": DenseEngine}


class Contender:
    """One engine with one batch size."""

    def __init__(self, make: MakeEngine, examples: Examples, settings: Hyperparameters) -> None:
        self.examples, self.settings = examples, settings
        generator = np.random.default_rng(settings.seed)
        network = initial_network(examples, settings, generator)
        self.engine = make(network, "cpu", settings.batch_size, loss_of(examples, settings))
        self.trainer = Trainer(self.engine, examples, settings, generator, n_epochs=settings.epochs + 1, phase="fit")

    def run(self) -> float:
        """One more epoch; the seconds it took."""
        start = time.perf_counter()
        for batch in self.trainer.batches():
            self.trainer.step(batch)
        self.trainer.end_epoch()
        return time.perf_counter() - start


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--variant", default="item")
    parser.add_argument("--hidden-size", type=int, default=500)
    parser.add_argument("--batches", default="512,1024,2048,4096")
    parser.add_argument("--engines", default=",".join(ENGINES))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--passes", type=int, default=0, help="epochs trained for the valid RMSE; 0: none")
    parser.add_argument("--implicit", action="store_true")
    parser.add_argument("--name", help="the name of the dataset in its row")
    results.add_option(parser)
    arguments = parser.parse_args()
    data = dataset.load_dataset(arguments.dataset)
    shape = f"{data.n_users:,} x {data.n_items:,}, {data.train.nnz:,} training ratings"
    print(f"{shape}, {arguments.variant} variant, hidden size {arguments.hidden_size}, {compute_threads()} threads")
    given = {"hidden_sizes": (arguments.hidden_size,), "epochs": arguments.passes or 50}
    if not arguments.implicit:
        given |= {"center": "none", "implicit": False, "normalize": False, "decoder_mean": False}
        given["regularization"] = 200.0
    defaults = complete(TrainSettings(variant=arguments.variant, **{"output_activation": "identity", **given}), data)
    examples = make_examples(data.train, data.rating_scale, defaults)
    n_examples = examples.matrix.shape[0]
    batches = [size for size in map(int, arguments.batches.split(",")) if size < 2 * n_examples]
    chosen = {}
    for name in arguments.engines.split(","):
        seconds = {}
        for batch_size in batches:
            contender = Contender(ENGINES[name], examples, dataclasses.replace(defaults, batch_size=batch_size))
            seconds[batch_size] = min(contender.run() for _ in range(2))  # the first one warms up
        print(f"{name}: " + ", ".join(f"batch {size} {value:.3f} s" for size, value in seconds.items()))
        chosen[name] = dataclasses.replace(defaults, batch_size=min(seconds, key=seconds.__getitem__))
    contenders = {name: Contender(ENGINES[name], examples, settings) for name, settings in chosen.items()}
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(arguments.runs + 1):
        for name, contender in contenders.items():
            times[name].append(contender.run())
    medians = {name: statistics.median(values[1:]) for name, values in times.items()}
    for name, contender in contenders.items():
        line = f"{name} (batch {contender.settings.batch_size}): {medians[name]:.3f} s an epoch"
        if "dense" in medians:
            line += f", {medians['dense'] / medians[name]:.2f} times as fast as dense"
        if arguments.passes:
            line += f", valid RMSE {valid_rmse(contender, data, arguments.passes):.4f} after {arguments.passes} epochs"
        print(line)
    if list(medians) == list(ENGINES):
        name = arguments.name or arguments.dataset.name
        row = [name, data.train.nnz, arguments.variant, *medians.values(), medians["dense"] / medians["compiled"]]
        results.report(COLUMNS, [row], arguments.result, n_keys=3)


def valid_rmse(contender: Contender, data: dataset.Dataset, passes: int) -> float:
    """Train to the end of the schedule and measure."""
    while contender.trainer.epoch < passes:
        contender.run()
    return make_validation(contender.examples, data.valid, contender.settings).measure(contender.engine).value


if __name__ == "__main__":
    main()
