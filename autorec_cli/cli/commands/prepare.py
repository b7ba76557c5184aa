"""`autorec prepare`: raw files of ratings -> a prepared dataset."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autorec_cli.cli.console import end_stage, say, show_decisions, show_facts
from autorec_cli.cli.options.declaration import FILE_FORMAT, FILTERS, InputFile, OneOf, OutputFile, parse_fraction
from autorec_cli.cli.options.shared import Interactions, Items, ReadingOptions, Sources, WaitLock
from autorec_cli.cli.output.destination import open_output
from autorec_cli.cli.output.formats import default_format, writer_for
from autorec_cli.cli.reports.preparation import announcer, facts_of, readable, warn_about_dataset, warn_about_skipped
from autorec_cli.cli.runner import Command
from autorec_cli.data.readers.options import DUPLICATES, Period
from autorec_cli.data.splits.splitting import DEFAULT_FRACTION, choose_split
from autorec_cli.data.splits.strategies import STRATEGIES
from autorec_cli.errors import UsageError
from autorec_cli.storage.locks import hold

if TYPE_CHECKING:
    from autorec_cli.data.builder.encoded_ratings import EncodedRatings
    from autorec_cli.data.preparation import PrepareSettings
    from autorec_cli.data.readers.tables.database import DatabaseQuery

EXAMPLES = """
[bold]Examples[/bold]

autorec prepare ratings.csv -o data

autorec prepare 'part-*.csv.gz' -o data --items movies.csv --split temporal

autorec prepare ratings.csv --dry-run --explain

zcat ratings.tsv.gz | autorec prepare - -o data --columns user=1,item=2,rating=4 --on-error skip

autorec prepare 'warehouse/ratings/day=*/*.parquet' -o data --since 2024-01-01

autorec prepare --database sqlite:///shop.db --query 'SELECT user, item, rating FROM ratings' -o data

autorec prepare --encoded encoded/ -o data --split stable

