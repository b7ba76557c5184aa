"""`autorec prepare`: raw files of ratings -> a prepared dataset."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autorec_cli.cli.console import say, show_facts, warn
from autorec_cli.cli.options import FILE_FORMAT, FILTERS, InputFile, OneOf, OutputFile, ReadingOptions, WaitLock
from autorec_cli.data.readers.options import DUPLICATES, Period
from autorec_cli.data.splitting import DEFAULT_FRACTION, STRATEGIES, choose_split
from autorec_cli.errors import UsageError, counted
from autorec_cli.storage.locks import hold

if TYPE_CHECKING:
    import polars as pl

    from autorec_cli.data.builder.ratings_table import SourceFacts
    from autorec_cli.data.dataset import Dataset
    from autorec_cli.data.preparation import PrepareSettings
    from autorec_cli.data.readers.detection import Layout
    from autorec_cli.data.splitting import SplitSettings

EXAMPLES = """
[bold]Examples[/bold]

autorec prepare ratings.csv -o data

autorec prepare 'part-*.csv.gz' -o data --titles movies.csv --split temporal

zcat ratings.tsv.gz | autorec prepare - -o data --columns user=1,item=2,rating=4 --on-error skip

autorec prepare 'warehouse/ratings/day=*/*.parquet' -o data --since 2024-01-01

