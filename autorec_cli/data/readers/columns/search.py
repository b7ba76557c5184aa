"""Columns of user, item, rating and timestamp.

They are found by `--columns`, else by name, else by position. Two columns that fit one role are refused, since a wrong
choice would train a wrong model in silence.
"""

from __future__ import annotations

import logging
import shlex
from collections.abc import Mapping, Sequence

from autorec_cli.data.readers.columns.contents import (
    BLANK,
    DATES,
    MAX_RATING_SCORE,
    PROSE,
    TEXT,
    TIMES,
    Contents,
    column_of,
    readable_times,
)
from autorec_cli.data.readers.columns.names import (
    cannot_be_time,
    holds_predictions,
    is_doubtful_rating,
    is_index_name,
    names_other_fact,
    role_and_tier,
)
from autorec_cli.data.readers.columns.position import find_by_position
from autorec_cli.data.readers.columns.sample import (
    Found,
    Sample,
    holds_verdicts,
    rating_candidates,
    unclear,
    written_ratings,
)
from autorec_cli.data.readers.layout import Columns
from autorec_cli.data.readers.options import NO_COLUMN, ROLES, ReadOptions
from autorec_cli.data.readers.timestamps import ANY_FORMAT, TimestampFormat, detect_format, formats_of
from autorec_cli.errors import InputDataError, listed, quoted

LOG = logging.getLogger(__name__)
"""Debug records say why each column was chosen: `prepare --explain` shows them."""


def find_columns(
    header: Sequence[str] | None, rows: Sequence[Sequence[str]], options: ReadOptions, name: str
) -> Columns:
    """Determine columns by `--columns`, else names, else positions.

    Args:
        header: Column names, if there are any.
        rows: The first rows, as text.
        options: Columns chosen by the user.
        name: Name of the source, for messages.

    Raises:
        InputDataError: a requested column is missing, or no rule decides.
    """
    sample = Sample.of(header, rows, name, options.date_format)
    asked = _asked_for(options.columns, header, sample.width, name)
    found, named = dict(asked), dict[str, int | None]()
    try:
        if sample.width < 2:
            raise InputDataError(
                f"{name} has {sample.width} columns; a user, an item and a rating need three: "
                "if rows are split wrongly, set --delimiter"
            )
        if "rating" not in asked and holds_predictions(sample.header or ()):
            found |= _rating_beside_predictions(sample, options)
        if sample.header:
            named = _named(sample, found)
            found |= named
            found |= _by_elimination(sample, found)
        elif options.are_pairs and sample.width == 2 and not {"user", "item"} & set(asked):
            found |= {"user": 0, "item": 1, "rating": None, "timestamp": None}
        else:
            found |= find_by_position(sample, found)
    finally:  # after a refusal most of all
        _explain(sample, asked, named, found)
    user, item = found["user"], found["item"]
    assert user is not None
    assert item is not None
    unread = _unread_timestamp(sample) if "timestamp" in named and named["timestamp"] is None else None
    timestamp_format = _timestamp_format(sample, found["timestamp"], unread)
    return Columns(user, item, found["rating"], found["timestamp"], timestamp_format, unread)


def _rating_beside_predictions(sample: Sample, options: ReadOptions) -> dict[str, int | None]:
    """No rating, which pairs do not need.

    Raises:
        InputDataError: rows need a rating.
    """
    if options.are_pairs:
        return {"rating": None}
    raise InputDataError(
        f"{sample.name} holds predictions of a model, not ratings: it has the columns of what `recommend` or `predict` "
        "writes; read the ratings instead, or name their column with --columns rating=COLUMN"
    )


def _unread_timestamp(sample: Sample) -> tuple[str, str]:
    """Name and first value of the first column that is called timestamp."""
    header = list(sample.header or ())
    index = next(index for index, text in enumerate(header) if (role_and_tier(text) or ("",))[0] == "timestamp")
    return header[index], next(filter(str.strip, column_of(sample.rows, index)), "")


def _timestamp_format(sample: Sample, column: int | None, unread: tuple[str, str] | None) -> TimestampFormat:
    """Format of the timestamps.

    Raises:
        InputDataError: `--date-format` was given, and no value has this format.
    """
    pattern = sample.date_format
    found = None if column is None else detect_format(column_of(sample.rows, column), pattern)
    if pattern is not None and found is None:
        example = f"; {unread[0]} begins with {quoted(unread[1])}" if unread else ""
        raise InputDataError(f"{sample.name} has no column of dates in --date-format {quoted(pattern)}{example}")
    return found or ANY_FORMAT


def _asked_for(wanted: Mapping[str, str], header: Sequence[str] | None, width: int, name: str) -> dict[str, int | None]:
    found: dict[str, int | None] = {}
    for role, text in wanted.items():
        if role in ("rating", "timestamp") and text == NO_COLUMN:
            found[role] = None
        elif header and text in header:
            if list(header).count(text) > 1:
                raise InputDataError(f"{name} has two columns {quoted(text)}; choose one by number with --columns")
            found[role] = list(header).index(text)
        elif text.isdecimal() and 1 <= int(text) <= width:
            found[role] = int(text) - 1
        else:
            there = listed(header) if header else f"1 to {width}"
            raise InputDataError(f"{name} has no column {text!r} for --columns {role}=; it has {there}")
    used = [index for index in found.values() if index is not None]
    if len(used) != len(set(used)):
        raise InputDataError(f"{name}: --columns uses one column twice")
    return found


