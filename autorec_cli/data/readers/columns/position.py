"""Columns without names, by position.

They are user, item and rating in this order, and a timestamp anywhere after the ids. Columns that hold nothing or
prose, and row numbers in front, do not count. Anything else is refused: with a fourth column any choice would be a
guess.
"""

from __future__ import annotations

import re

from autorec_cli.data.readers.columns.contents import BLANK, DATES, PROSE, TEXT, TIMES, Contents, column_of, nearly_all
from autorec_cli.data.readers.columns.sample import Found, Sample, two_times, unclear

USER_IDS = re.compile(r"A[0-9A-Z]{12,13}|(?i:u|user)[ _-]?\d+|7656119\d{10}")  # Amazon, made up, Steam
ITEM_IDS = re.compile(  # Amazon, ISBN, IMDb, made up
    r"B0[0-9A-Z]{8}|\d{9}[\dX]|97[89]\d{10}|tt\d{7,8}|(?i:i|item|movie|book|song|product)[ _-]?\d+"
)


def find_by_position(sample: Sample, found: Found) -> dict[str, int | None]:
    """Find the roles that `found` lacks by position.

    Raises:
        InputDataError: they are not clear.
    """
    columns = [column for column in sample.columns(found) if column.kind != BLANK]
    prose = [column for column in columns if column.kind == PROSE]
    index = [column for column in columns[:1] if column.index == 0 and column.is_counter]
    columns = [column for column in columns if column not in (*prose, *index)]
    ids = [role for role in ("user", "item") if role not in found]
    # A number like a time among the first columns is an id.
    times = [column for column in columns[len(ids) :] if column.kind in (TIMES, DATES)]
    columns = [column for column in columns if column not in times]
    chosen: dict[str, int | None] = {}
    if "timestamp" not in found:
        if len(times) > 1:
            raise two_times(sample, times)
        chosen["timestamp"] = times[0].index if times else None
    if "rating" not in found:
        n_more = len(columns) - len(ids)
        # Unless it may be the time of a log: then items must not be taken for ratings.
        may_be_log = not times and "timestamp" not in found and any(column.is_clock for column in columns)
        if n_more == 1 and not (may_be_log and columns[-1].may_be_items) and _is_rating(columns, bool(index)):
            chosen["rating"] = columns.pop().index
        # Nothing but ids: interactions.
        elif (
            n_more == 0
            and not index
            and not prose
            and all(column.is_id for column in columns)
            and not (
                any(column.is_like_stars for column in columns)  # "user,rating", say
            )
        ):
            chosen["rating"] = None
        else:
            raise unclear(sample, found)
    if ids and (len(columns) != len(ids) or any(column.kind == DATES for column in columns)):
        raise unclear(sample, {**found, **chosen})
    chosen.update(zip(ids, (column.index for column in columns), strict=False))
    return _in_order(sample, found, chosen)


def _is_rating(columns: list[Contents], has_index: bool) -> bool:
    """True if the last of `columns` can be nothing but the rating.

    Behind row numbers the ids must be text: in "1,10,4,2" the first column may be the user.
    """
    *ids, rating = columns
    if not rating.is_like_ratings or (has_index and any(column.is_numeric for column in ids)):
        return False
    # In "7,4,1021" the item may be last, in "4,7,38" too, and 1996 is a year.
    if rating.is_whole and (not rating.is_on_scale or not rating.is_like_stars):
        return rating.is_on_scale and not any(column.is_like_stars for column in ids)
    return True


def _in_order(sample: Sample, found: Found, chosen: dict[str, int | None]) -> dict[str, int | None]:
    """Exchange user and item if the ids say so.

    Amazon's files of 2018 are item,user,rating,timestamp.

    Raises:
        InputDataError: the ids of one column seem to be in the wrong place, and the others may be anything.
    """
    first, second = chosen.get("user"), chosen.get("item")
    if first is None or second is None:
        return chosen
    first_is_item = nearly_all(column_of(sample.rows, first), ITEM_IDS.fullmatch)
    second_is_user = nearly_all(column_of(sample.rows, second), USER_IDS.fullmatch)
    if first_is_item and second_is_user:
        return {**chosen, "user": second, "item": first}
    is_text = sample.contents(first).kind == TEXT  # ten digits may be anything
    if second_is_user or (first_is_item and is_text):
        raise unclear(sample, {**found, "rating": chosen.get("rating"), "timestamp": chosen.get("timestamp")})
    return chosen
