"""Options for reading sources; unset ones are detected."""

from __future__ import annotations

import codecs
import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from autorec_cli.errors import UsageError

ROLES = ("user", "item", "rating", "timestamp")
NO_COLUMN = "none"
DUPLICATES = ("last", "first", "mean", "error")
BLANKS = " "
DELIMITERS = {
    ",": ",",
    ";": ";",
    "|": "|",
    "::": "::",
    "tab": "\t",
    "\\t": "\t",
    "\t": "\t",
    "blanks": BLANKS,
    "space": BLANKS,
    " ": BLANKS,
}
QUOTES = NO_QUOTES, DOUBLE_QUOTES = ("none", "double")
UTF_8_NAMES = ("utf-8", "utf-8-sig")


@dataclass(frozen=True)
class Period:
    """Period of the ratings to use.

    Bounds are seconds since 1970, or of the numbers that the timestamps are.

    Attributes:
        since: Start, included.
        until: End, not included.
    """

    since: float = -math.inf
    until: float = math.inf

    def __post_init__(self) -> None:
        if not self.since < self.until:
            raise UsageError("--since is not before --until; exchange them (--until itself is not included)")

    @property
    def is_limited(self) -> bool:
        """True if it has a bound."""
        return self != EVER

    @property
    def bounds(self) -> list[float]:
        """Finite bounds, in order."""
        return [bound for bound in (self.since, self.until) if math.isfinite(bound)]


EVER = Period()


@dataclass(frozen=True)
class ReadOptions:
    """Facts about the sources given by the user.

    Attributes:
        delimiter: Text between fields, `BLANKS` for runs of spaces and tabs; None to detect it.
        columns: Name in the header or number from 1 by role, as text; "none" to ignore ratings or timestamps.
        has_header: False if the first line is data; None to detect it.
        encoding: Python's name of the text encoding.
        skip_bad_rows: Count and leave out bad rows instead of raising.
        period: Period of the ratings to use.
        quote: "double" if quotes enclose fields (RFC 4180), "none" if they are characters; None for "none" in
            tab-separated text and "double" elsewhere, where a quoted field with lines like rows is refused.
        date_format: strptime format of the timestamps; None for numbers and ISO 8601.
        missing_rating: Leave out rows with this rating, which stands for none.
        interactions: Every row is an interaction, whatever its rating; those of 0 or less are left out.
        are_pairs: Rows need no rating, so two columns without names are user and item.
    """

    delimiter: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    has_header: bool | None = None
    encoding: str = "utf-8"
    skip_bad_rows: bool = False
    period: Period = EVER
    quote: str | None = None
    date_format: str | None = None
    missing_rating: float | None = None
    interactions: bool = False
    are_pairs: bool = False

    def __post_init__(self) -> None:
        if self.quote not in (None, *QUOTES):
            raise UsageError(f"--quote {self.quote} is not one of {', '.join(QUOTES)}")
        try:
            codecs.getincrementaldecoder(self.encoding)
            # Some of Python's codecs are not for text, such as hex.
            encoded_text = isinstance("".encode(self.encoding), bytes)
        except (LookupError, TypeError, ValueError):
            encoded_text = False
        if not encoded_text:
            raise UsageError(f"--encoding {self.encoding} is unknown; use for example utf-8, latin-1, cp1252 or utf-16")
        if self.has_header is False and any(
            not text.isdecimal() for text in self.columns.values() if text != NO_COLUMN
        ):
            raise UsageError("--columns uses names, but --no-header says there are none; use column numbers from 1")

        if self.period.is_limited and self.columns.get("timestamp") == NO_COLUMN:
            raise UsageError("--since and --until need the timestamps that --columns timestamp=none ignores")
        if self.date_format is not None:
            from autorec_cli.data.readers.timestamps import check_date_format  # polars is not needed to show help

            check_date_format(self.date_format)

    @property
    def is_utf_8(self) -> bool:
        """True if the text needs no decoding."""
        return codecs.lookup(self.encoding).name in UTF_8_NAMES


def one_id_per_line(unknown: Collection[str]) -> str:
    """Advice on unknown ids that are whole lines of a table.

    Empty unless most hold a delimiter.
    """
    n_rows = sum(bool(re.search(r"[,;|\t]", text)) for text in unknown)
    return "; whole lines were read as ids: write one id per line" if 2 * n_rows > len(unknown) else ""


def parse_delimiter(text: str | None) -> str | None:
    """Parse the value of `--delimiter`.

    Raises:
        UsageError: the delimiter is unknown.
    """
    if text is None:
        return None
    if text not in DELIMITERS:
        raise UsageError(f"--delimiter {text!r} is not one of  ,  ;  |  ::  tab  blanks")
    return DELIMITERS[text]


def parse_columns(text: str | None) -> dict[str, str]:
    """Parse `--columns user=userId,item=2,timestamp=none` into columns by role.

    Raises:
        UsageError: a part is not ROLE=COLUMN, or a role or a column comes twice.
    """
    columns: dict[str, str] = {}
    for part in (text or "").split(",") if text else []:
        role, equals, column = (piece.strip() for piece in part.partition("="))
        if not equals or not column or role not in ROLES:
            raise UsageError(
                f"--columns: {part.strip()!r} is not one of user=, item=, rating=, timestamp= with a name or number"
            )
        if role in columns:
            raise UsageError(f"--columns names {role} twice")
        if column == NO_COLUMN and role not in ("rating", "timestamp"):
            raise UsageError(f"--columns {role}=none: only ratings and timestamps can be ignored")
        if column != NO_COLUMN and column in columns.values():
            raise UsageError(f"--columns uses column {column} twice")
        columns[role] = column
    return columns


def name_or_number(header: Sequence[str], text: str) -> str:
    """Name of a column that is given by name or number."""
    by_number = text not in header and text.isdecimal() and 1 <= int(text) <= len(header)
    return header[int(text) - 1] if by_number else text
