"""`autorec tune`: a prepared dataset -> the settings that predict its validation part best."""

from __future__ import annotations

import importlib.util
import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autorec_cli.cli.console import progress, say, warn
from autorec_cli.cli.fitting import Place, check_memory, find_place
from autorec_cli.cli.options import UNATTENDED, Data, Device, OneOf, Output, OutputFile, Threads, WaitLock
from autorec_cli.cli.output import open_output, reserve_output
from autorec_cli.cli.training_report import spelled
from autorec_cli.config import (
    DEFAULTS,
    OBJECTIVE_VARIANTS,
    OBJECTIVES,
    RANKING_DEFAULTS,
    VARIANTS,
    TrainSettings,
    check_device,
)
from autorec_cli.errors import ArtifactError, UsageError, counted

if TYPE_CHECKING:
    from autorec_cli.data.dataset import Dataset
    from autorec_cli.training.trainer import EpochResult
    from autorec_cli.training.tuning import Limits, TrialResult

EXAMPLES = """
[bold]Examples[/bold]

autorec tune data --trials 3 --max-epochs 10

autorec tune data --trials 4 --variant both --storage trials.db --max-hidden-size 100

autorec tune data --trials 5 --variant both --storage trials.db --max-hidden-size 100 --format json

autorec tune data --objective ranking --trials 3 --max-epochs 10 --max-hidden-size 100
"""

FORMATS = ("command", "json")
BOTH = "both"


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
        OneOf(FORMATS),
    ] = None
    objective: Annotated[
        str,
        typer.Option(help="rating: minimize RMSE on the validation set; ranking: maximize its nDCG@10."),
        OneOf(OBJECTIVES),
    ] = DEFAULTS["objective"]
    variant: Annotated[
        str | None,
        typer.Option(
            help="item, user, or both to search among the two.", show_default="item; user with --objective ranking"
        ),
        OneOf((*VARIANTS, BOTH)),
    ] = None
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
    return tune(
        options.data,
        trials=options.trials,
        objective=options.objective,
        variant=options.variant,
        max_hidden_size=options.max_hidden_size,
        max_epochs=options.max_epochs,
        storage=options.storage,
        seed=options.seed,
        threads=options.threads,
        device=options.device,
        output=options.output,
        format=options.format,
        wait_lock=options.wait_lock,
    )


