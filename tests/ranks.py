"""Process groups, each of which runs trainings, one after the other, and counts what it sends.

A group works in a folder. Its processes are forked from one that has imported the program, and not started by
torchrun, as importing takes each of them seconds. FOLDER/cases is a JSON list of objects: `data`,
`output`, `variant`, `given` as of `tests.trained.train`; `torch` trains
with torch's operations; `slow` lets the last process sleep before each step. The first process writes
`OUTPUT.json`: what `train` returned, and the bytes that a step of one batch sums over the processes. Then all evaluate
some of the models (`EVALUATED`), and process R writes `evaluated.R.json`: status, stdout and stderr; and at last
with a --top-k of its own in each.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from autorec_cli.cli.main import leave
from autorec_cli.network import engine
from autorec_cli.runtime.process_group import ProcessGroup, connected, current_process_group
from autorec_cli.runtime.torchrun import LAUNCHER
from autorec_cli.training.distributed import open_ratings, read_partition
from autorec_cli.training.loop import trainer
from autorec_cli.training.loop.examples import make_examples
from autorec_cli.training.loop.randomness import initial_network
from autorec_cli.training.settings import TrainSettings
from tests.program import call
from tests.trained import train

EVALUATED = (
    ("item", "user"),
    ("user-ranking", "item", "-k", 3),
    ("item-few", "--relevant-from", 1),
    ("item", "--fail-above", "rmse=0.001"),
)
"""Arguments of `evaluate` besides --data."""

TILED = engine.CompiledEngine


def reduced_bytes(data: Path, variant: str | None, given: dict[str, Any], process_group: ProcessGroup) -> list[int]:
    """The bytes summed in one step of 8 examples, and in one of 3."""
    stored = open_ratings(data, process_group)
    shape = (stored.n_users, stored.n_items)
    # Without means, which take longer than the step.
    settings = TrainSettings(variant=variant, **{**given, "center": "none"}).complete(
        shape, stored.n_ratings["train"], stored.facts()
    )
    partition = stored.partition(settings.variant)
    examples = make_examples(
        read_partition(stored, settings, partition).train, stored.rating_scale, settings, partition
    )
    network = initial_network(examples, settings, np.random.default_rng(0))
    loss = trainer.loss_of(examples, settings)
    trained = engine.make_engine(network, "cpu", 8, loss, process_group)
    counted = []
    for n_rows in (8, 3):
        before = process_group.n_reduced
        rows = np.arange(n_rows) % examples.matrix.shape[0]
        trained.step(examples.inputs.batch(rows, None), 0.01, 0.1)
        counted.append(process_group.n_reduced - before)
    return counted


def main(folder: Path, cases: list[dict[str, object]]) -> None:
    """Run `cases` in this process."""
    process_group = current_process_group()
    real = trainer.make_engine
    for case in cases:
        engine.CompiledEngine = None if case.get("torch") else TILED

        def make(*arguments: object, case: dict[str, object] = case, **options: object) -> engine.Engine:
            made = real(*arguments, **options)
            step = made.step

            def slowly(*of_step: object) -> object:
                time.sleep(0.02 * (process_group.rank == process_group.size - 1))
                return step(*of_step)

            made.step = slowly if case.get("slow") else step
            return made

        trainer.make_engine = make
        output, data = folder / str(case["output"]), folder / str(case["data"])
        told = train(data, output, case["variant"], case["given"], threads=1, device="cpu", log=f"{output}.log")
        told["step"] = reduced_bytes(data, case["variant"], case["given"], process_group)
        if process_group.is_first:
            Path(f"{output}.json").write_text(json.dumps(told))
    evaluated = [evaluate(folder, arguments) for arguments in EVALUATED]
    evaluated.append(evaluate(folder, ("item", "-k", 3 + process_group.rank)))
    (folder / f"evaluated.{process_group.rank}.json").write_text(json.dumps(evaluated))


def evaluate(folder: Path, arguments: Sequence[object]) -> list[object]:
    """Status, stdout and stderr of `evaluate` with `arguments`, where names are those of models in `folder`."""
    models = [folder / name for name in arguments if isinstance(name, str) and (folder / name).is_file()]
    data = folder / ("few" if "few" in str(arguments[0]) else "data")
    result = call("evaluate", *models, *arguments[len(models) :], "--data", data)
    return [result.status, result.stdout, result.stderr]


def rank_of(size: int, rank: int, port: int, folder: Path) -> int:
    """Fork process `rank` of a group; returns its id."""
    child = os.fork()
    if child:
        return child
    os.environ |= {LAUNCHER: "tests", "RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_RANK": str(rank),
                   "LOCAL_WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}  # fmt: skip
    try:
        with connected(current_process_group()):
            main(folder, json.loads((folder / "cases").read_text()))
        leave(0)
    finally:
        traceback.print_exc()
        leave(1)


def group_of(size: int, folder: str) -> None:
    """Run a group in `folder` and wait for its end."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    for child in [rank_of(size, rank, port, Path(folder)) for rank in range(size)]:
        if os.waitpid(child, 0)[1]:
            sys.exit(f"a process of {size} has failed")
