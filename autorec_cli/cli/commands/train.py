"""`autorec train`: a prepared dataset -> a model file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from autorec_cli.cli.options.declaration import UNATTENDED, InputFile, OutputFile
from autorec_cli.cli.options.shared import WaitLock
from autorec_cli.cli.options.training import TrainingOptions
from autorec_cli.cli.reports.training import TrainingReport
from autorec_cli.cli.runner import Command
from autorec_cli.training.request import SAVE_EVERY, TOLERANCE, TrainRequest

EXAMPLES = """
[bold]Examples[/bold]

autorec train data -o ratings.model

autorec train data -o best.model --preset best --seed 1

autorec train data -o deep.model --hidden-size 500,250,500 --log epochs.jsonl --force
"""


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """Options of `autorec train`."""

    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            help="Dataset directory made by `autorec prepare`, or a directory of encoded ratings, as `prepare "
            "--encoded` takes it, for the item variant and --split stable.",
        ),
        InputFile(),
    ]
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="MODEL", help="Model file to write."),
        OutputFile(may_replace=lambda _options, found: found == "a model"),
    ]
    force: Annotated[bool, typer.Option("--force", help="Replace MODEL if it exists.")] = False
    training: TrainingOptions
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Print the network shape, parameter count and estimated memory, then exit."),
    ] = False
    warm_start: Annotated[
        Path | None,
        typer.Option(
            metavar="MODEL",
            help="Start from the parameters of an older model, matched by id; half of the epochs are enough.",
            show_default="a new network",
            rich_help_panel=UNATTENDED,
        ),
        InputFile(replaceable=True),
    ] = None
    keep_if_better: Annotated[
        str | None,
        typer.Option(
            metavar="METRIC",
            help="Replace MODEL unless the new model is worse on the test set, beyond chance, by rmse, mae, ndcg@10 or "
            "recall@10; otherwise keep it, with a warning.",
            rich_help_panel=UNATTENDED,
        ),
    ] = None
    tolerance: Annotated[
        float,
        typer.Option(
            metavar="FRACTION",
            help="With --keep-if-better, also keep MODEL if the new model is worse than the best one so far by more "
            "than this fraction of the metric.",
            rich_help_panel=UNATTENDED,
        ),
    ] = TOLERANCE
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Resume from MODEL.resume, the checkpoint of an interrupted run of the same command; start from the "
            "beginning if there is none.",
            rich_help_panel=UNATTENDED,
        ),
    ] = False
    save_every: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            help="Least time between two checkpoints, which are written at the end of an epoch; 0 writes one per "
            "epoch.",
            rich_help_panel=UNATTENDED,
        ),
    ] = SAVE_EVERY
    log: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Also write one JSON line per epoch; - is stdout.",
            rich_help_panel=UNATTENDED,
        ),
        OutputFile(),
    ] = None
    log_every: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            min=0,
            help="Least time between two lines about epochs on stderr, where no progress bar is shown; 0 writes one "
            "per epoch. The first and the last epoch of a phase are always shown.",
            rich_help_panel=UNATTENDED,
        ),
    ] = 0.0
    wait_lock: WaitLock = 0.0


def train_command(options: TrainOptions) -> dict[str, Any]:
    """Train an AutoRec model on a prepared dataset and write it to one file.

    The model has networks that predict ratings and one that ranks items, unless --objective selects one of the two.
    """
    from autorec_cli.runtime.process_group import current_process_group
    from autorec_cli.training.train import train_to_file

    request = request_of(options)
    process_group = current_process_group()
    log = options.log if process_group.is_first else None
    return train_to_file(request, process_group, TrainingReport(log, options.wait_lock, options.log_every))


def request_of(options: TrainOptions) -> TrainRequest:
    """Request for a training run.

    Raises:
        UsageError: a value is out of range.
    """
    training = options.training
    return TrainRequest(
        data=options.data,
        output=options.output,
        settings=training.settings(),
        threads=training.threads,
        device=training.device,
        force=options.force,
        dry_run=options.dry_run,
        keep_if_better=options.keep_if_better,
        tolerance=options.tolerance,
        warm_start=options.warm_start,
        resume=options.resume,
        save_every=options.save_every,
        wait_lock=options.wait_lock,
    )


COMMAND = Command(train_command, TrainOptions, EXAMPLES, one_process=None)