autorec prepare u1.base --test-file u1.test -o data --format json
"""

SUMMARY_FORMATS = ("table", "json")


@dataclass(frozen=True, kw_only=True)
class PrepareOptions:
    """Options of `autorec prepare`."""

    sources: Sources = None
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Dataset directory to write.",
            show_default="required but for --dry-run",
        ),
        OutputFile(may_replace=lambda _options, _found: True),
    ] = None
    force: Annotated[bool, typer.Option("--force", help="Replace DIR if it is a prepared dataset.")] = False
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Print the first ten rows as read, then exit; write nothing."),
    ] = False
    explain: Annotated[
        bool,
        typer.Option("--explain", help="Print why each column was chosen.", rich_help_panel=FILE_FORMAT),
    ] = False
    database: Annotated[
        str | None,
        typer.Option(
            metavar="URI",
            help="Read ratings from this database instead of files: sqlite:///FILE or postgresql://USER@HOST/NAME. "
            "Best set as AUTOREC_PREPARE_DATABASE if it has a password.",
            rich_help_panel=FILE_FORMAT,
        ),
    ] = None
    query: Annotated[
        str | None,
        typer.Option(
            metavar="SQL",
            help="Query for --database: a SELECT of users, items, ratings and perhaps timestamps.",
            rich_help_panel=FILE_FORMAT,
        ),
    ] = None
    encoded: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Read ratings that a SQL engine or Spark has encoded instead of files: Parquet partitions sorted by "
            "user index, and tables of ids, as docs/scaling.md specifies.",
            rich_help_panel=FILE_FORMAT,
        ),
        InputFile(),
    ] = None
    items: Items = None
    split: Annotated[
        str,
        typer.Option(
            help="Held-out ratings: random; per-user: a fraction of each user's; leave-last: the last two of each "
            "user; temporal: the latest; stable: by user and item id, so that they stay held out as data grows; none. "
            "leave-last and none take no --test or --valid."
        ),
        OneOf(tuple(STRATEGIES)),
    ] = "random"
    test: Annotated[
        float | None,
        typer.Option(
            parser=parse_fraction,
            metavar="FRACTION",
            help="Fraction of the ratings in the test set, such as 0.2 or 20%.",
            show_default=f"{DEFAULT_FRACTION}; none with --test-file",
        ),
    ] = None
    valid: Annotated[
        float | None,
        typer.Option(
            parser=parse_fraction,
            metavar="FRACTION",
            help="Fraction of the remaining ratings in the validation set, which hyperparameters are chosen on.",
            show_default=str(DEFAULT_FRACTION),
        ),
    ] = None
    test_file: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE",
            help="Use these ratings as the test set; can be repeated. Ratings that SOURCE has too are an error, or are "
            "dropped from training with --on-error skip.",
        ),
        InputFile(),
    ] = None
    seed: Annotated[int, typer.Option(metavar="N", help="Random seed of the split.")] = 0
    format: Annotated[
        str,
        typer.Option("--format", help="Summary: a table on stderr, or json, which is also written to stdout."),
        OneOf(SUMMARY_FORMATS),
    ] = "table"
    since: Annotated[
        str | None,
        typer.Option(
            metavar="DATETIME",
            help="Keep only ratings from this time on: 2024-01-31, 2024-01-31T12:00:00Z, or a number as in the file.",
            show_default="all",
            rich_help_panel=FILTERS,
        ),
    ] = None
    until: Annotated[
        str | None,
        typer.Option(
            metavar="DATETIME",
            help="Keep only ratings before this time, same format.",
            show_default="all",
            rich_help_panel=FILTERS,
        ),
    ] = None
    duplicates: Annotated[
        str,
        typer.Option(
            help="If a user rated an item several times, keep the last rating, the first or the mean, or fail (error). "
            "Order is by timestamp, else as in the file.",
            rich_help_panel=FILTERS,
        ),
        OneOf(DUPLICATES),
    ] = "last"
    exclude_users: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Leave these users out, one id per line; - is stdin. The dataset keeps only the number of their "
            "ratings.",
            rich_help_panel=FILTERS,
        ),
        InputFile(),
    ] = None
    min_user_ratings: Annotated[
        int, typer.Option(metavar="N", help="Drop users with fewer ratings.", rich_help_panel=FILTERS)
    ] = 1
    min_item_ratings: Annotated[
        int, typer.Option(metavar="N", help="Drop items with fewer ratings.", rich_help_panel=FILTERS)
    ] = 1
    reading: ReadingOptions
    no_header: Annotated[
        bool,
        typer.Option(
            "--no-header",
            help="The first line is a rating, not a header.",
            show_default="detected",
            rich_help_panel=FILE_FORMAT,
        ),
    ] = False
    rating_scale: Annotated[
        str | None,
        typer.Option(
            metavar="LOW,HIGH",
            help="Ends of the rating scale.",
            show_default="range of the training ratings",
            rich_help_panel=FILE_FORMAT,
        ),
    ] = None
    missing_rating: Annotated[
        float | None,
        typer.Option(
            metavar="RATING",
            help="Leave out rows with this rating, which stands for none, as 0 beside a scale from 1 to 10.",
            show_default="none",
            rich_help_panel=FILTERS,
        ),
    ] = None
    interactions: Interactions = False
    wait_lock: WaitLock = 0.0


def prepare_command(options: PrepareOptions) -> dict[str, Any]:
    """Turn files of ratings into a dataset: ids, sparse matrices, and training, validation and test sets."""
    show_decisions(options.explain)
    if options.dry_run:
        return preview(options)
    facts = prepare(options, settings_of(options))
    show_facts("dataset", readable(facts))
    say(f"next: autorec train {options.output} -o ratings.model")
    if options.format == "json":
        end_stage()
        typer.echo(json.dumps(facts, ensure_ascii=False))
    return facts


def preview(options: PrepareOptions) -> dict[str, Any]:
    """Print the first rows as read.

    As a table on a terminal, csv elsewhere, or json if asked for.

    Raises:
        InputDataError: a source cannot be used.
    """
    from autorec_cli.data.builder.encoded_ratings import EncodedRatings
    from autorec_cli.data.builder.read_ratings import preview_ratings

    settings = settings_of(options)
    source = source_of(options)
    assert not isinstance(source, EncodedRatings)  # refused with the settings
    rows = preview_ratings(source, settings.read, options.test_file or (), announcer())
    write = writer_for("json" if options.format == "json" else default_format(None, "-"))
    with open_output("-") as stream:
        write([rows], stream)
    return {"dry_run": True, "n_rows": rows.height}


def settings_of(options: PrepareOptions) -> PrepareSettings:
    """Settings of a preparation.

    Raises:
        UsageError: options contradict each other.
    """
    _check_source(options)
    if options.test_file and options.test:
        raise UsageError("--test and --test-file contradict each other; leave out one of them")
    from autorec_cli.data.preparation import PrepareSettings
    from autorec_cli.data.readers.timestamps import parse_moment  # polars and scipy are not needed to show help

    period = Period(
        -math.inf if options.since is None else parse_moment("--since", options.since),
        math.inf if options.until is None else parse_moment("--until", options.until),
    )
    return PrepareSettings(
        read=options.reading.read_options(
            has_header=False if options.no_header else None,
            period=period,
            missing_rating=options.missing_rating,
            interactions=options.interactions,
        ),
        # A test file takes the place of a test set that is drawn.
        split=choose_split(options.split, 0.0 if options.test_file else options.test, options.valid, options.seed),
        duplicates=options.duplicates,
        exclude_users=_excluded(options),
        min_user_ratings=options.min_user_ratings,
        min_item_ratings=options.min_item_ratings,
        rating_scale=parse_rating_scale(options.rating_scale),
    )


def _check_source(options: PrepareOptions) -> None:
    if [bool(options.sources), bool(options.database), options.encoded is not None].count(True) != 1:
        raise UsageError("give either SOURCE, the files to read, or --database with --query, or --encoded")
    if options.encoded is not None and options.dry_run:
        raise UsageError("--dry-run shows how files are read, and --encoded leaves no choice; leave out one of them")
    if (options.database is None) != (options.query is None):
        raise UsageError("--database and --query need each other; give both")


def source_of(options: PrepareOptions) -> list[str] | DatabaseQuery | EncodedRatings:
    """Files to read, the query of a database, or encoded ratings."""
    if options.encoded is not None:
        from autorec_cli.data.builder.encoded_ratings import EncodedRatings

        return EncodedRatings(options.encoded)
    from autorec_cli.data.readers.tables.database import DatabaseQuery

    if options.database is None:
        return options.sources or []
    return DatabaseQuery(options.database, options.query or "")


def _excluded(options: PrepareOptions) -> list[str] | None:
    from autorec_cli.inference.users.id_file import read_ids

    file = options.exclude_users
    if file is None:
        return None
    if file == "-" and "-" in (options.sources or ()):
        raise UsageError("only one of SOURCE and --exclude-users can be read from stdin")
    return read_ids(file, "--exclude-users", may_be_empty=True)  # nobody has asked for it yet


def parse_rating_scale(text: str | None) -> tuple[float, float] | None:
    """The two numbers of `--rating-scale LOW,HIGH`.

    Raises:
        UsageError: they are not two numbers, the lower one first.
    """
    if text is None:
        return None
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        low = high = 0.0
    if not low < high < float("inf"):
        raise UsageError(f"--rating-scale {text} is not LOW,HIGH with LOW below HIGH, such as 1,5")
    return low, high


def prepare(options: PrepareOptions, settings: PrepareSettings) -> dict[str, Any]:
    """Write the dataset, and report on stderr how the sources were read.

    Returns:
        Facts by the names that `--format json` uses.

    Raises:
        UsageError: the output cannot be written, or options contradict each other.
        LockedError: another run is writing the output, and still is after `--wait-lock` seconds.
        InputDataError: a source cannot be used.
    """
    from autorec_cli.data import dataset, preparation

    if options.output is None:
        raise UsageError("--output is missing; name the dataset directory with -o DIR, or use --dry-run")
    with hold(options.output, options.wait_lock):
        check_output(options.output, options.force)
        prepared = preparation.prepare(
            source_of(options),
            settings,
            items=options.items,
            test_files=options.test_file or (),
            announce=announcer(),
            report=warn_about_skipped,
        )
        dataset.save_dataset(prepared, options.output)
    warn_about_dataset(prepared)
    return facts_of(prepared, options.output)


def check_output(output: Path, force: bool) -> None:
    """Check that `output` may be written.

    It is new, an empty folder, or with `force` a dataset and nothing else.

    Raises:
        UsageError: it may not.
    """
    from autorec_cli.data.dataset import require_replaceable

    require_replaceable(output)
    if not force and output.exists() and any(output.iterdir()):
        raise UsageError(f"the dataset {output} exists; replace it with --force or give another name")


COMMAND = Command(prepare_command, PrepareOptions, EXAMPLES)
