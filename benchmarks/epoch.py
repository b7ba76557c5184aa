"""Seconds of one training epoch: the sparse step against the dense one, strictly alternating in one process.

    python benchmarks/epoch.py DATASET [--variant user] [--sparse-batch 1024] [--dense-batch 512] [--runs 5]

DATASET is a directory made by `autorec prepare`. Both sides include making batches, gradients and the optimizer's step.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from autorec_cli import dataset, training
from autorec_cli.config import TrainSettings, settings_for
from autorec_cli.model import Network, new_network
from autorec_cli.sparse import Step, shuffled_batches, step
from benchmarks.dense import dense_batches, dense_step

CPU = torch.device("cpu")


def sparse_epoch(
    task: training.Task, batch_size: int, generator: torch.Generator, learn: Callable[[Step], None], network: Network
) -> None:
    """One pass with the sparse step."""
    for batch in shuffled_batches(task.examples, batch_size, generator, CPU):
        learn(step(network, batch))


def dense_epoch(
    task: training.Task, batch_size: int, generator: torch.Generator, learn: Callable[[Step], None], network: Network
) -> None:
    """One pass with the dense step."""
    for values, mask in dense_batches(task.examples, batch_size, generator):
        learn(dense_step(network, values, mask))


def contender(
    epoch: Callable[..., None], task: training.Task, settings: TrainSettings, batch_size: int
) -> Callable[[], float]:
    """A function that runs one epoch of a network of its own and returns the seconds it took."""
    generator = torch.Generator().manual_seed(0)
    examples = task.examples
    network = new_network(
        settings, training._column_means(examples), training._typical_norm(examples), (1.0, 5.0), generator
    )
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, fused=True)

    def learn(result: Step) -> None:
        for parameter, gradient in zip(network.parameters(), result.gradients, strict=True):
            parameter.grad = gradient
        optimizer.step()

    def run() -> float:
        start = time.perf_counter()
        epoch(task, batch_size, generator, learn, network)
        return time.perf_counter() - start

    return run


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--variant", default="item")
    parser.add_argument("--hidden-size", type=int, default=500)
    parser.add_argument("--sparse-batch", type=int, default=1024)
    parser.add_argument("--dense-batch", type=int, default=512)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    data = dataset.load(arguments.dataset)
    given = {"hidden_sizes": (arguments.hidden_size,), "center": "none"}
    settings = settings_for(arguments.variant, (data.n_users, data.n_items), data.train.nnz, given)
    task = training.make_task(data.train, data.rating_scale, settings)
    runs = {
        "sparse": contender(sparse_epoch, task, settings, arguments.sparse_batch),
        "dense": contender(dense_epoch, task, settings, arguments.dense_batch),
    }
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(arguments.runs + 1):
        for name, run in runs.items():
            seconds[name].append(run())
    medians = {name: statistics.median(times[1:]) for name, times in seconds.items()}  # the first one warms up
    shape = f"{data.n_users:,} x {data.n_items:,}, {data.train.nnz:,} training ratings"
    print(
        f"{shape}, {arguments.variant} variant, hidden size {arguments.hidden_size}, {torch.get_num_threads()} threads"
    )
    print(f"sparse (batch {arguments.sparse_batch}): {medians['sparse']:.3f} s an epoch")
    print(f"dense  (batch {arguments.dense_batch}): {medians['dense']:.3f} s an epoch")
    print(f"ratio: {medians['dense'] / medians['sparse']:.2f}")


if __name__ == "__main__":
    main()
