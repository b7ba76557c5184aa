"""`autorec train`: a prepared dataset -> a model file."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from autorec_cli import __version__, config, memory
from autorec_cli.commands.epoch_log import open_log
from autorec_cli.commands.options import UNATTENDED, WaitLock
from autorec_cli.commands.plan import examples_and_layers, require_memory, shape_of, show_plan
from autorec_cli.commands.rival import compete, load_rival
from autorec_cli.config import (
    DEFAULTS,
    DENSE_ITEM_RATINGS,
    MAX_BATCH_SIZE,
    TrainSettings,
    parse_hidden_sizes,
    settings_for,
)
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


def train_command(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Directory made by `autorec prepare`.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="MODEL", help="The model file to write.")],
    variant: Annotated[
        str, typer.Option(help="item: one example per item (the paper's I-AutoRec); user: one per user.")
    ] = "item",
    hidden_size: Annotated[
        str, typer.Option(help="Units of the hidden layer; a comma list such as 500,250,500 is the deep form.")
    ] = ",".join(map(str, DEFAULTS["hidden_sizes"])),
    hidden_activation: Annotated[
        str, typer.Option(help=f"The paper's g: {', '.join(config.HIDDEN_ACTIVATIONS)}.")
    ] = DEFAULTS["hidden_activation"],
    output_activation: Annotated[
        str, typer.Option(help=f"The paper's f: {', '.join(config.OUTPUT_ACTIVATIONS)} (stretched to the scale).")
    ] = DEFAULTS["output_activation"],
    regularization: Annotated[
        float,
        typer.Option(
            help="The paper's lambda: sum of squared errors + lambda/2 (|V|^2 + |W|^2), ratings in quarters of their "
            "scale's width, so that 1 to 5 is taken as it is."
        ),
    ] = DEFAULTS["regularization"],
    center: Annotated[
        str | None,
        typer.Option(
            help=f"Damped means to subtract from the input and add back: {', '.join(config.CENTERS)}.",
            show_default=f"none for the item variant with {DENSE_ITEM_RATINGS} ratings an item or more, else both",
        ),
    ] = None,
    learning_rate: Annotated[
        float, typer.Option(help="Adam's largest step; it rises from 0, then falls to 0 along a cosine.")
    ] = DEFAULTS["learning_rate"],
    batch_size: Annotated[
        int | None,
        typer.Option(help="Examples per step.", show_default=f"an eighth of the examples, {MAX_BATCH_SIZE:,} at most"),
    ] = None,
    epochs: Annotated[int, typer.Option(help="Passes over the data at most.")] = DEFAULTS["epochs"],
    patience: Annotated[
        int, typer.Option(help="Epochs without a better validation RMSE before choosing stops; 0: never.")
    ] = DEFAULTS["patience"],
    refit: Annotated[
        bool,
        typer.Option(
            "--refit/--no-refit", help="Fit the final model on train and valid together for the epochs chosen."
        ),
    ] = DEFAULTS["refit"],
    seed: Annotated[int, typer.Option(help="Seed of initial weights and of the order of examples.")] = DEFAULTS["seed"],
    threads: Annotated[int, typer.Option(help="CPU threads; 0: one per core.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N; auto takes CUDA if there is one.")] = "auto",
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
    wait_lock: WaitLock = 0.0,
) -> dict[str, Any]:
    """Train an AutoRec model on a prepared dataset and write it to one file."""
    given = {
        "hidden_sizes": parse_hidden_sizes(hidden_size),
        "hidden_activation": hidden_activation,
        "output_activation": output_activation,
        "regularization": regularization,
        "center": center,
        "learning_rate": learning_rate,
        "batch_size": batch_size,
        "epochs": epochs,
        "patience": patience,
        "refit": refit,
        "seed": seed,
    }
    return train(
        data,
        output,
        variant,
        given,
        threads=threads,
        device=device,
        log=log,
        force=force,
        dry_run=dry_run,
        keep_if_better=keep_if_better,
        wait_lock=wait_lock,
    )


def train(
    data: Path,
    output: Path,
    variant: str,
    given: Mapping[str, object],
    *,
    threads: int = 0,
    device: str = "auto",
    log: str | None = None,
    force: bool = False,
    dry_run: bool = False,
    keep_if_better: str | None = None,
    wait_lock: float = 0.0,
) -> dict[str, Any]:
    """Train on the dataset `data` and write the model `output`, telling how it goes on stderr.

    Args:
        data: A prepared dataset.
        output: The model file.
        variant: "item" or "user".
        given: Settings by the names of `TrainSettings`; what is missing or None gets its default.
        threads: CPU threads, 0 for one per core.
        device: As in `training.resolve_device`.
        log: A file for one JSON line an epoch, "-" for stdout.
        force: Whether an existing `output` is replaced.
        dry_run: Whether to stop before training, after telling what would happen.
        keep_if_better: A metric by which it is replaced only by a model that is no worse on the test ratings.
        wait_lock: Seconds to wait while another run writes `output` or `log`.

    Returns:
        What the model is and how good it was, for a summary of the run.

    Raises:
        UsageError: an output cannot be written, or the device cannot be had.
        LockedError: another run is writing an output.
        NotEnoughMemoryError: the run would not fit into memory; nothing was trained.
        ArtifactError: `data` is not a prepared dataset.
        TrainingDivergedError: the loss is not finite; `output` is left as it was.
        QualityGateError: the new model is worse by `keep_if_better`; `output` is left as it was.
    """
    from autorec_cli import dataset

    with nullcontext() if dry_run else hold(output, wait_lock, say, warn):
        _check_output(output, force or dry_run or keep_if_better is not None)
        prepared = dataset.load(data)
        rival = None if keep_if_better is None else load_rival(output, prepared, keep_if_better)
        settings = settings_for(variant, (prepared.n_users, prepared.n_items), prepared.train.nnz, given)
        # Threads that wait for each other must not spin: beside another busy process that costs a factor of ten.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read once, when torch is loaded
        from autorec_cli import checkpoint, engine, training  # takes seconds to load: what can be refused, is by now

        target = training.resolve_device(device)
        training.use_threads(threads)
        start = time.perf_counter()
        name = engine.engine_name(target)
        need = memory.training_need(shape_of(prepared), settings, name)
        free = memory.Need(memory.available_bytes(), training.free_on_device(target))
        if dry_run:
            show_plan(prepared, settings, f"{target} ({name})", need, free)
        require_memory(need, free)
        if dry_run:
            return {"output": str(output), "trained": False, "settings": settings.to_document()}
        with open_log(log, wait_lock) as stream:
            _announce(prepared, settings, f"{target} ({name})")
            with _reporter(settings, stream) as report:
                fitted = _drain(training.fit(prepared, settings, target), report)
        provenance = {
            "dataset": str(data.resolve()),
            "fingerprint": prepared.fingerprint(),
            "split": prepared.info.get("split"),
            "fitted_parts": list(fitted.fitted_parts),
            "epochs": fitted.epochs,
            "metrics": {"valid_rmse": fitted.valid_rmse},
            "versions": {"autorec-cli": __version__, "torch": training.TORCH_VERSION},
        }
        model = training.to_model(fitted, prepared, settings, provenance)
        if rival is not None and keep_if_better is not None:
            compete(model, rival, prepared, keep_if_better, output)
        checkpoint.save(model, output)
        _summarize(fitted, output, time.perf_counter() - start)
    return _facts(fitted, prepared, settings, output)


def _facts(fitted: Fitted, prepared: Dataset, settings: TrainSettings, output: Path) -> dict[str, Any]:
    return {
        "output": str(output),
        "bytes": output.stat().st_size,
        "n_users": prepared.n_users,
        "n_items": prepared.n_items,
        "fitted_parts": list(fitted.fitted_parts),
        "epochs": fitted.epochs,
        "valid_rmse": fitted.valid_rmse,
        "baseline_valid_rmse": fitted.baseline_valid_rmse,
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


def _drain(epochs: Generator[EpochResult, None, Fitted], report: Report) -> Fitted:
    """Run the generator to its end, reporting what it yields; returns what it returns."""
    while True:
        try:
            report(next(epochs))
        except StopIteration as end:
            return cast("Fitted", end.value)


@contextmanager
def _reporter(settings: TrainSettings, log: Callable[[str], None] | None) -> Iterator[Report]:
    """Show each epoch on stderr and, if asked, write it to `log`."""
    with progress("epoch", settings.epochs) as advance:

        def report(result: EpochResult) -> None:
            valid = "" if result.valid_rmse is None else f" valid {result.valid_rmse:.4f}{'*' if result.best else ' '}"
            text = f"{result.phase}: train {result.train_rmse:.4f}{valid} {result.seconds:.2f} s"
            advance(result.epoch, result.n_epochs, text)
            if log:
                stamp = datetime.now(UTC).isoformat(timespec="milliseconds")
                log(json.dumps({"time": stamp, **asdict(result)}) + "\n")

        yield report


def _summarize(fitted: Fitted, output: Path, seconds: float) -> None:
    facts = [
        ("model", f"{output} ({output.stat().st_size / 1e6:.1f} MB)"),
        ("fitted on", f"{' and '.join(fitted.fitted_parts)}, epochs: {fitted.epochs}"),
        ("valid RMSE", _on_valid(fitted)),
        ("time", f"{seconds:.1f} s"),
        ("next", f"autorec evaluate {output}"),
    ]
    show_facts("trained", facts)
    if fitted.valid_rmse is not None and fitted.valid_rmse > cast("float", fitted.baseline_valid_rmse):
        warn(
            "on the validation ratings user and item averages predict better than this model; "
            "try a larger --regularization, or --center both"
        )


def _on_valid(fitted: Fitted) -> str:
    if fitted.valid_rmse is None:
        return "none: no validation part"
    return f"{fitted.valid_rmse:.4f} before the final fit (user+item averages: {fitted.baseline_valid_rmse:.4f})"
