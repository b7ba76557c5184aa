"""Layouts: delimiter, header and columns of a source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from autorec_cli.data.readers.options import BLANKS, ROLES
from autorec_cli.data.readers.timestamps import ANY_FORMAT, TimestampFormat
from autorec_cli.errors import shortened

if TYPE_CHECKING:
    from autorec_cli.data.readers.text.exact_csv import TextFormat

ENCODED = "encoded"
KINDS = {
    ENCODED: "encoded Parquet",
    "parquet": "Parquet",
    "arrow": "Arrow",
    "jsonl": "JSON lines",
    "database": "database",
}
"""Kinds of sources without a delimiter, with their names."""


@dataclass(frozen=True)
class Columns:
    """Column numbers, from 0, of user, item, rating and timestamp.

    Attributes:
        user, item: Always known.
        rating: None for interactions without ratings.
        timestamp: None if there is none.
        timestamp_format: Format of the timestamps.
        unread_timestamp: Name and first value of a column called timestamp that cannot be read.
    """

    user: int
    item: int
    rating: int | None
    timestamp: int | None
    timestamp_format: TimestampFormat = ANY_FORMAT
    unread_timestamp: tuple[str, str] | None = None

    def of(self, role: str) -> int | None:
        """Column of "user", "item", "rating" or "timestamp"."""
        return self.by_role().get(role)

    @property
    def last(self) -> int:
        """The rightmost column."""
        return max(self.by_role().values())

    def by_role(self) -> dict[str, int]:
        """Columns by role, without missing ones."""
        columns = {"user": self.user, "item": self.item, "rating": self.rating, "timestamp": self.timestamp}
        return {role: column for role, column in columns.items() if column is not None}


@dataclass(frozen=True)
class Layout:
    """Delimiter, header and columns of a source.

    Attributes:
        text_format: Delimiter and newline; None for typed columns.
        header: Column names, if the source has them.
        columns: Columns of user, item, rating and timestamp.
        n_fields: Number of fields per row.
        number_ids: Roles, "user" or "item", whose first ids are all plain numbers, such as "7" but not "007".
        kind: Kind of source without a delimiter, a key of `KINDS`.
    """

    text_format: TextFormat | None
    header: list[str] | None
    columns: Columns
    n_fields: int
    number_ids: frozenset[str] = frozenset()
    kind: str = "parquet"

    def column_name(self, role: str) -> str:
        """Name of the column of `role` for messages."""
        index = self.columns.of(role)
        if index is None:
            return role
        return shortened(self.header[index]) if self.header and index < len(self.header) else f"{index + 1} ({role})"

    def delimiter_name(self) -> str:
        """Name of the delimiter; the kind of source if there is none."""
        if self.text_format is None:
            return self.kind
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
            return f"{KINDS[self.kind]}; columns {found}"
        return f"delimiter {self.delimiter_name()!r}, header {'yes' if self.header else 'no'}; columns {found}"


@dataclass(frozen=True)
class TextLayout(Layout):
    """Layout of delimited text."""

    text_format: TextFormat
