"""Columns of user, item, rating and timestamp: by `--columns`, else by name, else by content."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from autorec_cli.data.readers.layout import Columns
from autorec_cli.data.readers.options import NO_COLUMN, ROLES, ReadOptions
from autorec_cli.errors import InputDataError, quoted

MIN_MATCHING = 0.9
"""Fraction of a sample that must match; the rest may be bad rows."""
MAX_RATING_VALUES = 101  # a scale from 0 to 100 in steps of 1

# Compared in lower case, letters and digits only; earlier names win over later ones.
COLUMN_NAMES: Mapping[str, Sequence[str]] = {
    role: names.split()
    for role, names in {
        "user": """
            user userid uid userno useridx usernumber reviewerid reviewer customerid customer customerno memberid member
            accountid account raterid rater readerid reader username profilename
        """,
        "item": """
            item itemid iid itemno itemidx movieid movie productid product parentasin asin isbn bookid book businessid
            business trackid track songid song artistid artist albumid album animeid anime jokeid joke recipeid recipe
            gameid game filmid film showid show articleid article beerid beer sku
        """,
        "rating": """
            rating ratings score stars star overall preference value bookrating userrating movierating ratingvalue
            ratingscore reviewscore reviewrating starrating reviewoverall grade
        """,
        "timestamp": """
            timestamp ts tstamp unixreviewtime unixtime unixtimestamp ratingtimestamp reviewtimestamp time ratingtime
            createdat datetime date ratedat ratingdate reviewdate reviewtime
        """,
    }.items()
}
NUMBER = re.compile(r"\s*[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?\s*", re.ASCII)
ISO_DATE = re.compile(r"\s*\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?)?\s*(?:Z|[+-]\d\d:?\d\d)?\s*", re.ASCII)
# 1973 to 2065, as seconds and as milliseconds since 1970.
EPOCH_RANGES = ((1e8, 3e9), (1e11, 3e12))


def find_columns(
    header: Sequence[str] | None, rows: Sequence[Sequence[str]], options: ReadOptions, name: str
) -> Columns:
    """Determine columns by `--columns`, else names, else contents.

    Args:
        header: Column names, if there are any.
        rows: The first rows, as text.
        options: Columns chosen by the user.
        name: Name of the source, for messages.

    Raises:
        InputDataError: a requested column is missing, or no rule decides.
    """
    width = len(header) if header else Counter(map(len, rows)).most_common(1)[0][0]
    found = _asked_for(options.columns, header, width, name)
    for role, column in _named(
        header or [], taken=set(found.values()), name=name, wanted=set(ROLES) - set(found)
    ).items():
        found[role] = column
    if found.get("timestamp") is not None and "timestamp" not in options.columns:
        values = column_of(rows, found["timestamp"] or 0)
        if not any(is_number(value) or ISO_DATE.fullmatch(value) for value in values):
            found["timestamp"] = None  # dates in words: drop them rather than fail; the layout is printed
    if "rating" not in found:
        found["rating"] = _rating_by_content(rows, width, found, name)
    free = [index for index in range(width) if index not in found.values()]
    if "timestamp" not in found:
        found["timestamp"] = _timestamp_by_content(rows, [i for i in free if i >= 2], has_names=header is not None)
        free = [index for index in free if index != found["timestamp"]]
    for role in ("user", "item"):
        if role not in found:
            if not free:
                raise InputDataError(f"{name}: no column is left for the {role}; choose columns with --columns")
            found[role] = free.pop(0)
    user, item = found["user"], found["item"]
    assert user is not None
    assert item is not None
    columns = Columns(user, item, found["rating"], found["timestamp"])
    _require_ratings(columns, width, name)
    return columns


def _require_ratings(columns: Columns, width: int, name: str) -> None:
    """Check that there are ratings, not only interactions.

    Raises:
        InputDataError: `columns` has no rating.
    """
    if columns.rating is None:
        raise InputDataError(
            f"{name} has {width} columns; a user, an item and a rating need three: "
            "if rows are split wrongly, set --delimiter"
        )


def _asked_for(wanted: Mapping[str, str], header: Sequence[str] | None, width: int, name: str) -> dict[str, int | None]:
    found: dict[str, int | None] = {}
    for role, text in wanted.items():
        if role == "timestamp" and text == NO_COLUMN:
            found[role] = None
        elif header and text in header:
            found[role] = list(header).index(text)
        elif text.isdecimal() and 1 <= int(text) <= width:
            found[role] = int(text) - 1
        else:
            there = ", ".join(header) if header else f"1 to {width}"
            raise InputDataError(f"{name} has no column {text!r} for --columns {role}=; it has {there}")
    used = [index for index in found.values() if index is not None]
    if len(used) != len(set(used)):
        raise InputDataError(f"{name}: --columns uses one column twice")
    return found


def _named(header: Sequence[str], taken: set[int | None], name: str, wanted: set[str]) -> dict[str, int]:
    """Columns by role, for known names in `header`."""
    found: dict[str, int] = {}
    for role in ROLES:
        matches = [
            (COLUMN_NAMES[role].index(_plain(text)), index)
            for index, text in enumerate(header)
            if role in wanted and index not in taken and role_of(text) == role
        ]
        if not matches:
            continue
        rank, index = min(matches)
        if sum(other == rank for other, _ in matches) > 1:
            raise InputDataError(f"{name} has two columns {quoted(header[index])}; choose one with --columns {role}=")
        found[role] = index
    return found


def role_of(name: str) -> str | None:
    """Role of a column called `name`, if known."""
    plain = _plain(name)
    return next((role for role in ROLES if plain in COLUMN_NAMES[role]), None)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def is_number(text: str) -> bool:
    """Check that `text` is a finite decimal number."""
    return NUMBER.fullmatch(text) is not None


def is_plain_number(text: str) -> bool:
    """Check that `text` is a non-negative integer as it prints.

    At most 18 digits, so that it fits into 64 bits.
    """
    return text.isascii() and text.isdigit() and len(text) <= 18 and str(int(text)) == text


def column_of(rows: Sequence[Sequence[str]], index: int) -> list[str]:
    """Cells of a column, without those of shorter rows."""
    return [row[index] for row in rows if index < len(row)]


def _nearly_all(values: Sequence[str], test: Callable[[str], object]) -> bool:
    return bool(values) and sum(1 for value in values if test(value)) >= MIN_MATCHING * len(values)


def is_numeric(values: Sequence[str]) -> bool:
    """True if most values are numbers.

    A majority is enough: the reader reports the bad rows, with their lines.
    """
    return bool(values) and sum(map(is_number, values)) * 2 > len(values)


def _is_epoch(text: str) -> bool:
    return is_number(text) and any(low <= float(text) <= high for low, high in EPOCH_RANGES)


def _rating_by_content(
    rows: Sequence[Sequence[str]], width: int, found: Mapping[str, int | None], name: str
) -> int | None:
    """Rating column: the third, else the only plausible one; None of two columns.

    Two plausible columns are an error, since a wrong guess would train a wrong model.
    """
    if width == 2:
        return None
    numeric = [
        index
        for index in range(width)
        if index not in found.values()
        and is_numeric(column_of(rows, index))
        and not _nearly_all(column_of(rows, index), _is_epoch)
    ]
    if not numeric:
        raise InputDataError(f"{name}: no column holds numbers that could be ratings; set --columns rating=")
    plausible = [index for index in numeric if index >= 2 and _like_ratings(column_of(rows, index))]
    if "user" in found and "item" in found:
        plausible = [index for index in numeric if _like_ratings(column_of(rows, index))]
        if len(plausible) == 1:
            return plausible[0]
    if 2 in plausible:
        return 2
    if len(plausible) == 1 and 2 not in numeric:
        return plausible[0]
    raise InputDataError(f"{name}: several columns could be the rating; choose one with --columns rating=")


def _like_ratings(values: Sequence[str]) -> bool:
    """True for few distinct values, or fractions.

    Item ids are whole numbers and many.
    """
    numbers = [float(value) for value in values if is_number(value)]
    few = len(set(numbers)) <= MAX_RATING_VALUES
    return few or any(not number.is_integer() for number in numbers)


def _timestamp_by_content(rows: Sequence[Sequence[str]], free: Sequence[int], has_names: bool) -> int | None:
    for index in free:
        values = column_of(rows, index)
        # Under an unknown name a large integer may be anything, but a date is a date.
        if _nearly_all(values, ISO_DATE.fullmatch) or (not has_names and _nearly_all(values, _is_epoch)):
            return index
    return None
