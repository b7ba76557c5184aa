"""Warnings about ratings and ids that look like a mistake."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import polars as pl
from numpy.typing import NDArray

from autorec_cli.data.builder.csr_builder import RatingsMatrix
from autorec_cli.data.builder.sorted_cells import slices
from autorec_cli.errors import quoted

FAR_OUTSIDE = 2
"""Distance of a value from all others, in widths of their range, from which on it is far outside."""
NO_IDS = ("NULL", "null", "(null)", "NaN", "nan", "None", "NA", "N/A", "#N/A", "<NA>", "\\N", "-1", "undefined")
"""What programs write for a value that is missing."""
INVISIBLE = "\ufeff\u200b\u2060"
"""Byte order mark, as inside of joined files, and spaces without width."""
QUOTED_ID = r"""^(?:"[^"]*"|'[^']*'|="[^"]*")$"""
SHORTENED_ID = r"^\d\.\d+[eE]\+\d+$"
"""2.23457E+11, in place of 223457123456."""
VARIANTS: tuple[tuple[Callable[[pl.Series], pl.Series], Callable[[pl.Series], pl.Series]], ...] = (
    (lambda ids: ids.str.ends_with(".0"), lambda ids: ids.str.strip_suffix(".0")),
    (lambda ids: ids.str.starts_with("0"), lambda ids: ids.str.strip_chars_start("0")),
    (lambda ids: ids.str.len_bytes() != ids.str.len_chars(), lambda ids: ids.str.normalize("NFC")),
)
"""Ids that programs write in two ways, 7 as 7.0 and 007 as 7: a mask of candidates, and what they might be instead."""
LARGEST_SCALE = 100
"""Whole numbers that reach further than a usual scale may be counts."""
HEAVY_TAIL = 20
"""Largest count per median from which on whole numbers look like counts."""
SAMPLE = 100_000
"""Ratings looked at to tell counts."""


def doubts(ratings: RatingsMatrix, n_rows: int) -> Iterator[str]:
    """Sentences about what looks like a mistake in ids and rows.

    Args:
        ratings: All ratings, one per user and item.
        n_rows: Good rows that they were made from.
    """
    for side, count in zip(("user", "item"), ratings.matrix.shape, strict=True):
        if count == ratings.matrix.nnz:
            yield f"every {side} has one rating, which teaches little; check the columns with --columns"
    if 2 * ratings.n_duplicates > n_rows:
        yield (
            f"{ratings.n_duplicates:,} of {n_rows:,} rows repeat a user and an item, which is more than half of them; "
            "check the columns with --columns, and --duplicates"
        )
    for side, ids in (("user", ratings.user_ids), ("item", ratings.item_ids)):
        yield from _doubts_about_ids(side, ids)


def _doubts_about_ids(side: str, ids: pl.Series) -> Iterator[str]:
    padded = ids.filter(ids != ids.str.strip_chars().str.strip_chars(INVISIBLE))
    if len(padded):
        yield (
            f"{len(padded):,} {side} ids begin or end with a blank or an invisible character, such as "
            f"{quoted(padded[0])}, and differ from the ids without; remove it from the file"
        )
    missing = ids.filter(ids.is_in(NO_IDS))
    if len(missing):
        how = "with --exclude-users" if side == "user" else "of the file"
        yield f"{side} id {quoted(missing[0])} usually stands for a missing one; leave it out {how}"
    enclosed = ids.filter(ids.str.contains(QUOTED_ID))
    if len(enclosed):
        yield f"{len(enclosed):,} {side} ids are in quotes, such as {quoted(enclosed[0])}; remove the quotes"
    cut = ids.filter(ids.str.contains(SHORTENED_ID))
    if len(cut):
        yield (
            f"{len(cut):,} {side} ids are numbers without their last digits, such as {quoted(cut[0])}: different ids "
            "may have become one; export them again as text, not through a spreadsheet"
        )
    for may_vary, plain in VARIANTS:
        candidates = ids.filter(may_vary(ids))
        if not len(candidates):
            continue
        twins = plain(candidates)
        # The fewer candidates are hashed, and not all ids.
        known = ids.filter(ids.is_in(twins.implode()))
        is_pair = (twins != candidates) & twins.is_in(known.implode())
        if is_pair.any():
            one, other = (quoted(values.filter(is_pair)[0]) for values in (twins, candidates))
            yield (
                f"{side} ids {one} and {other} are different ones ({is_pair.sum():,} such pairs); write ids alike in "
                "all rows and files"
            )


def doubts_about_values(values: NDArray[np.float32], counts: str | None = None) -> Iterator[str]:
    """Sentences about ratings that look like a mistake, given the ratings themselves.

    Args:
        values: The ratings.
        counts: Name of their column if it is one of counts.
    """
    low, high = float(values.min()), float(values.max())
    if counts is not None:
        yield f"ratings are {counts}, from {low:g} to {high:g}: if these are counts, use --interactions"
        return
    above, below = _range_between(values, low, high)
    if not above <= below:  # two different values at most
        return
    if low == 0 and above == 1 and high > 1 and _are_whole(values):
        yield (
            f"{np.count_nonzero(values == 0):,} ratings are 0, beside others from 1 to {high:g}; if 0 stands for no "
            f"rating, leave them out with --missing-rating 0; else name the scale with --rating-scale 0,{high:g}"
        )
    elif _is_alone(above - low, high - above) or (low == -1 and above > 0 and high > 1):
        yield _alone(values, low, above, high)
    if _is_alone(high - below, below - low) and below <= LARGEST_SCALE:
        yield _alone(values, high, low, below)
    elif low >= 0 and high > LARGEST_SCALE:
        some = values[:: max(len(values) // SAMPLE, 1)]
        if _are_whole(some) and high >= HEAVY_TAIL * np.median(some):
            yield (
                f"ratings run to {high:g}, and half of them are at most {np.median(some):g}: if they are counts, such "
                "as plays, use --interactions"
            )


def _range_between(values: NDArray[np.float32], low: float, high: float) -> tuple[float, float]:
    """Second lowest and second highest value; infinite without any."""
    above, below = np.inf, -np.inf
    for part in slices(len(values)):
        block = values[part]
        # Hardly any value is between the extremes found so far, so that these are small arrays.
        above = float(block[(block > low) & (block < above)].min(initial=above))
        below = float(block[(block < high) & (block > below)].max(initial=below))
    return above, below


def _is_alone(distance: float, width: float) -> bool:
    return width > 0 and distance > FAR_OUTSIDE * width


def _alone(values: NDArray[np.float32], value: float, low: float, high: float) -> str:
    return (
        f"{np.count_nonzero(values == np.float32(value)):,} ratings are {value:g}, far from the others, which range "
        f"from {low:g} to {high:g}; if it stands for no rating, leave them out with --missing-rating={value:g}; else "
        "name the scale with --rating-scale"
    )


def _are_whole(values: NDArray[np.float32]) -> bool:
    return all(bool((values[part] == np.floor(values[part])).all()) for part in slices(len(values)))
