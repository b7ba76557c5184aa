"""Groups of users or items, by a column."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Set
from dataclasses import dataclass

import numpy as np
import polars as pl

from autorec_cli.csr import Array
from autorec_cli.data.dataset import Dataset
from autorec_cli.data.readers.attributes import read_attribute
from autorec_cli.errors import InputDataError, UsageError, quoted

MAX_NUMBERS = 10
"""Distinct numbers up to which each is a group; of more, quarters are made."""
MAX_GROUPS = 100
SEPARATOR = "|"
ALL, NO_VALUE = "all", "(no value)"
"""Names of the group of all users or items, and of the group of those without a value; texts like these get quotes."""


@dataclass(frozen=True)
class Groups:
    """Groups of users or items, which may overlap.

    Attributes:
        side: "users" or "items".
        members: Name -> (n_users,) or (n_items,) bool.
    """

    side: str
    members: Mapping[str, Array]


def groups_by(dataset: Dataset, by: str) -> Groups:
    """Group the users or items of a dataset.

    Args:
        dataset: Its users or items.
        by: A column of them, such as "n_train_ratings"; "users." or "items." before it tells which. Or FILE:COLUMN, a
            file with their ids and the column.

    Raises:
        UsageError: there is no such column, or it has too many values.
        InputDataError: the file cannot be read, or has none of the ids.
    """
    tables = {"users": dataset.users, "items": dataset.items}
    side, dot, column = by.partition(".")
    sides = [side] if dot and side in tables else list(tables)
    name = column if dot and side in tables else by
    found = [side for side in sides if name in tables[side].columns and name not in ("id", "index")]
    if len(found) == 2:
        raise UsageError(f"users and items both have a column {by}; use --by users.{by} or items.{by}")
    if found:
        return Groups(found[0], members_of(tables[found[0]][name], by))
    file, colon, column = by.rpartition(":")
    if not colon:
        known = [f"{side}.{name}" for side in tables for name in tables[side].columns if name not in ("id", "index")]
        raise UsageError(f"--by {by} is no column; use FILE:COLUMN, or one of {', '.join(known)}")
    side, values = read_attribute(file, column)
    joined = tables[side].select("id").join(values, on="id", how="left", maintain_order="left")
    if joined["value"].null_count() == joined.height:
        raise InputDataError(f"{file} has a {column} of none of the {side} of the dataset")
    return Groups(side, members_of(joined["value"], by))


def members_of(values: pl.Series, name: str) -> dict[str, Array]:
    """Members of each group, by its name.

    Numbers are groups if they are few, else quarters of about as many users or items each, in ascending order. Texts
    are in the order of their size; a text such as Comedy|Drama is in two groups. Empty values are the last group.

    Raises:
        UsageError: `values`, called `name` in messages, are too many.
    """
    groups = _numbers(values)
    if groups is None:
        groups = _texts(values, name)
    missing = ~np.logical_or.reduce([np.zeros(len(values), dtype=bool), *groups.values()])
    return {**groups, NO_VALUE: missing} if missing.any() else groups


def _numbers(values: pl.Series) -> dict[str, Array] | None:
    """Groups of finite numbers or of their texts; None for others."""
    if values.dtype == pl.String:
        values = values.replace("", None)
    # Booleans would become 0 and 1; texts that are no numbers become null.
    numbers = values.cast(pl.Float64, strict=False) if values.dtype != pl.Boolean else values.clear(len(values))
    if numbers.dtype != pl.Float64 or numbers.null_count() > values.null_count():
        return None
    array = numbers.to_numpy().astype(np.float64)
    levels = np.unique(array[np.isfinite(array)])
    if len(levels) <= MAX_NUMBERS:
        return {name: array == level for name, level in zip(_number_names(levels), levels, strict=True)}
    bounds = np.unique(np.quantile(array[np.isfinite(array)], [0.25, 0.5, 0.75, 1]))
    quarters = [(array > low) & (array <= high) for low, high in itertools.pairwise([-np.inf, *bounds.tolist()])]
    ends = [end(array[members]) for members in quarters for end in (np.min, np.max)]
    names = _number_names(np.array(ends))
    return {
        first if first == last else f"{first} to {last}": members
        for first, last, members in zip(names[::2], names[1::2], quarters, strict=True)
    }


def _number_names(numbers: Array) -> list[str]:
    """Names of numbers, with enough digits to tell them apart."""
    n = len(np.unique(numbers))
    for n_digits in (6, 9, 12):
        names = [f"{number:.{n_digits}g}" for number in numbers]
        if len(set(names)) == n:
            return names
    return [f"{number:.17g}" for number in numbers]


def _texts(values: pl.Series, name: str) -> dict[str, Array]:
    texts = values.cast(pl.String, strict=False).fill_null("").str.split(SEPARATOR)
    rows = np.repeat(np.arange(len(texts)), texts.list.len().to_numpy())
    each = texts.explode()
    sizes = each.filter(each != "").value_counts(sort=True, name="n")
    if sizes.height > MAX_GROUPS:
        raise UsageError(f"--by {quoted(name)} has {sizes.height:,} values; use a column with at most {MAX_GROUPS}")
    groups, texts_of = {}, set(sizes[each.name])
    for text in sizes.sort("n", each.name, descending=[True, False])[each.name].to_list():
        members = np.zeros(len(texts), dtype=bool)
        members[rows[(each == text).to_numpy()]] = True
        groups[_free(text, texts_of)] = members
    return groups


def _free(text: str, texts: Set[str]) -> str:
    """Name of the group of a text.

    It is in quotes if it would be taken for another group.
    """
    name = text
    # Repeated, as a text may have quotes of its own.
    while name in (ALL, NO_VALUE) or (name != text and name in texts):
        name = f"'{name}'"
    return name
