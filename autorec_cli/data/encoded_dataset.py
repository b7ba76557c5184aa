"""Dataset of encoded ratings, read by several processes.

Each process reads its own users. No process has the ratings of all. The split is `stable`, which labels a rating by its
ids alone, so the dataset is the one that `prepare --encoded DIR --split stable` makes, and has its fingerprint.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from scipy import sparse

from autorec_cli.csr import Array, distinct_values, moments_of, power_sums, row_pointers
from autorec_cli.data.builder.csr_builder import RatingsMatrix, build_ratings
from autorec_cli.data.builder.encoded_ids import id_files, read_ids
from autorec_cli.data.builder.encoded_ratings import EncodedTables, read_ends
from autorec_cli.data.builder.k_core import check_usable
from autorec_cli.data.dataset import fingerprint_of
from autorec_cli.data.dataset_checks import SPLITS
from autorec_cli.data.preparation import INTERACTIONS, INTERACTIONS_SCALE, RATINGS
from autorec_cli.data.splits.splitting import SplitSettings, split, split_matrices
from autorec_cli.defaults import MAX_LEVELS, RatingFacts
from autorec_cli.errors import InputDataError
from autorec_cli.runtime.partition import Partition, partition_columns
from autorec_cli.runtime.process_group import ProcessGroup
from autorec_cli.runtime.stages import begin_stage
from autorec_cli.storage import checksums

logger = logging.getLogger(__name__)

SPLIT = SplitSettings("stable")
VALUES_PER_MESSAGE = 1 << 18
RUNS_PER_PROCESS = 4
"""More runs balance ratings better, where the first users are the most active; but more processes read a partition."""


class EncodedDataset:
    """Encoded ratings of the users of one process.

    It has the members of `LazyDataset` that training uses.

    Attributes:
        info: Split and feedback, as in `dataset.json`.
        n_users, n_items: Numbers of all users and items.
        rating_scale: Lowest and highest rating of the training set.
        fingerprint: As `Dataset.fingerprint`.
        n_ratings: Of each split, in all processes.
    """

    def __init__(self, path: Path, process_group: ProcessGroup) -> None:
        """Read and split the ratings of this process's users.

        Raises:
            InputDataError: a file is missing, breaks the contract, or differs from that of the first process.
        """
        begin_stage(f"reading encoded ratings {path}")
        self._path, self._process_group, tables = path, process_group, EncodedTables(path)
        self.n_users, self.n_items = tables.n_users, tables.n_items
        self._require_same_files(tables)
        self._partition = partition_columns(tables.n_ratings["user"], process_group, RUNS_PER_PROCESS)
        ratings = self._read(tables)
        check_usable((self.n_users, self.n_items), *self._range(ratings.matrix.data))
        begin_stage("splitting the ratings")
        feedback = self._feedback(ratings.matrix)
        labels = split(ratings.matrix, SPLIT, ids=(ratings.user_ids, ratings.item_ids))
        splits = dict(zip(SPLITS, split_matrices(ratings.matrix, labels), strict=True))
        n_ratings = process_group.sum([matrix.nnz for matrix in splits.values()])
        self.n_ratings = dict(zip(SPLITS, n_ratings.astype(int).tolist(), strict=True))
        self.rating_scale = self._scale(splits["train"], feedback)
        self.info: dict[str, Any] = {"feedback": feedback, "split": {**asdict(SPLIT), "test_given": False}}
        self.fingerprint = self._fingerprint(splits)
        self._learned = {name: splits[name] for name in ("train", "valid")}
        self._rated_counts = np.diff(ratings.matrix.indptr).astype(np.int64)
        self._rated_items = ratings.matrix.indices.copy()  # a view would keep the values

    def _require_same_files(self, tables: EncodedTables) -> None:
        """Check that every process has the files of the first one.

        Raises:
            InputDataError: some process has not, or a file has vanished or is a link to nowhere.
        """
        try:
            files = [(str(file.relative_to(self._path)), file.stat().st_size) for file in map(Path, tables.partitions)]
            ids = [checksums.of_file(Path(name)) for side in ("user", "item") for name in id_files(self._path, side)]
        except OSError as error:
            raise InputDataError(f"cannot read {error.filename}: {error.strerror}") from error
        own, group = json.dumps([files, ids]), self._process_group
        if group.max(group.broadcast_text(own) != own):
            raise InputDataError(
                f"{self._path} has other partitions or id tables for some process than for the first; give all of them "
                "the same directory"
            )

    def _read(self, tables: EncodedTables) -> RatingsMatrix:
        """Read the ratings of this process's users.

        Raises:
            InputDataError: the files break the contract.
        """
        group = self._process_group
        # Each process opens some of the partitions to see which users they have.
        ends, own = np.zeros((len(tables.partitions), 3)), slice(group.rank, None, group.size)
        ends[own] = read_ends(tables.partitions[own])
        # What is beyond the users is so in float64 too.
        ends[:, :2] = ends[:, :2].clip(-1, self.n_users)
        ends = group.sum(ends).astype(np.int64)
        table, of_items = tables.read(ends, list(self._partition.runs()))
        tables.check_items(group.sum(of_items).astype(np.int64))
        tables.check_rows(ends)
        return build_ratings(table, "error")

    def _feedback(self, matrix: sparse.csr_array) -> str:
        """Kind of the ratings; equal ones are interactions, and become 1."""
        low, high = self._range(matrix.data)
        if low < high:
            return RATINGS
        if self._process_group.is_first:
            logger.warning(f"all ratings are {low:g}: they count as interactions, without values")
        matrix.data[:] = 1
        return INTERACTIONS

    def _scale(self, train: sparse.csr_array, feedback: str) -> tuple[float, float]:
        """Lowest and highest rating of the training set.

        Raises:
            InputDataError: there are no two different ones.
        """
        low, high = self._range(train.data)
        if feedback == INTERACTIONS and self.n_ratings["train"]:
            return INTERACTIONS_SCALE
        if not low < high:
            raise InputDataError(
                f"{self._path}: the split leaves no training ratings that differ; `autorec prepare --encoded` "
                "has other splits"
            )
        return low, high

    def _range(self, values: Array) -> tuple[float, float]:
        """Least and largest value of all processes.

        Without values they are infinite, and in the wrong order.
        """
        # Negated, so that one maximum over the processes finds both ends.
        own = [-values.min(), values.max()] if len(values) else [-np.inf, -np.inf]
        low, high = self._process_group.max(np.array(own)).tolist()
        return -low, high

    def _fingerprint(self, splits: dict[str, sparse.csr_array]) -> str:
        """Fingerprint of the whole dataset.

        That passes through the first process in blocks.
        """
        # Every process goes through all blocks, as each is a message, and through the ids of the first one.
        ids = (read_ids(self._path, side) for side in ("user", "item") if self._process_group.is_first)
        own = fingerprint_of((self.n_users, self.n_items), self.rating_scale, self._blocks(splits), ids)
        return self._process_group.broadcast_text(own)

    def _blocks(self, splits: dict[str, sparse.csr_array]) -> Iterator[Array]:
        for matrix in splits.values():
            counts = np.diff(matrix.indptr).astype(np.int64)
            yield from row_pointers(self._in_order(counts, np.ones_like(counts)))
            yield from self._in_order(matrix.indices, counts)
            yield from self._in_order(matrix.data, counts)

    def _in_order(self, values: Array, counts: Array) -> Iterator[Array]:
        """Yield the values of all users in order, in blocks.

        The first process yields them; the others send theirs.

        Args:
            values: Those of this process's users.
            counts: Values of each of these users.
        """
        partition, group = self._partition, self._process_group
        ends = np.concatenate([np.zeros(1), np.cumsum(counts)])
        lengths = np.zeros(len(partition.owners))
        # Values of each run, whose users are next to each other in `counts`.
        of_runs = np.cumsum([0, *(stop - start for start, stop in partition.runs())])
        lengths[partition.owners == group.rank] = np.diff(ends[of_runs])
        owners = (
            np.full(min(VALUES_PER_MESSAGE, length - start), owner)
            for length, owner in zip(group.sum(lengths).astype(int).tolist(), partition.owners.tolist(), strict=True)
            for start in range(0, length, VALUES_PER_MESSAGE)
        )
        return group.gather_rows(values, owners)

    def partition(self, variant: str) -> Partition:  # noqa: ARG002
        """Partition of the users."""
        return self._partition

    def facts(self) -> RatingFacts:
        """Distribution of the training ratings, and levels of all to learn from."""
        group = self._process_group
        sums = group.sum(power_sums(self._learned["train"].data))
        levels = [distinct_values(matrix.data, MAX_LEVELS) for matrix in self._learned.values()]
        found = group.distinct(np.concatenate(levels), MAX_LEVELS)
        return RatingFacts(*moments_of(self.n_ratings["train"], *sums.tolist()), len(found))

    def own(self, split: str, variant: str, partition: Partition) -> sparse.csr_array:  # noqa: ARG002
        """Ratings of this process's users in the "train" or "valid" split."""
        return self._learned[split]

    def column(self, table: str, column: str) -> pl.Series | None:
        """Ids of "users" or "items"; there are no titles."""
        return read_ids(self._path, table.removesuffix("s")) if column == "id" else None

    def items(self) -> pl.DataFrame:
        """Table of items, which has ids only."""
        return pl.DataFrame({"id": read_ids(self._path, "item")})

    def rated_counts(self) -> Iterator[Array]:
        """Yield the number of items that each user has rated.

        In blocks, in the first process; the others send theirs.
        """
        return self._in_order(self._rated_counts, np.ones_like(self._rated_counts))

    def rated_items(self) -> Iterator[Array]:
        """Yield blocks of these items, int32, in the same way."""
        return self._in_order(self._rated_items, self._rated_counts)
