"""Loops over rows and cells that would take several passes in numpy: those of `loops.c`.

They are compiled where the package is installed, if there is a C compiler. Who uses them asks `are_compiled` first, and
does without them otherwise. They let go of Python's lock.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

OTHER, TIMESTAMP = 0, 4
"""Roles of a field: nobody's, and one that not all sources have."""
MODULE = "autorec_cli.data._loops"
"""A library, though its name is that of a module, which is where setuptools puts it."""


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL | None:
    spec = find_spec(MODULE)
    if spec is None or spec.origin is None:
        return None
    number, pointer = ctypes.c_int64, ctypes.c_void_p
    functions = {
        "autorec_read_rows": [ctypes.c_char_p, number, ctypes.c_uint8, number, pointer, number, *[pointer] * 4],
        "autorec_number_ids": [pointer, number, pointer, ctypes.c_int32, pointer, pointer],
        "autorec_count_values": [pointer, number, pointer],
        "autorec_sort_rows": [pointer, number, pointer, number, number, pointer, pointer, pointer],
        "autorec_deal_cells": [pointer, number, pointer, pointer, pointer, number, pointer, pointer, pointer],
    }
    try:
        library = ctypes.CDLL(spec.origin)
        for name, arguments in functions.items():
            function = getattr(library, name)
            function.argtypes, function.restype = arguments, number
    except (OSError, AttributeError):  # for another machine, or of another version
        return None
    return library


def are_compiled() -> bool:
    """Whether the other functions can be called."""
    return _library() is not None


def _call(name: str, *arguments: Any) -> int:  # noqa: ANN401
    """The function of this name in `loops.c`; an array is given by its address, which it must be contiguous for."""
    library = _library()
    assert library is not None
    assert all(value.flags.c_contiguous for value in arguments if isinstance(value, np.ndarray))
    addresses = [value.ctypes.data if isinstance(value, np.ndarray) else value for value in arguments]
    returned: int = getattr(library, f"autorec_{name}")(*addresses)
    return returned


def read_rows(
    text: bytes, delimiter: str, roles: Sequence[int]
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32], NDArray[np.int64]] | None:
    """Users, items, ratings and timestamps of plain rows, see `ingest.plain`; None if a row is not plain.

    Args:
        text: Whole rows, ended by newlines.
        delimiter: One character of ASCII.
        roles: Of the fields of a row: 1 user, 2 item, 3 rating, `TIMESTAMP`, `OTHER`. There may be no timestamps.
    """
    n_least = len(roles) + np.count_nonzero(roles)  # bytes of a row: a delimiter or newline a field, a digit a role
    most = (len(text) + 1) // n_least + 1
    users, items = np.empty(most, dtype=np.int32), np.empty(most, dtype=np.int32)
    ratings = np.empty(most, dtype=np.float32)
    timestamps = np.empty(most if TIMESTAMP in roles else 0, dtype=np.int64)
    given = np.array(roles, dtype=np.int32)
    columns = (users, items, ratings, timestamps)
    n_rows = _call("read_rows", text, len(text), ord(delimiter), len(roles), given, most, *columns)
    return None if n_rows < 0 else (users[:n_rows], items[:n_rows], ratings[:n_rows], timestamps[:n_rows])


def number_ids(
    numbers: NDArray[np.int32], index_of_number: NDArray[np.int32], n_ids: int
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The index of each of `numbers`, and those that had none: they get the next ones in order of first appearance.

    Args:
        numbers: From 0 to below `len(index_of_number)`.
        index_of_number: -1 for those without an index; written to.
        n_ids: The next index.
    """
    numbers = np.ascontiguousarray(numbers, dtype=np.int32)
    indexes, unseen = np.empty(len(numbers), dtype=np.int32), np.empty(len(numbers), dtype=np.int32)
    n_unseen = _call("number_ids", numbers, len(numbers), index_of_number, n_ids, indexes, unseen)
    return indexes, unseen[:n_unseen].copy()


def count_values(values: NDArray[np.int32], n_values: int) -> NDArray[np.int64]:
    """How often each of 0 to `n_values` - 1 is in `values`, which are contiguous and nothing else, (n_values,)."""
    counts = np.zeros(n_values, dtype=np.int64)
    _call("count_values", values, len(values), counts)
    return counts


def sort_rows(pointers: NDArray[Any], items: NDArray[np.int32], others: Sequence[NDArray[Any]], n_items: int) -> None:
    """Sort cells by row and item, in place, equal ones in the order they have.

    Args:
        pointers: Row pointers of cells that are in order of their rows, from 0.
        items: Of the cells, from 0 to below `n_items`; contiguous, as are the others.
        others: What else there is of the cells, of 4 or 8 bytes each.
        n_items: Columns of the matrix.
    """
    assert all(column.flags.c_contiguous and column.itemsize in (4, 8) for column in others)
    pointers = pointers.astype(np.int64)
    n_bytes = ((n_items - 1).bit_length() + 7) // 8
    addresses = np.array([column.ctypes.data for column in others], dtype=np.uintp)
    sizes = np.array([column.itemsize for column in others], dtype=np.int64)
    scratch = np.empty(3 * int(np.diff(pointers).max(initial=0)), dtype=np.uint64)
    _call("sort_rows", pointers, len(pointers) - 1, items, n_bytes, len(others), addresses, sizes, scratch)


def deal_cells(
    pointers: NDArray[Any],
    labels: NDArray[np.uint8],
    cells: tuple[NDArray[np.int32], NDArray[np.float32]],
    parts: Sequence[tuple[NDArray[np.int32], NDArray[np.float32]]],
) -> list[NDArray[np.int64]]:
    """Deal the cells of a matrix to `parts` by their labels; returns the row pointers of each part.

    Args:
        pointers: Row pointers of the cells.
        labels: The part that a cell goes to; a cell whose label is no part goes nowhere.
        cells: Indices and ratings.
        parts: Where they go, with room for them; `cells` itself may be the first part.
    """
    part_pointers = [np.zeros(len(pointers), dtype=np.int64) for _ in parts]
    columns = ((indices for indices, _ in parts), (ratings for _, ratings in parts), iter(part_pointers))
    addresses = [np.array([array.ctypes.data for array in arrays], dtype=np.uintp) for arrays in columns]
    labels = np.ascontiguousarray(labels, dtype=np.uint8)
    _call("deal_cells", pointers.astype(np.int64), len(pointers) - 1, labels, *cells, len(parts), *addresses)
    return part_pointers
