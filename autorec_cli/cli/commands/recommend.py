"""`autorec recommend`: a model file -> top-k lists, written while users are scored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autorec_cli.cli.console import say, warn
from autorec_cli.cli.output import choose_format, open_output, reserve_output, write_table, writer_for
from autorec_cli.cli.output_options import CsvSafe, Format, Output, WaitLock
from autorec_cli.errors import UsageError

if TYPE_CHECKING:
    import polars as pl

    from autorec_cli.data.readers.options import ReadOptions
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


def recommend_command(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A model file made by `autorec train`.")],
    user: Annotated[
        list[str] | None, typer.Option("--user", metavar="ID", help="Only this user; can be repeated.")
    ] = None,
    users: Annotated[
        str | None, typer.Option("--users", metavar="FILE", help="Only these users, an id a line; - is stdin.")
    ] = None,
    history: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Ratings of users the model was not trained on, in any form that `prepare` reads; lists are for them.",
        ),
    ] = None,
    delimiter: Annotated[
        str | None,
        typer.Option(help="Between the fields of --history: , ; | :: tab blanks.", show_default="detected"),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            metavar="ROLE=COLUMN,...",
            help="Columns of --history by name or number from 1: user=..,item=..,rating=..",
            show_default="detected",
        ),
    ] = None,
    encoding: Annotated[str, typer.Option(help="Encoding of --history.")] = "utf-8",
    on_error: Annotated[str, typer.Option(help="At a bad row of --history: fail, or skip it.")] = "fail",
    top_k: Annotated[int, typer.Option("--top-k", "-k", help="Items in a list.")] = 10,
    include_seen: Annotated[
        bool, typer.Option("--include-seen", help="Also list items that the user has rated.")
    ] = False,
    candidates: Annotated[
        str | None, typer.Option(metavar="FILE", help="List only these items, an id a line; - is stdin.")
    ] = None,
    exclude: Annotated[
        str | None, typer.Option(metavar="FILE", help="Never list these items, an id a line; - is stdin.")
    ] = None,
    min_item_ratings: Annotated[
        int,
        typer.Option(
            help="List only items with so many training ratings; 0 lists cold items too. Predictions of rarely rated "
            "items are extreme: 20 or more gives lists that people recognize."
        ),
    ] = 1,
    rating_model: Annotated[
        Path | None,
        typer.Option(
            metavar="MODEL", help="Add the column predicted_rating: what this model, trained to predict ratings, says."
        ),
    ] = None,
    on_unknown: Annotated[
        str,
        typer.Option(help="Users of whom the model knows nothing: error, skip, or popular (the most rated items)."),
    ] = "error",
    output: Output = "-",
    format: Format = None,
    csv_safe: CsvSafe = False,
    no_header: Annotated[bool, typer.Option("--no-header", help="Leave out the header row of csv and tsv.")] = False,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="N/COUNT",
            help="Only the N-th of COUNT runs of users. The csv, tsv or jsonl outputs of all COUNT, in order, are the "
            "output of one; the first alone has a header row.",
            show_default="all users",
        ),
    ] = None,
    show: Annotated[int, typer.Option(help="Users shown in a table; 0 shows all.")] = USERS_SHOWN,
    wait_lock: WaitLock = 0.0,
) -> dict[str, int]:
    """Write the items that each user is predicted to like best and has not rated.

    Lists of models trained with --objective ranking are far better than those of models that predict ratings.
    """
    if [users, history, candidates, exclude].count("-") > 1:
        raise UsageError("only one of --users, --history, --candidates and --exclude can be read from stdin")
    from autorec_cli.inference.recommender import Request

    request = Request(
        user_ids=_wanted_users(user, users),
        history=history,
        history_format=_read_options(delimiter, columns, encoding, on_error),
        k=top_k,
        include_seen=include_seen,
        candidates=candidates,
        exclude=exclude,
        min_item_ratings=min_item_ratings,
        on_unknown=on_unknown,
    )
    return recommend(
        model,
        request,
        rating_model=rating_model,
        output=output,
        format=format,
        header=not no_header,
        csv_safe=csv_safe,
        show=show,
        shard=shard,
        wait_lock=wait_lock,
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


def _read_options(delimiter: str | None, columns: str | None, encoding: str, on_error: str) -> ReadOptions:
    from autorec_cli.data.readers.options import ReadOptions, parse_columns, parse_delimiter

    if on_error not in ("fail", "skip"):
        raise UsageError(f"--on-error must be fail or skip, not {on_error!r}")
    return ReadOptions(
        delimiter=parse_delimiter(delimiter),
        columns=parse_columns(columns),
        encoding=encoding,
        skip_bad_rows=on_error == "skip",
    )


def _wanted_users(user: Sequence[str] | None, users: str | None) -> list[str] | None:
    from autorec_cli.inference.recommender import read_ids

    if user is None and users is None:
        return None
    return [*(user or []), *(read_ids(users, "--users") if users is not None else [])]
