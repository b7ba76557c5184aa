"""`autorec train`: a prepared dataset -> a model file."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autorec_cli.cli.console import say, warn
from autorec_cli.cli.epoch_log import open_log
from autorec_cli.cli.fitting import drain, find_place, memory_of
from autorec_cli.cli.options import UNATTENDED, Data, InputFile, OutputFile, WaitLock
from autorec_cli.cli.plan import require_memory, shape_of, show_plan
from autorec_cli.cli.together import train_together
from autorec_cli.cli.training_options import TrainingOptions
from autorec_cli.cli.training_report import announce, check_output, facts_of, log_line, reporter, summarize, versions
from autorec_cli.config import TrainSettings, check_given, settings_for
from autorec_cli.errors import UsageError
from autorec_cli.runtime.process_group import current_process_group
from autorec_cli.storage.locks import hold
from autorec_cli.training.checkpointer import SAVE_EVERY, check_save_every, keeping
from autorec_cli.training.promotion import compete, load_rival
from autorec_cli.training.resume import finished, forget, identity, may_have_ended, resuming
from autorec_cli.training.warming import load_older, warm_up

if TYPE_CHECKING:
    from autorec_cli.data.dataset import Dataset

EXAMPLES = """
[bold]Examples[/bold]

autorec train data -o item.model

autorec train data -o user.model --variant user --seed 1

