"""`autorec predict`: user-item pairs -> predicted ratings, written as they are read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autorec_cli.cli.console import say
from autorec_cli.cli.options.declaration import NEW_USERS, InputFile
from autorec_cli.cli.options.shared import CsvSafe, Format, HistoryData, Output, ReadingOptions, WaitLock
from autorec_cli.cli.output.destination import open_output, reserve_output
from autorec_cli.cli.output.formats import choose_format, writer_for
from autorec_cli.cli.output.tables import write_table
from autorec_cli.cli.runner import Command
from autorec_cli.errors import UsageError, counted

if TYPE_CHECKING:
    import polars as pl

EXAMPLES = """
[bold]Examples[/bold]

autorec predict ratings.model pairs.csv -o predictions.csv

printf '42,1\\n7,2\\n' | autorec predict ratings.model --format jsonl

autorec predict ratings.model pairs.csv --history new-users.csv -o predictions.parquet

autorec predict ratings.model ratings.csv --columns user=user,item=item,rating=none > without-ratings.csv
"""


@dataclass(frozen=True, kw_only=True)
class PredictOptions:
    """Options of `autorec predict`."""

    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="Model file made by `autorec train`; it predicts ratings."),
        InputFile(),
    ]  # fmt: skip
    pairs: Annotated[
        str,
        typer.Argument(
            metavar="PAIRS",
            help="User and item ids, with or without ratings, in any format that `prepare` reads; - is stdin.",
        ),
        InputFile(),
    ] = "-"
    output: Output = "-"
    format: Format = None
    csv_safe: CsvSafe = False
    history: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Ratings of new users, in a format that is detected; - is stdin. Those of users that the model knows "
            "are added to those in its dataset, and replace older ones.",
            rich_help_panel=NEW_USERS,
        ),
        InputFile(),
    ] = None
    data: HistoryData = None
    reading: ReadingOptions
    wait_lock: WaitLock = 0.0


def predict_command(options: PredictOptions) -> dict[str, Any]:
    """Predict the ratings of user-item pairs, in their order.

    The column `basis` says what a prediction rests on: network, fold-in (of --history), user bias, item bias or global
    mean. Pairs that have a rating also get the residual, rating - predicted_rating.
    """
    from autorec_cli.inference.files import model_file
    from autorec_cli.inference.prediction.batches import BASES, PredictSettings, predict_batches

    if options.pairs == options.history == "-":
        raise UsageError("only one of PAIRS and --history can be read from stdin; name a file for the other")
    format = choose_format(options.format, options.output)
    write = writer_for(format, csv_safe=options.csv_safe)
    settings = PredictSettings(options.reading.read_options(), options.history, options.data)
    n_by_basis: Counter[str] = Counter()
    with reserve_output(options.output, options.wait_lock):
        model = model_file.load_model(options.model)
        if format == "table":
            write = partial(write_table, decimals=model.catalog.decimals)
        frames = predict_batches(model, options.pairs, settings)
        with open_output(options.output) as stream:
            write(_counted(frames, n_by_basis), stream)
    by_basis = ", ".join(f"{n_by_basis[basis]:,} by {basis}" for basis in BASES if n_by_basis[basis])
    say(f"predicted {counted(n_by_basis.total(), 'pair')}: {by_basis}")
    return {"n_pairs": n_by_basis.total(), "n_by_basis": dict(n_by_basis)}


def _counted(frames: Iterable[pl.DataFrame], n_by_basis: Counter[str]) -> Iterator[pl.DataFrame]:
    """Yield `frames`, counting the bases of their rows."""
    for frame in frames:
        # Counted on the way, as the frames are never all in memory.
        n_by_basis.update(dict(frame["basis"].value_counts().iter_rows()))
        yield frame


COMMAND = Command(predict_command, PredictOptions, EXAMPLES)