def _named(sample: Sample, found: Found) -> dict[str, int | None]:
    """Roles that `found` lacks, by known names.

    A timestamp is None if it cannot be read.

    Raises:
        InputDataError: two columns have equally good names.
    """
    taken, matches = set(found.values()), dict[str, list[tuple[int, int]]]()
    for index, text in enumerate(sample.header or ()):
        known = role_and_tier(text)
        if known and index not in taken and known[0] not in found:
            matches.setdefault(known[0], []).append((known[1], index))
    named: dict[str, int | None] = {}
    for role, ranked in matches.items():
        ranked.sort()
        best = [index for tier, index in ranked if tier == ranked[0][0]]
        if role == "timestamp":
            named[role] = next((index for _, index in ranked if _is_readable_time(sample, index)), None)
        elif len(best) > 1:
            raise _two_columns(sample, role, best)
        else:
            named[role] = best[0]
    return named


def _two_columns(sample: Sample, role: str, columns: Sequence[int]) -> InputDataError:
    assert sample.header is not None
    names = sorted({quoted(sample.header[index]) for index in columns})
    labels = " or ".join(shlex.quote(f"{role}={sample.label(index)}") for index in columns)
    if len(names) == 1:
        return InputDataError(f"{sample.name} has two columns {names[0]}; choose one with --columns {labels}")
    return InputDataError(
        f"{sample.name}: which column holds the {role} is not clear: {' and '.join(names)} could; choose one with "
        f"--columns {labels}"
    )


def _is_readable_time(sample: Sample, index: int) -> bool:
    """True if some value is a timestamp.

    The reader reports those that are none.
    """
    return any(readable_times(column_of(sample.rows, index), sample.date_format))


def _by_elimination(sample: Sample, found: Found) -> dict[str, int | None]:
    """Roles without a known name, by the one column left.

    Raises:
        InputDataError: they are not clear.
    """
    chosen: dict[str, int | None] = {}
    # One column of dates is the timestamp; among several any choice would be a guess.
    if "timestamp" not in found:
        dates = [
            column
            for column in sample.columns(found)
            if column.kind == DATES and not cannot_be_time(sample.header_of(column))
        ]
        chosen["timestamp"] = dates[0].index if len(dates) == 1 else None
    left = [
        column
        for column in sample.columns({**found, **chosen})
        if column.kind not in (BLANK, PROSE, DATES, TIMES)
        and not is_index_name(sample.header_of(column))
        and not holds_verdicts(sample, column)
    ]
    missing = [role for role in ("user", "item", "rating") if role not in found]
    if not missing:
        return chosen
    if missing == ["rating"]:
        return {**chosen, "rating": _only_rating(sample, found)}
    if len(missing) > 1 or len(left) != 1 or not _may_be_id(sample, left[0]):
        raise unclear(sample, found)
    return {**chosen, missing[0]: left[0].index}


def _only_rating(sample: Sample, found: Found) -> int | None:
    """Only column that may be the rating; None without one.

    Raises:
        InputDataError: several may be, or one might.
    """
    candidates = rating_candidates(sample, found)
    # Yes and no may be ratings, and leaving them out would be a guess.
    if not candidates:
        if written_ratings(sample, found):
            raise unclear(sample, found)
        return None
    only = candidates[0]
    is_clear = only.is_like_ratings and not only.is_counter and not is_doubtful_rating(sample.header_of(only))
    others = [
        column
        for column in sample.columns({**found, "rating": only.index})
        if column.kind == TEXT and not is_index_name(sample.header_of(column))
    ]
    if len(candidates) > 1 or not is_clear or others:
        raise unclear(sample, found)
    return only.index


def _may_be_id(sample: Sample, column: Contents) -> bool:
    """True for an unknown name that may be that of ids."""
    return not column.is_counter and column.is_id and not names_other_fact(sample.header_of(column))


def _as_dates(sample: Sample, index: int) -> str:
    """Advice on a column of texts that look like dates."""
    formats = formats_of([value for value in column_of(sample.rows, index) if value.strip()])
    options = " or ".join(f"--date-format {shlex.quote(pattern)}" for pattern in formats)
    return f"; it looks like dates: read them as timestamps with {options}" if options else ""


def _explain(sample: Sample, asked: Found, named: Found, found: Found) -> None:
    """Log contents and role of every column."""
    if not LOG.isEnabledFor(logging.DEBUG):
        return
    for index in range(sample.width):
        column = sample.contents(index)
        role = next((role for role in ROLES if role in found and found[role] == index), None)
        if role is None:
            why = f"not used; rating score {column.rating_score} of {MAX_RATING_SCORE}"
            known = role_and_tier(sample.header[index]) if sample.header else None
            if known is not None:
                why = f"{why}; a known name of the {known[0]}, of rank {known[1] + 1}"
            if column.kind in (TEXT, PROSE) and found.get("timestamp") is None:
                why += _as_dates(sample, index)
        elif role in asked:
            why = f"{role}, by --columns"
        elif role in named:
            why = f"{role}, by name"
        else:
            why = f"{role}, by {'elimination' if sample.header else 'position'}"
        LOG.debug("%s, %s: %s: %s", sample.name, sample.shown(index), column.describe(), why)
