"""Partition of the examples' columns across processes.

It is balanced by columns and by ratings.

Columns are assigned in runs of consecutive ones, so that a process reads its partition of a file in a few pieces.
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
"""More runs balance ratings better; fewer are read faster."""

COLUMNS_PER_BLOCK = 1 << 13
"""Columns that are drawn, sent or written at a time."""


@dataclass(frozen=True)
class Partition:
    """Columns of every process.

    Attributes:
        process_group: The processes.
        bounds: (n_runs + 1,) int64, first column of each run, and the number of columns.
        owners: (n_runs,) int64, rank that holds each run.
    """

    process_group: ProcessGroup
    bounds: Array
    owners: Array

    @property
    def n_columns(self) -> int:
        """Number of columns in all processes."""
        return int(self.bounds[-1])

    def runs(self) -> Iterator[tuple[int, int]]:
        """Yield first column and end of each own run, ascending."""
        # Ascending, so that a file is read front to back.
        own = np.flatnonzero(self.owners == self.process_group.rank)
        return zip(self.bounds[own].tolist(), self.bounds[own + 1].tolist(), strict=True)

    @cached_property
    def columns(self) -> Array:
        """Global index of each own column, ascending, (n_own,) uint32."""
        runs = [np.arange(first, last, dtype=np.uint32) for first, last in self.runs()]
        return np.concatenate([np.empty(0, dtype=np.uint32), *runs])

    def runs_of(self, columns: Array) -> Array:
        """Run of each of `columns` (n,)."""
        runs: Array = np.searchsorted(self.bounds, columns, side="right") - 1
        return runs

    def owners_of(self, columns: Array) -> Array:
        """Rank that holds each of `columns` (n,)."""
        owners: Array = self.owners[self.runs_of(columns)]
        return owners

    def column_owners(self) -> Iterator[Array]:
        """Ranks of all columns in order, in blocks; for `ProcessGroup.gather_rows`."""
        for start in range(0, self.n_columns, COLUMNS_PER_BLOCK):
            yield self.owners_of(np.arange(start, min(start + COLUMNS_PER_BLOCK, self.n_columns)))


def single_partition(n_columns: int) -> Partition:
    """Assign all columns to a single process."""
    return Partition(SINGLE_PROCESS, np.array([0, n_columns]), np.zeros(1, dtype=np.int64))


def partition_columns(
    counts: Array, process_group: ProcessGroup, runs_per_process: int = RUNS_PER_PROCESS
) -> Partition:
    """Partition columns, balancing their number and their ratings.

    Processes have equally many columns, to within a run, and about equally many ratings.

    Args:
        counts: (n_columns,) ratings of each column.
        process_group: The processes.
        runs_per_process: Runs to deal, for each process.
    """
    n_columns = len(counts)
    n_runs = max(1, min(n_columns, runs_per_process * process_group.size))
    # Integer arithmetic: every process must compute the same bounds.
    bounds = np.arange(n_runs + 1) * n_columns // n_runs
    # reduceat fails on an empty array.
    ratings = np.add.reduceat(counts, bounds[:-1]) if n_columns else np.zeros(1, dtype=np.int64)
    max_runs = -(-n_runs // process_group.size)
    owners = np.empty(n_runs, dtype=np.int64)
    # Greedy: the largest run goes to the process with the fewest ratings that may still take one.
    fewest = [(0, 0, rank) for rank in range(process_group.size)]  # ratings, runs, rank
    # Stable, for the same assignment in all processes and on all machines.
    for run in np.argsort(-ratings, kind="stable").tolist():
        n_ratings, n_own, rank = heapq.heappop(fewest)
        owners[run] = rank
        if n_own + 1 < max_runs:
            heapq.heappush(fewest, (n_ratings + int(ratings[run]), n_own + 1, rank))
    return Partition(process_group, bounds, owners)
