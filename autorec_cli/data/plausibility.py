"""Warnings about ratings and ids that look like a mistake."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from autorec_cli.data.builder.csr_builder import RatingsMatrix
from autorec_cli.data.builder.sorted_cells import slices
from autorec_cli.errors import quoted

FAR_OUTSIDE = 2
"""Distance of a value from all others, in widths of their range, from which on it is far outside."""
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
        padded = ids.filter(ids != ids.str.strip_chars())
        if len(padded):
            yield (
                f"{len(padded):,} {side} ids begin or end with a blank, such as {quoted(padded[0])}, and are other ids "
                "than those without; take the blanks out of the file"
            )
        fractions = ids.filter(ids.str.ends_with(".0"))
        twice = fractions.filter(fractions.str.strip_suffix(".0").is_in(ids.implode())) if len(fractions) else fractions
        if len(twice):
            yield (
                f"{side} ids {quoted(twice[0].removesuffix('.0'))} and {quoted(twice[0])} are different ones "
                f"({len(twice):,} such pairs); write whole numbers in all files"
            )


def doubts_about_values(values: NDArray[np.float32]) -> Iterator[str]:
    """Sentences about ratings that look like a mistake, given the ratings themselves."""
    low, high = float(values.min()), float(values.max())
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
