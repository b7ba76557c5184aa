"""`autorec run`: files of ratings -> published recommendations, in one command."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autorec_cli.cli.commands import evaluate, prepare, recommend, train
from autorec_cli.cli.options.declaration import UNATTENDED, OneOf, OutputFile, gather
from autorec_cli.cli.options.shared import (
    FailAbove,
    FailBelow,
    Interactions,
    Items,
    MaxPer,
    PerUser,
    ReadingOptions,
    Sources,
    WaitLock,
    Where,
)
from autorec_cli.cli.options.stages import Stage
from autorec_cli.cli.options.training import TrainingOptions
from autorec_cli.cli.output.formats import WITH_DATABASE, writer_for
from autorec_cli.cli.reports.training import TrainingReport
from autorec_cli.cli.runner import Command
from autorec_cli.config import require_choice, require_count
from autorec_cli.errors import UsageError
from autorec_cli.pipeline.generations import KEEP

if TYPE_CHECKING:
    from autorec_cli.pipeline.request import RunRequest

EXAMPLES = """
[bold]Examples[/bold]

autorec run ratings.csv -o out

autorec run 'part-*.csv.gz' -o out --items movies.csv -k 20 --format parquet

autorec run ratings.csv -o out -q --fail-below ndcg@10=0.05

autorec run -o out --rollback
"""

FILE_FORMATS = tuple(name for name in WITH_DATABASE if name != "table")
INSIDE = ("generations", "current", "data", "model", "metrics.json", "run.json", "report.html",
          *(f"recommendations.{format}" for format in FILE_FORMATS))  # fmt: skip
"""Names in the directory of a run."""


@dataclass(frozen=True, kw_only=True)
class PipelineOptions:
    """Options of `autorec run`."""

    sources: Sources = None
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Directory of the results: data, model, metrics.json, recommendations.csv and run.json; with the "
            "extra `report` also report.html.",
        ),
        OutputFile(inside=INSIDE),
    ]
    items: Items = None
    top_k: PerUser = 10
    where: Where = None
    max_per: MaxPer = None
    format: Annotated[str, typer.Option("--format", help="Format of the recommendations."), OneOf(FILE_FORMATS)] = "csv"
    training: TrainingOptions
    interactions: Interactions = False
    reading: ReadingOptions
    fail_above: FailAbove = None
    fail_below: FailBelow = None
    keep: Annotated[
        int,
        typer.Option(metavar="N", help="Number of generations to keep for --rollback.", rich_help_panel=UNATTENDED),
    ] = KEEP
    no_warm_start: Annotated[
        bool,
        typer.Option(
            "--no-warm-start",
            help="Train from scratch instead of starting from the model of the last run.",
            rich_help_panel=UNATTENDED,
        ),
    ] = False
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Publish the new model even if it is worse than that of the last run.",
            rich_help_panel=UNATTENDED,
        ),
    ] = False
    rollback: Annotated[
        bool,
        typer.Option(
            "--rollback", help="Go back to the results before the last run, and exit.", rich_help_panel=UNATTENDED
        ),
    ] = False
    wait_lock: WaitLock = 0.0


def _names(options: type) -> tuple[str, ...]:
    return tuple(field.name for field in fields(options))


STAGES = {
    "prepare": Stage(
        prepare.PrepareOptions,
        shared=("sources", "items", "interactions", *_names(ReadingOptions)),
        decided=("output", "force", "dry_run", "explain", "encoded", "format", "wait_lock"),
        defaults={"split": "stable"},  # what is held out stays held out as the data grow
    ),
    "train": Stage(
        train.TrainOptions,
        shared=_names(TrainingOptions),
        decided=("output", "force", "dry_run", "warm_start", "resume", "wait_lock"),
    ),
    "evaluate": Stage(
        evaluate.EvaluateOptions,
        shared=("fail_above", "fail_below"),
        decided=("output", "format", "csv_safe", "on", "data", "test_file", "by", "wait_lock"),
    ),
    "recommend": Stage(
        recommend.RecommendOptions,
        shared=("top_k", "format", "where", "max_per"),
        decided=(
            "output",
            "user",
            "users",
            "show",
            "history",
            "data",
            "on_unknown",
            "explain",
            "shard",
            "shards",
            "processes",
            "wait_lock",
        ),
        defaults={"output": "recommendations.csv", "format": "csv"},
    ),
}
"""Commands that a run does the work of."""


def run_command(options: PipelineOptions, stages: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Do the whole job: prepare, train, evaluate and recommend, and publish the results together.

    Run it again, as every night, to bring the results up to date. Training starts from the last model, and a new model
    replaces it only if it is no worse. A failure publishes nothing: the last results stay.
    """
    from autorec_cli.cli.reports.run import RunReport, show_run
    from autorec_cli.pipeline.run import roll_back, run

    if options.rollback:
        if options.sources:
            raise UsageError("--rollback takes no sources: it goes back to the results of the run before")
        return roll_back(options.output, options.wait_lock)
    values, training = stages["recommend"], stages["train"]
    require_choice("--format", values["format"], FILE_FORMATS)
    write = writer_for(values["format"], not values["no_header"], values["csv_safe"])
    log = TrainingReport(training["log"], options.wait_lock, training["log_every"], advises=False)
    report = RunReport(write, log)
    document = run(_request(options, stages), report)
    show_run(document, report.measured, options.output)
    return document


def _request(options: PipelineOptions, stages: Mapping[str, dict[str, Any]]) -> RunRequest:
    from autorec_cli.pipeline.request import RunRequest

    require_count("--keep", options.keep, minimum=1)
    preparing = gather(prepare.PrepareOptions, stages["prepare"])
    if not preparing.sources and preparing.database is None:
        raise UsageError("give SOURCE, the files of ratings to read; a config file can name a database in [prepare]")
    # The pipeline replaces data and output by paths in the new generation.
    own = {"data": options.output, "output": options.output, "force": options.force, "wait_lock": options.wait_lock}
    training = gather(train.TrainOptions, {**stages["train"], **own})
    evaluating, gates = evaluate.settings_of(gather(evaluate.EvaluateOptions, {**stages["evaluate"], "models": ()}))
    recommending = gather(recommend.RecommendOptions, {**stages["recommend"], "model": options.output})
    return RunRequest(
        output=options.output,
        source=prepare.source_of(preparing),
        items=preparing.items,
        test_files=preparing.test_file or (),
        prepare=prepare.settings_of(preparing),
        train=train.request_of(training),
        evaluate=evaluating,
        gates=gates,
        recommend=recommend.settings_of(recommending),
        recommendations=f"recommendations.{stages['recommend']['format']}",
        keep=options.keep,
        warm_start=not options.no_warm_start,
    )


COMMAND = Command(run_command, PipelineOptions, EXAMPLES, stages=STAGES)
