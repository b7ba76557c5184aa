"""Reading of sources and frames into one table of ratings."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import polars as pl

from autorec_cli.data.builder.ratings_table import RatingsTable, SourceFacts
from autorec_cli.data.readers.formats import FILE_READERS, LayoutAndRows, read_source
from autorec_cli.data.readers.layout import Layout
from autorec_cli.data.readers.options import ReadOptions
from autorec_cli.data.readers.rows import MAX_EXPLAINED, RatingRows, frame_of, within_period, without_missing
from autorec_cli.data.readers.source_names import check_distinct, expand_sources
from autorec_cli.data.readers.sources import STDIN, FileDigest, OpenSource, open_source
from autorec_cli.data.readers.tables.database import DatabaseQuery, read_database
from autorec_cli.data.readers.tables.frames import BATCH_ROWS, FRAME, detect_frame, frame_rows
from autorec_cli.errors import InputDataError, NotEnoughMemoryError, quoted
from autorec_cli.runtime import memory
from autorec_cli.runtime.threads import BackgroundThread

logger = logging.getLogger(__name__)

Announce = Callable[[str, Layout], None]
Report = Callable[[SourceFacts], None]

BLOCKS_PER_MEMORY_CHECK = 32
"""Blocks read between two checks of the available memory."""
MIN_FREE_MEMORY = 64 << 20  # bytes, besides those that the matrix will take
MAX_BAD_ROWS = 10_000_000
"""Bad rows skipped before at least one row in a hundred must be good."""


def read_ratings(
    names: Sequence[str] | DatabaseQuery,
    options: ReadOptions,
    test_names: Sequence[str] = (),
    announce: Announce | None = None,
    report: Report | None = None,
) -> RatingsTable:
    """Read all sources, test sources last.

    Args:
        names: Files, globs, or "-" for standard input; or a query.
        options: How to read them.
        test_names: Sources whose ratings are the test set.
        announce: Called with the name and layout of each source before its rows are read.
        report: Called with the facts about each source after its last row.

    Raises:
        InputDataError: a source is missing, empty or of unknown layout, or a row is bad.
        UsageError: a source is named twice, or stdin is a terminal.
    """
    sources = _sources(names, test_names)
    table = RatingsTable()
    layouts: dict[bytes, Layout] = {}  # of the first source of each format, which the later ones must match
    for named, is_test in sources:
        name = _name_of(named)
        with _open(named, options, layouts, in_part=options.period.is_limited) as (source, found):
            if found is None:
                continue
            layout, blocks = found
            layouts.setdefault(source.magic, layout)
            _warn_of_unread_timestamps([*(source.layout for source in table.sources), layout], source.name)
            if announce is not None:
                announce(source.name, layout)
            _check_alike(table, layout, source.name, options)
            facts = _add_rows(table, blocks, SourceFacts(name, 0, None, layout, 0, 0, is_test), options)
            # The hash is complete only after the last row, and hashing lags behind reading.
            source.digest.finish()
            facts = replace(facts, n_bytes=source.digest.n_bytes, sha256=source.digest.sha256)
            table.sources.append(facts)
            if report is not None:
                report(facts)
        if facts.n_rows == facts.n_skipped:
            raise InputDataError(f"{source.name} has no usable row: all {facts.n_skipped} were skipped")
    # A given test set must not be empty either.
    for is_test in {bool(test_names), False}:
        wanted = [_name_of(named) for named, of_test in sources if of_test == is_test]
        _check_not_empty([source for source in table.sources if source.is_test == is_test], wanted)
    return table


def _sources(
    names: Sequence[str] | DatabaseQuery, test_names: Sequence[str] = ()
) -> list[tuple[str | DatabaseQuery, bool]]:
    """All sources, and whether their ratings are the test set."""
    test = expand_sources(test_names)
    train = [] if isinstance(names, DatabaseQuery) else expand_sources(names)
    check_distinct([*train, *test])
    first: list[str | DatabaseQuery] = [names] if isinstance(names, DatabaseQuery) else [*train]
    return [*((named, False) for named in first), *((name, True) for name in test)]


def _name_of(named: str | DatabaseQuery) -> str:
    return named.name if isinstance(named, DatabaseQuery) else named


@contextmanager
def _open(
    named: str | DatabaseQuery, options: ReadOptions, layouts: Mapping[bytes, Layout], *, in_part: bool
) -> Iterator[tuple[OpenSource, LayoutAndRows | None]]:
    """Open one source, with its layout and rows.

    These are None for an empty one. With `in_part`, it need not be read to its end.
    """
    if isinstance(named, DatabaseQuery):
        with read_database(named, options) as found:
            yield OpenSource(named.name, FileDigest(0)), found
        return
    with (
        open_source(named, tuple(FILE_READERS), in_part=in_part) as source,
        read_source(source, options, layouts.get(source.magic)) as found,
    ):
        yield source, found


def ratings_from_frame(frame: pl.DataFrame, options: ReadOptions | None = None) -> RatingsTable:
    """Read a frame of ratings, checked like a Parquet file.

    Raises:
        InputDataError: the frame is empty, a column is missing or not clear, or a row is bad.
    """
    options = options or ReadOptions()
    table = RatingsTable()
    layout = detect_frame(frame, options)
    _warn_of_unread_timestamps([layout], FRAME)
    _check_alike(table, layout, FRAME, options)
    blocks = frame_rows(frame, layout, options.skip_bad_rows)
    facts = _add_rows(table, blocks, SourceFacts(FRAME, 0, None, layout, 0, 0, is_test=False), options)
    table.sources.append(facts)
    if facts.n_rows == facts.n_skipped:
        raise InputDataError(f"{FRAME} has no usable row: all {facts.n_skipped} were skipped")
    _check_not_empty(table.sources, [FRAME])
    return table


def preview_ratings(
    names: Sequence[str] | DatabaseQuery,
    options: ReadOptions,
    test_names: Sequence[str] = (),
    announce: Announce | None = None,
    n_rows: int = 10,
) -> pl.DataFrame:
    """Read the first rows of some sources, and the layout of all.

    Args:
        names: Files, globs, or "-" for standard input; or a query.
        options: How to read them.
        test_names: Sources whose ratings are the test set.
        announce: Called with the name and layout of each source.
        n_rows: Rows to return, at most.

    Returns:
        Columns user and item (String), rating, and timestamp if there is one, as read.

    Raises:
        InputDataError: a source is missing, empty or of unknown layout, or one of its first rows is bad.
        UsageError: a source is named twice, or stdin is a terminal.
    """
    sources = _sources(names, test_names)
    layouts: dict[bytes, Layout] = {}
    first: list[pl.DataFrame] = []
    seen: list[Layout] = []
    for named, _ in sources:
        with _open(named, options, layouts, in_part=True) as (source, found):
            if found is None:
                continue
            layout, blocks = found
            layouts.setdefault(source.magic, layout)
            _warn_of_unread_timestamps([*seen, layout], source.name)
            seen.append(layout)
            if announce is not None:
                announce(source.name, layout)
            _check_period(layout, source.name, options)
            for block in blocks:
                n_left = n_rows - sum(frame.height for frame in first)
                first.append(frame_of(without_missing(within_period(block, options.period), options)).head(n_left))
                if first[-1].height == n_left:
                    break
    if not first:
        raise InputDataError(f"{_name_of(sources[0][0])} has no rows")
    return pl.concat(first, how="diagonal_relaxed")


def _add_rows(
    table: RatingsTable, blocks: Iterator[RatingRows], facts: SourceFacts, options: ReadOptions
) -> SourceFacts:
    """Add the rows of one source to `table`.

    Returns:
        `facts` with the counts of rows.

    Raises:
        InputDataError: a row is bad, or nearly all of them are.
    """
    shown = "standard input" if facts.name == STDIN else facts.name
    n_ratings = n_skipped = n_outside = n_missing = 0
    skipped: tuple[str, ...] = ()
    # Ids are looked up in the background, in order, while the next blocks are parsed.
    with BackgroundThread() as adding:
        for number, block in enumerate(blocks):
            rows = without_missing(within_period(block, options.period), options)
            adding.call(table.add, rows)
            n_ratings += len(rows)
            n_skipped += rows.n_skipped
            n_outside += rows.n_outside
            n_missing += rows.n_missing
            skipped = (*skipped, *rows.skipped)[:MAX_EXPLAINED]
            # Wrong --columns make every row bad; without this, skipping would first read a huge file to its end.
            if n_skipped > MAX_BAD_ROWS and n_skipped > 100 * (n_ratings + n_outside + n_missing):
                raise InputDataError(
                    f"{shown} has {n_skipped:,} bad rows and {n_ratings:,} good ones so far ({skipped[0]}); "
                    "check --columns and --delimiter"
                )
            if number % BLOCKS_PER_MEMORY_CHECK == 0 or len(rows) >= BATCH_ROWS:
                _check_memory(table.n_ratings + n_ratings, shown)
    return replace(
        facts, n_ratings=n_ratings, n_skipped=n_skipped, skipped=skipped, n_outside=n_outside, n_missing=n_missing
    )


def _check_not_empty(sources: Sequence[SourceFacts], names: Sequence[str]) -> None:
    """Check that `sources` have a rating.

    `names` are the files asked for; `sources` has those with rows.
    """
    if not sources:
        raise InputDataError(f"{names[0]} has no rows" + (", nor has any other file" if len(names) > 1 else ""))
    if not any(source.n_ratings for source in sources):
        n_outside, n_missing = (
            sum(counts) for counts in zip(*((s.n_outside, s.n_missing) for s in sources), strict=True)
        )
        if n_missing:
            raise InputDataError(
                f"none of the {n_missing + n_outside:,} rows of {names[0]} is left: by --missing-rating or "
                f"--interactions, the rating of {n_missing:,} stands for none"
            )
        raise InputDataError(
            f"none of the {n_outside:,} ratings in {names[0]}{' and so on' if len(names) > 1 else ''} is in the period "
            "of --since and --until; choose another one, in the unit of the timestamps"
        )


def _check_memory(n_ratings: int, name: str) -> None:
    """Check that the ratings so far fit in a matrix.

    Linux grants memory that it does not have, then kills the process without a message.
    """
    left = memory.available_bytes()
    if left < MIN_FREE_MEMORY + memory.CELL * n_ratings:
        raise NotEnoughMemoryError(
            f"{name}: after {n_ratings:,} ratings only {left / 2**20:,.0f} MiB of memory are left; "
            "prepare fewer ratings or use a machine with more memory"
        )


def _warn_of_unread_timestamps(layouts: Sequence[Layout], name: str) -> None:
    """Warn of an unread column in the last layout, once."""
    columns = [layout.columns.unread_timestamp[0] for layout in layouts if layout.columns.unread_timestamp]
    unread = layouts[-1].columns.unread_timestamp
    if unread is not None and columns.count(unread[0]) == 1:
        logger.warning(
            f"{name}: column {unread[0]} is not used: {quoted(unread[1])} is neither a number nor a date like "
            "2024-01-31; name the format of other dates with --date-format"
        )


def _check_alike(table: RatingsTable, layout: Layout, name: str, options: ReadOptions) -> None:
    """Check that a source has the columns of the first one.

    It needs timestamps for a period, too.
    """
    _check_period(layout, name, options)
    if not table.sources:
        return
    first = table.sources[0]
    if not options.interactions and (first.layout.columns.rating is None) != (layout.columns.rating is None):
        with_some, without = (first.name, name) if layout.columns.rating is None else (name, first.name)
        raise InputDataError(
            f"{with_some} has ratings and {without} has none; ignore them with --columns rating=none, or --interactions"
        )
    if (first.layout.columns.timestamp is None) != (layout.columns.timestamp is None):
        with_one, without = (first.name, name) if layout.columns.timestamp is None else (name, first.name)
        raise InputDataError(
            f"{with_one} has timestamps and {without} has none; ignore them with --columns timestamp=none"
        )


def _check_period(layout: Layout, name: str, options: ReadOptions) -> None:
    if options.period.is_limited and layout.columns.timestamp is None:
        raise InputDataError(
            f"{name} has no timestamps for --since and --until; name their column with --columns timestamp="
        )
