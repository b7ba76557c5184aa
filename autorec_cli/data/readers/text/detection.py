"""Detection of delimiter, header and columns in a sample."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from autorec_cli.data.readers.options import BLANKS, NO_COLUMN, ROLES, ReadOptions
from autorec_cli.data.readers.text.blocks import check_utf_8
from autorec_cli.data.readers.text.exact_csv import Record, TextFormat, records
from autorec_cli.errors import InputDataError, quoted

SAMPLE_BYTES = 64 << 10
DELIMITER_ROWS = 1000
"""Rows that each delimiter is tried on."""
CANDIDATES = ("::", "\t", ";", ",", "|", BLANKS)  # in order of preference
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


@dataclass(frozen=True)
class Columns:
    """Column numbers, from 0, of user, item, rating and timestamp."""

    user: int
    item: int
    rating: int
    timestamp: int | None

    def of(self, role: str) -> int | None:
        """Column of "user", "item", "rating" or "timestamp"."""
        return self.by_role().get(role)

    def by_role(self) -> dict[str, int]:
        """Columns by role, without the missing timestamp."""
        columns = {"user": self.user, "item": self.item, "rating": self.rating, "timestamp": self.timestamp}
        return {role: column for role, column in columns.items() if column is not None}


@dataclass(frozen=True)
class Layout:
    """Delimiter, header and columns of a source.

    Attributes:
        text_format: Delimiter and newline; None for Parquet.
        header: Column names, if the source has them.
        columns: Columns of user, item, rating and timestamp.
        n_fields: Number of fields per row.
        number_ids: Roles, "user" or "item", whose first ids are all plain numbers, such as "7" but not "007".
    """

    text_format: TextFormat | None
    header: list[str] | None
    columns: Columns
    n_fields: int
    number_ids: frozenset[str] = frozenset()

    def column_name(self, role: str) -> str:
        """Name of the column of `role` for messages."""
        index = self.columns.of(role)
        if index is None:
            return role
        return self.header[index] if self.header and index < len(self.header) else f"{index + 1} ({role})"

    def delimiter_name(self) -> str:
        """Name of the delimiter; "parquet" if there is none."""
        if self.text_format is None:
            return "parquet"
        return {"\t": "tab", BLANKS: "blanks"}.get(self.text_format.delimiter, self.text_format.delimiter)

    def column_choices(self) -> dict[str, str | int | None]:
        """Columns by role: names, or numbers from 1."""
        choices: dict[str, str | int | None] = {}
        for role in ROLES:
            index = self.columns.of(role)
            named = index is not None and self.header and index < len(self.header)
            choices[role] = None if index is None else self.header[index] if named and self.header else index + 1
        return choices

    def describe(self) -> str:
        """Summary of the layout in one line."""
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
    """Check that `text` is a finite decimal number."""
    return NUMBER.fullmatch(text) is not None


def is_plain_number(text: str) -> bool:
    """Check that `text` is a non-negative integer as it prints.

    At most 18 digits, so that it fits into 64 bits.
    """
    return text.isascii() and text.isdigit() and len(text) <= 18 and str(int(text)) == text


def detect_text(
    sample: bytes, text_format: TextFormat, options: ReadOptions, name: str
) -> tuple[TextLayout, Record | None]:
    """Detect the layout of text that begins with `sample`.

    Returns:
        The layout, and the record of the header if there is one.

    Raises:
        InputDataError: it has no ratings, or its columns cannot be determined.
    """
    rows = list(records(sample, text_format))
    if not rows:
        raise InputDataError(f"{name} is empty: it has only blank lines")
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
    """Detect the delimiter that splits `sample` most evenly.

    One that gives at least three fields wins over one that gives two.

    Raises:
        InputDataError: no delimiter splits the rows.
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
        # In "a;b,c;d,5" both split evenly, but only the comma leaves a number for the rating.
        numeric = any(_numeric(_column(rows[1:] or rows, index)) for index in range(width))
        score = (width >= 3, count >= MIN_MATCHING * len(rows), numeric, -rank)
        if best is None or score > best[0]:
            best = score, delimiter
    if best is None:
        raise InputDataError(f"{name}: no delimiter found in {_first_line(sample)}; set --delimiter and --columns")
    return best[1]


def _first_line(sample: bytes) -> str:
    lines = sample.decode("utf-8", "replace").split("\n")
    return quoted(next((line.strip() for line in lines if line.strip()), ""))


def role_of(name: str) -> str | None:
    """Role of a column called `name`, if known."""
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
        values = _column(rows, found["timestamp"] or 0)
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


def _column(rows: Sequence[Sequence[str]], index: int) -> list[str]:
    return [row[index] for row in rows if index < len(row)]


def _nearly_all(values: Sequence[str], test: Callable[[str], object]) -> bool:
    return bool(values) and sum(1 for value in values if test(value)) >= MIN_MATCHING * len(values)


def _numeric(values: Sequence[str]) -> bool:
    """True if most values are numbers.

    A majority is enough: the reader reports the bad rows, with their lines.
    """
    return bool(values) and sum(map(is_number, values)) * 2 > len(values)


def _is_epoch(text: str) -> bool:
    return is_number(text) and any(low <= float(text) <= high for low, high in EPOCH_RANGES)


def _rating_by_content(rows: Sequence[Sequence[str]], width: int, found: Mapping[str, int | None], name: str) -> int:
    """Rating column: the third, else the only plausible one.

    Two plausible columns are an error, since a wrong guess would train a wrong model.
    """
    if width < 3:
        raise InputDataError(
            f"{name} has {width} columns; a user, an item and a rating need three: "
            "if rows are split wrongly, set --delimiter"
        )
    numeric = [
        index
        for index in range(width)
        if index not in found.values()
        and _numeric(_column(rows, index))
        and not _nearly_all(_column(rows, index), _is_epoch)
    ]
    if not numeric:
        raise InputDataError(f"{name}: no column holds numbers that could be ratings; set --columns rating=")
    plausible = [index for index in numeric if index >= 2 and _like_ratings(_column(rows, index))]
    if "user" in found and "item" in found:
        plausible = [index for index in numeric if _like_ratings(_column(rows, index))]
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
        values = _column(rows, index)
        # Under an unknown name a large integer may be anything, but a date is a date.
        if _nearly_all(values, ISO_DATE.fullmatch) or (not has_names and _nearly_all(values, _is_epoch)):
            return index
    return None


def sample_text(
    head: bytes, options: ReadOptions, name: str, candidates: Sequence[str] | None = None
) -> tuple[TextFormat, bytes]:
    """Detect the format of text that begins with `head`.

    Returns:
        Delimiter and newline, and a sample of whole rows.

    Raises:
        InputDataError: it is not text, or has no known delimiter.
    """
    newline = b"\n" if b"\n" in head[:SAMPLE_BYTES] or b"\r" not in head else b"\r"
    end = head.rfind(newline, 0, SAMPLE_BYTES) + 1 if len(head) > SAMPLE_BYTES else len(head)
    sample = head[: end or len(head)]
    if b"\0" in sample:
        raise InputDataError(f"{name} is not text: it contains NUL bytes; for UTF-16 set --encoding utf-16")
    check_utf_8(sample, 1, TextFormat(",", newline), name)
    if not sample.strip():
        raise InputDataError(f"{name} is empty: it has only blank lines")
    delimiter = options.delimiter
    if delimiter is None:
        delimiter = detect_delimiter(sample, newline, name, *([candidates] if candidates else []))
    return TextFormat(delimiter, newline), sample
