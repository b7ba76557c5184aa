"""`autorec similar`: a model file -> similar items or users."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Annotated

import typer

from autorec_cli.cli.console import say
from autorec_cli.cli.options.declaration import OneOf
from autorec_cli.cli.options.shared import CsvSafe, Format, ModelFile, Output, WaitLock, ids_option
from autorec_cli.cli.output.destination import open_output, reserve_output
from autorec_cli.cli.output.formats import choose_format, counted_blocks, writer_for
from autorec_cli.cli.output.tables import write_table
from autorec_cli.cli.runner import Command
from autorec_cli.config import require_count
from autorec_cli.errors import UsageError

if TYPE_CHECKING:
    import polars as pl

    from autorec_cli.inference.scorer import Scorer
    from autorec_cli.inference.similarity import SimilarSettings

EXAMPLES = """
[bold]Examples[/bold]

autorec similar ratings.model --item 00012

autorec similar ratings.model -k 20 -o similar-items.parquet

autorec similar ratings.model --user 007,042 --format jsonl
"""

SHOWN = 20


@dataclass(frozen=True, kw_only=True)
class SimilarOptions:
    """Options of `autorec similar`."""

    model: ModelFile
    item: Annotated[list[str] | None, ids_option("Only these items", "all items")] = None
    user: Annotated[
        list[str] | None, typer.Option(metavar="ID,...", help="These users, and users similar to them, instead.")
    ] = None
    of: Annotated[
        str, typer.Option("--of", help="Compare items, or users, of which none are named."), OneOf(("items", "users"))
    ] = "items"
    top_k: Annotated[
        int, typer.Option("--top-k", "-k", metavar="K", help="Number of similar items or users for each.")
    ] = 10
    min_ratings: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Find only items or users with at least this many training ratings; little is known of others.",
        ),
    ] = 10
    show: Annotated[int, typer.Option(metavar="N", help="Number of tables shown on a terminal; 0 shows all.")] = SHOWN
    output: Output = "-"
    format: Format = None
    csv_safe: CsvSafe = False
    wait_lock: WaitLock = 0.0


def similar_command(options: SimilarOptions) -> dict[str, int]:
    """Find similar items, or users: those whose scores rise and fall together.

    The similarity of two items, from -1 to 1, is the correlation of their scores over all users, by the network that
    orders items.
    """
    from autorec_cli.inference.files import model_file
    from autorec_cli.inference.similarity import keep_first, similar_batches

    if options.item and (options.user or options.of == "users"):
        raise UsageError("--item compares items; leave out --user and --of users")
    require_count("--show", options.show, minimum=0)
    format = choose_format(options.format, options.output)
    write, written = writer_for(format, csv_safe=options.csv_safe), list[int]()
    with reserve_output(options.output, options.wait_lock):
        model = model_file.load_model(options.model)
        settings = _settings_of(options, model)
        n_left = 0
        if format == "table" and options.show and options.output == "-":
            settings, n_left = keep_first(model, settings, options.show)
        frames = counted_blocks(similar_batches(model, settings), written)
        with open_output(options.output) as stream:
            if format == "table":
                _write_tables(frames, stream)
            else:
                write(frames, stream)
    if n_left:
        say(f"{n_left:,} more {settings.of} are left out; --show 0 shows all, and a pipe gets all as CSV")
    return {"n_rows": sum(written)}


def _settings_of(options: SimilarOptions, model: Scorer) -> SimilarSettings:
    from autorec_cli.inference.similarity import SimilarSettings
    from autorec_cli.inference.users.id_file import split_ids

    of = "users" if options.user else options.of
    known = model.catalog.item_ids if of == "items" else model.catalog.user_ids
    named = options.item or options.user
    return SimilarSettings(of, split_ids(named, known) if named else None, options.top_k, options.min_ratings)


def _write_tables(frames: Iterator[pl.DataFrame], stream: IO[bytes]) -> None:
    """Write a table for each item or user."""
    for frame in frames:
        for rows in frame.partition_by(frame.columns[0], maintain_order=True):
            side, name = rows.columns[0].removesuffix("_id"), rows.item(0, 0)
            title = rows["title"][0] if "title" in rows.columns else None
            shown = [column for column in rows.columns[rows.columns.index("rank") :] if rows[column].null_count() == 0]
            write_table([rows.select(shown)], stream, f"{side} {name}" + (f": {title}" if title else ""))


COMMAND = Command(similar_command, SimilarOptions, EXAMPLES)
