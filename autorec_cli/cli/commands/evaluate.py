"""`autorec evaluate`: metrics of models, compared with simple baselines."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autorec_cli import __version__
from autorec_cli.cli.console import LOG
from autorec_cli.cli.options.declaration import METRICS, InputFile
from autorec_cli.cli.options.shared import (
    AllUsers,
    CsvSafe,
    FailAbove,
    FailBelow,
    Format,
    HeldOut,
    ModelData,
    Output,
    ReadingOptions,
    RelevantFrom,
    TopK,
    WaitLock,
)
from autorec_cli.cli.output.destination import open_output, reserve_output
from autorec_cli.cli.output.formats import choose_format, writer_for
from autorec_cli.cli.reports.metric_tables import complete_rows, to_frame, write_group_tables, write_tables
from autorec_cli.cli.runner import Command
from autorec_cli.errors import UsageError
from autorec_cli.evaluation.gates import Gate, check_gates, check_metric, enforce, lower_limit, upper_limit
from autorec_cli.runtime.process_group import ProcessGroup, current_process_group
from autorec_cli.storage import checksums

if TYPE_CHECKING:
    from autorec_cli.evaluation.measurement import EvaluateSettings, Models, Row

EXAMPLES = """
[bold]Examples[/bold]

autorec evaluate ratings.model

autorec evaluate ratings.model user.model -k 20

autorec evaluate ratings.model --test-file later.csv

autorec evaluate ratings.model --by users.n_train_ratings

autorec evaluate ratings.model --format json | jq '.[0].rmse'
"""


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """Options of `autorec evaluate`."""

    models: Annotated[
        list[Path], typer.Argument(metavar="MODEL", help="Model files made by `autorec train`."), InputFile()
    ]
    output: Output = "-"
    format: Format = None
    csv_safe: CsvSafe = False
    on: HeldOut = "test"
    data: ModelData = None
    test_file: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Measure on the ratings in this file instead of the test set, in a format that `prepare` reads; - is "
            "stdin. Pairs of the training and validation sets are left out.",
        ),
        InputFile(),
    ] = None
    reading: ReadingOptions
    top_k: TopK = 10
    relevant_from: RelevantFrom = None
    all_users: AllUsers = False
    by: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN|FILE:COLUMN",
            help="Measure groups of users or items instead: by a column of the dataset, such as users.n_train_ratings, "
            "or of a file with user or item ids.",
            rich_help_panel=METRICS,
        ),
    ] = None
    fail_above: FailAbove = None
    fail_below: FailBelow = None
    wait_lock: WaitLock = 0.0


def evaluate_command(options: EvaluateOptions) -> list[Row]:
    """Evaluate models on held-out ratings and report how they compare with simple baselines."""
    from autorec_cli.evaluation.evaluate import log_findings

    settings, gates = settings_of(options)
    format, process_group = choose_format(options.format, options.output), current_process_group()
    _check_test_file(options, process_group.size)
    _check_by(options, process_group.size)
    files = list({path.resolve(): path for path in options.models}.values())  # each once
    if not process_group.is_first:
        LOG.setLevel(logging.ERROR)  # the first process warns for all
        return complete_rows(_evaluate(options, files, settings, gates, process_group))
    with reserve_output(options.output, options.wait_lock):
        rows = _evaluate(options, files, settings, gates, process_group)
        _write(rows, options, format)
    if options.by is not None:
        return complete_rows(rows)
    # After the output: a failed gate must not keep the metrics from those who ask why.
    log_findings(rows, len(files), settings)
    enforce(rows[: len(files)], gates)
    return complete_rows(rows)


def _check_test_file(options: EvaluateOptions, n_processes: int) -> None:
    """Check that --test-file can replace the test set.

    Raises:
        UsageError: another set was asked for, or several processes would read stdin.
    """
    if options.test_file is not None and options.on != "test":
        raise UsageError(f"--test-file replaces the test set; leave out --on {options.on}")
    if options.test_file == "-" and n_processes > 1:
        raise UsageError("--test-file - is stdin, which several processes cannot share; name a file")


def _check_by(options: EvaluateOptions, n_processes: int) -> None:
    """Check that groups can be measured.

    Raises:
        UsageError: there are gates, or several processes.
    """
    if options.by is not None and (options.fail_above or options.fail_below):
        raise UsageError("--by measures groups, which have no gates; leave out --fail-above and --fail-below")
    if options.by is not None and n_processes > 1:
        raise UsageError("--by is measured by one process; start `autorec evaluate` without torchrun")


def settings_of(options: EvaluateOptions) -> tuple[EvaluateSettings, list[Gate]]:
    """Settings of an evaluation, and its quality gates.

    Raises:
        UsageError: a value is out of range, or a gate has no such metric.
    """
    from autorec_cli.evaluation.measurement import EvaluateSettings

    gates = [*map(upper_limit, options.fail_above or ()), *map(lower_limit, options.fail_below or ())]
    settings = EvaluateSettings(options.on, options.top_k, options.relevant_from, options.all_users)
    for gate in gates:
        check_metric(gate.metric, settings.k, gate.flag)
    return settings, gates


def _evaluate(
    options: EvaluateOptions,
    files: Sequence[Path],
    settings: EvaluateSettings,
    gates: Sequence[Gate],
    process_group: ProcessGroup,
) -> list[Row]:
    """Load models, dataset and perhaps a test file, and measure."""
    from autorec_cli.data import dataset
    from autorec_cli.evaluation.evaluate import check_models, load_models, measure_in_group, training_data_of
    from autorec_cli.evaluation.external_test import with_test_ratings

    named: Models = load_models(files)
    check_gates(gates, named, settings.k)
    prepared = dataset.load_dataset(options.data or training_data_of(named))
    check_models(named, prepared, settings.split if options.test_file is None else "train")
    if options.test_file is not None:
        named, prepared = with_test_ratings(named, prepared, options.test_file, options.reading.read_options())
    if options.by is not None:
        from autorec_cli.evaluation.groups.evaluate import evaluate_groups
        from autorec_cli.evaluation.groups.members import groups_by

        return evaluate_groups(named, prepared, settings, groups_by(prepared, options.by))
    facts = _facts(files) if process_group.size > 1 else {}
    measured = measure_in_group(named, prepared, settings, process_group, facts)
    return [of_model.row(prepared.rating_scale) for of_model in measured]


def _facts(files: Sequence[Path]) -> dict[str, str | int]:
    """Program and models that all processes must have in common."""
    return {
        "autorec-cli": __version__,
        **{f"checksum of model {number}": checksums.of_file(file) for number, file in enumerate(files, 1)},
    }


def _write(rows: Sequence[Row], options: EvaluateOptions, format: str) -> None:
    with open_output(options.output) as stream:
        if format == "table" and options.by is not None:
            write_group_tables(rows, options.on, options.by, stream)
        elif format == "table":
            write_tables(rows, options.on, options.top_k, stream)
        else:
            writer_for(format, csv_safe=options.csv_safe)([to_frame(rows)], stream)


COMMAND = Command(evaluate_command, EvaluateOptions, EXAMPLES, one_process=None)
