"""Detection of delimiter, header and columns from the first rows of a source."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from autorec_cli.data.readers.blocks import check_utf_8
from autorec_cli.data.readers.exact_csv import Record, TextFormat, records
from autorec_cli.data.readers.options import BLANKS, NO_COLUMN, ROLES, ReadOptions
from autorec_cli.errors import InputDataError, quoted

SAMPLE_BYTES = 64 << 10
DELIMITER_ROWS = 1000
"""Rows that every delimiter is tried on."""
CANDIDATES = ("::", "\t", ";", ",", "|", BLANKS)  # best first where several would fit
MIN_MATCHING = 0.9
MAX_RATING_VALUES = 101  # a scale from 0 to 100 in whole steps

# Compared in lower case and without anything but letters and digits; the first ones outrank the later.
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
# Seconds or milliseconds since 1970 of 1973 to 2065.
EPOCH_RANGES = ((1e8, 3e9), (1e11, 3e12))


@dataclass(frozen=True)
class Columns:
    """Which column, counted from 0, holds what."""

    user: int
    item: int
    rating: int
    timestamp: int | None

    def of(self, role: str) -> int | None:
        """The column of "user", "item", "rating" or "timestamp"."""
        return self.by_role().get(role)

    def by_role(self) -> dict[str, int]:
        """Role -> column, for the roles that have one."""
        columns = {"user": self.user, "item": self.item, "rating": self.rating, "timestamp": self.timestamp}
        return {role: column for role, column in columns.items() if column is not None}


@dataclass(frozen=True)
class Layout:
    """How a source is laid out.

    Attributes:
        text_format: Delimiter and newline; None for Parquet.
        header: Names of the columns, if the source has them.
        columns: Where user, item, rating and timestamp are.
        n_fields: Fields of a row.
        number_ids: Roles, "user" or "item", whose first ids are all plain numbers, such as "7" but not "007".
    """

    text_format: TextFormat | None
    header: list[str] | None
    columns: Columns
    n_fields: int
    number_ids: frozenset[str] = frozenset()

    def column_name(self, role: str) -> str:
        """What to call the column of `role` in a message."""
        index = self.columns.of(role)
        if index is None:
            return role
        return self.header[index] if self.header and index < len(self.header) else f"{index + 1} ({role})"

    def delimiter_name(self) -> str:
        """The delimiter in words; "parquet" where there is none."""
        if self.text_format is None:
            return "parquet"
        return {"\t": "tab", BLANKS: "blanks"}.get(self.text_format.delimiter, self.text_format.delimiter)

    def column_choices(self) -> dict[str, str | int | None]:
        """Role -> the name of its column, or its number from 1 where columns have no names."""
        choices: dict[str, str | int | None] = {}
        for role in ROLES:
            index = self.columns.of(role)
            named = index is not None and self.header and index < len(self.header)
            choices[role] = None if index is None else self.header[index] if named and self.header else index + 1
        return choices

    def describe(self) -> str:
        """The decision in one line."""
        found = ", ".join(
            f"{role}={'none' if column is None else column}" for role, column in self.column_choices().items()
        )
        if self.text_format is None:
            return f"Parquet; columns {found}"
        return f"delimiter {self.delimiter_name()!r}, header {'yes' if self.header else 'no'}; columns {found}"


@dataclass(frozen=True)
class TextLayout(Layout):
    """Layout of delimited text."""

    text_format: TextFormat


def is_number(text: str) -> bool:
    """Whether `text` is a finite number in decimal notation."""
    return NUMBER.fullmatch(text) is not None


def is_plain_number(text: str) -> bool:
    """Check that `text` is a whole number from 0 as it would be printed, of up to 18 digits."""
    return text.isascii() and text.isdigit() and len(text) <= 18 and str(int(text)) == text


def detect_text(
    sample: bytes, text_format: TextFormat, options: ReadOptions, name: str
) -> tuple[TextLayout, Record | None]:
    """The layout of delimited text that begins with `sample`, and the record of its header if it has one.

    Raises:
        InputDataError: there are no ratings in it, or which column is which cannot be told.
    """
    rows = list(records(sample, text_format))
    if not rows:
        raise InputDataError(f"{name} is empty: it has blank lines only")
    fields = [row.fields for row in rows]
    has_header = _has_header(fields, options)
    header = fields[0] if has_header else None
    if has_header and len(rows) == 1:
        raise InputDataError(f"{name} has a header and no ratings")
    body = fields[1:] if has_header else fields
    columns = find_columns(header, body, options, name)
    n_fields = len(header) if header else max(len(body[0]), Counter(map(len, body)).most_common(1)[0][0])
    number_ids = frozenset(
        role for role in ("user", "item") if all(map(is_plain_number, _column(body, columns.of(role) or 0)))
    )
    layout = TextLayout(text_format, header, columns, max(n_fields, _last_column(columns) + 1), number_ids)
    return layout, rows[0] if has_header else None


def _last_column(columns: Columns) -> int:
    return max(columns.user, columns.item, columns.rating, columns.timestamp or 0)


def detect_delimiter(sample: bytes, newline: bytes, name: str, candidates: Sequence[str] = CANDIDATES) -> str:
    """The delimiter that cuts the rows of `sample` into equally many fields, at least three of them if possible.

    Raises:
        InputDataError: none cuts them.
    """
    best: tuple[tuple[bool, bool, bool, int], str] | None = None
    for rank, delimiter in enumerate(candidates):
        if (
            not any(piece in sample for piece in (b" ", b"\t") if delimiter == BLANKS)
            and delimiter.encode() not in sample
        ):
            continue
        rows = [row.fields for row in islice(records(sample, TextFormat(delimiter, newline)), DELIMITER_ROWS)]
        if not rows:
            continue
        width, count = Counter(map(len, rows)).most_common(1)[0]
        if width < 2:
            continue
        # Numbers tell "a;b,c;d,5", where the comma leaves a rating, from the semicolon that cuts as evenly.
        numeric = any(_numeric(_column(rows[1:] or rows, index)) for index in range(width))
        score = (width >= 3, count >= MIN_MATCHING * len(rows), numeric, -rank)
        if best is None or score > best[0]:
            best = score, delimiter
    if best is None:
        raise InputDataError(
            f"{name}: no delimiter found in {_first_line(sample)}; give it with --delimiter, "
            "and the columns with --columns"
        )
    return best[1]


def _first_line(sample: bytes) -> str:
    lines = sample.decode("utf-8", "replace").split("\n")
    return quoted(next((line.strip() for line in lines if line.strip()), ""))


def role_of(name: str) -> str | None:
    """The role that a column called `name` has, if the name is known."""
    plain = _plain(name)
    return next((role for role in ROLES if plain in COLUMN_NAMES[role]), None)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _has_header(rows: list[list[str]], options: ReadOptions) -> bool:
    if options.has_header is not None:
        return options.has_header
    first, rest = rows[0], rows[1:]
    if any(not column.isdigit() and column != NO_COLUMN for column in options.columns.values()):
        return True
    if any(is_number(cell) for cell in first):
        return False
    roles = {role_of(cell) for cell in first} - {None}
    if len(roles) >= 2:
        return True
    given = options.columns.get("rating")
    where = [int(given) - 1] if given else range(len(first))
    return any(
        index < len(first) and first[index].strip() and rest and _numeric(_column(rest, index)) for index in where
    )


def find_columns(
    header: Sequence[str] | None, rows: Sequence[Sequence[str]], options: ReadOptions, name: str
) -> Columns:
    """Decide what every column means: by `--columns`, else by its name, else by what is in it.

    Args:
        header: Names of the columns, if there are any.
        rows: The first rows, as text.
        options: What the user said about columns.
        name: What to call the source.

    Raises:
        InputDataError: a column that was asked for is not there, or no rule decides.
    """
    width = len(header) if header else Counter(map(len, rows)).most_common(1)[0][0]
    found = _asked_for(options.columns, header, width, name)
    for role, column in _named(
        header or [], taken=set(found.values()), name=name, wanted=set(ROLES) - set(found)
    ).items():
        found[role] = column
    if found.get("timestamp") is not None and "timestamp" not in options.columns:
        values = _column(rows, found["timestamp"] or 0)
        if not any(is_number(value) or ISO_DATE.fullmatch(value) for value in values):
            found["timestamp"] = None  # dates in words: better no timestamp than no dataset; the decision is printed
    if "rating" not in found:
        found["rating"] = _rating_by_content(rows, width, found, name)
    free = [index for index in range(width) if index not in found.values()]
    if "timestamp" not in found:
        found["timestamp"] = _timestamp_by_content(rows, [i for i in free if i >= 2], has_names=header is not None)
        free = [index for index in free if index != found["timestamp"]]
    for role in ("user", "item"):
        if role not in found:
            if not free:
                raise InputDataError(f"{name}: no column is left for the {role}; say which is which with --columns")
            found[role] = free.pop(0)
    columns = {role: column for role, column in found.items() if column is not None}
    return Columns(columns["user"], columns["item"], columns["rating"], found["timestamp"])


def _asked_for(wanted: Mapping[str, str], header: Sequence[str] | None, width: int, name: str) -> dict[str, int | None]:
    found: dict[str, int | None] = {}
    for role, text in wanted.items():
        if role == "timestamp" and text == NO_COLUMN:
            found[role] = None
        elif header and text in header:
            found[role] = list(header).index(text)
        elif text.isdigit() and 1 <= int(text) <= width:
            found[role] = int(text) - 1
        else:
            there = ", ".join(header) if header else f"1 to {width}"
            raise InputDataError(f"{name} has no column {text!r} for --columns {role}=; it has {there}")
    used = [index for index in found.values() if index is not None]
    if len(used) != len(set(used)):
        raise InputDataError(f"{name}: --columns gives one column two meanings")
    return found


def _named(header: Sequence[str], taken: set[int | None], name: str, wanted: set[str]) -> dict[str, int]:
    """Role -> column, for those roles whose name is in the header; names listed first outrank later ones."""
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
            raise InputDataError(
                f"{name} has two columns {quoted(header[index])}; say which one to use with --columns {role}="
            )
        found[role] = index
    return found


def _column(rows: Sequence[Sequence[str]], index: int) -> list[str]:
    return [row[index] for row in rows if index < len(row)]


def _nearly_all(values: Sequence[str], test: Callable[[str], object]) -> bool:
    return bool(values) and sum(1 for value in values if test(value)) >= MIN_MATCHING * len(values)


def _numeric(values: Sequence[str]) -> bool:
    """Numbers for the greater part: bad rows are for the reader to report, not for detection to stumble over."""
    return bool(values) and sum(map(is_number, values)) * 2 > len(values)


def _is_epoch(text: str) -> bool:
    return is_number(text) and any(low <= float(text) <= high for low, high in EPOCH_RANGES)


def _rating_by_content(rows: Sequence[Sequence[str]], width: int, found: Mapping[str, int | None], name: str) -> int:
    """The third column if it can hold ratings, else the only later one that can; never a guess between two."""
    if width < 3:
        raise InputDataError(
            f"{name} has {width} columns: a user, an item and a rating make three; "
            "if the rows are cut wrongly, give --delimiter"
        )
    numeric = [
        index
        for index in range(width)
        if index not in found.values()
        and _numeric(_column(rows, index))
        and not _nearly_all(_column(rows, index), _is_epoch)
    ]
    if not numeric:
        raise InputDataError(f"{name}: no column holds numbers that could be ratings; say which with --columns rating=")
    plausible = [index for index in numeric if index >= 2 and _like_ratings(_column(rows, index))]
    if "user" in found and "item" in found:
        plausible = [index for index in numeric if _like_ratings(_column(rows, index))]
        if len(plausible) == 1:
            return plausible[0]
    if 2 in plausible:
        return 2
    if len(plausible) == 1 and 2 not in numeric:
        return plausible[0]
    raise InputDataError(f"{name}: which column holds the rating is not clear; say it with --columns rating=")


def _like_ratings(values: Sequence[str]) -> bool:
    """A short list of values, or numbers with a fraction: item ids are whole and many."""
    numbers = [float(value) for value in values if is_number(value)]
    few = len(set(numbers)) <= MAX_RATING_VALUES
    return few or any(not number.is_integer() for number in numbers)


def _timestamp_by_content(rows: Sequence[Sequence[str]], free: Sequence[int], has_names: bool) -> int | None:
    for index in free:
        values = _column(rows, index)
        # Under a name that says nothing, a large whole number may be anything; a date is a date.
        if _nearly_all(values, ISO_DATE.fullmatch) or (not has_names and _nearly_all(values, _is_epoch)):
            return index
    return None


def sample_text(
    head: bytes, options: ReadOptions, name: str, candidates: Sequence[str] | None = None
) -> tuple[TextFormat, bytes]:
    """The format of text that begins with `head`, and a sample of whole rows from it.

    Raises:
        InputDataError: it is not text, or no delimiter is found.
    """
    newline = b"\n" if b"\n" in head[:SAMPLE_BYTES] or b"\r" not in head else b"\r"
    end = head.rfind(newline, 0, SAMPLE_BYTES) + 1 if len(head) > SAMPLE_BYTES else len(head)
    sample = head[: end or len(head)]
    if b"\0" in sample:
        raise InputDataError(f"{name} is not text: it holds NUL bytes; if it is UTF-16, say --encoding utf-16")
    check_utf_8(sample, 1, TextFormat(",", newline), name)
    if not sample.strip():
        raise InputDataError(f"{name} is empty: it has blank lines only")
    delimiter = options.delimiter
    if delimiter is None:
        delimiter = detect_delimiter(sample, newline, name, *([candidates] if candidates else []))
    return TextFormat(delimiter, newline), sample
