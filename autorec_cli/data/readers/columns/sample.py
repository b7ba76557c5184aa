"""Sample of a source, and refusals where roles are not clear."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from autorec_cli.data.readers.columns.contents import (
    BLANK,
    DATES,
    PROSE,
    TEXT,
    TIMES,
    Contents,
    are_grades,
    are_money,
    are_verdicts,
    are_written_ratings,
    column_of,
    contents_of,
)
from autorec_cli.data.readers.columns.names import (
    cannot_be_rating,
    is_grade_name,
    is_index_name,
    is_nameless,
    names_money,
    names_other_fact,
)
from autorec_cli.data.readers.options import NO_COLUMN
from autorec_cli.errors import InputDataError, quoted

Found = Mapping[str, int | None]
"""Columns by role; None for a role that the source lacks."""
MAX_CANDIDATES = 5
"""Columns that could hold ratings in a file of rows; a table with one column per item has more."""
MAX_LABEL = 60
"""Letters of a name that is suggested; a longer one is suggested by number."""
MAX_LISTED = 20
"""Names shown in a message."""


@dataclass(frozen=True)
class Sample:
    """First rows of a source.

    Attributes:
        name: Name of the source, for messages.
        header: Column names; None if there are none, or they only count columns.
        rows: The rows, as text.
        width: Number of columns.
        date_format: Format of dates; None for ISO 8601.
    """

    name: str
    header: Sequence[str] | None
    rows: Sequence[Sequence[str]]
    width: int
    date_format: str | None = None
    _contents: dict[int, Contents] = field(default_factory=dict, compare=False)

    @classmethod
    def of(
        cls, header: Sequence[str] | None, rows: Sequence[Sequence[str]], name: str, date_format: str | None = None
    ) -> Sample:
        """Sample with names, unless they only count columns."""
        width = len(header) if header else Counter(map(len, rows)).most_common(1)[0][0]
        return cls(name, None if header is None or is_nameless(header) else header, rows, width, date_format)

    def contents(self, index: int) -> Contents:
        """Contents of a column, judged when first asked for."""
        if index not in self._contents:
            self._contents[index] = contents_of(self.rows, index, self.date_format)
        return self._contents[index]

    def columns(self, besides: Found) -> Iterator[Contents]:
        """Columns that `besides` does not use."""
        used = set(besides.values())
        return (self.contents(index) for index in range(self.width) if index not in used)

    def label(self, index: int) -> str:
        """Value for `--columns`: the name, or the number."""
        # By number if the parser of `--columns` could not read the name back.
        column = self.header[index] if self.header else ""
        is_usable = column == column.strip() and not set(column) & set(",='\"\n") and not column.isdecimal()
        is_usable = is_usable and column not in ("", "none") and len(column) <= MAX_LABEL and column.isprintable()
        is_usable = is_usable and list(self.header or ()).count(column) == 1
        return column if is_usable else str(index + 1)

    def header_of(self, column: Contents) -> str:
        """Name of a column; empty without a header."""
        return self.header[column.index] if self.header else ""

    def shown(self, index: int) -> str:
        """Number of a column, and its name if any."""
        return f"column {index + 1}" + (f" {quoted(self.header[index])}" if self.header else "")

    def listed(self) -> str:
        """Names of the first columns, or the range of numbers."""
        if not self.header:
            return f"columns 1 to {self.width}"
        more = ", ..." if self.width > MAX_LISTED else ""
        return ", ".join(map(quoted, self.header[:MAX_LISTED])) + more

    def is_index(self, column: Contents) -> bool:
        """True for row numbers: by name, or because it counts."""
        return column.is_counter or (self.header is not None and is_index_name(self.header[column.index]))


def unclear(sample: Sample, found: Found) -> InputDataError:
    """Refusal that names the candidates and suggests `--columns`."""
    missing = [role for role in ("user", "item", "rating") if role not in found]
    candidates = rating_candidates(sample, found)
    written = written_ratings(sample, found)
    n_ids = len(missing) - ("rating" in missing)
    # The first columns are ids, if these have no names.
    if "rating" in missing and written and not any(column.index >= n_ids for column in candidates):
        example = quoted(next(filter(str.strip, column_of(sample.rows, written[0].index))))
        ignoring = _suggestion(sample, {**found, "rating": None})
        return InputDataError(
            f"{sample.name}: {sample.shown(written[0].index)} could hold ratings, but {example} is not a number; write "
            f"numbers, with a decimal point, or ignore them with {ignoring}"
        )
    if "rating" in missing and len(candidates) > MAX_CANDIDATES:
        low, high = min(column.low for column in candidates), max(column.high for column in candidates)
        return InputDataError(
            f"{sample.name} looks like a table with one column per item: {len(candidates)} columns hold numbers from "
            f"{low:.15g} to {high:.15g}; turn it into rows of user,item,rating, or choose columns with --columns"
        )
    log = _log_suggestion(sample, found, n_ids) if "rating" in missing else None
    if log:
        return InputDataError(f"{sample.name}: {log}")
    suggestion = _suggestion(sample, found)
    if "rating" in missing and not candidates:
        sentence = "no column holds numbers that could be ratings; choose columns"
    elif missing == ["rating"] or ("rating" in missing and (len(candidates) > 1 or not sample.header)):
        named = [f"{sample.shown(column.index)} ({column.low:.15g} to {column.high:.15g})" for column in candidates]
        could_be = " or ".join(filter(None, [", ".join(named[:-1]), named[-1]]))
        # Of several columns a suggested one would be pasted and trained on.
        how = "choose it, for example" if len(candidates) == 1 else "choose one in place of COLUMN"
        sentence = f"which column holds the rating is not clear: it could be {could_be}; {how}"
    else:
        roles = " and ".join(missing)
        verb = "column holds" if len(missing) == 1 else "columns hold"
        sentence = f"which {verb} {roles} is not clear from {sample.listed()}; choose, for example"
    return InputDataError(f"{sample.name}: {sentence} with {suggestion}")


def _log_suggestion(sample: Sample, found: Found, n_ids: int) -> str | None:
    """Advice on a log without ratings.

    None unless nothing but a time is left beside `n_ids` ids.
    """
    left = [column for column in sample.columns(found) if column.kind not in (BLANK, PROSE)]
    times = [column for column in left if column.kind in (TIMES, DATES) and "timestamp" not in found]
    if len(times) != 1 or len(left) - 1 != n_ids or any(sample.is_index(column) for column in left):
        return None
    suggestion = _suggestion(sample, {**found, "rating": None, "timestamp": times[0].index})
    # It may be ids too, if ratings may come after it.
    ratings = [column for column in rating_candidates(sample, found) if column.is_on_scale]
    if ratings and times[0].kind == TIMES and times[0].index < ratings[0].index:
        could_be = " or ".join(sample.shown(column.index) for column in ratings)
        as_ids = _suggestion(sample, {**found, "timestamp": None})
        suggestion = f"{suggestion}, or, if ratings are in {could_be}, with {as_ids}"
    return (
        f"{sample.shown(times[0].index)} looks like a time; a log of plays or purchases needs no ratings: choose "
        f"columns, for example with {suggestion}"
    )


def two_times(sample: Sample, times: Sequence[Contents]) -> InputDataError:
    """Refusal of several columns that could be the timestamp."""
    named = " and ".join(sample.shown(column.index) for column in times)
    return InputDataError(
        f"{sample.name}: which column holds the timestamp is not clear: {named} could; choose it, for example with "
        f"--columns timestamp={sample.label(times[0].index)}, or ignore them with --columns timestamp=none"
    )


def rating_candidates(sample: Sample, found: Found) -> list[Contents]:
    """Columns that could hold ratings.

    While user and item are unknown, the first columns are left out if there are others: most files begin with ids.
    """
    able = [
        column
        for column in sample.columns(found)
        if column.is_numeric and not (sample.header and cannot_be_rating(sample.header[column.index]))
    ]
    likely = [column for column in able if column.is_like_ratings]
    if len(likely) > MAX_CANDIDATES:
        return likely
    n_unknown = ("user" not in found) + ("item" not in found)
    later = [column for column in likely if column.index >= n_unknown]
    return later or likely or able


def written_ratings(sample: Sample, found: Found) -> list[Contents]:
    """Columns of ratings that are not numbers, such as 3,5."""
    return [
        column
        for column in sample.columns(found)
        if column.kind in (TEXT, PROSE)
        and not (sample.header and cannot_be_rating(sample.header_of(column)))
        and _is_written_rating(sample, column)
    ]


def _is_written_rating(sample: Sample, column: Contents) -> bool:
    values, name = _filled(sample, column), sample.header_of(column)
    if holds_verdicts(sample, column) or are_written_ratings(values):
        return True
    if are_money(values):
        return not names_money(name)
    is_named = is_grade_name(name)
    return (is_named or not names_other_fact(name)) and are_grades(values, is_named)


def holds_verdicts(sample: Sample, column: Contents) -> bool:
    """True for a column of words such as true and false."""
    return column.kind == TEXT and are_verdicts(_filled(sample, column))


def _filled(sample: Sample, column: Contents) -> list[str]:
    return [text for text in column_of(sample.rows, column.index) if text.strip()]


def _suggestion(sample: Sample, found: Found) -> str:
    """Best guess as options of the command line.

    COLUMN stands for what cannot be guessed, and is refused if it is pasted.
    """
    guess = {role: column for role, column in found.items() if column is not None}
    candidates = [] if "rating" in found else rating_candidates(sample, found)
    if len(candidates) == 1:
        guess["rating"] = candidates[0].index
    clocks = [column.index for column in sample.columns(guess) if column.is_clock]
    if clocks and "timestamp" not in found:
        guess["timestamp"] = clocks[0]
    n_ids = ("user" not in found) + ("item" not in found)
    free = [
        column
        for column in sample.columns(guess)
        if column.kind not in (BLANK, PROSE, DATES) and not sample.is_index(column)
    ]
    # Ids may look like seconds since 1970, or like ratings: these come last, if not all are needed.
    if len(free) > n_ids:
        free.sort(key=lambda column: (column.kind == TIMES, column in candidates))
    for role in ("user", "item"):
        if role not in guess and free:
            guess[role] = free.pop(0).index
    labels = {role: sample.label(index) for role, index in guess.items()}
    for role in ("user", "item"):
        labels.setdefault(role, "COLUMN")
    if "rating" in found:
        labels.setdefault("rating", NO_COLUMN)
    elif candidates:
        labels.setdefault("rating", "COLUMN")
    roles = [role for role in ("user", "item", "rating", "timestamp") if role in labels]
    return "--columns " + shlex.quote(",".join(f"{role}={labels[role]}" for role in roles))