autorec prepare u1.base --test-file u1.test -o data --format json
"""

FORMATS = ("table", "json")


@dataclass(frozen=True, kw_only=True)
class PrepareOptions:
    """Options of `autorec prepare`."""

    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE",
            help="Files of ratings, quoted globs, or - for stdin: delimited text or Parquet, plain, .gz or .zst; also "
            "directories of Parquet files, as Spark and Hive write them.",
        ),
        InputFile(),
    ]
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="DIR", help="Dataset directory to write."),
        OutputFile(may_replace=lambda _options, _found: True),
    ]
    force: Annotated[bool, typer.Option("--force", help="Replace DIR if it is a prepared dataset.")] = False
    titles: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Item ids and titles, for readable recommendations."),
        InputFile(),
    ] = None
    split: Annotated[
        str,
        typer.Option(
            help="Held-out ratings: random; per-user: a share of each user's; leave-last: the last two of each user; "
            "temporal: the latest; stable: by user and item id, so that they stay held out as data grows; none. "
            "leave-last and none take no --test or --valid."
        ),
        OneOf(tuple(STRATEGIES)),
    ] = "random"
    test: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="Share of the ratings in the test set.",
            show_default=f"{DEFAULT_FRACTION}; none with --test-file",
        ),
    ] = None
    valid: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="Share of the remaining ratings in the validation set, which hyperparameters are chosen on.",
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
        OneOf(FORMATS),
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
    wait_lock: WaitLock = 0.0


def prepare_command(options: PrepareOptions) -> dict[str, Any]:
    """Turn files of ratings into a dataset: ids, sparse matrices, and training, validation and test sets."""
    if options.test_file and options.test:
        raise UsageError("--test and --test-file contradict each other; leave out one of them")
    from autorec_cli.data.preparation import PrepareSettings
    from autorec_cli.data.readers.numbers import parse_moment  # polars and scipy are not needed to show help

    period = Period(
        -math.inf if options.since is None else parse_moment("--since", options.since),
        math.inf if options.until is None else parse_moment("--until", options.until),
    )
    settings = PrepareSettings(
        read=options.reading.read_options(has_header=False if options.no_header else None, period=period),
        split=choose_split(options.split, 0.0 if options.test_file else options.test, options.valid, options.seed),
        duplicates=options.duplicates,
        min_user_ratings=options.min_user_ratings,
        min_item_ratings=options.min_item_ratings,
        rating_scale=parse_rating_scale(options.rating_scale),
    )
    facts = prepare(
        options.sources,
        options.output,
        settings,
        titles=options.titles,
        test_files=options.test_file or (),
        force=options.force,
        wait_lock=options.wait_lock,
    )
    show_facts("dataset", _readable(facts))
    say(f"next: autorec train {options.output} -o item.model")
    if options.format == "json":
        typer.echo(json.dumps(facts, ensure_ascii=False))
    return facts


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


def prepare(
    sources: Sequence[str],
    output: Path,
    settings: PrepareSettings,
    *,
    titles: str | None = None,
    test_files: Sequence[str] = (),
    force: bool = False,
    wait_lock: float = 0.0,
) -> dict[str, Any]:
    """Read `sources` and write the dataset `output`, telling on stderr how they were understood.

    Returns:
        What the summary says, by the names that `--format json` uses.

    Raises:
        UsageError: `output` cannot be written, or options contradict each other.
        LockedError: another run is writing `output`, and still is after `wait_lock` seconds.
        InputDataError: a source cannot be used.
    """
    from autorec_cli.data import dataset, preparation

    with hold(output, wait_lock, say, warn):
        check_output(output, force)
        item_titles = _read_titles(titles, settings.read.encoding)
        prepared = preparation.prepare(
            sources, settings, titles=item_titles, test_files=test_files, announce=_announcer(), report=_report_skipped
        )
        dataset.save_dataset(prepared, output)
    _warn_about_titles(prepared)
    _warn_about_empty_parts(prepared, settings.split, given_test=bool(test_files))
    return _facts(prepared, output)


def check_output(output: Path, force: bool) -> None:
    """Check that `output` may be written: it is new, an empty folder, or with `force` a dataset and nothing else.

    Raises:
        UsageError: it may not.
    """
    from autorec_cli.data.dataset import require_replaceable

    require_replaceable(output)
    if not force and output.exists() and any(output.iterdir()):
        raise UsageError(f"the dataset {output} exists; replace it with --force or give another name")


def _announcer() -> Callable[[str, Layout], None]:
    """Tells the layout of a source where it differs from that of the one before: a table may have a thousand files."""
    last = ""

    def announce(name: str, layout: Layout) -> None:
        nonlocal last
        found = layout.describe()
        if found != last:
            say(f"{name}: {found}")
        last = found

    return announce


def _report_skipped(source: SourceFacts) -> None:
    for problem in source.skipped:
        warn(f"skipped: {problem}")
    if source.n_skipped > len(source.skipped):
        warn(f"skipped: {counted(source.n_skipped - len(source.skipped), 'more row')} of {source.name}")


def _read_titles(name: str | None, encoding: str) -> pl.DataFrame | None:
    from autorec_cli.data.readers.titles import read_titles

    if name is None:
        return None
    titles, used = read_titles(name, encoding)
    say(f"{name}: {counted(len(titles), 'title')}, {used}")
    return titles


def _warn_about_titles(prepared: Dataset) -> None:
    n_untitled = prepared.items["title"].null_count() if "title" in prepared.items.columns else 0
    if n_untitled:
        warn(f"{n_untitled:,} of {prepared.n_items:,} items have no title in the file given with --titles")


def _warn_about_empty_parts(prepared: Dataset, split: SplitSettings, given_test: bool) -> None:
    if split.strategy == "none":
        return
    for part, share in (("test", 0.0 if given_test else split.test), ("valid", split.valid)):
        if share and not prepared.part(part).nnz:
            warn(f"the {part} part is empty: a share of {share:g} held out nothing from these ratings")


def _facts(prepared: Dataset, output: Path) -> dict[str, Any]:
    low, high = prepared.rating_scale
    return {
        "output": str(output),
        "n_sources": len(prepared.info["sources"]),
        "n_users": prepared.n_users,
        "n_items": prepared.n_items,
        **prepared.info["counts"],
        "density": prepared.info["density"],
        "rating_scale": [low, high],
        "split": prepared.info["split"]["strategy"],
        "test_given": prepared.info["split"]["test_given"],
        "seed": prepared.info["split"]["seed"],
    }


def _readable(facts: dict[str, Any]) -> list[tuple[str, str]]:
    low, high = facts["rating_scale"]
    parts = [f"{facts[f'n_{part}']:,} {part}" for part in ("train", "valid", "test")]
    how = f"{facts['split']}, test given" if facts["test_given"] else facts["split"]
    rows = [
        ("users", f"{facts['n_users']:,}"),
        ("items", f"{facts['n_items']:,}"),
        ("ratings", f"{facts['n_ratings']:,}"),
        ("density", f"{facts['density']:.4%}"),
        ("rating scale", f"{low:g} to {high:g}"),
        ("duplicates", f"{facts['n_duplicates']:,}"),
        ("skipped rows", f"{facts['n_skipped']:,}"),
        (f"split ({how})", ", ".join(parts)),
        ("output", facts["output"]),
    ]
    if facts["n_outside"]:
        rows.insert(6, ("outside --since and --until", f"{facts['n_outside']:,}"))
    if facts["n_dropped"]:
        rows.insert(6, ("dropped by minimum counts", f"{facts['n_dropped']:,}"))
    if facts["n_leaked"]:
        rows.insert(6, ("left out of training, being in the test file", f"{facts['n_leaked']:,}"))
    if facts["n_sources"] > 1:
        rows.insert(0, ("files", f"{facts['n_sources']:,}"))
    return rows
