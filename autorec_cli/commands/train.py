"""`autorec train`: a prepared dataset -> a model file."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autorec_cli import __version__
from autorec_cli.commands.epoch_log import open_log
from autorec_cli.commands.fitting import drain, find_place, memory_of
from autorec_cli.commands.interruption import SAVE_EVERY, check_save_every, finished, identity, keeping, state_path
from autorec_cli.commands.options import UNATTENDED, WaitLock
from autorec_cli.commands.plan import examples_and_layers, require_memory, show_plan
from autorec_cli.commands.rival import compete, load_rival
from autorec_cli.commands.training_options import TrainingOptions, with_training_options
from autorec_cli.commands.warming import load_older, warm_up
from autorec_cli.config import TrainSettings, settings_for
from autorec_cli.console import progress, say, show_facts, warn
from autorec_cli.errors import UsageError
from autorec_cli.locks import hold

if TYPE_CHECKING:
    from autorec_cli.dataset import Dataset
    from autorec_cli.training import EpochResult, Fitted

EXAMPLES = """
[bold]Examples[/bold]

autorec train data -o item.model

autorec train data -o user.model --variant user --seed 1

autorec train data -o deep.model --hidden-size 500,250,500 --log epochs.jsonl --force
"""

Report = Callable[["EpochResult"], None]


@with_training_options
def train_command(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Directory made by `autorec prepare`.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="MODEL", help="The model file to write.")],
    training: TrainingOptions,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be trained and how much memory it takes, and stop.")
    ] = False,
    log: Annotated[
        str | None, typer.Option(metavar="FILE", help="Also write one JSON line per epoch; - is stdout.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace MODEL if it exists.")] = False,
    keep_if_better: Annotated[
        str | None,
        typer.Option(
            metavar="METRIC",
            help="Replace MODEL only if the new one is no worse on the test ratings of DATA, by rmse, mae, ndcg@10 and "
            "so on; otherwise end with status 8.",
            rich_help_panel=UNATTENDED,
        ),
    ] = None,
    warm_start: Annotated[
        Path | None,
        typer.Option(
            metavar="MODEL",
            help="Start from the parameters of an older model, matched by id; a third of the epochs do.",
            show_default="a fresh network",
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on from MODEL.resume, the state that a run of the same command left when it was cut off; without "
            "one start from the beginning.",
            rich_help_panel=UNATTENDED,
        ),
    ] = False,
    save_every: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            help="Keep the state for --resume at the end of an epoch, no more often than this; 0: after each.",
            rich_help_panel=UNATTENDED,
        ),
    ] = SAVE_EVERY,
    wait_lock: WaitLock = 0.0,
) -> dict[str, Any]:
    """Train an AutoRec model on a prepared dataset and write it to one file."""
    return train(
        data,
        output,
        training.variant,
        training.given(),
        threads=training.threads,
        device=training.device,
        log=log,
        force=force,
        dry_run=dry_run,
        keep_if_better=keep_if_better,
        warm_start=warm_start,
        resume=resume,
        save_every=save_every,
        wait_lock=wait_lock,
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
    from autorec_cli import dataset

    check_save_every(save_every)
    with nullcontext() if dry_run else hold(output, wait_lock, say, warn):
        may_replace = force or dry_run or keep_if_better is not None
        # What a resumed run would write may be there, made before the run was killed.
        may_be_made = resume and not dry_run and (state_path(output).exists() or not may_replace)
        _check_output(output, may_replace or may_be_made)
        prepared = dataset.load(data)
        older = load_older(warm_start)
        if older is not None:
            variant, given = variant or older.model.settings.variant, older.given(given)
        settings = _settings_of(prepared, variant, given)
        run = identity(prepared.fingerprint(), settings, older.checksum if older else None)
        if may_be_made and (model := finished(output, run, _versions())) is not None:
            return _facts(model.provenance, prepared, settings, output)
        _check_output(output, may_replace)
        rival = None if keep_if_better is None else load_rival(output, prepared, keep_if_better, settings.objective)
        place = find_place(device, threads)  # takes seconds: what can be refused, is by now
        from autorec_cli import checkpoint, training

        start = time.perf_counter()
        warm = warm_up(older, prepared, settings)
        need, free = memory_of(warm.dataset, settings, place)
        if dry_run:
            show_plan(warm.dataset, settings, str(place), need, free)
        require_memory(need, free)
        if dry_run:
            return {"output": str(output), "trained": False, "settings": settings.to_document()}
        where = {**place.to_document(), **_versions()}
        with keeping(output, resume, save_every, run, where) as keeper:
            _announce(warm.dataset, settings, str(place))
            with (
                open_log(log, wait_lock, map(_log_line, keeper.history)) as stream,
                _reporter(settings, stream, keeper.history) as report,
                keeper.heeding_signals(),
            ):
                fitted = drain(training.fit(warm.dataset, settings, place.device, keeper, warm.start), report)
            provenance = {**_provenance(data, prepared, fitted), **warm.provenance}
            model = training.to_model(fitted, warm.dataset, settings, provenance)
            if warm.dataset is not prepared:  # they are of fewer ratings than its validation part has
                model = replace(model, valid_predictions=model.valid_predictions[:0])
            if rival is not None and keep_if_better is not None:
                compete(model, rival, prepared, keep_if_better, output)
            checkpoint.save(model, output)
        _summarize(fitted, output, time.perf_counter() - start)
    baseline = {f"baseline_valid_{v.metric}": v.baseline} if (v := fitted.validation) else {}
    return {**_facts(model.provenance, prepared, settings, output), **baseline}


def _settings_of(prepared: Dataset, variant: str | None, given: Mapping[str, object]) -> TrainSettings:
    shape = (prepared.n_users, prepared.n_items)
    return settings_for(variant, shape, prepared.train.nnz, given, prepared.rating_scale)


def _versions() -> dict[str, str]:
    from autorec_cli import training

    return {"autorec-cli": __version__, "torch": training.TORCH_VERSION}


def _provenance(data: Path, prepared: Dataset, fitted: Fitted) -> dict[str, Any]:
    """Where a model comes from; nothing in it tells whether its run was cut off."""
    return {
        "dataset": str(data.resolve()),
        "fingerprint": prepared.fingerprint(),
        "split": prepared.info.get("split"),
        "fitted_parts": list(fitted.fitted_parts),
        "epochs": fitted.epochs,
        "metrics": _metrics(fitted),
        "versions": _versions(),
    }


def _metrics(fitted: Fitted) -> dict[str, float]:
    validation = fitted.validation
    return {} if validation is None else {f"valid_{validation.metric}": validation.value}


def _facts(provenance: dict[str, Any], prepared: Dataset, settings: TrainSettings, output: Path) -> dict[str, Any]:
    return {
        "output": str(output),
        "bytes": output.stat().st_size,
        "n_users": prepared.n_users,
        "n_items": prepared.n_items,
        "fitted_parts": provenance["fitted_parts"],
        "epochs": provenance["epochs"],
        **provenance["metrics"],
        "settings": settings.to_document(),
    }


def _check_output(output: Path, force: bool) -> None:
    """Refuse before hours of training what could not be written after them."""
    if str(output) == "-":
        raise UsageError("a model cannot be written to standard output; name a file with --output")
    if output.is_dir():
        raise UsageError(f"{output} is a folder; name a file for the model")
    if output.exists() and not output.is_file():
        raise UsageError(f"{output} is no plain file; name one for the model")
    if output.exists() and not force:
        raise UsageError(f"{output} exists; use --force to replace it or name another file")


def _announce(prepared: Dataset, settings: TrainSettings, device: str) -> None:
    n_examples, layers = examples_and_layers(prepared, settings)
    say(
        f"{settings.variant} variant: {n_examples:,} examples, layers {layers}, "
        f"{prepared.train.nnz:,} training and {prepared.valid.nnz:,} validation ratings, device {device}"
    )


@contextmanager
def _reporter(
    settings: TrainSettings, log: Callable[[str], None] | None, history: list[Mapping[str, Any]]
) -> Iterator[Report]:
    """Show each epoch on stderr, add it to `history` and, if asked, write it to `log`."""
    with progress("epoch", settings.epochs) as advance:

        def report(result: EpochResult) -> None:
            valid = "" if result.valid is None else f" valid {result.valid:.4f}{'*' if result.best else ' '}"
            text = f"{result.phase}: train {result.train_rmse:.4f}{valid} {result.seconds:.2f} s"
            advance(result.epoch, result.n_epochs, text)
            facts = asdict(result)
            facts[f"valid_{facts.pop('metric')}"] = facts.pop("valid")
            history.append({"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **facts})
            if log:
                log(_log_line(history[-1]))

        yield report


def _log_line(facts: Mapping[str, Any]) -> str:
    return json.dumps(facts) + "\n"


def _summarize(fitted: Fitted, output: Path, seconds: float) -> None:
    facts = [
        ("model", f"{output} ({output.stat().st_size / 1e6:.1f} MB)"),
        ("fitted on", f"{' and '.join(fitted.fitted_parts)}, epochs: {fitted.epochs}"),
        _on_valid(fitted),
        ("time", f"{seconds:.1f} s"),
        ("next", f"autorec evaluate {output}"),
    ]
    show_facts("trained", facts)
    measured = fitted.validation
    if measured and measured.metric == "rmse" and measured.value > measured.baseline:
        warn(
            "on the validation ratings user and item averages predict better than this model; "
            "try a larger --regularization, or leave out --center and --no-implicit if you gave them"
        )
    if measured and measured.metric != "rmse" and measured.value < measured.baseline:
        warn(
            "for the validation ratings the most rated items make better lists than this model; "
            "try another --missing-weight or --regularization"
        )


def _on_valid(fitted: Fitted) -> tuple[str, str]:
    measured = fitted.validation
    if measured is None:
        return "valid", "no validation part"
    metric, other = ("RMSE", "user+item averages") if measured.metric == "rmse" else ("nDCG@10", "most rated items")
    return f"valid {metric}", f"{measured.value:.4f} before the final fit ({other}: {measured.baseline:.4f})"
