"""Which columns of the examples each process holds: as many columns and as many ratings for each.

Columns are dealt in runs of consecutive ones, so that a process reads its part of a file in a few pieces, and what is
known of all columns can be told run by run.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from autorec_cli.csr import Array
from autorec_cli.runtime.process_group import SINGLE_PROCESS, ProcessGroup

RUNS_PER_PROCESS = 64
"""More of them balance ratings better; fewer are read faster."""

ROWS_AT_ONCE = 1 << 13
"""Columns that are drawn, sent or written at a time."""


@dataclass(frozen=True)
class Share:
    """The columns of every process.

    Attributes:
        process_group: The processes.
        bounds: (n_runs + 1,) int64, where runs of columns begin, and the end of the last.
        owners: (n_runs,) int64, the rank that holds each run.
    """

    process_group: ProcessGroup
    bounds: Array
    owners: Array

    @property
    def n_columns(self) -> int:
        """Columns of all processes together."""
        return int(self.bounds[-1])

    def runs(self) -> Iterator[tuple[int, int]]:
        """The first column of each run of this process, and the one after its last, ascending."""
        own = np.flatnonzero(self.owners == self.process_group.rank)
        return zip(self.bounds[own].tolist(), self.bounds[own + 1].tolist(), strict=True)

    @cached_property
    def columns(self) -> Array:
        """(n_own,) uint32 number of each column of this process, ascending: a column's place here is its index here."""
        parts = [np.arange(first, last, dtype=np.uint32) for first, last in self.runs()]
        return np.concatenate([np.empty(0, dtype=np.uint32), *parts])

    def runs_of(self, columns: Array) -> Array:
        """The run that each of `columns` (n,) is in."""
        runs: Array = np.searchsorted(self.bounds, columns, side="right") - 1
        return runs

    def owners_of(self, columns: Array) -> Array:
        """The rank that holds each of `columns` (n,)."""
        owners: Array = self.owners[self.runs_of(columns)]
        return owners

    def column_owners(self) -> Iterator[Array]:
        """The ranks that hold all columns in order, in blocks; for `ProcessGroup.collect`."""
        for start in range(0, self.n_columns, ROWS_AT_ONCE):
            yield self.owners_of(np.arange(start, min(start + ROWS_AT_ONCE, self.n_columns)))


def whole(n_columns: int) -> Share:
    """All columns in a process_group of one."""
    return Share(SINGLE_PROCESS, np.array([0, n_columns]), np.zeros(1, dtype=np.int64))


def deal(counts: Array, process_group: ProcessGroup) -> Share:
    """Deal columns so that each process has as many, to within a run, and as many ratings as runs allow.

    Args:
        counts: (n_columns,) ratings of each column.
        process_group: The processes.
    """
    n_columns = len(counts)
    n_runs = max(1, min(n_columns, RUNS_PER_PROCESS * process_group.size))
    bounds = np.arange(n_runs + 1) * n_columns // n_runs
    ratings = np.add.reduceat(counts, bounds[:-1]) if n_columns else np.zeros(1, dtype=np.int64)
    most = -(-n_runs // process_group.size)
    owners = np.empty(n_runs, dtype=np.int64)
    fewest = [(0, 0, rank) for rank in range(process_group.size)]  # ratings, runs, rank
    for run in np.argsort(-ratings, kind="stable").tolist():
        n_ratings, n_own, rank = heapq.heappop(fewest)
        owners[run] = rank
        if n_own + 1 < most:
            heapq.heappush(fewest, (n_ratings + int(ratings[run]), n_own + 1, rank))
    return Share(process_group, bounds, owners)
