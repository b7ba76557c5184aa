"""Typer app with all commands."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from autorec_cli import __version__
from autorec_cli.cli.commands import (
    config,
    cross_validate,
    doctor,
    evaluate,
    export,
    info,
    predict,
    prepare,
    recommend,
    report,
    run,
    sample,
    similar,
    train,
    tune,
)
from autorec_cli.cli.options.config_file import PREFIX
from autorec_cli.cli.options.declaration import gather, with_options
from autorec_cli.cli.runner import Command, as_typer_command

EXAMPLES = """
[bold]The whole job[/bold]

autorec run ratings.csv -o out

[bold]Step by step[/bold]

autorec prepare ratings.csv -o data

autorec train data -o ratings.model

autorec evaluate ratings.model

autorec recommend ratings.model -k 10 > top.csv
"""

app = typer.Typer(
    name="autorec",
    help="Turn a file of ratings into a recommender with AutoRec (Sedhain et al., WWW 2015).",
    epilog=EXAMPLES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": PREFIX},
)

WITHOUT_TORCHRUN = "start it without torchrun"
COMMANDS = {
    "run": Command(run.run_command, run.PipelineOptions, run.EXAMPLES, WITHOUT_TORCHRUN, run.STAGES),
    "prepare": Command(prepare.prepare_command, prepare.PrepareOptions, prepare.EXAMPLES, WITHOUT_TORCHRUN),
    "train": Command(train.train_command, train.TrainOptions, train.EXAMPLES),
    "evaluate": Command(evaluate.evaluate_command, evaluate.EvaluateOptions, evaluate.EXAMPLES),
    "cross-validate": Command(
        cross_validate.cross_validate_command,
        cross_validate.CrossValidateOptions,
        cross_validate.EXAMPLES,
        WITHOUT_TORCHRUN,
    ),
    "tune": Command(tune.tune_command, tune.TuneOptions, tune.EXAMPLES, WITHOUT_TORCHRUN),
    "recommend": Command(
        recommend.recommend_command,
        recommend.RecommendOptions,
        recommend.EXAMPLES,
        f"{WITHOUT_TORCHRUN}, once for each --shard",
    ),
    "predict": Command(predict.predict_command, predict.PredictOptions, predict.EXAMPLES, WITHOUT_TORCHRUN),
    "similar": Command(similar.similar_command, similar.SimilarOptions, similar.EXAMPLES, WITHOUT_TORCHRUN),
    "export": Command(export.export_command, export.ExportOptions, export.EXAMPLES, WITHOUT_TORCHRUN),
    "report": Command(report.report_command, report.ReportOptions, report.EXAMPLES, WITHOUT_TORCHRUN),
    "info": Command(info.info_command, info.InfoOptions, info.EXAMPLES),
    "sample": Command(sample.sample_command, sample.SampleOptions, sample.EXAMPLES, WITHOUT_TORCHRUN),
    "doctor": Command(doctor.doctor_command, doctor.DoctorOptions, doctor.EXAMPLES),
}
for _name, _command in COMMANDS.items():
    app.command(_name, epilog=_command.examples)(as_typer_command(_command))


def _show_config(context: typer.Context, values: dict[str, Any]) -> None:
    config.show_command(context, gather(config.ShowOptions, values))


config_app = typer.Typer(help="Show options set by a config file or environment variables.", no_args_is_help=True)
config_app.command("show", epilog=config.EXAMPLES, help=config.show_command.__doc__)(
    with_options(_show_config, config.ShowOptions)
)
app.add_typer(config_app, name="config")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"autorec {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            "-V",
            help="Print the version and exit.",
            callback=_print_version,
            is_eager=True,
            allow_from_autoenv=False,
        ),
    ] = False,
) -> None:
    """Options of the program itself."""
