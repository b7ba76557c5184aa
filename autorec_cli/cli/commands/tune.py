"""`autorec tune`: a search for the best hyperparameters."""

from __future__ import annotations

import importlib.util
import json
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autorec_cli.cli.console import progress, say
from autorec_cli.cli.options.declaration import UNATTENDED, OneOf, OutputFile
from autorec_cli.cli.options.shared import Data, Device, Output, Threads, WaitLock
from autorec_cli.cli.output.destination import open_output, reserve_output
from autorec_cli.cli.reports.epochs import metric_label, metric_text
from autorec_cli.cli.runner import Command
from autorec_cli.config import (
    AUTO,
    BOTH,
    OBJECTIVES,
    VARIANTS,
    Hyperparameters,
    check_device,
    require_count,
)
from autorec_cli.defaults import DEFAULTS, RANKING_DEFAULTS, default_variant
from autorec_cli.errors import ArtifactError, UsageError, counted, missing_extra

if TYPE_CHECKING:
    from autorec_cli.data.dataset import Dataset
    from autorec_cli.network.device import Place
    from autorec_cli.training.loop.epoch_result import EpochResult
    from autorec_cli.training.tuning.search import Search, TrialResult

EXAMPLES = """
[bold]Examples[/bold]

autorec tune data --trials 3 --max-epochs 10

autorec tune data --trials 4 --variant both --storage trials.db --max-hidden-size 100

autorec tune data --trials 5 --variant both --storage trials.db --max-hidden-size 100 --format json

autorec tune data --objective ranking --trials 3 --max-epochs 10 --max-hidden-size 100
"""

RESULT_FORMATS = ("command", "json")


@dataclass(frozen=True, kw_only=True)
class TuneOptions:
    """Options of `autorec tune`."""

    data: Data
    output: Output = "-"
    format: Annotated[
        str | None,
        typer.Option(
            help="Write the best hyperparameters as an `autorec train` command or as JSON.",
            show_default="json if FILE ends in .json, else command",
        ),
        OneOf(RESULT_FORMATS),
    ] = None
    objective: Annotated[
        str,
        typer.Option(help="rating: minimize RMSE on the validation set; ranking: maximize its nDCG@10."),
        OneOf(OBJECTIVES),
    ] = OBJECTIVES[0]
    variant: Annotated[
        str,
        typer.Option(
            help="item, user, or both to search among the two; auto takes the one that suits the shape of the ratings."
        ),
        OneOf((AUTO, *VARIANTS, BOTH)),
    ] = AUTO
    trials: Annotated[int, typer.Option(metavar="N", help="Number of trials, including those in --storage.")] = 50
    max_hidden_size: Annotated[int, typer.Option(metavar="N", help="Largest hidden layer to try.")] = 500
    max_epochs: Annotated[int, typer.Option(metavar="N", help="Maximum number of epochs of a trial.")] = 60
    seed: Annotated[int, typer.Option(metavar="N", help="Random seed of the search and of each trial.")] = DEFAULTS[
        "seed"
    ]
    threads: Threads = 0
    device: Device = "auto"
    storage: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Keep trials in this SQLite file and continue the search that it holds.",
            show_default="in memory",
            rich_help_panel=UNATTENDED,
        ),
        OutputFile(),
    ] = None
    wait_lock: WaitLock = 0.0


def tune_command(options: TuneOptions) -> dict[str, Any]:
    """Search for the hyperparameters with the best validation result and write the `autorec train` command for them.

    Optuna, which the extra `tune` installs, searches regularization, learning rate, hidden size, batch size, epochs
    and centering. The test set is not read.
    """
    _check(options)
    format = options.format or ("json" if Path(options.output).suffix == ".json" else "command")
    with _reserved(options):
        found = _search(options)
        text = str(found["command"]) if format == "command" else json.dumps(found, indent=2)
        with open_output(options.output) as stream:
            stream.write(f"{text}\n".encode())
    _say_best(options.objective, found)
    return found


def _check(options: TuneOptions) -> None:
    """Check what can be refused before the dataset is read."""
    if importlib.util.find_spec("optuna") is None:
        raise missing_extra("tune", ["Optuna"], "tune")
    require_count("--trials", options.trials, minimum=1)
    check_device(options.device)
    if str(options.storage) == "-":
        raise UsageError("trials cannot be stored on standard output; name a file with --storage")


