"""Blocks of plain rows, read by numpy eight bytes at a time.

Most published ratings are rows such as `1,31,2.5,1260759144`: ids that are plain numbers, few different ratings, whole
timestamps. Such a block takes half the time here that a CSV parser takes for it. Whatever is not plain is for the
parser: nothing here is an error, and what is read is what the parser would have read.

A field of at most eight bytes is a `word`: its bytes as one little-endian number, the last byte the highest, with zeros
where the field is shorter. Digits in a word become their number in a few steps for all rows at once (the method is
known from simdjson: pairs of digits, then fours, then eights).
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from autorec_cli.ingest.blocks import single_byte_delimiter
from autorec_cli.ingest.detection import Layout
from autorec_cli.ingest.numbers import FLOAT32_MAX, parse_numbers
from autorec_cli.ingest.records import QUOTE

WORD = 8  # bytes
PADDING = b"\0" * (2 * WORD)  # before the first field, so that all fields have words, and timestamps two of them
TRIES = 4  # blocks of a source that are tried without success before the rest is left to the parser

Words = NDArray[np.uint64]
Lengths = NDArray[np.int64]

ZEROS = np.uint64(0x3030303030303030)  # "00000000"
NO_DIGIT = np.uint64(0x7676767676767676)  # added to a byte above 9, it sets the highest bit
HIGHEST_BITS = 0x8080808080808080
LEAST_OF_LENGTH = np.array([1, 0, *(10**n for n in range(1, WORD))])  # "0" is plain, "00" and "" are not


@dataclass(frozen=True)
class PlainRows:
    """The rows of a block.

    Attributes:
        users, items: Numbers that print as the ids do, (n_rows,) int64.
        ratings: (n_rows,) float32.
        timestamps: (n_rows,) int64; None if the source has none.
    """

    users: NDArray[np.int64]
    items: NDArray[np.int64]
    ratings: NDArray[np.float32]
    timestamps: NDArray[np.int64] | None


class PlainReader:
    """Reads the plain blocks of one source; may be called from several threads.

    Args:
        layout: How the source is laid out.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._ratings = RatingTexts()
        self._n_read = self._n_refused = 0

    def read(self, block: bytes, name: str) -> PlainRows | None:
        """The rows of `block`, or None if it is not plain.

        Args:
            block: Whole rows, UTF-8.
            name: The source, for messages.

        Raises:
            InputDataError: see `single_byte_delimiter`.
        """
        if self._n_refused >= TRIES and not self._n_read:
            return None
        rows = self._read(block, name)
        if rows is None:
            self._n_refused += 1
        else:
            self._n_read += 1
        return rows

    def _read(self, block: bytes, name: str) -> PlainRows | None:
        layout, text_format = self._layout, self._layout.text_format
        assert text_format is not None
        if text_format.newline != b"\n" or (text_format.quoted and QUOTE in block) or b"\0" in block:
            return None
        data, delimiter = single_byte_delimiter(block, text_format, name)
        fields = _cut(data, delimiter, layout.n_fields)
        if fields is None:
            return None
        users, items = (_plain_numbers(fields, column) for column in (layout.columns.user, layout.columns.item))
        if users is None or items is None:
            return None
        ratings = self._ratings.values(fields, layout.columns.rating)
        if ratings is None:
            return None
        if layout.columns.timestamp is None:
            return PlainRows(users, items, ratings, None)
        times = _whole_numbers(fields, layout.columns.timestamp)
        return None if times is None else PlainRows(users, items, ratings, times)


@dataclass(frozen=True)
class _Fields:
    """The fields of a block.

    Attributes:
        words: The word of the eight bytes before every place of the text, from one word before it.
        delimiters: Where the delimiter or newline behind a field is in the text, (n_fields, n_rows).
        returns: Whether a carriage return is before the newline of a row, (n_rows,); None if there is none at all.
    """

    words: Words
    delimiters: NDArray[np.int64]
    returns: NDArray[np.bool_] | None

    def ends(self, column: int) -> NDArray[np.int64]:
        """Where the fields of a column end in the text, (n_rows,)."""
        ends: NDArray[np.int64] = self.delimiters[column]
        is_last = column == len(self.delimiters) - 1
        return ends - self.returns if is_last and self.returns is not None else ends

    def lengths(self, column: int) -> Lengths:
        """Bytes of the fields of a column, (n_rows,)."""
        lengths: Lengths
        if column:
            lengths = self.ends(column) - self.delimiters[column - 1]
            lengths -= 1
        else:
            lengths = self.ends(column).copy()
            lengths[1:] -= self.delimiters[-1, :-1]
            lengths[1:] -= 1
        return lengths

    def words_before(self, ends: NDArray[np.int64]) -> Words:
        """The eight bytes before `ends`, of whatever fields."""
        return self.words[ends + WORD]


