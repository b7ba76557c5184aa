"""The program: one Typer app, and the place where an error becomes a line on stderr and an exit status."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Annotated

import typer

from autorec_cli import __version__
from autorec_cli.commands import evaluate, prepare, recommend, train
from autorec_cli.console import fail
from autorec_cli.errors import EXIT_BUG, EXIT_INTERRUPTED, AutoRecError, NotEnoughMemoryError

app = typer.Typer(
    name="autorec",
    help="Turn a file of ratings into a recommender with AutoRec (Sedhain et al., WWW 2015).",
    epilog="First steps: autorec prepare ratings.csv -o data && autorec train data -o item.model && "
    "autorec evaluate item.model && autorec recommend item.model -k 10 > top.csv",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

COMMANDS: dict[str, tuple[Callable[..., None], str]] = {
    "prepare": (prepare.prepare_command, prepare.EXAMPLES),
    "train": (train.train_command, train.EXAMPLES),
    "evaluate": (evaluate.evaluate_command, evaluate.EXAMPLES),
    "recommend": (recommend.recommend_command, recommend.EXAMPLES),
}
for _name, (_command, _examples) in COMMANDS.items():
    app.command(_name, epilog=_examples)(_command)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"autorec {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Options of the program itself."""


def main() -> None:
    """Run the program; never returns."""
    if hasattr(signal, "SIGPIPE"):  # a reader that closes the pipe, as `| head -1` does, ends us silently with 141
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    sys.exit(run())


def run() -> int:
    """Run the program on `sys.argv` and return its exit status."""
    try:
        app(standalone_mode=True)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else EXIT_BUG
    except AutoRecError as error:
        fail(str(error))
        return error.exit_status
    except KeyboardInterrupt:
        fail("interrupted")
        return EXIT_INTERRUPTED
    except MemoryError:
        fail("not enough memory; close other programs or use a smaller --hidden-size or --batch-size")
        return NotEnoughMemoryError.exit_status
    except Exception:
        traceback.print_exc()
        fail("this is a bug in autorec; please report it with the lines above")
        return EXIT_BUG
    return os.EX_OK