@contextmanager
def _reserved(options: TuneOptions) -> Iterator[None]:
    """Hold the locks of the output and of the trials."""
    storage = "-" if options.storage is None else str(options.storage)
    with (
        reserve_output(options.output, options.wait_lock),
        reserve_output(storage, options.wait_lock),
    ):
        yield


def _search(options: TuneOptions) -> dict[str, Any]:
    """Run the trials, show them, and describe the best one."""
    prepared = _load(options.data)
    from autorec_cli.network.device import find_place
    from autorec_cli.training.loop.validation import metric_of
    from autorec_cli.training.tuning.search import storing

    place, metric = find_place(options.device, options.threads), metric_of(options.objective)
    search = _open(options, prepared, place)
    with (
        storing(options.storage),
        _progress(options.trials, search.n_ended, metric_label(metric)) as (on_epoch, show),
    ):
        for result in search.run(options.trials, place.device, on_epoch):
            show(result)
    settings, valid = search.best()
    return {
        f"valid_{metric}": round(valid, 6),
        "n_trials": search.n_ended,
        "settings": settings.to_document(),
        "command": _train_command(options.data, settings),
    }


def _load(data: Path) -> Dataset:
    from autorec_cli.data import dataset

    prepared = dataset.load_dataset(data)
    if not (prepared.train.nnz and prepared.valid.nnz):
        raise ArtifactError(f"{data} has no validation ratings; prepare it with --valid above 0")
    return prepared


def _open(options: TuneOptions, prepared: Dataset, place: Place) -> Search:
    """Check that all trials fit into memory, then open the search."""
    from autorec_cli.training.tuning.search import open_search
    from autorec_cli.training.tuning.space import Limits, check_memory_of_largest

    variant = options.variant
    if variant == AUTO:
        variant = default_variant(options.objective, prepared.n_users, prepared.n_items)
    variants = VARIANTS if variant == BOTH else (variant,)
    limits = Limits(options.objective, variants, options.max_hidden_size, options.max_epochs, options.seed)
    check_memory_of_largest(prepared, limits, place)
    search = open_search(prepared, limits, options.storage)
    say(
        f"up to {counted(options.trials, 'trial')}, {search.n_ended} of them made before, on "
        f"{counted(prepared.valid.nnz, 'validation rating')}; variant: {variant}, device {place}"
    )
    return search


def _say_best(objective: str, found: Mapping[str, Any]) -> None:
    from autorec_cli.training.loop.validation import metric_of

    metric = metric_of(objective)
    say(
        f"best validation {metric_label(metric)} {metric_text(metric, found[f'valid_{metric}'])}, optimistic as the "
        "best of many trials; confirm it with `autorec evaluate`"
    )


def _train_command(data: Path, settings: Hyperparameters) -> str:
    return shlex.join(["autorec", "train", str(data), "-o", f"{settings.variant}.model", *_flags(settings)])


def _flags(settings: Hyperparameters) -> list[str]:
    """Options of `autorec train`, without defaults of every dataset."""
    document = settings.to_document()
    typical = {**DEFAULTS, **(RANKING_DEFAULTS if settings.objective == "ranking" else {})}
    del document["linear_units"]  # no trial has others than the default
    document["hidden_size"] = ",".join(map(str, document.pop("hidden_sizes")))
    flags: list[str] = []
    for name, value in document.items():
        flag = name.replace("_", "-")
        if value == typical.get(name):
            continue
        if isinstance(value, bool):
            flags.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            flags += [f"--{flag}", f"{value:g}" if isinstance(value, float) else str(value)]
    return flags


@contextmanager
def _progress(
    n_trials: int, n_ended: int, metric: str
) -> Iterator[tuple[Callable[[EpochResult], None], Callable[[TrialResult], None]]]:
    """Functions that show epochs and results of trials."""
    with progress("trial", n_trials) as advance:
        count = n_ended

        def show_epoch(result: EpochResult) -> None:
            text = f"epoch {result.epoch}/{result.n_epochs}, valid {metric} {metric_text(metric, result.valid)}"
            advance(count, n_trials, text, passing=True)

        def show_trial(result: TrialResult) -> None:
            nonlocal count
            count = result.number
            best = "*" if result.best else " "
            valid = (
                "nothing measured"
                if result.valid is None
                else f"valid {metric} {metric_text(metric, result.valid)}{best}"
            )
            flags = " ".join(_flags(result.settings))
            advance(count, n_trials, f"{result.outcome}: {valid} epoch {result.epochs}: {flags}", lasting=True)

        yield show_epoch, show_trial


COMMAND = Command(tune_command, TuneOptions, EXAMPLES)
