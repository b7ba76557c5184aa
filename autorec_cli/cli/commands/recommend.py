"""`autorec recommend`: a model file -> top-k lists, written while users are scored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autorec_cli.cli.console import say, warn
from autorec_cli.cli.options import (
    FILTERS,
    NEW_USERS,
    UNATTENDED,
    CsvSafe,
    Format,
    InputFile,
    OneOf,
    Output,
    ReadingOptions,
    WaitLock,
)
from autorec_cli.cli.output import choose_format, open_output, reserve_output, write_table, writer_for
from autorec_cli.errors import UsageError

if TYPE_CHECKING:
    import polars as pl

    from autorec_cli.inference.recommender import Request

EXAMPLES = """
[bold]Examples[/bold]

autorec recommend item.model -k 10 > top.csv

autorec recommend item.model --user 42 --user 7

cut -f1 active.tsv | autorec recommend item.model --users - --format jsonl

autorec recommend item.model --history new-users.csv -o lists.parquet

autorec recommend lists.model --rating-model item.model -k 20 -o lists.csv

autorec recommend lists.model --shard 3/16 -o part-03.csv
"""

USERS_SHOWN = 20


@dataclass(frozen=True, kw_only=True)
class RecommendOptions:
    """Options of `autorec recommend`."""

    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Model file made by `autorec train`."), InputFile()]
    output: Output = "-"
    format: Format = None
    csv_safe: CsvSafe = False
    no_header: Annotated[bool, typer.Option("--no-header", help="Omit the header row of csv and tsv.")] = False
    top_k: Annotated[int, typer.Option("--top-k", "-k", metavar="K", help="Number of recommendations per user.")] = 10
    user: Annotated[
        list[str] | None,
        typer.Option("--user", metavar="ID", help="Only this user; can be repeated.", show_default="all users"),
    ] = None
    users: Annotated[
        str | None,
        typer.Option(
            "--users", metavar="FILE", help="Only these users, one id per line; - is stdin.", show_default="all users"
        ),
        InputFile(),
    ] = None
    rating_model: Annotated[
        Path | None,
        typer.Option(
            metavar="MODEL",
            help="Add the column predicted_rating from this model, which was trained to predict ratings.",
        ),
        InputFile(),
    ] = None
    show: Annotated[
        int, typer.Option(metavar="N", help="Number of users shown in a table on a terminal; 0 shows all.")
    ] = USERS_SHOWN
    candidates: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Recommend only these items, one id per line; - is stdin.",
            show_default="all items",
            rich_help_panel=FILTERS,
        ),
        InputFile(),
    ] = None
    exclude: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Never recommend these items, one id per line; - is stdin.",
            rich_help_panel=FILTERS,
        ),
        InputFile(),
    ] = None
    min_item_ratings: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Recommend only items with at least this many training ratings; 0 includes cold items. Predictions "
            "for rarely rated items are extreme: 20 or more gives lists that people recognize.",
            rich_help_panel=FILTERS,
        ),
    ] = 1
    include_seen: Annotated[
        bool,
        typer.Option("--include-seen", help="Also recommend items that the user has rated.", rich_help_panel=FILTERS),
    ] = False
    history: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Recommend for new users, whose ratings are in this file, in any format that `prepare` reads; - is "
            "stdin.",
            rich_help_panel=NEW_USERS,
        ),
        InputFile(),
    ] = None
    on_unknown: Annotated[
        str,
        typer.Option(
            help="Users that the model does not know: error, skip, or popular (the most rated items).",
            rich_help_panel=NEW_USERS,
        ),
        OneOf(("error", "skip", "popular")),
    ] = "error"
    reading: ReadingOptions
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="N/COUNT",
            help="Process shard N of COUNT of the users. The csv, tsv or jsonl outputs of all shards, concatenated in "
            "order, equal the output of one run; only the first has a header row.",
            show_default="all users",
            rich_help_panel=UNATTENDED,
        ),
    ] = None
    wait_lock: WaitLock = 0.0


def recommend_command(options: RecommendOptions) -> dict[str, int]:
    """Write top-k recommendations for every user: the best items that the user has not rated.

    Models trained with --objective ranking make far better recommendations than models that predict ratings.
    """
    if [options.users, options.history, options.candidates, options.exclude].count("-") > 1:
        raise UsageError("only one of --users, --history, --candidates and --exclude can be read from stdin")
    from autorec_cli.inference.recommender import Request

    request = Request(
        user_ids=_wanted_users(options.user, options.users),
        history=options.history,
        history_format=options.reading.read_options(),
        k=options.top_k,
        include_seen=options.include_seen,
        candidates=options.candidates,
        exclude=options.exclude,
        min_item_ratings=options.min_item_ratings,
        on_unknown=options.on_unknown,
    )
    return recommend(
        options.model,
        request,
        rating_model=options.rating_model,
        output=options.output,
        format=options.format,
        header=not options.no_header,
        csv_safe=options.csv_safe,
        show=options.show,
        shard=options.shard,
        wait_lock=options.wait_lock,
    )


def recommend(
    path: Path,
    request: Request,
    *,
    rating_model: Path | None = None,
    output: str = "-",
    format: str | None = None,
    header: bool = True,
    csv_safe: bool = False,
    show: int = USERS_SHOWN,
    shard: str | None = None,
    wait_lock: float = 0.0,
) -> dict[str, int]:
    """Write the lists that `request` asks for, rows of user_id, rank, item_id, prediction or score, title if known.

    With `rating_model` rows also have what that model predicts; `shard` is what `parse_shard` reads.

    Returns:
        How many users were asked for and how many rows were written for them.

    Raises:
        UsageError: an option has a value that cannot work.
        LockedError: another run is writing `output`.
        InputDataError: a file of ids or ratings cannot be used, or a user is unknown.
        ArtifactError: the model cannot be used, or `rating_model` is of other data.
    """
    from autorec_cli.inference import model_file
    from autorec_cli.inference.predicted_ratings import check_rating_model, with_predicted_ratings
    from autorec_cli.inference.recommender import audience_of, list_frames, parse_shard

    format = choose_format(format, output)
    asked = None if shard is None else parse_shard(shard)
    if asked is not None and asked.number > 1 and format in ("csv", "tsv"):
        header = False
    write = writer_for(format, header, csv_safe)
    if show < 0:
        raise UsageError(f"--show must be a whole number from 0, not {show}")
    with reserve_output(output, wait_lock, say, warn):
        model = model_file.load(path)
        raters = None if rating_model is None else model_file.load(rating_model)
        if raters is not None:
            check_rating_model(raters, model, request)
        audience = audience_of(model, request, warn)
        if asked is not None:
            audience = audience.shard(asked)
        if model.predicts_ratings:
            warn(f"{path} was trained to predict ratings; models trained with --objective ranking make better lists")
        n_users = len(audience.user_ids)
        if format == "table" and show and output == "-":
            audience = audience.first(show)
        written: list[int] = []
        with list_frames(model, request, audience, warn) as blocks, open_output(output) as stream:
            if raters is not None:
                blocks = with_predicted_ratings(blocks, raters, request, audience.user_ids, warn)
            blocks = _counted(blocks, written)
            if format == "table":
                blocks = (rows for frame in blocks for rows in frame.partition_by("user_id", maintain_order=True))
                for rows in blocks:
                    write_table([rows.drop("user_id")], stream, title=f"user {rows['user_id'][0]}")
            else:
                write(blocks, stream)
    if len(audience.user_ids) < n_users:
        say(f"these are the first {show} of {n_users:,} users; --show 0 shows all, and a pipe gets all as CSV")
    return {"n_users": n_users, "n_rows": sum(written)}


def _counted(blocks: Iterable[pl.DataFrame], written: list[int]) -> Iterator[pl.DataFrame]:
    """`blocks`, noting the rows of each in `written` as it passes."""
    for block in blocks:
        written.append(block.height)
        yield block


def _wanted_users(user: Sequence[str] | None, users: str | None) -> list[str] | None:
    from autorec_cli.inference.recommender import read_ids

    if user is None and users is None:
        return None
    return [*(user or []), *(read_ids(users, "--users") if users is not None else [])]
