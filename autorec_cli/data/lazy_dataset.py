"""Prepared dataset read in blocks by each of several processes.

Arrays are not compressed in the files, so any range of rows can be read by its offset. The files stay open: all reads
are of one dataset, even if another one replaces it meanwhile.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy import sparse

from autorec_cli.csr import Array, add_splits, check_rows, distinct_values, moments_of, power_sums
from autorec_cli.data.dataset import UNREADABLE_ERRORS, check_file, damaged, read_document, require_file
from autorec_cli.data.dataset_checks import SPLITS, check_table, scale_in, shape_in
from autorec_cli.data.matrix_file import array_header, check_arrays, read_array
from autorec_cli.defaults import MAX_LEVELS, RatingFacts
from autorec_cli.errors import ArtifactError
from autorec_cli.runtime.partition import Partition, partition_columns
from autorec_cli.runtime.process_group import ProcessGroup
from autorec_cli.runtime.stages import begin_stage
from autorec_cli.runtime.torchrun import local_rank
from autorec_cli.storage.file_kinds import FILES

if TYPE_CHECKING:
    import polars as pl

ROWS_PER_BLOCK = 1 << 14
"""Rows of a matrix that pass through memory at a time."""
CELLS_PER_BLOCK = 1 << 20
"""Ratings read at a time, regardless of rows."""


class _Place(NamedTuple):
    """Offset in bytes, type and length of an array."""

    start: int
    dtype: np.dtype[Any]
    length: int


class LazyMatrix:
    """CSR matrix in a file, read by rows."""

    def __init__(self, file: Path) -> None:
        """Open `file`.

        Raises:
            Exception: one of `dataset.UNREADABLE_ERRORS` if it is not a matrix that `dataset.save` wrote.
        """
        self._handle = file.open("rb")
        with zipfile.ZipFile(self._handle) as archive:
            self._places = {name: self._find(archive, name) for name in ("indptr", "indices", "data")}
            shape = read_array(archive, "shape")
        data, indices, indptr = (
            np.broadcast_to(np.empty((), place.dtype), place.length)  # types and lengths, without contents
            for place in (self._places[name] for name in ("data", "indices", "indptr"))
        )
        check_arrays(data, indices, indptr, shape)
        self.shape = (int(shape[0]), int(shape[1]))

    def _find(self, archive: zipfile.ZipFile, name: str) -> _Place:
        entry = archive.getinfo(f"{name}.npy")
        if entry.compress_type != zipfile.ZIP_STORED:
            raise ValueError(f"{name} is compressed")
        # A local header may be longer than its entry in the directory; it ends with the lengths of two fields.
        self._handle.seek(entry.header_offset + 26)
        lengths = np.frombuffer(self._handle.read(4), dtype="<u2")
        self._handle.seek(int(lengths.sum()), 1)
        length, dtype = array_header(self._handle)
        return _Place(self._handle.tell(), dtype, length)

    def _read(self, name: str, first: int, last: int) -> Array:
        place = self._places[name]
        self._handle.seek(place.start + first * place.dtype.itemsize)
        values = np.fromfile(self._handle, place.dtype, last - first)
        if len(values) < last - first:
            raise ValueError(f"{name} ends too early")
        return values

    @property
    def n_cells(self) -> int:
        """Number of stored cells."""
        return self._places["data"].length

    def pointers(self, first: int, last: int) -> Array:
        """Read `indptr[first : last + 1]`, int64."""
        return self._read("indptr", first, last + 1).astype(np.int64)

    def rows(self, first: int, last: int) -> sparse.csr_array:
        """Rows `first` to `last`, with all columns."""
        pointers = self.pointers(first, last)
        cells = int(pointers[0]), int(pointers[-1])
        indices, data = (self._read(name, *cells) for name in ("indices", "data"))
        check_rows(pointers - pointers[0], indices, self.shape[1], "a set")
        return sparse.csr_array((data, indices, pointers - pointers[0]), shape=(last - first, self.shape[1]))

    def ratings(self, first: int, last: int) -> Array:
        """Stored values number `first` to `last`."""
        return self._read("data", first, last)

    def blocks(self) -> Iterator[sparse.csr_array]:
        """Yield all rows, ROWS_PER_BLOCK at a time."""
        for start in range(0, self.shape[0], ROWS_PER_BLOCK):
            yield self.rows(start, min(start + ROWS_PER_BLOCK, self.shape[0]))

    def own_rows(self, partition: Partition) -> sparse.csr_array:
        """Read the rows in `partition`."""
        return _stacked([self.rows(*run) for run in partition.runs()], self.shape[1])

    def own_columns(self, partition: Partition) -> sparse.csr_array:
        """Read all rows, with the columns in `partition`, renumbered."""
        places = np.full(self.shape[1], -1, dtype=np.int32)
        n_own = len(partition.columns)
        places[partition.columns] = np.arange(n_own, dtype=np.int32)
        return _stacked([_only(block, places, n_own) for block in self.blocks()], n_own)


def _only(block: sparse.csr_array, places: Array, n_columns: int) -> sparse.csr_array:
    """Drop cells whose column has no place; renumber the others."""
    indices = places[block.indices]
    kept = indices >= 0
    pointers = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(kept)])[block.indptr]
    return sparse.csr_array((block.data[kept], indices[kept], pointers), shape=(block.shape[0], n_columns))


def _stacked(blocks: list[sparse.csr_array], n_columns: int) -> sparse.csr_array:
    """Stack blocks of rows; indices are int32."""
    lengths = np.concatenate([np.zeros(1, dtype=np.int64), *(np.diff(block.indptr) for block in blocks)])
    indices = np.concatenate([np.empty(0, dtype=np.int32), *(block.indices for block in blocks)])
    data = np.concatenate([np.empty(0, dtype=np.float32), *(block.data for block in blocks)])
    pointers = np.cumsum(lengths)
    # scipy's index arrays have one type: wide pointers would widen the indices.
    if pointers[-1] < 2**31:
        pointers = pointers.astype(np.int32)
    indices = indices.astype(np.int32, copy=False)
    return sparse.csr_array((data, indices, pointers), shape=(len(pointers) - 1, n_columns))


class LazyDataset:
    """Prepared dataset whose matrices and tables are not yet read.

    Attributes:
        path: Its directory.
        info: `dataset.json`.
        n_users, n_items: Rows and columns of its matrices.
        rating_scale: Lowest and highest rating of the training set.
        fingerprint: As `Dataset.fingerprint`.
        n_ratings: Of each split.
    """

    def __init__(self, path: Path, process_group: ProcessGroup) -> None:
        """Open the dataset and check its files.

        The processes of a machine divide the checks among them.

        Raises:
            ArtifactError: it is not a dataset, is damaged, or differs from that of the first process.
        """
        self.path, self._process_group = path, process_group
        begin_stage(f"reading dataset {path}")
        self.info = read_document(path)
        try:
            shape, scale = shape_in(self.info), scale_in(self.info)
            for name in FILES:
                require_file(path / name)
            self._matrices = {name: LazyMatrix(path / f"{name}.npz") for name in SPLITS}
            self._tables: dict[str, IO[bytes]] = {
                name: (path / f"{name}.parquet").open("rb") for name in ("users", "items")
            }
            here, n_here = local_rank()  # machines may have copies of their own
            for name in FILES[here::n_here]:
                check_file(path, name, self.info)
            if any(matrix.shape != shape for matrix in self._matrices.values()):
                raise ValueError("a matrix has another shape than the dataset")
        except UNREADABLE_ERRORS as error:
            raise damaged(path, error) from error
        self.fingerprint = str(self.info["fingerprint"])
        written = json.dumps([self.fingerprint, self.info["checksums"]], sort_keys=True)
        if process_group.max(process_group.broadcast_text(written) != written):
            raise ArtifactError(
                f"{path} is another dataset for some process than for the first; copy that one to every machine"
            )
        self.n_users, self.n_items = self._matrices["train"].shape
        self.rating_scale = scale
        self.n_ratings = {name: matrix.n_cells for name, matrix in self._matrices.items()}

    def partition(self, variant: str) -> Partition:
        """Partition the columns of the examples.

        They are users in the item variant, and items in the user variant.
        """
        train = self._matrices["train"]
        if variant == "item":
            counts = np.diff(train.pointers(0, self.n_users))
        else:
            blocks = (np.bincount(block.indices, minlength=self.n_items) for block in train.blocks())
            counts = sum(blocks, np.zeros(self.n_items, dtype=np.int64))
        return partition_columns(counts, self._process_group)

    def facts(self) -> RatingFacts:
        """Distribution of the training ratings, and levels to learn from.

        Each process reads some of the ratings.
        """
        process_group = self._process_group
        sums, found = np.zeros(2), np.empty(0, dtype=np.float32)
        for split in ("train", "valid"):
            matrix, n_ratings = self._matrices[split], self.n_ratings[split]
            first, last = (n_ratings * (process_group.rank + end) // process_group.size for end in (0, 1))
            for start in range(first, last, CELLS_PER_BLOCK):
                block = matrix.ratings(start, min(start + CELLS_PER_BLOCK, last))
                found = distinct_values(np.concatenate([found, distinct_values(block, MAX_LEVELS)]), MAX_LEVELS)
                if split == "train":
                    sums += power_sums(block)
        moments = moments_of(self.n_ratings["train"], *process_group.sum(sums).tolist())
        return RatingFacts(*moments, len(process_group.distinct(found, MAX_LEVELS)))

    def column(self, table: str, column: str) -> pl.Series | None:
        """Read a column of "users" or "items", if present."""
        import polars as pl

        handle = self._tables[table]
        handle.seek(0)
        if column not in pl.read_parquet_schema(handle):
            return None
        handle.seek(0)
        return pl.read_parquet(handle, columns=[column])[column]

    def items(self) -> pl.DataFrame:
        """Read the table of items.

        Raises:
            ArtifactError: it is not one.
        """
        import polars as pl

        handle = self._tables["items"]
        handle.seek(0)
        table = pl.read_parquet(handle)
        try:
            check_table(table, "items")
        except ValueError as error:
            raise damaged(self.path, error) from error
        return table

    def own(self, split: str, variant: str, partition: Partition) -> sparse.csr_array:
        """Read the ratings of a split in `partition`.

        Those of its users in the item variant, of its items in the user variant.
        """
        matrix = self._matrices[split]
        return matrix.own_rows(partition) if variant == "item" else matrix.own_columns(partition)

    def rated_counts(self) -> Iterator[Array]:
        """Yield the number of items that each user has rated.

        In blocks, and in any split; in the first process only.
        """
        for start in range(0, self.n_users if self._process_group.is_first else 0, ROWS_PER_BLOCK):
            end = min(start + ROWS_PER_BLOCK, self.n_users)
            yield np.sum([np.diff(matrix.pointers(start, end)) for matrix in self._matrices.values()], axis=0)

    def rated_items(self) -> Iterator[Array]:
        """Yield blocks of these items, int32, in the first process only."""
        if self._process_group.is_first:
            for train, valid, test in zip(*(self._matrices[name].blocks() for name in SPLITS), strict=True):
                yield add_splits(add_splits(train, valid), test).indices.astype(np.int32)
