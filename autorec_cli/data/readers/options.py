"""How the user says that sources are to be read; what is not said is detected."""

from __future__ import annotations

import codecs
import math
from collections.abc import Mapping
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
UTF_8_NAMES = ("utf-8", "utf-8-sig")


@dataclass(frozen=True)
class Period:
    """From when until when ratings count, in the unit of their timestamps: seconds since 1970, if they are dates.

    Attributes:
        since: The first moment that counts.
        until: The first one after it that does not count any more.
    """

    since: float = -math.inf
    until: float = math.inf

    def __post_init__(self) -> None:
        if not self.since < self.until:
            raise UsageError(
                "--since is not before --until, which is the first moment that does not count any more; exchange them"
            )

    @property
    def is_limited(self) -> bool:
        """Whether it leaves out anything at all."""
        return self != EVER

    @property
    def bounds(self) -> list[float]:
        """Those of its two ends that are given."""
        return [bound for bound in (self.since, self.until) if math.isfinite(bound)]


EVER = Period()


@dataclass(frozen=True)
class ReadOptions:
    """What is known about the sources beforehand.

    Attributes:
        delimiter: The character(s) between fields, `BLANKS` for runs of blanks; None to detect it.
        columns: Role -> name in the header or 1-based number, as text; "none" for a timestamp that must not be used.
        has_header: False where the first line is data whatever it looks like; None to detect it.
        encoding: Name of the text encoding, as Python knows it.
        skip_bad_rows: Whether a bad row is counted and left out instead of ending the run.
        period: When the ratings that count were given.
    """

    delimiter: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    has_header: bool | None = None
    encoding: str = "utf-8"
    skip_bad_rows: bool = False
    period: Period = EVER

    def __post_init__(self) -> None:
        try:
            codecs.getincrementaldecoder(self.encoding)
            encoded_text = isinstance("".encode(self.encoding), bytes)
        except (LookupError, TypeError, ValueError):
            encoded_text = False
        if not encoded_text:
            raise UsageError(f"--encoding {self.encoding} is not known; examples are utf-8, latin-1, cp1252, utf-16")
        if self.has_header is False and any(not text.isdigit() for text in self.columns.values() if text != NO_COLUMN):
            raise UsageError(
                "--columns gives names but --no-header says that there are none; give column numbers from 1"
            )

        if self.period.is_limited and self.columns.get("timestamp") == NO_COLUMN:
            raise UsageError("--since and --until need the timestamps that --columns timestamp=none leaves out")

    @property
    def is_utf_8(self) -> bool:
        """Whether the text needs no decoding."""
        return codecs.lookup(self.encoding).name in UTF_8_NAMES


def parse_delimiter(text: str | None) -> str | None:
    """The delimiter that `--delimiter TEXT` stands for.

    Raises:
        UsageError: it is none of those that can be read.
    """
    if text is None:
        return None
    if text not in DELIMITERS:
        raise UsageError(f"--delimiter {text!r} is not one of  ,  ;  |  ::  tab  blanks")
    return DELIMITERS[text]


def parse_columns(text: str | None) -> dict[str, str]:
    """Role -> column of `--columns user=userId,item=2,timestamp=none`.

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
        if column == NO_COLUMN and role != "timestamp":
            raise UsageError(f"--columns {role}=none: only the timestamp can be left out")
        if column in columns.values():
            raise UsageError(f"--columns gives column {column} two meanings")
        columns[role] = column
    return columns
