"""`autorec cross-validate`: a prepared dataset -> what training on it reaches, averaged over several splits."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer

from autorec_cli.cli.commands.evaluate import CLEARLY_WORSE, Row, complete_rows, to_frame
from autorec_cli.cli.console import Advance, progress, say, warn
from autorec_cli.cli.fitting import Place, check_memory, drain, find_place
from autorec_cli.cli.options import Format, InputFile, Output, OutputFile, Ranking, RelevantFrom, TopK, WaitLock
from autorec_cli.cli.output import choose_format, open_output, reserve_output, write_table, writer_for
from autorec_cli.cli.training_options import TrainingOptions
from autorec_cli.cli.training_report import spelled
from autorec_cli.config import TrainSettings, check_given, settings_for
from autorec_cli.data.splitting import DEFAULT_SHARE
from autorec_cli.errors import UsageError

if TYPE_CHECKING:
    import polars as pl

    from autorec_cli.data.dataset import Dataset
    from autorec_cli.data.resampling import Plan, Pool
    from autorec_cli.evaluation.ranking import RankingProtocol
    from autorec_cli.training.trainer import EpochResult

NAMES = {"item": "I-AutoRec", "user": "U-AutoRec"}
"""The paper's names for the variants, used as row labels."""

EXAMPLES = """
[bold]Examples[/bold]

autorec cross-validate data

autorec cross-validate data --variant user --repeats 3 --ranking

autorec cross-validate data --folds 5 --epochs 20 --per-split splits.csv -o mean.csv
"""


BIAS = "user+item bias"
LIST_LENGTH = 10


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
            metavar="SHARE",
            help="Share of all ratings in the test set.",
            show_default=f"{DEFAULT_SHARE}; 1/N with --folds",
        ),
    ] = None
    valid: Annotated[
        float,
        typer.Option(metavar="SHARE", help="Share of the remaining ratings that the number of epochs is chosen on."),
    ] = DEFAULT_SHARE
    per_split: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Also write the rows of every split, as `evaluate` does; - is stdout, as CSV.",
        ),
        OutputFile(),
    ] = None
    training: TrainingOptions
    ranking: Ranking = False
    top_k: TopK = 10
    relevant_from: RelevantFrom = None
    wait_lock: WaitLock = 0.0


def cross_validate_command(options: CrossValidateOptions) -> dict[str, list[Row]]:
    """Repeatedly re-split all ratings of a dataset, train and test on each split, and average the metrics.

    The seed of each split is derived from --seed; it draws the split and seeds the training.
    """
    return cross_validate(
        options.data,
        options.training,
        repeats=options.repeats,
        folds=options.folds,
        test=options.test,
        valid=options.valid,
        lists=options.top_k if options.ranking else None,
        relevant_from=options.relevant_from,
        output=options.output,
        format=options.format,
        per_split=options.per_split,
        wait_lock=options.wait_lock,
    )


def cross_validate(
    data: Path,
    training: TrainingOptions,
    *,
    repeats: int | None = None,
    folds: int | None = None,
    test: float | None = None,
    valid: float = DEFAULT_SHARE,
    lists: int | None = None,
    relevant_from: float | None = None,
    output: str = "-",
    format: str | None = None,
    per_split: str | None = None,
    wait_lock: float = 0.0,
) -> dict[str, list[Row]]:
    """Write what training with some options reaches on average, telling of each split on stderr.

    Args:
        data: A prepared dataset, of which all parts are used alike.
        training: How to train on each split.
        repeats: Random hold-outs, 5 if neither they nor `folds` are given.
        folds: Disjoint test parts that leave no rating out.
        test: Share of the ratings that a hold-out tests on.
        valid: Share of the others to choose epochs on.
        lists: Length of top-k lists to judge too; None judges none.
        relevant_from: Test ratings from here on are relevant; None for three quarters up the scale.
        output: Where to write a row for each model, "-" for stdout.
        format: How; None for what `output` ends in.
        per_split: A file for the rows of every split.
        wait_lock: Seconds to wait while another run writes the same files.

    Returns:
        `average` and `splits`: the rows as they are written.

    Raises:
        UsageError: an option has a value that cannot work.
        LockedError: another run is writing an output.
        NotEnoughMemoryError: training would not fit into memory.
        ArtifactError: `data` is not a prepared dataset.
        TrainingDivergedError: the loss of a split is not finite; nothing is written.
    """
    from autorec_cli.data import dataset
    from autorec_cli.data.resampling import choose_plan, pool
    from autorec_cli.evaluation.ranking import RankingProtocol, default_relevance

    if lists is not None and lists < 1:
        raise UsageError(f"--top-k must be a whole number from 1, not {lists}")
    check_given(training.variant, training.given(), training.device)
    plan = choose_plan(repeats, folds, test, valid, training.seed)
    format = choose_format(format, output)
    write = writer_for(format)
    write_splits = writer_for(choose_format("csv" if per_split == "-" else None, per_split or ""))
    with reserve_output(output, wait_lock, say, warn), reserve_output(per_split or "-", wait_lock, say, warn):
        prepared = dataset.load(data)
        settings = _settings(training, prepared)
        place = find_place(training.device, training.threads)  # takes seconds: what can be refused, is by now
        from autorec_cli.evaluation import cross_validation

        threshold = default_relevance(prepared.rating_scale) if relevant_from is None else relevant_from
        if lists is None and settings.objective == "ranking":
            lists = LIST_LENGTH
        protocol = None if lists is None else RankingProtocol(lists, threshold)
        pooled = pool(prepared)
        del prepared  # every split holds the same ratings once more
        _announce(plan, pooled, settings.variant, place, protocol)
        measured = []
        with progress("split", plan.n_splits) as advance:
            for number in range(1, plan.n_splits + 1):
                measured.append(_measure_split(pooled, plan, number, training, place, protocol, advance))
        averages = cross_validation.average(measured)
        splits = [row for rows in measured for row in rows]
        if per_split is not None:
            with open_output(per_split) as stream:
                write_splits([to_frame(splits)], stream)
        with open_output(output) as stream:
            if format == "table":
                _write_tables(averages, plan, lists, stream)
            else:
                write([to_frame(averages)], stream)
    _say_what_it_means(averages, plan)
    return {"average": complete_rows(averages), "splits": complete_rows(splits)}


