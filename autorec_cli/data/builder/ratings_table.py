"""All sources together: one table of ratings, with ids already turned into indexes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain, islice

import numpy as np
import polars as pl

from autorec_cli.data.builder.buffers import CountedColumn, GrowingColumn
from autorec_cli.data.builder.vocabulary import IdTable
from autorec_cli.data.readers.blocks import cut_blocks, to_utf_8
from autorec_cli.data.readers.detection import SAMPLE_BYTES, Layout, detect_text, sample_text
from autorec_cli.data.readers.fast_csv import MOST_EXPLAINED, Rows, examine_block, parse_block
from autorec_cli.data.readers.options import Period, ReadOptions
from autorec_cli.data.readers.parquet import BATCH_ROWS, detect_parquet, parquet_rows
from autorec_cli.data.readers.plain import read_plain
from autorec_cli.data.readers.sources import STDIN, OpenSource, check_distinct, expand_sources, open_source
from autorec_cli.errors import InputDataError, NotEnoughMemoryError
from autorec_cli.runtime import memory
from autorec_cli.runtime.threads import Following, in_order

Announce = Callable[[str, Layout], None]

BLOCKS_BETWEEN_LOOKS = 32
"""How often the memory that is left is looked at."""
LEAST_MEMORY = 64 << 20
MILLISECONDS = 1e11
"""Timestamps from here on are no seconds: as such they would be of the year 5138 and later."""
HOPELESS = 10_000_000
"""Bad rows that are skipped before there must be a good one for every hundred of them."""


@dataclass(frozen=True)
class SourceFacts:
    """What was read from one source.

    Attributes:
        name: The source as named on the command line, or as the glob found it.
        n_bytes, sha256: Size and hash of the file as stored; no hash of a file that may have been read in part only.
        layout: How it was read.
        n_ratings: Good rows.
        n_skipped: Bad rows left out.
        is_test: Whether its ratings are the test part.
        skipped: What was wrong with the first of the bad rows, each with its place.
        n_outside: Rows outside the period that was asked for.
    """

    name: str
    n_bytes: int
    sha256: str | None
    layout: Layout
    n_ratings: int
    n_skipped: int
    is_test: bool
    skipped: tuple[str, ...] = ()
    n_outside: int = 0


Report = Callable[[SourceFacts], None]


@dataclass
class RatingsTable:
    """Ratings in the order of the sources.

    Attributes:
        user_indexes, item_indexes: int32; of users in order only counts.
        ratings: float32.
        timestamps: int32, or float64 where needed; empty without timestamps.
        user_ids, item_ids: The ids, String, in index order, which is the order of first appearance.
        sources: What was read, in order; the test sources come last.
    """

    user_indexes: CountedColumn = field(default_factory=CountedColumn)
    item_indexes: GrowingColumn = field(default_factory=GrowingColumn)
    ratings: GrowingColumn = field(default_factory=GrowingColumn)
    timestamps: GrowingColumn = field(default_factory=GrowingColumn)
    user_ids: pl.Series = field(default_factory=lambda: pl.Series("id", [], dtype=pl.String))
    item_ids: pl.Series = field(default_factory=lambda: pl.Series("id", [], dtype=pl.String))
    sources: list[SourceFacts] = field(default_factory=list)

    @property
    def n_ratings(self) -> int:
        """Good rows of all sources."""
        return sum(source.n_ratings for source in self.sources)

    @property
    def n_given_test(self) -> int:
        """Ratings of the test sources: the last ones of the table."""
        return sum(source.n_ratings for source in self.sources if source.is_test)

    @property
    def n_skipped(self) -> int:
        """Bad rows left out of all sources."""
        return sum(source.n_skipped for source in self.sources)

    @property
    def n_outside(self) -> int:
        """Rows of all sources outside the period that was asked for."""
        return sum(source.n_outside for source in self.sources)

    def source_of(self, position: int) -> str:
        """The name of the source that rating number `position` (from 0) came from."""
        ends = np.cumsum([source.n_ratings for source in self.sources])
        return self.sources[int(np.searchsorted(ends, position, side="right"))].name


def read_ratings(
    names: Sequence[str],
    options: ReadOptions,
    test_names: Sequence[str] = (),
    announce: Announce | None = None,
    report: Report | None = None,
) -> RatingsTable:
    """Read all sources, those of the test part last.

    Args:
        names: Files, globs, or "-" for standard input.
        options: How to read them.
        test_names: Sources whose ratings are the test part.
        announce: Called with the name and layout of every source before its rows are read.
        report: Called with what was read of every source when that is done.

    Raises:
        InputDataError: a source is missing, empty or not understood, or a row is bad.
        UsageError: a source is named twice, or stdin is a terminal.
    """
    train, test = expand_sources(names), expand_sources(test_names)
    check_distinct([*train, *test])
    table = RatingsTable()
    users, items = IdTable(), IdTable()
    parquet: Layout | None = None  # of the first such file
    for name, is_test in [*((name, False) for name in train), *((name, True) for name in test)]:
        with (
            open_source(name, in_part=options.period.is_limited) as source,
            _read_source(source, options, parquet) as found,
        ):
            if found is None:
                continue
            layout, blocks = found
            parquet = parquet or (None if source.parquet is None else layout)
            if announce is not None:
                announce(source.name, layout)
            _check_timestamps(table, layout, source.name, options.period)
            facts = _add_rows(
                table, users, items, blocks, SourceFacts(name, 0, None, layout, 0, 0, is_test), options.period
            )
            source.tally.finish()
            facts = replace(facts, n_bytes=source.tally.n_bytes, sha256=source.tally.sha256)
            table.sources.append(facts)
            if report is not None:
                report(facts)
        if not facts.n_ratings and not facts.n_outside:
            raise InputDataError(f"{source.name} has no usable row: all {facts.n_skipped} were skipped")
    for is_test in {bool(test), False}:
        _check_not_empty([source for source in table.sources if source.is_test == is_test], test if is_test else train)
    table.user_ids, table.item_ids = users.ids(), items.ids()
    return table


def _add_rows(
    table: RatingsTable,
    users: IdTable,
    items: IdTable,
    blocks: Iterator[Rows],
    facts: SourceFacts,
    period: Period,
) -> SourceFacts:
    """Add the rows of one source to `table`; returns `facts` with what they are and how many.

    Raises:
        InputDataError: a row is bad, or nearly all of them are.
    """
    shown = "standard input" if facts.name == STDIN else facts.name
    n_ratings = n_skipped = n_outside = 0
    skipped: tuple[str, ...] = ()
    with Following() as adding:
        for number, block in enumerate(blocks):
            rows = _within(period, block, shown)
            adding.call(_add, table, users, items, rows)
            n_ratings += len(rows)
            n_skipped += rows.n_skipped
            n_outside += rows.n_outside
            skipped = (*skipped, *rows.skipped)[:MOST_EXPLAINED]
            if n_skipped > HOPELESS and n_skipped > 100 * (n_ratings + n_outside):
                raise InputDataError(
                    f"{shown} has {n_skipped:,} bad rows and {n_ratings:,} good ones so far ({skipped[0]}); "
                    "check --columns and --delimiter"
                )
            if number % BLOCKS_BETWEEN_LOOKS == 0 or len(rows) >= BATCH_ROWS:
                _check_memory(table.n_ratings + n_ratings, shown)
    return replace(facts, n_ratings=n_ratings, n_skipped=n_skipped, skipped=skipped, n_outside=n_outside)


def _add(table: RatingsTable, users: IdTable, items: IdTable, rows: Rows) -> None:
    """Add `rows` to `table`, and the ids in them that are new to `users` and `items`."""
    table.user_indexes.append(users.indexes(rows.users))
    table.item_indexes.append(items.indexes(rows.items))
    table.ratings.append(rows.ratings)
    if rows.timestamps is not None:
        table.timestamps.append(rows.timestamps)


def _within(period: Period, rows: Rows, name: str) -> Rows:
    """Those of `rows` that are in `period`.

    Raises:
        InputDataError: the timestamps are milliseconds and the period is in seconds, or the other way round.
    """
    if not period.is_limited or rows.timestamps is None or not len(rows):
        return rows
    moments = rows.timestamps.astype(np.float64)
    largest = float(np.abs(moments).max())
    if any((abs(bound) >= MILLISECONDS) != (largest >= MILLISECONDS) for bound in period.bounds):
        given = " and ".join(f"{bound:.0f}" for bound in period.bounds)
        raise InputDataError(
            f"{name} has timestamps such as {largest:.0f}, --since and --until say {given}: one is in milliseconds and "
            "the other in seconds; give numbers in the unit of the timestamps"
        )
    kept = (moments >= period.since) & (moments < period.until)
    n_kept = int(np.count_nonzero(kept))
    if n_kept == len(rows):
        return rows
    return replace(
        rows,
        users=rows.users.filter(pl.Series(kept)) if isinstance(rows.users, pl.Series) else rows.users[kept],
        items=rows.items.filter(pl.Series(kept)) if isinstance(rows.items, pl.Series) else rows.items[kept],
        ratings=rows.ratings[kept],
        timestamps=rows.timestamps[kept],
        n_outside=rows.n_outside + len(rows) - n_kept,
    )


def _check_not_empty(sources: Sequence[SourceFacts], names: Sequence[str]) -> None:
    """Check that there is a rating in `sources`, those of `names` that have rows."""
    if not sources:
        raise InputDataError(f"{names[0]} has no rows" + (", nor has any other file" if len(names) > 1 else ""))
    if not any(source.n_ratings for source in sources):
        n_outside = sum(source.n_outside for source in sources)
        raise InputDataError(
            f"none of the {n_outside:,} ratings in {names[0]}{' and so on' if len(names) > 1 else ''} is in the period "
            "that --since and --until leave; give another period, in the unit of the timestamps"
        )


def _check_memory(n_ratings: int, name: str) -> None:
    """Check that what has been read can still become a matrix: the system would not say no, but end this process."""
    left = memory.available_bytes()
    if left < LEAST_MEMORY + memory.CELL * n_ratings:
        raise NotEnoughMemoryError(
            f"{name}: {n_ratings:,} ratings are read, and {left / 2**20:,.0f} MiB of memory are left, too few; "
            "prepare fewer ratings, or on a machine with more memory"
        )


def _check_timestamps(table: RatingsTable, layout: Layout, name: str, period: Period) -> None:
    if period.is_limited and layout.columns.timestamp is None:
        raise InputDataError(
            f"{name} has no timestamps for --since and --until; say where they are with --columns timestamp="
        )
    if not table.sources:
        return
    first = table.sources[0]
    if (first.layout.columns.timestamp is None) != (layout.columns.timestamp is None):
        with_one, without = (first.name, name) if layout.columns.timestamp is None else (name, first.name)
        raise InputDataError(
            f"{with_one} has timestamps and {without} has none; leave them out with --columns timestamp=none"
        )


@contextmanager
def _read_source(
    source: OpenSource, options: ReadOptions, like: Layout | None
) -> Iterator[tuple[Layout, Iterator[Rows]] | None]:
    """The layout of a source and an iterator over its rows; None for a Parquet file without rows, as Spark writes some.

    `like` is the layout of the first Parquet file.
    """
    if source.parquet is not None:
        found = detect_parquet(source.parquet, options, source.name, like)
        if found is None:
            yield None
            return
        yield found, parquet_rows(source.parquet, found, source.name, options.skip_bad_rows, options.period)
        return
    assert source.chunks is not None
    chunks = to_utf_8(source.chunks, options, source.name)
    head = next(chunks, b"")
    while len(head) < SAMPLE_BYTES and (more := next(chunks, b"")):
        head += more
    text_format, sample = sample_text(head, options, source.name)
    layout, header = detect_text(sample, text_format, options, source.name)
    start, first_line = (header.end, 1 + head.count(text_format.newline, 0, header.end)) if header else (0, 1)
    with _parsed_blocks(head[start:], chunks, layout, source.name) as blocks:
        yield layout, _examined(blocks, first_line, layout, source.name, options.skip_bad_rows)


@contextmanager
def _parsed_blocks(
    head: bytes, chunks: Iterator[bytes], layout: Layout, name: str
) -> Iterator[Iterator[tuple[bytes, Rows | None]]]:
    """The rows of all blocks; if the first one is not plain, several are parsed at a time, until the end.

    Plain blocks are parsed in less time than it takes to hand them to other threads.
    """
    assert layout.text_format is not None

    def parse(block: bytes) -> tuple[bytes, Rows | None]:
        return block, parse_block(block, layout, name)

    blocks = cut_blocks(head, chunks, layout.text_format, name)
    first = list(islice(blocks, 1))
    is_plain = all(read_plain(block, layout, name) for block in first)
    if is_plain:
        yield map(parse, chain(first, blocks))
        return
    with in_order(parse, chain(first, blocks)) as parsed:
        yield parsed


def _examined(
    blocks: Iterator[tuple[bytes, Rows | None]], first_line: int, layout: Layout, name: str, skip_bad_rows: bool
) -> Iterator[Rows]:
    """The rows of all blocks; what the fast parser could not read is read again, exactly."""
    line = first_line
    for block, parsed in blocks:
        rows = examine_block(block, line, layout, name, skip_bad_rows) if parsed is None else parsed
        line += rows.n_lines
        yield rows
