"""`autorec recommend`: a model file -> top-k lists, written while users are scored."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from autorec_cli.console import say, warn
from autorec_cli.errors import InputDataError, UsageError
from autorec_cli.output import FORMATS, choose_format, open_output, write_table, writer_for

if TYPE_CHECKING:
    import polars as pl

    from autorec_cli.baselines import Array
    from autorec_cli.checkpoint import Model
    from autorec_cli.ingest.options import ReadOptions
    from autorec_cli.lists import ListBlock
    from autorec_cli.scoring import Users

EXAMPLES = """
[bold]Examples[/bold]

autorec recommend item.model -k 10 > top.csv

autorec recommend item.model --user 42 --user 7

cut -f1 active.tsv | autorec recommend item.model --users - --format jsonl

autorec recommend item.model --history new-users.csv -o lists.parquet
"""

ON_UNKNOWN = ("error", "skip", "popular")
USERS_SHOWN = 20


@dataclass(frozen=True)
class Request:
    """Whose lists are wanted and what may be in them.

    Attributes:
        user_ids: In the order wanted; None means everyone in the model.
        history: A file of ratings of users to fold in, instead of users of the model.
        history_format: How to read it; None detects everything.
        k: Length of a list.
        include_seen: Whether rated items may be listed.
        candidates, exclude: Files with an item id a line: only these, none of these.
        min_item_ratings: Training ratings that an item needs to be listed.
        on_unknown: "error", "skip" or "popular": what to do with users that the model does not know.
    """

    user_ids: Sequence[str] | None = None
    history: str | None = None
    history_format: ReadOptions | None = None
    k: int = 10
    include_seen: bool = False
    candidates: str | None = None
    exclude: str | None = None
    min_item_ratings: int = 1
    on_unknown: str = "error"

    def __post_init__(self) -> None:
        if self.k < 1:
            raise UsageError(f"--top-k must be a whole number from 1, not {self.k}")
        if self.min_item_ratings < 0:
            raise UsageError(f"--min-item-ratings must be 0 or more, not {self.min_item_ratings}")
        if self.on_unknown not in ON_UNKNOWN:
            raise UsageError(f"--on-unknown must be one of {', '.join(ON_UNKNOWN)}, not {self.on_unknown!r}")
        if self.history is not None and self.user_ids is not None:
            raise UsageError("--history lists the users of its file; leave out --user and --users")


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
    on_unknown: Annotated[
        str,
        typer.Option(help="Users of whom the model knows nothing: error, skip, or popular (the most rated items)."),
    ] = "error",
    output: Annotated[str, typer.Option("--output", "-o", metavar="FILE", help="Where to write; - is stdout.")] = "-",
    format: Annotated[
        str | None,
        typer.Option(
            "--format",
            help=f"One of {', '.join(FORMATS)}.",
            show_default="table on a terminal, else by the ending of FILE, else csv",
        ),
    ] = None,
    no_header: Annotated[bool, typer.Option("--no-header", help="Leave out the header row of csv and tsv.")] = False,
    show: Annotated[int, typer.Option(help="Users shown in a table; 0 shows all.")] = USERS_SHOWN,
) -> None:
    """Write the items that each user is predicted to like best and has not rated."""
    if [users, history, candidates, exclude].count("-") > 1:
        raise UsageError("only one of --users, --history, --candidates and --exclude can be read from stdin")
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
    recommend(model, request, output=output, format=format, header=not no_header, show=show)


def recommend(
    path: Path,
    request: Request,
    *,
    output: str = "-",
    format: str | None = None,
    header: bool = True,
    show: int = USERS_SHOWN,
) -> None:
    """Write the lists that `request` asks for, rows of user_id, rank, item_id, prediction and title if known.

    Raises:
        UsageError: an option has a value that cannot work.
        InputDataError: a file of ids or ratings cannot be used, or a user is unknown.
        ArtifactError: the model cannot be used.
    """
    from autorec_cli import checkpoint

    format = choose_format(format, output)
    write = writer_for(format, header)
    if show < 0:
        raise UsageError(f"--show must be a whole number from 0, not {show}")
    model = checkpoint.load(path)
    audience = _audience(model, request)
    n_users = len(audience.user_ids)
    if format == "table" and show and output == "-":
        audience = audience.first(show)
    blocks = _frames(model, request, audience)
    with open_output(output) as stream:
        if format == "table":
            blocks = (rows for frame in blocks for rows in frame.partition_by("user_id", maintain_order=True))
            for rows in blocks:
                write_table([rows.drop("user_id")], stream, title=f"user {rows['user_id'][0]}")
        else:
            write(blocks, stream)
    if len(audience.user_ids) < n_users:
        say(f"these are the first {show} of {n_users:,} users; --show 0 shows all, and a pipe gets all as CSV")


@dataclass(frozen=True)
class Audience:
    """The users who get lists, in the order of the lists.

    Attributes:
        user_ids: Their ids.
        users: Slice of them -> the users, ready to be scored.
        seen: Slice of them -> (row, item_index) of what they have rated.
        unknown: (n,) bool, users of whom nothing is known: they get the most rated items.
    """

    user_ids: Sequence[str]
    users: Callable[[slice], Users]
    seen: Callable[[slice], tuple[Array, Array]]
    unknown: Array

    def first(self, n: int) -> Audience:
        """Only the first `n` users."""
        return Audience(self.user_ids[:n], self.users, self.seen, self.unknown[:n])


def _audience(model: Model, request: Request) -> Audience:
    if request.history is not None:
        return _folded_audience(model, request)
    if request.user_ids is None:
        return _known_audience(model, model.user_ids, np.arange(model.n_users))
    index_of = {identifier: index for index, identifier in enumerate(model.user_ids)}
    wanted = list(dict.fromkeys(request.user_ids))
    unknown = [identifier for identifier in wanted if identifier not in index_of]
    if unknown and request.on_unknown == "error":
        raise InputDataError(
            f"the model does not know user {unknown[0]!r}{_and_more(len(unknown) - 1)}; "
            "use --on-unknown skip or popular, or --history FILE with their ratings"
        )
    _warn_of_unknown(len(unknown), len(wanted), request.on_unknown)
    if request.on_unknown == "skip":
        wanted = [identifier for identifier in wanted if identifier in index_of]
    return _known_audience(model, wanted, np.array([index_of.get(identifier, -1) for identifier in wanted], dtype=int))


def _and_more(n: int) -> str:
    return f" (and {n:,} more)" if n else ""


def _warn_of_unknown(n_unknown: int, n_users: int, on_unknown: str) -> None:
    if n_unknown:
        what = "left out" if on_unknown == "skip" else "given the most rated items"
        warn(f"unknown to the model and {what}: {n_unknown:,} of {n_users:,} users")


def _known_audience(model: Model, user_ids: Sequence[str], user_index: Array) -> Audience:
    """Users of the model; an index of -1 stands for a user that it does not know."""
    from autorec_cli.scoring import known_users, nameless_users

    unknown = user_index < 0

    def users(part: slice) -> Users:
        return nameless_users(known_users(model, np.maximum(user_index[part], 0)), unknown[part])

    def seen(part: slice) -> tuple[Array, Array]:
        rated = [model.seen.of(index) if index >= 0 else model.seen.indices[:0] for index in user_index[part]]
        return _cells(rated)

    return Audience(user_ids, users, seen, unknown)


def _folded_audience(model: Model, request: Request) -> Audience:
    """Users of a file of ratings, folded into the model; one without a rating of an item of the model is unknown."""
    from autorec_cli.ingest.matrix import read_user_items
    from autorec_cli.scoring import fold_in

    history, on_unknown = str(request.history), request.on_unknown
    user_ids, item_ids, user_items = read_user_items(history, request.history_format)
    _warn_of_other_scale(model, user_items.data, history)
    index_of = {identifier: index for index, identifier in enumerate(model.item_ids)}
    item_index = np.array([index_of.get(identifier, -1) for identifier in item_ids])
    histories = []
    for user in range(len(user_ids)):
        cells = slice(user_items.indptr[user], user_items.indptr[user + 1])
        items, ratings = item_index[user_items.indices[cells]], user_items.data[cells]
        histories.append((items[items >= 0], ratings[items >= 0]))
    n_unknown = int((item_index < 0).sum())
    if n_unknown:
        source = "stdin" if history == "-" else history
        warn(
            f"unknown to the model, so that they tell it nothing: {n_unknown:,} of {len(item_ids):,} items of {source}"
        )
    unknown = np.array([len(items) == 0 for items, _ in histories])
    if unknown.any() and on_unknown == "error":
        raise InputDataError(
            f"user {user_ids[int(unknown.argmax())]!r}{_and_more(int(unknown.sum()) - 1)} has rated no item that the "
            "model knows; use --on-unknown skip or popular"
        )
    _warn_of_unknown(int(unknown.sum()), len(user_ids), on_unknown)
    if on_unknown == "skip":
        user_ids = [identifier for identifier, skipped in zip(user_ids, unknown, strict=True) if not skipped]
        histories = [ratings for ratings, skipped in zip(histories, unknown, strict=True) if not skipped]
        unknown = np.zeros(len(user_ids), dtype=bool)
    return Audience(
        user_ids,
        users=lambda part: fold_in(model, histories[part]),
        seen=lambda part: _cells([items for items, _ in histories[part]]),
        unknown=unknown,
    )


def _warn_of_other_scale(model: Model, ratings: Array, history: str) -> None:
    low, high = model.rating_scale
    n_outside = int(((ratings < low) | (ratings > high)).sum())
    if n_outside:
        warn(f"{n_outside:,} ratings of {history} are outside the model's rating scale, {low:g} to {high:g}")


def _read_options(delimiter: str | None, columns: str | None, encoding: str, on_error: str) -> ReadOptions:
    from autorec_cli.ingest.options import ReadOptions, parse_columns, parse_delimiter

    if on_error not in ("fail", "skip"):
        raise UsageError(f"--on-error must be fail or skip, not {on_error!r}")
    return ReadOptions(
        delimiter=parse_delimiter(delimiter),
        columns=parse_columns(columns),
        encoding=encoding,
        skip_bad_rows=on_error == "skip",
    )


def _cells(items_of_rows: Sequence[Array]) -> tuple[Array, Array]:
    lengths = [len(items) for items in items_of_rows]
    return np.repeat(np.arange(len(lengths)), lengths), np.concatenate([*items_of_rows, np.empty(0, dtype=np.int32)])


def _frames(model: Model, request: Request, audience: Audience) -> Iterator[pl.DataFrame]:
    """The lists as tables of rows, a block of users at a time."""
    from autorec_cli.lists import NO_ITEM, ListBlock, ranked_lists
    from autorec_cli.scoring import score_all_items

    popularity = model.item_counts.astype(np.float32)

    def score(part: slice) -> Array:
        scores = score_all_items(model, audience.users(part))
        scores[audience.unknown[part]] = popularity
        return scores

    seen = None if request.include_seen else audience.seen
    listable = _listable_items(model, request)
    table = _ItemColumns(model)
    if not len(audience.user_ids):  # the columns still have names
        yield table.frame(ListBlock(slice(0, 0), np.empty((0, 1), dtype=int), np.empty((0, 1))), audience)
    n_without = 0
    for block in ranked_lists(len(audience.user_ids), score, seen, listable, request.k):
        n_without += int((block.ranked == NO_ITEM).all(axis=1).sum())
        yield table.frame(block, audience)
    if n_without:
        warn(f"{n_without:,} of {len(audience.user_ids):,} users have rated every item that may be listed: no list")


class _ItemColumns:
    """Turns blocks of lists into rows; holds the ids and titles of items as polars columns."""

    def __init__(self, model: Model) -> None:
        import polars as pl

        self.model = model
        self.ids = pl.Series("item_id", model.item_ids, dtype=pl.String)
        self.titles = None if model.titles is None else pl.Series("title", model.titles, dtype=pl.String)

    def frame(self, block: ListBlock, audience: Audience) -> pl.DataFrame:
        import polars as pl

        from autorec_cli.lists import NO_ITEM
        from autorec_cli.scoring import clip

        listed = block.ranked != NO_ITEM
        rows, ranks = np.nonzero(listed)
        items = block.ranked[listed]
        by_baseline = self.model.baseline.mean + self.model.baseline.item_bias[items]
        predictions = np.where(audience.unknown[block.users][rows], by_baseline, block.scores[listed])
        user_ids = pl.Series("user_id", audience.user_ids[block.users], dtype=pl.String)
        frame = pl.DataFrame(
            {
                "user_id": user_ids.gather(rows),
                "rank": (ranks + 1).astype(np.int32),
                "item_id": self.ids.gather(items),
                "prediction": clip(self.model, predictions).round(4),
            }
        )
        return frame if self.titles is None else frame.with_columns(self.titles.gather(items).alias("title"))


def _listable_items(model: Model, request: Request) -> Array:
    """(n_items,) bool: what the request allows in a list."""
    listable = model.item_counts >= request.min_item_ratings
    if request.candidates is not None:
        listable &= _named_items(model, request.candidates, "--candidates")
    if request.exclude is not None:
        listable &= ~_named_items(model, request.exclude, "--exclude")
    if not listable.any():
        raise InputDataError(
            "no item may be listed: --candidates, --exclude and --min-item-ratings together leave none; loosen one"
        )
    return listable


def _named_items(model: Model, file: str, flag: str) -> Array:
    named = set(_read_ids(file, flag))
    unknown = named.difference(model.item_ids)
    if unknown:
        warn(f"unknown to the model: {len(unknown):,} of {len(named):,} items of {flag} {file}")
    return np.array([identifier in named for identifier in model.item_ids])


def _wanted_users(user: Sequence[str] | None, users: str | None) -> list[str] | None:
    if user is None and users is None:
        return None
    return [*(user or []), *(_read_ids(users, "--users") if users is not None else [])]


def _read_ids(file: str, flag: str) -> list[str]:
    """One id a line, exactly as written; empty lines do not count."""
    if file == "-" and sys.stdin.isatty():
        raise UsageError(f"{flag} - reads ids from stdin, which is a terminal; pipe them in or name a file")
    try:
        text = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        lines = text.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise InputDataError(f"{flag} {file} is not UTF-8 (byte {error.start}); convert it first") from error
    except OSError as error:
        raise InputDataError(f"{flag} {file} cannot be read: {error.strerror}; check the name") from error
    ids = [line for line in (line.removesuffix("\r") for line in lines) if line]
    if not ids:
        raise InputDataError(f"{flag} {file} has no ids; it needs one on each line")
    return ids
