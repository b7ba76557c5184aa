"""`autorec sample`: synthetic ratings to try the program with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autorec_cli.cli.options.declaration import OutputFile
from autorec_cli.cli.options.shared import Output
from autorec_cli.cli.output.destination import open_output, reserve_output
from autorec_cli.cli.output.formats import choose_format, writer_for
from autorec_cli.cli.runner import Command
from autorec_cli.errors import UsageError

if TYPE_CHECKING:
    import polars as pl

EXAMPLES = """
[bold]Examples[/bold]

autorec sample -o sample.csv --items items.csv

autorec sample | autorec prepare - -o data
"""


@dataclass(frozen=True, kw_only=True)
class SampleOptions:
    """Options of `autorec sample`."""

    output: Output = "-"
    items: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Also write the title, genre and year of every item to this file."),
        OutputFile(),
    ] = None
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist.")] = False


def sample_command(options: SampleOptions) -> dict[str, int]:
    """Write synthetic ratings: 100,000 by 1,000 users of 600 items, in half stars, the same every time.

    The ending of a file name chooses its format; stdout is CSV.
    """
    from autorec_cli.data.sample import sample_frames

    for output in filter(None, (options.output, options.items)):
        choose_format(_format(output), output)
        if Path(output).is_file() and not options.force:
            raise UsageError(f"{output} exists; replace it with --force or name another file")
    ratings, items = sample_frames()
    _write(ratings, options.output)
    if options.items is not None:
        _write(items, options.items)
    return {"n_rows": ratings.height}


def _format(output: str) -> str | None:
    """CSV on stdout, even on a terminal; None for a file."""
    return "csv" if output == "-" else None


def _write(frame: pl.DataFrame, output: str) -> None:
    write = writer_for(choose_format(_format(output), output))
    with reserve_output(output), open_output(output) as stream:
        write([frame], stream)


COMMAND = Command(sample_command, SampleOptions, EXAMPLES)