def tune(
    data: Path,
    *,
    trials: int = 50,
    objective: str = "rating",
    variant: str | None = None,
    max_hidden_size: int = 500,
    max_epochs: int = 60,
    storage: Path | None = None,
    seed: int = 0,
    threads: int = 0,
    device: str = "auto",
    output: str = "-",
    format: str | None = None,
    wait_lock: float = 0.0,
) -> dict[str, Any]:
    """Search for settings until `trials` have ended in all, telling of each on stderr.

    Args:
        data: A prepared dataset.
        trials: How many settings to try, those in `storage` included.
        objective: "rating" or "ranking".
        variant: "item", "user", "both", or None for the objective's.
        max_hidden_size: The most units of the hidden layer.
        max_epochs: The most epochs of a trial.
        storage: A SQLite file that keeps the trials; None keeps them in memory.
        seed: Of what is tried, and of each training.
        threads: CPU threads, 0 for one per core.
        device: As in `training.resolve_device`.
        output: Where to write the best settings, "-" for stdout.
        format: "command" or "json"; None for what `output` ends in.
        wait_lock: Seconds to wait while another run writes `output` or `storage`.

    Returns:
        What is written as JSON: the best settings, their validation RMSE, and the command that trains with them.

    Raises:
        UsageError: an option has a value that cannot work, Optuna is missing, or `storage` is of another search.
        LockedError: another run is using `storage` or writing `output`.
        NotEnoughMemoryError: the largest network to try would not fit into memory.
        ArtifactError: `data` is not a prepared dataset or has no validation part, or `storage` cannot be read.
        TrainingDivergedError: no trial ended with a finite loss.
    """
    from autorec_cli.data import dataset

    if importlib.util.find_spec("optuna") is None:
        raise UsageError("tune needs Optuna, which is not installed; install it with: pip install 'autorec-cli[tune]'")
    if trials < 1:
        raise UsageError(f"--trials must be a whole number from 1, not {trials}")
    if objective not in OBJECTIVES:
        raise UsageError(f"--objective must be one of {', '.join(OBJECTIVES)}, not {objective!r}")
    variant = variant or OBJECTIVE_VARIANTS[objective]
    if variant not in (*VARIANTS, BOTH):
        raise UsageError(f"--variant must be one of {', '.join((*VARIANTS, BOTH))}, not {variant!r}")
    check_device(device)
    if str(storage) == "-":
        raise UsageError("trials cannot be stored on standard output; name a file with --storage")
    format = _choose_format(format, output)
    kept = "-" if storage is None else str(storage)
    with reserve_output(output, wait_lock, say, warn), reserve_output(kept, wait_lock, say, warn):
        prepared = dataset.load(data)
        if not (prepared.train.nnz and prepared.valid.nnz):
            raise ArtifactError(f"{data} has no ratings to choose settings on; prepare it with --valid above 0")
        place = find_place(device, threads)
        from autorec_cli.training import tuning
        from autorec_cli.training.validation import metric_of

        limits = tuning.Limits(
            objective, VARIANTS if variant == BOTH else (variant,), max_hidden_size, max_epochs, seed
        )
        metric = metric_of(objective)
        _check_largest(prepared, limits, place)
        study = tuning.open_study(prepared, limits, storage)
        n_ended = len(tuning.ended(study))
        say(
            f"up to {counted(trials, 'trial')}, {n_ended} of them made before, judged by "
            f"{counted(prepared.valid.nnz, 'validation rating')}; variant: {variant}, device {place}"
        )
        with tuning.storing(storage), _reporter(trials, n_ended, spelled(metric)) as (follow, report):
            for result in tuning.search(study, prepared, limits, trials, place.device, follow):
                report(result)
        settings, valid = tuning.best_of(study, prepared, limits)
        found = {
            f"valid_{metric}": round(valid, 6),
            "n_trials": len(tuning.ended(study)),
            "settings": settings.to_document(),
            "command": shlex.join(
                ["autorec", "train", str(data), "-o", f"{settings.variant}.model", *_flags(settings)]
            ),
        }
        text = str(found["command"]) if format == "command" else json.dumps(found, indent=2)
        with open_output(output) as stream:
            stream.write(f"{text}\n".encode())
    told = f"best validation {spelled(metric)} {valid:.4f}"
    say(f"{told}, a little lucky as the best of many: `autorec evaluate` knows better")
    return found


def _choose_format(asked: str | None, output: str) -> str:
    if asked is not None and asked not in FORMATS:
        raise UsageError(f"--format must be one of {', '.join(FORMATS)}, not {asked!r}")
    return asked or ("json" if Path(output).suffix == ".json" else "command")


def _check_largest(prepared: Dataset, limits: Limits, place: Place) -> None:
    """Check that whatever may be tried fits into memory.

    Raises:
        NotEnoughMemoryError: it does not.
    """
    from autorec_cli.training.tuning import largest

    for settings in largest(prepared, limits):
        check_memory(prepared, settings, place)


def _flags(settings: TrainSettings) -> list[str]:
    """The options of `autorec train` that make these settings, as far as they are not the defaults of every dataset."""
    document = settings.to_document()
    document["hidden_size"] = ",".join(map(str, document.pop("hidden_sizes")))
    typical = {"hidden_size": ",".join(map(str, DEFAULTS["hidden_sizes"])), **DEFAULTS}
    if settings.objective == "ranking":
        typical |= RANKING_DEFAULTS
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
def _reporter(n_trials: int, n_ended: int, metric: str) -> Iterator[Any]:
    """Two functions that show, on stderr, how a trial goes on and how it ended."""
    with progress("trial", n_trials) as advance:
        count = n_ended

        def follow(result: EpochResult) -> None:
            text = f"epoch {result.epoch}/{result.n_epochs}, valid {spelled(result.metric)} {result.valid:.4f}"
            advance(count, n_trials, text, passing=True)

        def report(result: TrialResult) -> None:
            nonlocal count
            count = result.number
            best = "*" if result.best else " "
            valid = "nothing measured" if result.valid is None else f"valid {metric} {result.valid:.4f}{best}"
            tried = " ".join(_flags(result.settings))
            advance(count, n_trials, f"{result.outcome}: {valid} epoch {result.epochs}: {tried}", lasting=True)

        yield follow, report
