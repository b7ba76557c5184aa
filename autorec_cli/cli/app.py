"""Typer app with all commands, each imported when it is needed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from autorec_cli import __version__
from autorec_cli.cli.options.config_file import PREFIX
from autorec_cli.cli.options.declaration import CommandGroup
from autorec_cli.cli.runner import as_typer_app

EXAMPLES = """
[bold]The whole job[/bold]

autorec run ratings.csv -o out

[bold]Step by step[/bold]

autorec prepare ratings.csv -o data

autorec train data -o ratings.model

autorec evaluate ratings.model

autorec recommend ratings.model -k 10 > top.csv
"""

COMMANDS = {
    "run": "Do the whole job: prepare, train, evaluate and recommend, and publish the results together.",
    "prepare": "Turn files of ratings into a dataset: ids, sparse matrices, and training, validation and test sets.",
    "train": "Train an AutoRec model on a prepared dataset and write it to one file.",
    "evaluate": "Evaluate models on held-out ratings and report how they compare with simple baselines.",
    "cross-validate": "Repeatedly re-split all ratings of a dataset, train and test on each split, and average the "
    "metrics.",
    "tune": "Search for the hyperparameters with the best validation result and write the `autorec train` command for "
    "them.",
    "recommend": "Write top-k recommendations for every user: the best items that the user has not rated.",
    "predict": "Predict the ratings of user-item pairs, in their order.",
    "similar": "Find similar items, or users: those whose scores rise and fall together.",
    "export": "Export a model to other programs: vectors for an index of nearest neighbors, or a graph for an ONNX "
    "runtime.",
    "report": "Write one self-contained page about models: what they were trained on, what they are worth, and "
    "warnings.",
    "info": "Show details of a model or dataset: hyperparameters, sizes and origin.",
    "sample": "Write synthetic ratings: 100,000 by 1,000 users of 600 items, in half stars, the same every time.",
    "doctor": "Check the installation, torch, CUDA, memory, disk and file locking; the status is 2 if a check fails.",
    "config": "Show options set by a config file or environment variables.",
}
"""Command -> first paragraph of its help, for lists of commands."""


@cache
def _command(name: str) -> Any:  # noqa: ANN401 - Typer names no type for it
    module = import_module(f"autorec_cli.cli.commands.{name.replace('-', '_')}")
    return typer.main.get_command(module.APP if name == "config" else as_typer_app(module.COMMAND, name))


class _OnDemand(Mapping[str, Any]):
    def __getitem__(self, name: str) -> Any:  # noqa: ANN401
        if name not in COMMANDS:
            raise KeyError(name)
        return _command(name)

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


class Program(CommandGroup):
    """Group of commands that are imported when they are needed.

    Importing all of them takes longer than importing Typer.
    """

    def __init__(self, **settings: Any) -> None:  # noqa: ANN401
        super().__init__(**settings)
        self.commands: Any = _OnDemand()

    def format_help(self, *arguments: Any) -> None:  # noqa: ANN401
        """Show the list of commands."""
        with self._listing():
            super().format_help(*arguments)

    def shell_complete(self, *arguments: Any) -> list[Any]:  # noqa: ANN401
        """Complete the name of a command."""
        with self._listing():
            return super().shell_complete(*arguments)

    @contextmanager
    def _listing(self) -> Iterator[None]:
        """Have what a list of commands shows of them, without importing any."""
        self.commands = {name: TyperCommand(name, help=summary) for name, summary in COMMANDS.items()}
        try:
            yield
        finally:
            self.commands = _OnDemand()


app = typer.Typer(
    name="autorec",
    cls=Program,
    help="Turn a file of ratings into a recommender with AutoRec (Sedhain et al., WWW 2015).",
    epilog=EXAMPLES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": PREFIX},
)


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
