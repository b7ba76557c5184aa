"""The Typer app: all commands, and the options of the program itself."""

from __future__ import annotations

from typing import Annotated

import typer

from autorec_cli import __version__
from autorec_cli.cli.commands import config, cross_validate, doctor, evaluate, info, prepare, recommend, train, tune
from autorec_cli.cli.config_file import PREFIX
from autorec_cli.cli.runner import Command, conversing

app = typer.Typer(
    name="autorec",
    help="Turn a file of ratings into a recommender with AutoRec (Sedhain et al., WWW 2015).",
    epilog="First steps: autorec prepare ratings.csv -o data && autorec train data -o item.model && "
    "autorec evaluate item.model && autorec recommend item.model -k 10 > top.csv",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": PREFIX},
)

COMMANDS: dict[str, tuple[Command, str]] = {
    "prepare": (prepare.prepare_command, prepare.EXAMPLES),
    "train": (train.train_command, train.EXAMPLES),
    "evaluate": (evaluate.evaluate_command, evaluate.EXAMPLES),
    "cross-validate": (cross_validate.cross_validate_command, cross_validate.EXAMPLES),
    "tune": (tune.tune_command, tune.EXAMPLES),
    "recommend": (recommend.recommend_command, recommend.EXAMPLES),
    "info": (info.info_command, info.EXAMPLES),
    "doctor": (doctor.doctor_command, doctor.EXAMPLES),
}
for _name, (_command, _examples) in COMMANDS.items():
    app.command(_name, epilog=_examples)(conversing(_command))

config_app = typer.Typer(help="Options from settings files and the environment.", no_args_is_help=True)
config_app.command("show", epilog=config.EXAMPLES)(config.show_command)
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
            help="Print the version and exit.",
            callback=_print_version,
            is_eager=True,
            allow_from_autoenv=False,
        ),
    ] = False,
) -> None:
    """Options of the program itself."""
