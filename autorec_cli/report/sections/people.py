"""Some users with their histories and recommendations."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl

from autorec_cli.csr import Array
from autorec_cli.errors import counted
from autorec_cli.inference.catalog import positions, rated_positions
from autorec_cli.inference.ranking.settings import RecommendSettings
from autorec_cli.inference.recommender import recommend
from autorec_cli.report.contents import Cell, Section, Table
from autorec_cli.report.subject import Subject
from autorec_cli.report.text import LONGEST_TITLE, printable

N_ITEMS = 8
"""Items of a history, and recommendations, of each user."""


def people_section(subject: Subject) -> Section:
    """Tables of the history and recommendations of each user.

    Raises:
        InputDataError: a user that was named is unknown, or has no training rating.
    """
    named, known_ids = subject.settings.user_ids, subject.dataset.users["id"].to_list()
    users = _chosen(subject) if named is None else rated_positions(known_ids, _is_known(subject), named, "user")
    ids = [known_ids[user] for user in users.tolist()]
    shown = {name: recommend(model, RecommendSettings(k=N_ITEMS, user_ids=ids)) for name, model in subject.models}
    tables = [
        table
        for user, user_id in zip(users.tolist(), ids, strict=True)
        for table in _tables(subject, user, user_id, shown)
    ]
    text = f"Up to {N_ITEMS} items that each user rated highest, and what is recommended to them, in this order"
    if named is None:
        text += "; users from the least to the most active"
    return Section("users", "Users and their recommendations", f"{text}.", tables=tables)


def _chosen(subject: Subject) -> Array:
    """Users over the range of activity, least active first."""
    known = np.flatnonzero(_is_known(subject))
    by_activity = known[np.argsort(subject.user_counts[known], kind="stable")]
    n = min(subject.settings.n_users, len(known))
    # Amid each of n equal parts: the very first and last are the oddest.
    places = (np.arange(n) + 0.5) * len(known) / max(n, 1)
    chosen: Array = by_activity[places.astype(int)]
    return chosen


def _is_known(subject: Subject) -> Array:
    known: Array = np.logical_and.reduce([model.catalog.user_counts > 0 for _, model in subject.models])
    return known & (subject.user_counts > 0)


def _tables(subject: Subject, user: int, user_id: str, shown: dict[str, pl.DataFrame]) -> Iterator[Table]:
    name = printable(user_id, LONGEST_TITLE)
    yield _history(subject, user, f"User {name}: {counted(int(subject.user_counts[user]), 'rating')}")
    for model, frame in shown.items():
        of_model = f" by {model}" if len(shown) > 1 else ""
        yield _recommendations(subject, frame.filter(pl.col("user_id") == user_id), f"Recommended to {name}{of_model}")


def _history(subject: Subject, user: int, title: str) -> Table:
    """Items that a user rated highest, popular ones first."""
    row = slice(*subject.fitted.indptr[user : user + 2])
    items, ratings = subject.fitted.indices[row], subject.fitted.data[row]
    order = np.lexsort((-subject.item_counts[items], -ratings))[:N_ITEMS]
    rows: list[tuple[Cell, ...]]
    if subject.are_interactions:
        rows = [(subject.item_names[item],) for item in items[order].tolist()]
        return Table(title, ("history",), rows)
    values = zip(items[order].tolist(), ratings[order].tolist(), strict=True)
    return Table(title, ("history", "rating"), [(subject.item_names[item], f"{rating:g}") for item, rating in values])


def _recommendations(subject: Subject, frame: pl.DataFrame, title: str) -> Table:
    items = positions(subject.dataset.items["id"].to_list(), frame["item_id"])
    has_ratings = frame["predicted_rating"].null_count() == 0
    values = frame["predicted_rating" if has_ratings else "score"].to_list()
    columns = ("recommended", "predicted rating" if has_ratings else "score")
    rows = [(subject.item_names[item], f"{value:.2f}") for item, value in zip(items.tolist(), values, strict=True)]
    return Table(title, columns, rows)
