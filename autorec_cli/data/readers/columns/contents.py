"""Contents of columns in a sample: numbers, times, counters, text, prose."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import polars as pl

from autorec_cli.data.readers.timestamps import COMPACT_DATE, EPOCH_RANGES, TimestampFormat, parse_timestamps

MIN_MATCHING = 0.9
"""Fraction of a sample that must match; the rest may be bad rows."""
MAX_RATING_VALUES = 101  # a scale from 0 to 100 in steps of 1
MAX_RATING = 100
MAX_STARS, MAX_STAR = 11, 10  # 0 to 10
"""Largest whole number that looks like a rating."""
MAX_RATING_SCORE = 4
"""Numbers, few of them or fractions, on a usual scale, not all equal: one point each."""
MIN_COUNTED = 3
"""Rows that a counter needs; two rows of users 1 and 2 are no row numbers."""
MIN_PROSE_BLANKS = 3
"""Blanks per value, in the mean, from which text is prose: a review, not an id."""
NUMBER = re.compile(r"\s*[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?\s*", re.ASCII)
WRITTEN_RATING = re.compile(
    r"\s*(?:\d+,\d+|\d+(?:[.,]\d+)?\s*(?:\u00bd|%|stars?|(?:/|out of|of)\s*\d+(?:\s*stars?)?)"
    r"|[\u2605\u2606\u2b50*]+\s*\u00bd?)\s*",
    re.ASCII | re.IGNORECASE,
)
"""Ratings that are no numbers: 3,5 and 80% and 4/5 and 4 stars."""
_CURRENCY = r"(?:[$\u20ac\u00a3\u00a5\u20b9]|usd|eur|gbp|jpy|cny|inr|chf|cad|aud)"
_AMOUNT = r"[+-]?(?:\d[\d,.]*|[.,]\d+)"
MONEY = re.compile(rf"\s*(?:[+-]?{_CURRENCY}\s*{_AMOUNT}|{_AMOUNT}\s*{_CURRENCY})\s*", re.ASCII | re.IGNORECASE)
"""Numbers with a currency: $3.00 and 3 EUR."""
GRADE = re.compile(r"\s*([A-Fa-f])[+-]?\s*")
MIN_GRADES = 3
"""Letters that grades have at least; two may be sizes, variants or blood groups."""
VERDICTS = re.compile(
    r"\s*(?:true|false|t|f|yes|no|y|n|up|down|(?:dis)?like|positive|negative|neutral|(?:not )?recommended)\s*",
    re.IGNORECASE,
)
"""Ratings in words."""
BLANK, NUMBERS, TIMES, DATES, TEXT, PROSE = "blank", "numbers", "times", "dates", "text", "prose"


@dataclass(frozen=True)
class Contents:
    """Contents of a column, judged by a sample.

    Attributes:
        index: Column number from 0.
        kind: `BLANK`, `NUMBERS`, `TIMES` (numbers that may be seconds since 1970), `DATES`, `TEXT` or `PROSE`.
        n_distinct: Distinct values, blank ones left out.
        low, high: Range of the numbers; 0 without any.
        is_whole: All numbers are whole.
        is_counter: It counts 0, 1, 2, ... or 1, 2, 3, ...
        is_clock: It has times in order, most of them once; ids of users that look like times repeat.
    """

    index: int
    kind: str
    n_distinct: int
    low: float = 0.0
    high: float = 0.0
    is_whole: bool = False
    is_counter: bool = False
    is_clock: bool = False

    @property
    def is_numeric(self) -> bool:
        """True for numbers that are no times."""
        return self.kind == NUMBERS

    @property
    def is_like_ratings(self) -> bool:
        """True for numbers of few values, or fractions.

        Ids are whole numbers, and many.
        """
        return self.is_numeric and (self.n_distinct <= MAX_RATING_VALUES or not self.is_whole)

    @property
    def is_on_scale(self) -> bool:
        """True for numbers in the range of usual scales."""
        return self.is_like_ratings and self.low >= -MAX_RATING and self.high <= MAX_RATING

    @property
    def is_like_stars(self) -> bool:
        """True for few small whole numbers, which are ratings rather than ids."""
        return self.is_numeric and self.is_whole and self.n_distinct <= MAX_STARS and self.high <= MAX_STAR

    @property
    def may_be_items(self) -> bool:
        """True for whole numbers of more values than most scales have."""
        return self.is_whole and self.n_distinct > MAX_STARS

    @property
    def is_id(self) -> bool:
        """True for text and whole numbers, which ids are."""
        return self.kind == TEXT or (self.kind in (NUMBERS, TIMES) and self.is_whole)

    @property
    def rating_score(self) -> int:
        """Plausibility as ratings, from 0 to `MAX_RATING_SCORE`."""
        if self.is_counter or not self.is_numeric:
            return 0
        return 1 + self.is_like_ratings + self.is_on_scale + (self.n_distinct > 1)

    def describe(self) -> str:
        """Kind, distinct values and range for messages."""
        if self.kind in (NUMBERS, TIMES):
            number = "whole number" if self.is_whole else "number"
            counter = ", counting up row by row" if self.is_counter else ""
            some = f"{self.n_distinct:,} distinct {number}{'' if self.n_distinct == 1 else 's'}"
            return f"{some} from {self.low:.15g} to {self.high:.15g}{counter}"
        return BLANK if self.kind == BLANK else f"{self.kind}, {self.n_distinct:,} distinct"


def contents_of(rows: Sequence[Sequence[str]], index: int, date_format: str | None = None) -> Contents:
    """Judge the contents of column `index`."""
    values = [value for value in column_of(rows, index) if value.strip()]
    n_distinct = len(set(values))
    if not values:
        return Contents(index, BLANK, 0)
    if not is_numeric(values):
        return Contents(index, _kind_of_text(values, date_format), n_distinct)
    numbers = [float(value) for value in values if is_number(value)]
    is_time = nearly_all(values, _is_epoch) or nearly_all(values, COMPACT_DATE.fullmatch)
    return Contents(
        index,
        TIMES if is_time else NUMBERS,
        len(set(numbers)),
        min(numbers),
        max(numbers),
        all(number.is_integer() for number in numbers),
        _counts(numbers),
        is_time and len(numbers) >= MIN_COUNTED and 2 * n_distinct > len(numbers) and numbers == sorted(numbers),
    )


def _kind_of_text(values: Sequence[str], date_format: str | None) -> str:
    if sum(readable_times(values, date_format)) >= MIN_MATCHING * len(values):
        return DATES
    return PROSE if sum(value.strip().count(" ") for value in values) >= MIN_PROSE_BLANKS * len(values) else TEXT


def _counts(numbers: Sequence[float]) -> bool:
    is_long = len(numbers) >= MIN_COUNTED and numbers[0] in (0, 1)
    return is_long and all(number == numbers[0] + row for row, number in enumerate(numbers))


def readable_times(values: Sequence[str], date_format: str | None = None) -> list[bool]:
    """Mask of `values` that can be read as timestamps."""
    moments = parse_timestamps(pl.Series(values, dtype=pl.String), TimestampFormat(date_format))
    return moments.is_finite().fill_null(value=False).to_list()


def column_of(rows: Sequence[Sequence[str]], index: int) -> list[str]:
    """Cells of a column, without those of shorter rows."""
    return [row[index] for row in rows if index < len(row)]


def nearly_all(values: Sequence[str], test: Callable[[str], object]) -> bool:
    """True if at least `MIN_MATCHING` of some values pass."""
    return bool(values) and sum(1 for value in values if test(value)) >= MIN_MATCHING * len(values)


def is_number(text: str) -> bool:
    """Check that `text` is a finite decimal number."""
    return NUMBER.fullmatch(text) is not None


def is_numeric(values: Sequence[str]) -> bool:
    """True if most values are numbers.

    A majority is enough: the reader reports the bad rows, with their lines.
    """
    return bool(values) and sum(map(is_number, values)) * 2 > len(values)


def are_written_ratings(values: Sequence[str]) -> bool:
    """True for ratings of another form, such as 4/5."""
    written = sum(1 for value in values if WRITTEN_RATING.fullmatch(value))
    return written > 0 and nearly_all(values, lambda value: is_number(value) or WRITTEN_RATING.fullmatch(value))


def are_verdicts(values: Sequence[str]) -> bool:
    """True for ratings in words, such as like and dislike."""
    return nearly_all(values, VERDICTS.fullmatch)


def are_grades(values: Sequence[str], is_named_grade: bool) -> bool:
    """True for grades such as A+ and B-.

    Without a name that says so, there must be several letters, and one with a sign.
    """
    if not nearly_all(values, GRADE.fullmatch):
        return False
    letters = {match[1].upper() for match in map(GRADE.fullmatch, values) if match}
    has_sign = any("+" in value or "-" in value for value in values)
    return is_named_grade or (len(letters) >= MIN_GRADES and has_sign)


def are_money(values: Sequence[str]) -> bool:
    """True for amounts of money."""
    return nearly_all(values, MONEY.fullmatch)


def is_plain_number(text: str) -> bool:
    """Check that `text` is a non-negative integer as it prints.

    At most 18 digits, so that it fits into 64 bits.
    """
    return text.isascii() and text.isdigit() and len(text) <= 18 and str(int(text)) == text


def _is_epoch(text: str) -> bool:
    return is_number(text) and any(low <= float(text) <= high for low, high in EPOCH_RANGES)