autorec train data -o deep.model --hidden-size 500,250,500 --log epochs.jsonl --force
"""


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """Options of `autorec train`."""

    data: Data
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="MODEL", help="Model file to write."),
        OutputFile(may_replace=lambda _options, _found: True),
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
            help="Start from the parameters of an older model, matched by id; one third of the epochs is enough.",
            show_default="a new network",
            rich_help_panel=UNATTENDED,
        ),
        InputFile(replaceable=True),
    ] = None
    keep_if_better: Annotated[
        str | None,
        typer.Option(
            metavar="METRIC",
            help="Replace MODEL only if the new model is no worse on the test set by rmse, mae, ndcg@10 or another "
            "metric; otherwise exit with status 8.",
            rich_help_panel=UNATTENDED,
        ),
    ] = None
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
    wait_lock: WaitLock = 0.0


def train_command(options: TrainOptions) -> dict[str, Any]:
    """Train an AutoRec model on a prepared dataset and write it to one file."""
    training = options.training
    return train(
        options.data,
        options.output,
        training.variant,
        training.given(),
        threads=training.threads,
        device=training.device,
        log=options.log,
        force=options.force,
        dry_run=options.dry_run,
        keep_if_better=options.keep_if_better,
        warm_start=options.warm_start,
        resume=options.resume,
        save_every=options.save_every,
        wait_lock=options.wait_lock,
    )


def train(
    data: Path,
    output: Path,
    variant: str | None,
    given: Mapping[str, object],
    *,
    threads: int = 0,
    device: str = "auto",
    log: str | None = None,
    force: bool = False,
    dry_run: bool = False,
    keep_if_better: str | None = None,
    warm_start: Path | None = None,
    resume: bool = False,
    save_every: float = SAVE_EVERY,
    wait_lock: float = 0.0,
) -> dict[str, Any]:
    """Train on the dataset `data` and write the model `output`, telling how it goes on stderr.

    Args:
        data: A prepared dataset.
        output: The model file.
        variant: "item", "user", or None for the objective's.
        given: Settings by the names of `TrainSettings`; what is missing or None gets its default.
        threads: CPU threads, 0 for one per core.
        device: As in `training.resolve_device`.
        log: A file for one JSON line an epoch, "-" for stdout.
        force: Whether an existing `output` is replaced.
        dry_run: Whether to stop before training, after telling what would happen.
        keep_if_better: A metric by which it is replaced only by a model that is no worse on the test ratings.
        warm_start: An older model to start from; settings that are not given are what suits that.
        resume: Whether to go on where an earlier run of the same kind stood when it was cut off.
        save_every: Seconds between two states kept for that; 0 keeps one an epoch.
        wait_lock: Seconds to wait while another run writes `output` or `log`.

    Returns:
        What the model is and how good it was, for a summary of the run.

    Raises:
        UsageError: an output cannot be written, or the device cannot be had.
        LockedError: another run is writing an output.
        NotEnoughMemoryError: the run would not fit into memory; nothing was trained.
        ArtifactError: `data` is not a prepared dataset, training cannot start from `warm_start`, or what there is to
            resume is damaged or of another run.
        TrainingDivergedError: the loss is not finite; `output` is left as it was.
        QualityGateError: the new model is worse by `keep_if_better`; `output` is left as it was.
        Stopped: a signal came; the state is kept.
    """
    from autorec_cli.data import dataset

    check_save_every(save_every)
    check_given(variant, given, device)
    process_group = current_process_group()
    wish = resuming(resume)
    if process_group.size > 1:
        if warm_start is not None or keep_if_better is not None:
            raise UsageError("--warm-start and --keep-if-better need the whole model in one process: no torchrun")
        return train_together(
            data, output, variant, given, process_group, threads=threads, device=device, log=log, force=force,
            dry_run=dry_run, wish=wish, save_every=save_every, wait_lock=wait_lock,
        )  # fmt: skip
    with nullcontext() if dry_run else hold(output, wait_lock, say, warn):
        may_replace = force or dry_run or keep_if_better is not None
        may_be_made = not dry_run and may_have_ended(output, wish, may_replace)
        check_output(output, may_replace or may_be_made)
        prepared = dataset.load(data)
        older = load_older(warm_start)
        if older is not None:
            variant, given = variant or older.model.settings.variant, older.given(given)
        settings = _settings_of(prepared, variant, given)
        run = identity(prepared.fingerprint(), settings, older.checksum if older else None)
        if may_be_made and (provenance := finished(output, run, versions())) is not None:
            forget(output)
            return facts_of(provenance, shape_of(prepared), settings, output)
        check_output(output, may_replace)
        rival = None if keep_if_better is None else load_rival(output, prepared, keep_if_better, settings.objective)
        place = find_place(device, threads)  # takes seconds: what can be refused, is by now
        from autorec_cli.inference import model_file
        from autorec_cli.training import trainer

        start = time.perf_counter()
        warm = warm_up(older, prepared, settings)
        need, free = memory_of(warm.dataset, settings, place)
        if dry_run:
            show_plan(shape_of(warm.dataset), settings, str(place), need, free)
        require_memory(need, free)
        if dry_run:
            return {"output": str(output), "trained": False, "settings": settings.to_document()}
        where = {**place.to_document(), **versions()}
        with keeping(output, wish, save_every, run, where) as keeper:
            announce(shape_of(warm.dataset), settings, str(place))
            with (
                open_log(log, wait_lock, map(log_line, keeper.history)) as stream,
                reporter(settings, stream, keeper.history) as report,
                keeper.heeding_signals(),
            ):
                fitted = drain(trainer.fit(warm.dataset, settings, place.device, keeper, warm.start), report)
            provenance = {
                **trainer.provenance_of(fitted, data, prepared.fingerprint(), prepared.info.get("split"), versions()),
                **warm.provenance,
            }
            model = trainer.to_model(fitted, warm.dataset, settings, provenance)
            if warm.dataset is not prepared:  # they are of fewer ratings than its validation part has
                model = replace(model, valid_predictions=model.valid_predictions[:0])
            if rival is not None and keep_if_better is not None:
                compete(model, rival, prepared, keep_if_better, output)
            model_file.save(model, output)
        summarize(fitted, model.provenance, output, time.perf_counter() - start)
    return facts_of(model.provenance, shape_of(prepared), settings, output, fitted.validation)


def _settings_of(prepared: Dataset, variant: str | None, given: Mapping[str, object]) -> TrainSettings:
    shape = (prepared.n_users, prepared.n_items)
    return settings_for(variant, shape, prepared.train.nnz, given, prepared.rating_scale)