def _settings(training: TrainingOptions, ratings: Dataset, **others: object) -> TrainSettings:
    given = {**training.given(), **others}
    return settings_for(training.variant, ratings.train.shape, ratings.train.nnz, given, ratings.rating_scale)


def _announce(plan: Plan, pooled: Pool, variant: str, place: Place, protocol: RankingProtocol | None) -> None:
    kind = "folds" if plan.disjoint else "random hold-outs"
    say(
        f"{plan.n_splits} {kind} of {pooled.ratings.nnz:,} ratings, {plan.test:.3g} to test and {plan.valid:.3g} of "
        f"the others to choose epochs on; {variant} variant, device {place}"
    )
    if protocol is not None:
        say(f"lists: all items a user has not rated before, relevant: test ratings from {protocol.relevant_from:g}")


def _measure_split(
    pooled: Pool,
    plan: Plan,
    number: int,
    training: TrainingOptions,
    place: Place,
    protocol: RankingProtocol | None,
    advance: Advance,
) -> list[Row]:
    """Train and measure on one split, which is gone from memory afterwards."""
    from autorec_cli.data.resampling import make_split
    from autorec_cli.evaluation.evaluate import metric_rows
    from autorec_cli.training.trainer import fit, to_model

    start = time.perf_counter()
    drawn = make_split(pooled, plan, number)
    ratings = drawn.dataset
    settings = _settings(training, ratings, seed=drawn.seed)
    check_memory(ratings, settings, place)

    def report(result: EpochResult) -> None:
        text = f"{result.phase}: epoch {result.epoch}/{result.n_epochs}, train RMSE {result.train_rmse:.4f}"
        advance(number - 1, plan.n_splits, text, passing=True)

    fitted = drain(fit(ratings, settings, place.device), report)
    model = to_model(fitted, ratings, settings, {"fitted_parts": list(fitted.fitted_parts)})
    rows = metric_rows([(NAMES[settings.variant], model)], ratings, "test", protocol)
    metric, baseline = _headline(rows[0], protocol)
    told = ", ".join(f"{row['model']} {row[metric]:.4f}" for row in (rows[0], _row_of(rows, baseline)) if metric in row)
    seconds = time.perf_counter() - start
    text = f"test {spelled(metric)}: {told}; epochs: {fitted.epochs}, seed: {drawn.seed}, {seconds:.1f} s"
    advance(number, plan.n_splits, text, lasting=True)
    return [{"split": number, "seed": drawn.seed, **row} for row in rows]


def _write_tables(averages: Sequence[Row], plan: Plan, lists: int | None, stream: IO[bytes]) -> None:
    title = f"test ratings of {plan.n_splits} splits, mean ± half of the 95% interval"
    if "rmse" in averages[0]:
        write_table([_table(averages, lists=False)], stream, title=title)
    if lists is not None:
        write_table([_table(averages, lists=True)], stream, title=f"top-{lists} lists against test ratings, the same")


def _table(averages: Sequence[Row], lists: bool) -> pl.DataFrame:
    """For reading: the metrics of ratings, or of lists, an interval beside each value."""
    import polars as pl

    cells = []
    for row in averages:
        metrics = [name for name in row if f"{name}_margin" in row and ("@" in name) == lists]
        if metrics:
            shown = {_heading(name): f"{row[name]:.4f} ± {row[f'{name}_margin']:.4f}" for name in metrics}
            cells.append({"model": row["model"], **shown, "splits": row["n_splits"]})
    return pl.DataFrame(cells)


def _heading(metric: str) -> str:
    return metric.partition("@")[0].replace("_", " ") if "@" in metric else metric.upper()


def _row_of(rows: Sequence[Row], name: str) -> Row:
    return next(row for row in rows if row["model"] == name)


def _headline(network: Row, protocol: RankingProtocol | None) -> tuple[str, str]:
    """What a split is told by: the metric, and the baseline to beat."""
    if "rmse" in network or protocol is None:
        return "rmse", BIAS
    return f"ndcg@{protocol.k}", "popularity"


def _say_what_it_means(averages: Sequence[Row], plan: Plan) -> None:
    network = averages[0]
    if "rmse" in network and network["rmse"] > _row_of(averages, BIAS)["rmse"] * CLEARLY_WORSE:
        warn(
            f"{network['model']} predicts worse than user and item averages do ({network['rmse']:.4f} against "
            f"{_row_of(averages, BIAS)['rmse']:.4f} RMSE): try a smaller --learning-rate or another --regularization"
        )
    say(
        f"means over {plan.n_splits} splits, with 95% intervals of Student's t that count splits as the sample; what "
        "that means and what not: docs/evaluation.md"
    )
