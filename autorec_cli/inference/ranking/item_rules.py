"""Rules over columns of items: SQL conditions, and limits."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import polars as pl

from autorec_cli.csr import Array
from autorec_cli.errors import InputDataError, UsageError, counted, listed, quoted, shortened
from autorec_cli.inference.ranking.limited_top_k import FREE, Limit

if TYPE_CHECKING:
    from autorec_cli.inference.ranking.settings import RecommendSettings

SUBQUERY = r"(?i)\(\s*(?:/\*|--|//|\#|(?:select|with|values|from|table|insert|update|delete|merge)\b)|\bread_\w+\W*\("
"""Start of a query, which could read files (`SELECT * FROM read_csv(...)`): it always stands in parentheses.

It is searched for in strings and comments too, as only the parser knows for sure where they end.
"""
PADDING = r"(?i)\b[lr]pad\W*\("
"""Functions that make a text of any length, and use up all memory."""
LONGEST_CONDITION = 10_000
"""Characters; polars takes a second for a thousand terms, and four times as long for two thousand."""
ID = "item_id"
LONGEST_REASON = 200


def item_table(item_ids: Sequence[str] | pl.Series, columns: pl.DataFrame) -> pl.DataFrame:
    """Columns of items together with their ids."""
    return pl.DataFrame([pl.Series(ID, item_ids, dtype=pl.String), *columns.iter_columns()])


def check_rules(items: pl.DataFrame, settings: RecommendSettings) -> None:
    """Check the rules of `settings` on the items of `item_table`.

    Raises:
        UsageError, InputDataError: as `fulfilling` and `limits_of`.
    """
    if settings.where is not None:
        fulfilling(settings.where, items)
    limits_of(settings.max_per, items)


def fulfilling(where: str, items: pl.DataFrame) -> Array:
    """Mark the items for which a condition is true.

    Args:
        where: Boolean SQL expression over the columns, as polars understands it.
        items: See `item_table`.

    Returns:
        (n_items,) bool.

    Raises:
        UsageError: it is no such expression.
        InputDataError: it is true for no item.
    """
    _check_condition(where)
    try:
        # The optimizer's time grows with the cube of the number of terms.
        lazy = items.lazy().with_columns(pl.sql_expr(where).alias("found"))
        found = lazy.collect(optimizations=pl.QueryOptFlags.none())["found"]
    except pl.exceptions.ColumnNotFoundError as error:
        name = re.search(r'"(.*?)"', str(error))
        text = name[1] if name else ""
        is_value = text and re.search(rf"[=<>(,]\s*\"?{re.escape(text)}", where)
        quotes = f"; a text needs single quotes: '{shortened(text)}'" if is_value else ""
        raise UsageError(f"{_no_column('--where', text or where, items)}{quotes}") from error
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise UsageError(
            f"--where {quoted(where)} is not a condition in SQL: {_reason(error)}; write one such as "
            "\"genre LIKE '%Comedy%' AND year >= 1990\""
        ) from error
    if found.dtype != pl.Boolean:
        raise UsageError(f"--where {quoted(where)} is neither true nor false, but of type {found.dtype}")
    if not found.any():
        raise InputDataError(f"--where {quoted(where)} is true for none of {counted(items.height, 'item')}; loosen it")
    return found.fill_null(value=False).to_numpy()


def _reason(error: BaseException) -> str:
    """Fault of a condition, by the exception of polars."""
    text = " ".join(str(error).split()).partition(" This error occurred")[0].removeprefix("sql parser error: ")
    unexpected = re.search("unexpected token '(.*)'", text)
    if unexpected:
        return f"{quoted(unexpected[1])} is unexpected"
    return "it cannot be parsed" if text.startswith("unable to parse") else text[:LONGEST_REASON]


def _check_condition(where: str) -> None:
    """Check a condition before polars sees it.

    Raises:
        UsageError: it could read files, or take very much time or memory.
    """
    if re.search(SUBQUERY, where):
        raise UsageError(
            f"--where {quoted(where)} looks like a query of its own; give one condition over the columns of the items"
        )
    if re.search(PADDING, where):
        raise UsageError(f"--where {quoted(where)}: LPAD and RPAD cannot be used; compare the texts as they are")
    if len(where) > LONGEST_CONDITION:
        raise UsageError(
            f"--where has {len(where):,} characters, more than {LONGEST_CONDITION:,}; name many items with "
            "--candidates FILE instead"
        )


def limits_of(max_per: Mapping[str, int], items: pl.DataFrame) -> list[Limit]:
    """Limits for values of columns; null is not limited.

    Raises:
        UsageError: a column does not exist.
    """
    for column in max_per:
        if column not in items.columns:
            raise UsageError(_no_column("--max-per", column, items))
    # Values numbered from 0.
    groups = {column: items[column].rank("dense").cast(pl.Int64) - 1 for column in max_per}
    return [Limit(n, groups[column].fill_null(FREE).to_numpy()) for column, n in max_per.items()]


def parse_max_per(texts: Sequence[str]) -> dict[str, int]:
    """Parse the values of `--max-per COLUMN=N`.

    Raises:
        UsageError: one is not of that form.
    """
    parsed = {}
    for text in texts:
        column, _, number = text.rpartition("=")
        if not column or not re.fullmatch("[1-9][0-9]{0,8}", number):
            raise UsageError(f"--max-per must be a column and a number from 1, such as genre=3, not {quoted(text)}")
        parsed[column] = int(number)
    return parsed


def _no_column(flag: str, name: str, items: pl.DataFrame) -> str:
    known = f"the columns are {listed(items.columns)}"
    if any(re.fullmatch(r"column_\d+", column) for column in items.columns):
        known += "; to name those with numbers, put a line of names first in the file of prepare --items"
    if items.width == 1:
        known = "there are no columns but item_id; prepare the dataset with --items and train again"
    return f"{flag}: items have no column {shortened(name)}; {known}"
