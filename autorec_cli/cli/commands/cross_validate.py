"""`autorec cross-validate`: training and testing on several splits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autorec_cli.cli.console import progress, say, warn
from autorec_cli.cli.options.declaration import InputFile, OutputFile, parse_fraction
from autorec_cli.cli.options.shared import Format, Output, RelevantFrom, TopK, WaitLock
from autorec_cli.cli.options.training import TrainingOptions
from autorec_cli.cli.output.destination import open_output, reserve_output
from autorec_cli.cli.output.formats import Writer, choose_format, writer_for
from autorec_cli.cli.reports.epochs import metric_label, metric_text, train_error
from autorec_cli.cli.reports.metric_tables import complete_rows, to_frame, write_averages
from autorec_cli.cli.runner import Command
from autorec_cli.config import check_device, require_count
from autorec_cli.data.splits.splitting import DEFAULT_FRACTION
from autorec_cli.defaults import MAX_RANKED_USERS
from autorec_cli.errors import error_text
from autorec_cli.evaluation.gates import CLEARLY_WORSE
from autorec_cli.training.settings import TrainSettings

if TYPE_CHECKING:
    from autorec_cli.data.dataset import Dataset
    from autorec_cli.data.splits.resampling import Plan, Pool
    from autorec_cli.evaluation.measurement import Row
    from autorec_cli.evaluation.ranking import RankingProtocol
    from autorec_cli.training.cross_validation import SplitResult
    from autorec_cli.training.loop.epoch_result import EpochResult

EXAMPLES = """
[bold]Examples[/bold]

autorec cross-validate data

autorec cross-validate data --variant user --repeats 3

