"""`autorec recommend`: a model file -> top-k recommendations, user by user."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autorec_cli.cli.console import say, warn
from autorec_cli.cli.options.declaration import FILTERS, NEW_USERS, UNATTENDED, InputFile, OneOf
from autorec_cli.cli.options.shared import (
    CsvSafe,
    DatabaseFormat,
    HistoryData,
    MaxPer,
    ModelFile,
    Output,
    PerUser,
    ReadingOptions,
    WaitLock,
    Where,
    ids_option,
)
from autorec_cli.cli.output.destination import open_output, reserve_output
from autorec_cli.cli.output.formats import WITH_DATABASE, Writer, choose_format, counted_blocks, writer_for
from autorec_cli.cli.output.shard_processes import run_shards
from autorec_cli.cli.output.shards import ShardFolder, origin_of
from autorec_cli.cli.output.sqlite import check_replaceable
from autorec_cli.cli.output.tables import write_table
from autorec_cli.cli.runner import WITHOUT_TORCHRUN, Command
from autorec_cli.config import require_count
from autorec_cli.errors import UsageError

if TYPE_CHECKING:
    import polars as pl

    from autorec_cli.inference.ranking.settings import RecommendSettings
    from autorec_cli.inference.scorer import Scorer

EXAMPLES = """
[bold]Examples[/bold]

autorec recommend ratings.model -k 10 > top.csv

autorec recommend ratings.model --user 42,7

cut -f1 active.tsv | autorec recommend ratings.model --users - --format jsonl

autorec recommend ratings.model --history new-users.csv -o recommendations.parquet

autorec recommend ratings.model --user 42 --explain 3

autorec recommend ratings.model --where "genre LIKE '%Comedy%' AND year >= 1990" --max-per year=2

autorec recommend ratings.model --exclude top.csv -o next.csv

autorec recommend ratings.model -o recommendations.sqlite

autorec recommend ratings.model --shards 16 -o recommendations/