def _cut(data: bytes, delimiter: str, n_fields: int) -> _Fields | None:
    """The fields of all rows; None unless every row has `n_fields` of them and none is blank."""
    padded = np.frombuffer(b"".join((PADDING, data, b"" if data.endswith(b"\n") else b"\n")), dtype=np.uint8)
    text = padded[len(PADDING) :]
    is_newline = text == ord("\n")
    n_rows = np.count_nonzero(is_newline)
    delimiters = np.flatnonzero(is_newline | (text == ord(delimiter)))
    if len(delimiters) != n_rows * n_fields:
        return None
    delimiters = np.ascontiguousarray(delimiters.reshape(n_rows, n_fields).T)
    if not is_newline.take(delimiters[-1]).all():
        return None
    returns = None
    if b"\r" in data:
        returns = text[delimiters[-1] - 1] == ord("\r")
        if np.count_nonzero(returns) != data.count(b"\r"):
            return None
    words = np.ndarray((len(padded) - WORD + 1,), dtype="<u8", buffer=padded, strides=(1,))
    return _Fields(words, delimiters, returns)


def _numbers(words: Words, lengths: Lengths) -> NDArray[np.int64] | None:
    """The numbers whose digits are the last `lengths` (0 to 8) bytes of `words`; None if one of them is no digit."""
    others = ((WORD - lengths) << 3).view(np.uint64)  # bits of earlier fields
    digits = words ^ ZEROS
    digits >>= others
    digits <<= others
    if int(np.bitwise_or.reduce((digits + NO_DIGIT) | digits)) & HIGHEST_BITS:
        return None
    pairs = digits * np.uint64(10)
    digits >>= np.uint64(8)
    pairs += digits
    odd = pairs >> np.uint64(16)
    pairs &= np.uint64(0x000000FF000000FF)
    odd &= np.uint64(0x000000FF000000FF)
    pairs *= np.uint64(100 + (1000000 << 32))
    odd *= np.uint64(1 + (10000 << 32))
    pairs += odd
    pairs >>= np.uint64(32)
    return pairs.view(np.int64)


def _plain_numbers(fields: _Fields, column: int) -> NDArray[np.int64] | None:
    """Numbers that print as the fields do, of at most eight digits; None if a field is something else."""
    lengths = fields.lengths(column)
    if lengths.max() > WORD:
        return None
    numbers = _numbers(fields.words_before(fields.ends(column)), lengths)
    if numbers is None or (numbers < LEAST_OF_LENGTH.take(lengths)).any():
        return None
    return numbers


def _whole_numbers(fields: _Fields, column: int) -> NDArray[np.int64] | None:
    """Numbers of at most 16 digits; None if a field is something else."""
    lengths = fields.lengths(column)
    if lengths.min() < 1 or lengths.max() > 2 * WORD:
        return None
    ends = fields.ends(column)
    low = _numbers(fields.words_before(ends), np.minimum(lengths, WORD))
    high = _numbers(fields.words_before(ends - WORD), np.maximum(lengths - WORD, 0))
    if low is None or high is None:
        return None
    high *= 10**WORD
    high += low
    return high


@dataclass(frozen=True)
class _Known:
    """Words and their values, by a hash that has no collisions.

    Attributes:
        multiplier: The product of a word with it has the word's slot in its highest bits.
        words: (n_slots,), 0 in free slots.
        values: (n_slots,) float32.
    """

    multiplier: np.uint64
    words: Words
    values: NDArray[np.float32]

    def slots(self, words: Words) -> NDArray[np.int64]:
        """The slot of every word, free or not."""
        return ((words * self.multiplier) >> np.uint64(64 - SLOT_BITS)).view(np.int64)


SLOT_BITS = 16
MOST_TEXTS = 256


class RatingTexts:
    """The texts of ratings met so far and their values: a source has few different ones, so each is parsed once.

    The values are those that the parser of numbers finds, whatever a text looks like. May be used from several threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        n_slots = 1 << SLOT_BITS
        self._known = _Known(np.uint64(1), np.zeros(n_slots, dtype=np.uint64), np.zeros(n_slots, dtype=np.float32))

    def values(self, fields: _Fields, column: int) -> NDArray[np.float32] | None:
        """Ratings, float32; None if there are bad, long or too many different ones."""
        lengths = fields.lengths(column)
        if lengths.min() < 1 or lengths.max() > WORD:
            return None
        words = fields.words_before(fields.ends(column))
        others = ((WORD - lengths) << 3).view(np.uint64)
        words >>= others
        words <<= others
        known = self._known
        slots = known.slots(words)
        is_known = known.words.take(slots) == words
        if not is_known.all():
            with self._lock:
                learned = _learn(self._known, np.unique(words[~is_known]))
                if learned is None:
                    return None
                known = self._known = learned
            slots = known.slots(words)
        return known.values.take(slots)


def _learn(known: _Known, words: Words) -> _Known | None:
    """`known` with `words` added; None if one is no rating or there are too many."""
    words = np.union1d(words, known.words[known.words > 0])
    if len(words) > MOST_TEXTS:
        return None
    texts = [int(word).to_bytes(WORD, "little").lstrip(b"\0").decode("utf-8", "replace") for word in words]
    values = parse_numbers(pl.Series(texts, dtype=pl.String))
    if not (values.abs() <= FLOAT32_MAX).fill_null(False).all():
        return None
    rng = np.random.default_rng(0)
    while True:  # half of all multipliers spread so few words over so many slots without a collision
        multiplier = np.uint64(rng.integers(1 << 63, dtype=np.uint64)) * np.uint64(2) + np.uint64(1)
        learned = _Known(multiplier, np.zeros_like(known.words), np.zeros_like(known.values))
        slots = learned.slots(words)
        learned.words[slots] = words
        if (learned.words[slots] == words).all():
            learned.values[slots] = values.to_numpy()
            return learned