autorec cross-validate data --folds 5 --epochs 20 --per-split splits.csv -o mean.csv
"""


@dataclass(frozen=True, kw_only=True)
class CrossValidateOptions:
    """Options of `autorec cross-validate`."""

    data: Annotated[
        Path,
        typer.Argument(metavar="DATA", help="Dataset directory made by `autorec prepare`; its own split is ignored."),
        InputFile(),
    ]
    output: Output = "-"
    format: Format = None
    repeats: Annotated[
        int | None,
        typer.Option(metavar="N", help="Hold out ratings at random, N times.", show_default="5, unless --folds"),
    ] = None
    folds: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Instead, cut the ratings into N folds and test on each in turn.",
        ),
    ] = None
    test: Annotated[
        float | None,
        typer.Option(
            parser=parse_fraction,
            metavar="FRACTION",
            help="Fraction of all ratings in the test set.",
            show_default=f"{DEFAULT_FRACTION}; 1/N with --folds",
        ),
    ] = None
    valid: Annotated[
        float,
        typer.Option(
            parser=parse_fraction,
            metavar="FRACTION",
            help="Fraction of the remaining ratings that the number of epochs is chosen on.",
        ),
    ] = DEFAULT_FRACTION
    per_split: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Also write the rows of every split, as `evaluate` does; - is stdout, as CSV.",
        ),
        OutputFile(),
    ] = None
    training: TrainingOptions
    top_k: TopK = 10
    relevant_from: RelevantFrom = None
    wait_lock: WaitLock = 0.0


def cross_validate_command(options: CrossValidateOptions) -> dict[str, list[Row]]:
    """Repeatedly re-split all ratings of a dataset, train and test on each split, and average the metrics.

    The seed of each split is derived from --seed; it draws the split and seeds the training.
    """
    from autorec_cli.data.splits.resampling import choose_plan
    from autorec_cli.evaluation import cross_validation

    settings = _settings(options)
    plan = choose_plan(options.repeats, options.folds, options.test, options.valid, options.training.seed)
    format, write_splits = _formats(options)
    # Both for the whole run: hours of training must not end at a taken output.
    with _reserved(options):
        results, protocol = _train_and_test(options, settings, plan)
        averages, splits = cross_validation.average(results), [row for rows in results for row in rows]
        if options.per_split is not None:
            with open_output(options.per_split) as stream:
                write_splits([to_frame(splits)], stream)
        with open_output(options.output) as stream:
            write_averages(averages, protocol, format, stream)
    _explain(averages, plan)
    return {"average": complete_rows(averages), "splits": complete_rows(splits)}


def _settings(options: CrossValidateOptions) -> TrainSettings:
    """Check the options of training and ranking."""
    require_count("--top-k", options.top_k, minimum=1)
    settings = options.training.settings()
    check_device(options.training.device)
    return settings


def _formats(options: CrossValidateOptions) -> tuple[str, Writer]:
    """Format of the averages, and writer of all rows."""
    asked = "csv" if options.per_split == "-" else None
    return choose_format(options.format, options.output), writer_for(choose_format(asked, options.per_split or ""))


@contextmanager
def _reserved(options: CrossValidateOptions) -> Iterator[None]:
    """Hold the locks of both outputs."""
    wait = options.wait_lock
    with reserve_output(options.output, wait), reserve_output(options.per_split or "-", wait):
        yield


def _train_and_test(
    options: CrossValidateOptions, settings: TrainSettings, plan: Plan
) -> tuple[list[list[Row]], RankingProtocol]:
    """Rows of every split, and the protocol of their rankings."""
    pooled, protocol = _pooled(options, settings, plan)
    from autorec_cli.training.cross_validation import ModelOptions, cross_validate

    model = ModelOptions(settings, options.training.device, options.training.threads)
    results = []
    with _progress(plan, protocol) as (on_epoch, show):
        for result in cross_validate(pooled, plan, model, protocol, on_epoch):
            results.append(result.rows)
            show(result)
    return results, protocol


def _pooled(options: CrossValidateOptions, settings: TrainSettings, plan: Plan) -> tuple[Pool, RankingProtocol]:
    """Pool the ratings of the dataset, and announce the splits."""
    from autorec_cli.data import dataset
    from autorec_cli.data.splits.resampling import make_split, pool

    prepared = dataset.load_dataset(options.data)
    # These load torch, which takes seconds: what can be refused has been.
    from autorec_cli.network.device import find_place
    from autorec_cli.training.plan import networks_for

    protocol, pooled = _protocol(options, prepared), pool(prepared)
    # The dataset's own split may have no validation ratings, and these splits have some.
    networks = networks_for(settings, make_split(pooled, plan, 1).dataset)
    variants = " and ".join(f"{network.objective} by {network.variant}" for network in networks)
    place = find_place(options.training.device, options.training.threads)
    _announce(plan, pooled, f"{variants}, device {place}", protocol)
    return pooled, protocol


def _protocol(options: CrossValidateOptions, prepared: Dataset) -> RankingProtocol:
    """Protocol of the ranking metrics."""
    from autorec_cli.evaluation.ranking import RankingProtocol

    return RankingProtocol.for_scale(prepared.rating_scale, options.top_k, options.relevant_from, MAX_RANKED_USERS)


def _announce(plan: Plan, pooled: Pool, model: str, protocol: RankingProtocol) -> None:
    kind = "folds" if plan.disjoint else "random hold-outs"
    say(
        f"{plan.n_splits} {kind} of {pooled.ratings.nnz:,} ratings: {plan.test:.3g} for the test set, {plan.valid:.3g} "
        f"of the others for validation; {model}"
    )
    say(f"candidates: all items a user has not rated before; relevant: test ratings from {protocol.relevant_from:g}")


@contextmanager
def _progress(
    plan: Plan, protocol: RankingProtocol
) -> Iterator[tuple[Callable[[int, EpochResult], None], Callable[[SplitResult], None]]]:
    """Functions that show epochs and results of splits."""
    with progress("split", plan.n_splits) as advance:

        def show_epoch(number: int, result: EpochResult) -> None:
            text = f"{result.phase}: epoch {result.epoch}/{result.n_epochs}, {train_error(result.to_record())}"
            advance(number - 1, plan.n_splits, text, passing=True)

        def show_split(result: SplitResult) -> None:
            metric, baseline = _headline(result.rows[0], protocol)
            rows = [row for row in (result.rows[0], _row_of(result.rows, baseline)) if metric in row]
            values = ", ".join(f"{row['model']} {metric_text(metric, row[metric])}" for row in rows)
            epochs = " and ".join(map(str, result.epochs))
            text = f"test {metric_label(metric)}: {values}; epochs: {epochs}, seed: {result.seed}"
            advance(result.number, plan.n_splits, f"{text}, {result.seconds:.1f} s", lasting=True)

        yield show_epoch, show_split


def _row_of(rows: Sequence[Row], name: str) -> Row:
    return next(row for row in rows if row["model"] == name)


def _headline(network: Row, protocol: RankingProtocol) -> tuple[str, str]:
    """Metric that summarizes a split, and its baseline."""
    from autorec_cli.evaluation.measurement import BIAS_BASELINE, POPULARITY_BASELINE

    if "rmse" in network:
        return "rmse", BIAS_BASELINE
    return f"ndcg@{protocol.k}", POPULARITY_BASELINE


def _explain(averages: Sequence[Row], plan: Plan) -> None:
    """Explain the intervals; warn of a useless model."""
    from autorec_cli.evaluation.measurement import BIAS_BASELINE

    network, bias = averages[0], _row_of(averages, BIAS_BASELINE) if "rmse" in averages[0] else None
    if bias is not None and network["rmse"] > bias["rmse"] * CLEARLY_WORSE:
        warn(
            f"{network['model']} predicts worse than the bias baseline ({error_text(network['rmse'])} against "
            f"{error_text(bias['rmse'])} RMSE): try a smaller --learning-rate or another --regularization"
        )
    say(
        f"means over {plan.n_splits} splits, with 95% intervals of Student's t that take splits as the sample; see "
        "docs/evaluation.md"
    )


COMMAND = Command(cross_validate_command, CrossValidateOptions, EXAMPLES)
