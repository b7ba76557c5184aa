"""Phases of `autorec train`: wall and core seconds of each.

    python -m benchmarks.phases DATASET... [--objective ranking] [--variant user] [--epochs 30] [--threads 2]

DATASET is a directory made by `autorec prepare`. Each command runs in a process of its own, with the defaults besides
these options. A phase does not include those inside it, except for validation and the model, which are whole. Core
seconds are those of all threads while the main thread is in a phase: batches are made by another thread during steps,
so "batches" is what the main thread waits for them.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PHASES = {
    "start": "interpreter and command line",
    "package": "",
    "kernels": "numba, and compiled code out of its cache",
    "dataset": "",
    "examples": "",
    "batches": "",
    "products": "",
    "Adam": "",
    "steps": "what is left of them",
    "epochs": "their ends, without validation",
    "validation": "",
    "model": "",
    "other": "",
}
COLUMNS = {"command": "", "seconds": "", **dict.fromkeys(PHASES, "{:.2f}"), "whole": "{:.1f}"}
WHOLE = ("validation", "model")
KERNELS = {"adam_products": "Adam"}
"""Kernel -> its phase, if that is not "products"."""
TIMED = {
    "autorec_cli.data.dataset.load_dataset": "dataset",
    "autorec_cli.training.loop.phases.make_examples": "examples",
    "autorec_cli.training.loop.phases.add_splits": "examples",
    "autorec_cli.training.loop.trainer.Trainer.end_epoch": "epochs",
    "autorec_cli.training.loop.trainer.make_validation": "validation",
    "autorec_cli.training.loop.validation.RatingValidation.measure": "validation",
    "autorec_cli.training.loop.validation.UserColumnsRanking.measure": "validation",
    "autorec_cli.training.loop.validation.ItemColumnsRanking.measure": "validation",
    "autorec_cli.network.compiled.engine.CompiledEngine.step": "steps",
    "autorec_cli.training.networks.to_model": "model",
    "autorec_cli.inference.files.model_file.save_model": "model",
}
IMPORTS = {
    "autorec_cli.cli.main": "start",
    "autorec_cli.network.compiled.engine": "kernels",
    "autorec_cli.training.train": "package",
    "autorec_cli.training.loop.trainer": "package",
    "autorec_cli.training.networks": "package",
}


class Clock:
    """Wall and core seconds of phases, of which the innermost counts."""

    def __init__(self) -> None:
        self.wall: Counter[str] = Counter()
        self.cores: Counter[str] = Counter()
        self._stack = ["start"]
        self._last = (float(os.environ["PHASES_START"]), 0.0)

    def charge(self) -> None:
        """Charge the time since the last call to the current phase."""
        now = (time.time(), time.process_time())
        self.wall[self._stack[-1]] += now[0] - self._last[0]
        self.cores[self._stack[-1]] += now[1] - self._last[1]
        self._last = now

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Charge the block to `name`, unless it is in a phase that is whole."""
        self.charge()
        self._stack.append(self._stack[-1] if self._stack[-1] in WHOLE else name)
        yield
        self.charge()
        self._stack.pop()

    def wrap(self, path: str, phase: str | Callable[..., str]) -> None:
        """Charge the calls of the function at `path` to a phase."""
        *owner, name = path.split(".")
        n_modules = len(owner) - owner[-1][0].isupper()
        target = functools.reduce(getattr, owner[n_modules:], importlib.import_module(".".join(owner[:n_modules])))
        function = getattr(target, name)

        @functools.wraps(function)
        def timed(*arguments: object, **named: object) -> object:
            with self.phase(phase if isinstance(phase, str) else phase(*arguments)):
                return function(*arguments, **named)

        setattr(target, name, timed)


def run_timed(arguments: list[str]) -> None:
    """Run a command in this process; print the seconds of its phases as JSON."""
    clock = Clock()
    for module, phase in IMPORTS.items():
        with clock.phase(phase):
            importlib.import_module(module)
    from autorec_cli.cli import main
    from autorec_cli.network.compiled.engine import compile_kernels
    from autorec_cli.training.loop.trainer import Trainer

    with clock.phase("kernels"):
        compile_kernels()
    for path, phase in TIMED.items():
        clock.wrap(path, phase)
    clock.wrap(
        "autorec_cli.network.compiled.tiles.Workers.run",
        lambda _, kernel, *_rest: KERNELS.get(kernel.__name__, "products"),
    )
    batches = Trainer.batches

    def timed_batches(trainer: Trainer) -> Iterator[Any]:
        remaining = batches(trainer)
        while True:
            with clock.phase("batches"):
                batch = next(remaining, None)
            if batch is None:
                return
            yield batch

    Trainer.batches = timed_batches  # type: ignore[method-assign]
    sys.argv = ["autorec", *arguments]
    with clock.phase("other"):
        status = main.run()
    print(json.dumps([clock.wall, clock.cores]))
    sys.stdout.flush()
    os._exit(status)  # as the program does


def measure(arguments: list[str]) -> list[Counter[str]]:
    """Wall and core seconds by phase of a command in a process of its own."""
    environment = {**os.environ, "PHASES_START": str(time.time())}
    command = [sys.executable, "-m", "benchmarks.phases", "--timed", *arguments]
    told = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True).stdout
    return [Counter(part) for part in json.loads(told.splitlines()[-1])]


def main() -> None:
    """The command line."""
    from benchmarks import results  # imports PyTorch, which the timed process does not need

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", nargs="+", type=Path, metavar="DATASET")
    parser.add_argument("--objective", default="rating")
    parser.add_argument("--variant", default="auto")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--threads", type=int, default=0)
    results.add_option(parser)
    given = parser.parse_args()
    options = ["--objective", given.objective, "--variant", given.variant, "--threads", str(given.threads)]
    options += [] if given.epochs is None else ["--epochs", str(given.epochs)]
    rows: list[list[Any]] = []
    for data in given.datasets:
        with tempfile.TemporaryDirectory() as folder:
            parts = measure(["train", "-q", str(data), "-o", f"{folder}/trained.model", *options])
        name = f"{data.name}, {given.objective}, {given.variant}"
        for kind, seconds in zip(("wall", "cores"), parts, strict=True):
            rows.append([name, kind, *(seconds[phase] for phase in PHASES), seconds.total()])
    results.report(COLUMNS, rows, given.result, n_keys=2)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--timed"]:
        run_timed(sys.argv[2:])
    else:
        main()
