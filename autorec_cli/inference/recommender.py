"""From a request to top-k lists: who gets one, what may be in it, and the rows that say so."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from autorec_cli.csr import Array
from autorec_cli.data.builder.csr_builder import read_user_items
from autorec_cli.data.readers.options import ReadOptions
from autorec_cli.errors import InputDataError, UsageError, counted
from autorec_cli.inference.blending import Users, clip, fold_in, item_scorer, known_users, nameless_users
from autorec_cli.inference.model import Predictor
from autorec_cli.inference.top_k import NO_ITEM, ListBlock, ranked_lists

ON_UNKNOWN = ("error", "skip", "popular")
MAX_IDS_BYTES = 256 << 20
"""Of a file of ids; /dev/zero has more."""

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Request:
    """Whose lists are wanted and what may be in them.

    Attributes:
        user_ids: In the order wanted; None means everyone in the model.
        history: A file of ratings of users to fold in, instead of users of the model.
        history_format: How to read it; None detects everything.
        k: Length of a list.
        include_seen: Whether rated items may be listed.
        candidates, exclude: Files with an item id a line: only these, none of these.
        min_item_ratings: Training ratings that an item needs to be listed.
        on_unknown: "error", "skip" or "popular": what to do with users that the model does not know.
    """

    user_ids: Sequence[str] | None = None
    history: str | None = None
    history_format: ReadOptions | None = None
    k: int = 10
    include_seen: bool = False
    candidates: str | None = None
    exclude: str | None = None
    min_item_ratings: int = 1
    on_unknown: str = "error"

    def __post_init__(self) -> None:
        if self.k < 1:
            raise UsageError(f"--top-k must be a whole number from 1, not {self.k}")
        if self.min_item_ratings < 0:
            raise UsageError(f"--min-item-ratings must be 0 or more, not {self.min_item_ratings}")
        if self.on_unknown not in ON_UNKNOWN:
            raise UsageError(f"--on-unknown must be one of {', '.join(ON_UNKNOWN)}, not {self.on_unknown!r}")
        if self.history is not None and self.user_ids is not None:
            raise UsageError("--history lists the users of its file; leave out --user and --users")


@dataclass(frozen=True)
class Shard:
    """One of `of` runs of users, as equal as can be, numbered from 1."""

    number: int
    of: int


def parse_shard(text: str) -> Shard:
    """Read `3/16`.

    Raises:
        UsageError: it is not of that form, or there is no such shard.
    """
    found = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise UsageError(f"--shard must be a number and how many there are, such as 3/16, not {text[:40]!r}")
    return Shard(int(found[1]), int(found[2]))


@dataclass(frozen=True)
class Audience:
    """The users who get lists, in the order of the lists.

    Attributes:
        user_ids: Their ids.
        users: Slice of them -> the users, ready to be scored.
        seen: Slice of them -> (row, item_index) of what they have rated.
        unknown: (n,) bool, users of whom nothing is known: they get the most rated items.
    """

    user_ids: Sequence[str]
    users: Callable[[slice], Users]
    seen: Callable[[slice], tuple[Array, Array]]
    unknown: Array

    def first(self, n: int) -> Audience:
        """Only the first `n` users."""
        return Audience(self.user_ids[:n], self.users, self.seen, self.unknown[:n])

    def shard(self, shard: Shard) -> Audience:
        """Only the users of `shard`; those of all shards, one after the other, are all users."""
        first, last = ((shard.number - 1 + end) * len(self.user_ids) // shard.of for end in (0, 1))

        def moved(part: slice) -> slice:
            start, stop, _ = part.indices(last - first)
            return slice(first + start, first + stop)

        return Audience(
            self.user_ids[first:last],
            lambda part: self.users(moved(part)),
            lambda part: self.seen(moved(part)),
            self.unknown[first:last],
        )


def audience_of(model: Predictor, request: Request, tell: Tell) -> Audience:
    """The users that `request` asks for, in its order, each once.

    Args:
        model: Where users are known or folded in.
        request: Whose lists are wanted.
        tell: Called with each thing that is worth a warning.

    Raises:
        InputDataError: a user is unknown and that is an error, or the history cannot be used.
    """
    if request.history is not None:
        return _folded_audience(model, request, tell)
    if request.user_ids is None:
        return _known_audience(model, model.user_ids, np.arange(model.n_users))
    index_of = {identifier: index for index, identifier in enumerate(model.user_ids)}
    wanted = list(dict.fromkeys(request.user_ids))
    unknown = [identifier for identifier in wanted if identifier not in index_of]
    if unknown and request.on_unknown == "error":
        raise InputDataError(
            f"the model does not know user {unknown[0]!r}{_and_more(len(unknown) - 1)}; "
            "use --on-unknown skip or popular, or --history FILE with their ratings"
        )
    _tell_of_unknown(len(unknown), len(wanted), request.on_unknown, tell)
    if request.on_unknown == "skip":
        wanted = [identifier for identifier in wanted if identifier in index_of]
    return _known_audience(model, wanted, np.array([index_of.get(identifier, -1) for identifier in wanted], dtype=int))


def _and_more(n: int) -> str:
    return f" (and {n:,} more)" if n else ""


def _tell_of_unknown(n_unknown: int, n_users: int, on_unknown: str, tell: Tell) -> None:
    if n_unknown:
        what = "left out" if on_unknown == "skip" else "given the most rated items"
        tell(f"unknown to the model and {what}: {n_unknown:,} of {counted(n_users, 'user')}")


def _known_audience(model: Predictor, user_ids: Sequence[str], user_index: Array) -> Audience:
    """Users of the model; an index of -1 stands for a user that it does not know."""
    unknown = user_index < 0

    def users(part: slice) -> Users:
        return nameless_users(known_users(model, np.maximum(user_index[part], 0)), unknown[part])

    def seen(part: slice) -> tuple[Array, Array]:
        known = np.flatnonzero(~unknown[part])
        rows, items = model.seen.of(user_index[part][known])
        return known[rows], items

    return Audience(user_ids, users, seen, unknown)


def _folded_audience(model: Predictor, request: Request, tell: Tell) -> Audience:
    """Users of a file of ratings, folded into the model; one without a rating of an item of the model is unknown."""
    history, on_unknown = str(request.history), request.on_unknown
    user_ids, item_ids, user_items = read_user_items(history, request.history_format)
    _tell_of_other_scale(model, user_items.data, history, tell)
    index_of = {identifier: index for index, identifier in enumerate(model.item_ids)}
    item_index = np.array([index_of.get(identifier, -1) for identifier in item_ids])
    histories = []
    for user_index in range(len(user_ids)):
        cells = slice(user_items.indptr[user_index], user_items.indptr[user_index + 1])
        items, ratings = item_index[user_items.indices[cells]], user_items.data[cells]
        histories.append((items[items >= 0], ratings[items >= 0]))
    n_unknown = int((item_index < 0).sum())
    if n_unknown:
        source = "stdin" if history == "-" else history
        tell(
            "unknown to the model, so that they tell it nothing: "
            f"{n_unknown:,} of {counted(len(item_ids), 'item')} of {source}"
        )
    unknown = np.array([len(items) == 0 for items, _ in histories])
    if unknown.any() and on_unknown == "error":
        raise InputDataError(
            f"user {user_ids[int(unknown.argmax())]!r}{_and_more(int(unknown.sum()) - 1)} has rated no item that the "
            "model knows; use --on-unknown skip or popular"
        )
    _tell_of_unknown(int(unknown.sum()), len(user_ids), on_unknown, tell)
    if on_unknown == "skip":
        user_ids = [identifier for identifier, skipped in zip(user_ids, unknown, strict=True) if not skipped]
        histories = [ratings for ratings, skipped in zip(histories, unknown, strict=True) if not skipped]
        unknown = np.zeros(len(user_ids), dtype=bool)
    return Audience(
        user_ids,
        users=lambda part: fold_in(model, histories[part]),
        seen=lambda part: _cells([items for items, _ in histories[part]]),
        unknown=unknown,
    )


def _tell_of_other_scale(model: Predictor, ratings: Array, history: str, tell: Tell) -> None:
    low, high = model.rating_scale
    n_outside = int(((ratings < low) | (ratings > high)).sum())
    if n_outside:
        ratings_outside = f"{counted(n_outside, 'rating')} of {history}"
        tell(f"outside the model's rating scale, {low:g} to {high:g}: {ratings_outside}")


def _cells(items_of_rows: Sequence[Array]) -> tuple[Array, Array]:
    lengths = [len(items) for items in items_of_rows]
    return np.repeat(np.arange(len(lengths)), lengths), np.concatenate([*items_of_rows, np.empty(0, dtype=np.int32)])


@contextmanager
def list_frames(model: Predictor, request: Request, audience: Audience, tell: Tell) -> Iterator[Iterator[pl.DataFrame]]:
    """The lists of `audience`, a block of users at a time, made on several threads while the block runs.

    Args:
        model: What scores the items.
        request: What may be in a list.
        audience: Who gets one.
        tell: Called with each thing that is worth a warning.

    Yields:
        An iterator over tables of user_id, rank (from 1), item_id, prediction (clipped to the rating scale; `score`
        of a ranking model) and, where titles are known, title; the first is empty if there are no users.

    Raises:
        InputDataError: a file of ids cannot be used, or no item may be listed.
    """
    popularity = model.item_counts.astype(np.float32)
    predict = item_scorer(model)

    def score(part: slice) -> Array:
        scores = predict(audience.users(part))
        scores[audience.unknown[part]] = popularity
        return scores

    seen = None if request.include_seen else audience.seen
    listable = _listable_items(model, request, tell)
    table = _ItemColumns(model)
    with ranked_lists(len(audience.user_ids), score, seen, listable, request.k) as blocks:
        yield _frames(blocks, table, audience, tell)


def _frames(blocks: Iterator[ListBlock], table: _ItemColumns, audience: Audience, tell: Tell) -> Iterator[pl.DataFrame]:
    if not len(audience.user_ids):  # the columns still have names
        yield table.frame(ListBlock(slice(0, 0), np.empty((0, 1), dtype=int), np.empty((0, 1))), audience)
    n_without = 0
    for block in blocks:
        n_without += int((block.ranked == NO_ITEM).all(axis=1).sum())
        yield table.frame(block, audience)
    if n_without:
        n_users = counted(len(audience.user_ids), "user")
        tell(f"without a list, having rated every item that may be listed: {n_without:,} of {n_users}")


class _ItemColumns:
    """Turns blocks of lists into rows; holds the ids and titles of items as polars columns."""

    def __init__(self, model: Predictor) -> None:
        self.model = model
        self.value = "prediction" if model.predicts_ratings else "score"
        self.ids = pl.Series("item_id", model.item_ids, dtype=pl.String)
        self.titles = None if model.titles is None else pl.Series("title", model.titles, dtype=pl.String)

    def frame(self, block: ListBlock, audience: Audience) -> pl.DataFrame:
        listed = block.ranked != NO_ITEM
        rows, ranks = np.nonzero(listed)
        items = block.ranked[listed]
        by_baseline = self.model.baseline.mean + self.model.baseline.item_bias[items]
        predictions = np.where(audience.unknown[block.users][rows], by_baseline, block.scores[listed])
        user_ids = pl.Series("user_id", audience.user_ids[block.users], dtype=pl.String)
        frame = pl.DataFrame(
            {
                "user_id": user_ids.gather(rows),
                "rank": (ranks + 1).astype(np.int32),
                "item_id": self.ids.gather(items),
                self.value: clip(self.model, predictions).round(4),
            }
        )
        return frame if self.titles is None else frame.with_columns(self.titles.gather(items).alias("title"))


def _listable_items(model: Predictor, request: Request, tell: Tell) -> Array:
    """(n_items,) bool: what the request allows in a list."""
    listable = model.item_counts >= request.min_item_ratings
    if request.candidates is not None:
        listable &= _named_items(model, request.candidates, "--candidates", tell)
    if request.exclude is not None:
        listable &= ~_named_items(model, request.exclude, "--exclude", tell)
    if not listable.any():
        raise InputDataError(
            "no item may be listed: --candidates, --exclude and --min-item-ratings together leave none; loosen one"
        )
    return listable


def _named_items(model: Predictor, file: str, flag: str, tell: Tell) -> Array:
    named = set(read_ids(file, flag))
    unknown = named.difference(model.item_ids)
    if unknown:
        tell(f"unknown to the model: {len(unknown):,} of {counted(len(named), 'item')} of {flag} {file}")
    return np.array([identifier in named for identifier in model.item_ids])


def read_ids(file: str, flag: str) -> list[str]:
    """The ids in `file` ("-" is stdin): one a line, exactly as written; empty lines do not count.

    Raises:
        UsageError: stdin is a terminal.
        InputDataError: the file cannot be read, is not UTF-8, or has no ids; the message names `flag`.
    """
    if file == "-" and sys.stdin.isatty():
        raise UsageError(f"{flag} - reads ids from stdin, which is a terminal; pipe them in or name a file")
    try:
        with nullcontext(sys.stdin.buffer) if file == "-" else Path(file).open("rb") as stream:
            text = stream.read(MAX_IDS_BYTES + 1)
        if len(text) > MAX_IDS_BYTES:
            raise InputDataError(f"{flag} {file} has more than {MAX_IDS_BYTES >> 20} MiB; it is no list of ids")
        lines = text.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise InputDataError(f"{flag} {file} is not UTF-8 (byte {error.start}); convert it first") from error
    except OSError as error:
        raise InputDataError(f"{flag} {file} cannot be read: {error.strerror}; check the name") from error
    ids = [line for line in (line.removesuffix("\r") for line in lines) if line]
    if not ids:
        raise InputDataError(f"{flag} {file} has no ids; it needs one on each line")
    return ids
