"""Exclusions: items that are not recommended to single users."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from io import BufferedReader
from typing import Any, cast

import numpy as np
import polars as pl

from autorec_cli.csr import Array
from autorec_cli.data.readers.formats import FILE_READERS
from autorec_cli.data.readers.options import ReadOptions
from autorec_cli.data.readers.sources import STDIN, open_source
from autorec_cli.data.readers.tables.json_lines import is_json
from autorec_cli.errors import InputDataError, counted
from autorec_cli.inference.catalog import UNKNOWN, SeenItems, index_of, positions_in
from autorec_cli.inference.prediction.batches import pair_blocks
from autorec_cli.inference.ranking.top_k import SeenBlock
from autorec_cli.inference.scorer import Scorer

logger = logging.getLogger(__name__)

OPTIONS = ReadOptions(
    are_pairs=True, columns={"user": "user_id", "item": "item_id", "rating": "none", "timestamp": "none"}
)
NAMES = (re.compile(rb"\buser_id\b"), re.compile(rb"\bitem_id\b"))
HEAD_BYTES = 4096


def has_pairs(file: str) -> bool:
    """True for a file with columns user_id and item_id.

    It may be stdin; False for one that cannot be read.
    """
    if file == STDIN:
        # What is looked at stays there for whoever reads it.
        return not sys.stdin.isatty() and _names_pairs(file, cast("BufferedReader", sys.stdin.buffer).peek(HEAD_BYTES))
    try:
        with open_source(file, tuple(FILE_READERS), in_part=True) as source:
            return source.file is not None or _names_pairs(file, next(source.chunks or iter(()), b""))
    except InputDataError:
        return False


def _names_pairs(name: str, head: bytes) -> bool:
    head = head[:HEAD_BYTES]
    first = head if is_json(name, head) else head.partition(b"\n")[0]
    return all(column.search(first) for column in NAMES)


def read_exclusions(
    model: Scorer,
    source: Any,  # noqa: ANN401
    user_ids: Sequence[str],
    history_options: ReadOptions | None = None,
) -> SeenItems:
    """Read pairs to exclude.

    Args:
        model: Knows the items.
        source: A file with columns user_id and item_id that `prepare` reads, "-" for stdin, or a polars or pandas
            frame.
        user_ids: Users who get recommendations.
        history_options: Those of a history, of which the encoding, and what happens to bad rows, hold here, too.

    Returns:
        The items of each of them, in their order.

    Raises:
        InputDataError: the pairs cannot be read.
    """
    users, items = index_of(user_ids), index_of(model.catalog.item_ids)
    known_users = users.keys() | set(model.catalog.user_ids)
    keys: list[Array] = [np.empty(0, dtype=np.int64)]
    n_pairs = n_unknown = 0
    also = history_options or OPTIONS
    options = replace(OPTIONS, encoding=also.encoding, skip_bad_rows=also.skip_bad_rows)
    for _, rows in pair_blocks(source, options):
        user_index, item_index = positions_in(users, _texts(rows.users)), positions_in(items, _texts(rows.items))
        is_known = item_index != UNKNOWN
        # A user may be known and get no recommendations this time: that is worth no warning.
        missing = np.flatnonzero(user_index == UNKNOWN)
        is_known[missing] &= np.array([name in known_users for name in rows.users.gather(missing)], dtype=bool)
        n_pairs, n_unknown = n_pairs + len(rows), n_unknown + int((~is_known).sum())
        chosen = is_known & (user_index != UNKNOWN)
        # One number per pair, so that `unique` sorts pairs by user and drops repeated ones.
        keys.append(user_index[chosen] * len(items) + item_index[chosen])
    if n_unknown:
        logger.warning(
            f"ignored {n_unknown:,} of {counted(n_pairs, 'pair')} of --exclude with a user or an item that the model "
            "does not know"
        )
    index, excluded = np.divmod(np.unique(np.concatenate(keys)), len(items))
    indptr = np.searchsorted(index, np.arange(len(user_ids) + 1))
    return SeenItems(indptr, excluded.astype(np.int32))


def _texts(ids: pl.Series) -> list[str]:
    return ids.cast(pl.String).to_list()


def with_exclusions(seen: SeenBlock | None, excluded: SeenItems, n_items: int) -> SeenBlock:
    """Items that users have rated or that are excluded, each once."""

    def hidden(users: slice) -> tuple[Array, Array]:
        rows, items = excluded.of(np.arange(users.start, users.stop))
        if seen is not None:
            seen_rows, seen_items = seen(users)
            rows, items = np.concatenate([rows, seen_rows]), np.concatenate([items, seen_items])
        found: tuple[Array, Array] = np.divmod(np.unique(rows.astype(np.int64) * n_items + items), n_items)
        return found

    return hidden