autorec recommend ratings.model --shard 3/16 -o part-03.csv
"""

USERS_SHOWN = 20
MAX_NEEDED_USERS = 1000
"""Users whose rows of a model are read one by one; for more of them it is read whole."""


@dataclass(frozen=True, kw_only=True)
class RecommendOptions:
    """Options of `autorec recommend`."""

    model: ModelFile
    output: Output = "-"
    format: DatabaseFormat = None
    csv_safe: CsvSafe = False
    no_header: Annotated[bool, typer.Option("--no-header", help="Omit the header row of csv and tsv.")] = False
    top_k: PerUser = 10
    user: Annotated[list[str] | None, ids_option("Only these users", "all users")] = None
    users: Annotated[
        str | None,
        typer.Option(
            "--users", metavar="FILE", help="Only these users, one id per line; - is stdin.", show_default="all users"
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
            help="Never recommend these items, one id per line; - is stdin. A file with columns user_id and item_id, "
            "such as an earlier output, excludes each item for its user only.",
            rich_help_panel=FILTERS,
        ),
        InputFile(),
    ] = None
    where: Where = None
    max_per: MaxPer = None
    min_item_ratings: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Recommend only items with at least this many training ratings; 0 includes cold items. Predictions "
            "for rarely rated items are extreme: 20 or more gives recommendations that people recognize.",
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
            help="Recommend for the users in this file of ratings, in any format that `prepare` reads; - is stdin. "
            "Ratings of users that the model knows are added to those in its dataset, and replace older ones.",
            rich_help_panel=NEW_USERS,
        ),
        InputFile(),
    ] = None
    data: HistoryData = None
    on_unknown: Annotated[
        str,
        typer.Option(
            help="Users that the model does not know: error, skip, or popular (the most rated items).",
            rich_help_panel=NEW_USERS,
        ),
        OneOf(("error", "skip", "popular")),
    ] = "error"
    reading: ReadingOptions
    rerank: Annotated[
        str | None,
        typer.Option(
            metavar="mmr:WEIGHT",
            help="Make each user's recommendations more diverse: choose by maximal marginal relevance, with this "
            "weight of diversity, from 0 to 1; mmr:0.3 is moderate.",
            rich_help_panel=FILTERS,
        ),
    ] = None
    popularity_correction: Annotated[
        float,
        typer.Option(
            metavar="STRENGTH",
            help="Recommend less popular items: scores are divided by this power of the item's popularity; 0.1 is "
            "mild, 0 changes nothing.",
            rich_help_panel=FILTERS,
        ),
    ] = 0.0
    explain: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Explain each recommended item by up to N of the user's own ratings: those that raised its score "
            "most, and by how much. One row for each reason.",
        ),
    ] = 0
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="N/COUNT",
            help="Process shard N of COUNT of the users. The csv, tsv or jsonl outputs of all shards, concatenated in "
            "order, equal the output of one run; only the first has a header row. If the output is a directory (-o "
            "DIR/), write the shard's Parquet file there, as --shards does.",
            show_default="all users",
            rich_help_panel=UNATTENDED,
        ),
    ] = None
    shards: Annotated[
        int | None,
        typer.Option(
            metavar="COUNT",
            help="Write COUNT Parquet files, one for each shard of the users, into the directory of -o, by several "
            "processes. Files that are there are kept if they are whole, of this model and of the same options.",
            show_default="one output",
            rich_help_panel=UNATTENDED,
        ),
    ] = None
    processes: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Processes of --shards at a time, which divide the cores among them; 0 is one per core. Each needs "
            "memory for a block of users and the items.",
            rich_help_panel=UNATTENDED,
        ),
    ] = 0
    wait_lock: WaitLock = 0.0


def recommend_command(options: RecommendOptions) -> dict[str, int]:
    """Write top-k recommendations for every user: the best items that the user has not rated.

    Items are ordered by `score`; `predicted_rating` is empty for a model that was trained only to rank.
    """
    # Checked even where it is not used: a script should fail on its first run.
    require_count("--show", options.show, minimum=0)
    require_count("--processes", options.processes, minimum=0)
    if _in_folder(options):
        return _recommend_to_folder(options)
    format, settings = choose_format(options.format, options.output, WITH_DATABASE), settings_of(options)
    write = _writer(options, format, settings)
    return _recommend(options, settings, format, lambda _: write)


def _in_folder(options: RecommendOptions) -> bool:
    """True if shards are written into a directory."""
    is_folder = options.output.endswith(os.sep) or (options.output != "-" and Path(options.output).is_dir())
    return options.shards is not None or (options.shard is not None and is_folder)


def _recommend_to_folder(options: RecommendOptions) -> dict[str, int]:
    """Write one shard, or all of them.

    Raises:
        UsageError: the output is no directory, or an option does not fit.
    """
    folder = Path(options.output)
    if options.shards is not None:
        require_count("--shards", options.shards, minimum=1)
    if options.output == "-" or (folder.exists() and not folder.is_dir()):
        raise UsageError("--shards writes into a directory; name one with -o DIR/")
    if options.format not in (None, "parquet") or options.csv_safe or options.no_header:
        raise UsageError("shards in a directory are Parquet files: leave out --format, --csv-safe and --no-header")
    for flag, file in (("users", options.users), ("history", options.history),
                       ("candidates", options.candidates), ("exclude", options.exclude)):  # fmt: skip
        if file is not None and (file == "-" or Path(file).is_fifo()):
            raise UsageError(f"--{flag} {file} can be read once only, and each shard reads it; name a file")
    settings = settings_of(options)
    shard, count = settings.shard, options.shards
    if shard is not None and count not in (None, shard.of):
        raise UsageError(f"--shard {options.shard} is not one of --shards {count}; leave out one of them")
    count = shard.of if shard is not None else count or 1
    shards = ShardFolder(folder, count, options.model, settings, origin_of(options.model, settings))
    shards.create()
    if shard is None:
        return run_shards(shards, options.processes)
    output, found = str(shards.file(shard.number)), shards.facts(shard.number)
    if found is not None:
        say(f"{output} is there, of this model and these options")
        return found
    return _recommend(replace(options, output=output), settings, "parquet", shards.writer)


def _recommend(
    options: RecommendOptions,
    settings: RecommendSettings,
    format: str,
    writer_of: Callable[[int], Writer],
) -> dict[str, int]:
    """Recommend, and write by what `writer_of` makes of the number of users."""
    from autorec_cli.inference.files import model_file
    from autorec_cli.inference.recommender import recommend_to, target_users

    with reserve_output(options.output, options.wait_lock):
        if format == "sqlite" and options.output != "-":
            check_replaceable(Path(options.output))
        needed, path = _needed_users(options, settings), options.model
        model = model_file.load_model(path) if needed is None else model_file.load_users(path, needed)
        settings = _split_users(options, settings, model)
        users = target_users(model, settings)
        if model.rater is model.ranker:
            warn(f"{options.model} only predicts ratings; a model that also ranks (--objective both) recommends better")
        n_users = len(users.user_ids)
        if format == "table" and options.show and options.output == "-":
            users = users.first(options.show)
        frames = recommend_to(users, model, settings)
        n_rows = _write(frames, options.output, format, writer_of(n_users), model.catalog.decimals)
    if len(users.user_ids) < n_users:
        say(f"these are the first {options.show} of {n_users:,} users; --show 0 shows all, and a pipe gets all as CSV")
    return {"n_users": n_users, "n_rows": n_rows}


def _writer(options: RecommendOptions, format: str, settings: RecommendSettings) -> Writer:
    # Of csv and tsv shards only the first has a header.
    header = not options.no_header and (settings.is_first_shard or format not in ("csv", "tsv"))
    return writer_for(format, header, options.csv_safe)


def settings_of(options: RecommendOptions) -> RecommendSettings:
    """Read the files of ids; returns all settings."""
    from autorec_cli.inference.ranking.item_rules import parse_max_per
    from autorec_cli.inference.ranking.settings import RecommendSettings
    from autorec_cli.inference.users.id_file import read_ids
    from autorec_cli.inference.users.target_users import parse_shard

    if [options.users, options.history, options.candidates, options.exclude].count("-") > 1:
        raise UsageError("only one of --users, --history, --candidates and --exclude can be read from stdin")
    excludes_pairs = options.exclude is not None and _has_pairs(options.exclude)
    exclude = None if excludes_pairs else options.exclude
    files = {"--users": options.users, "--candidates": options.candidates, "--exclude": exclude}
    ids = {flag: read_ids(file, flag) for flag, file in files.items() if file is not None}
    user_ids = [*(options.user or ()), *ids.get("--users", ())]
    return RecommendSettings(
        k=options.top_k,
        user_ids=None if options.user is None and options.users is None else user_ids,
        history=options.history,
        history_options=options.reading.read_options(),
        dataset=options.data,
        include_seen=options.include_seen,
        candidates=ids.get("--candidates"),
        exclude=ids.get("--exclude", ()),
        exclude_pairs=options.exclude if excludes_pairs else None,
        where=options.where,
        max_per=parse_max_per(options.max_per or ()),
        min_item_ratings=options.min_item_ratings,
        on_unknown=options.on_unknown,
        rerank=options.rerank,
        popularity_correction=options.popularity_correction,
        explain=options.explain,
        shard=None if options.shard is None else parse_shard(options.shard),
    )


def _has_pairs(file: str) -> bool:
    from autorec_cli.inference.ranking.exclusions import has_pairs  # and all readers of ratings

    return has_pairs(file)


def _needed_users(options: RecommendOptions, settings: RecommendSettings) -> list[str] | None:
    """Users that the model is needed for; None for all."""
    if not settings.user_ids or len(settings.user_ids) > MAX_NEEDED_USERS:
        return None
    # Similarities of items, reasons and pairs are about all users, and so are texts that may be lists of ids.
    needs_all = settings.rerank or settings.explain or settings.exclude_pairs
    if needs_all or any("," in text for text in options.user or ()):
        return None
    return list(dict.fromkeys(map(str, settings.user_ids)))


def _split_users(options: RecommendOptions, settings: RecommendSettings, model: Scorer) -> RecommendSettings:
    """Split lists of ids in --user; those of --users follow."""
    from autorec_cli.inference.users.id_file import split_ids

    given = options.user or []
    if settings.user_ids is None or not any("," in text for text in given):
        return settings
    return replace(settings, user_ids=[*split_ids(given, model.catalog.user_ids), *settings.user_ids[len(given) :]])


def _write(frames: Iterator[pl.DataFrame], output: str, format: str, write: Writer, decimals: int) -> int:
    """Write the frames as they come; returns the number of rows."""
    written: list[int] = []
    frames = counted_blocks(frames, written)
    with open_output(output) as stream:
        if format != "table":
            write(frames, stream)
            if format == "sqlite" and output != "-":
                check_replaceable(Path(output))  # which may have been opened since
        else:
            for frame in frames:
                for rows in frame.partition_by("user_id", maintain_order=True):
                    title = f"user {rows['user_id'][0]}"
                    write_table([_shown(rows)], stream, title, decimals)
    return sum(written)


def _title_or(id: str, title: str) -> pl.Expr:
    """Column of titles, with ids where there is none."""
    import polars as pl

    return pl.coalesce(pl.col(title).replace("", None), id)


def _shown(rows: pl.DataFrame) -> pl.DataFrame:
    """Columns of a table, without the user and empty columns.

    Of reasons, only the first row names the item, and titles stand for ids.
    """
    if "reason_rank" in rows.columns:
        import polars as pl

        is_first = pl.col("reason_rank").fill_null(1) == 1
        return rows.select(
            pl.when(is_first).then("rank").alias("rank"),
            pl.when(is_first).then(_title_or("item_id", "title")).alias("item"),
            pl.when(is_first).then("score").alias("score"),
            _title_or("reason_item_id", "reason_title").alias("because of"),
            pl.col("reason_rating").map_elements("{:g}".format, return_dtype=pl.String).alias("rated"),
            "effect",
        )
    return rows.select([column for column in rows.columns[1:] if rows[column].null_count() < rows.height])


COMMAND = Command(
    recommend_command, RecommendOptions, EXAMPLES, one_process=f"{WITHOUT_TORCHRUN}, once for each --shard"
)
