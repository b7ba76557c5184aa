"""A prepared dataset that is read piece by piece: what one of several processes needs of it, and nothing else.

Matrices lie in their files uncompressed, so that rows are read from where they are. The files stay open: what is read
from them is of one dataset even if another one takes its name meanwhile.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy import sparse

from autorec_cli.csr import Array, add_parts
from autorec_cli.data.dataset import FILES, PARTS, UNREADABLE, damaged, read_document
from autorec_cli.errors import ArtifactError
from autorec_cli.runtime.partition import Partition
from autorec_cli.runtime.process_group import ProcessGroup, local_rank
from autorec_cli.storage import checksums

if TYPE_CHECKING:
    import polars as pl

ROWS_AT_ONCE = 1 << 14
"""Rows of a matrix that pass through memory at a time."""


class _Place(NamedTuple):
    """Where an array lies in a file."""

    start: int
    dtype: np.dtype[Any]
    length: int


class StoredMatrix:
    """A CSR matrix in a file of the dataset."""

    def __init__(self, file: Path) -> None:
        """Open `file`; raises what `dataset.UNREADABLE` lists if it is no matrix of ours."""
        self._handle = file.open("rb")
        with zipfile.ZipFile(self._handle) as archive:
            self._places = {name: self._find(archive, name) for name in ("indptr", "indices", "data")}
            shape = np.load(archive.open("shape.npy"))
        self.shape = (int(shape[0]), int(shape[1]))

    def _find(self, archive: zipfile.ZipFile, name: str) -> _Place:
        entry = archive.getinfo(f"{name}.npy")
        if entry.compress_type != zipfile.ZIP_STORED:
            raise ValueError(f"{name} is compressed")
        self._handle.seek(entry.header_offset + 26)
        lengths = np.frombuffer(self._handle.read(4), dtype="<u2")
        self._handle.seek(int(lengths.sum()), 1)
        version = np.lib.format.read_magic(self._handle)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        (length,), _, dtype = read(self._handle)
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
        """Stored cells."""
        return self._places["data"].length

    def pointers(self, first: int, last: int) -> Array:
        """Where each of rows `first` to `last` begins among the cells, and where the last one ends, int64."""
        return self._read("indptr", first, last + 1).astype(np.int64)

    def rows(self, first: int, last: int) -> sparse.csr_array:
        """Rows `first` to `last`, with all columns."""
        pointers = self.pointers(first, last)
        cells = int(pointers[0]), int(pointers[-1])
        indices, data = (self._read(name, *cells) for name in ("indices", "data"))
        return sparse.csr_array((data, indices, pointers - pointers[0]), shape=(last - first, self.shape[1]))

    def blocks(self) -> Iterator[sparse.csr_array]:
        """All rows, some at a time."""
        for start in range(0, self.shape[0], ROWS_AT_ONCE):
            yield self.rows(start, min(start + ROWS_AT_ONCE, self.shape[0]))

    def own_rows(self, share: Partition) -> sparse.csr_array:
        """The rows that are columns of `share`."""
        return _stacked([self.rows(*run) for run in share.runs()], self.shape[1])

    def own_columns(self, share: Partition) -> sparse.csr_array:
        """All rows, of which cells in the columns of `share` only, these numbered from 0."""
        places = np.full(self.shape[1], -1, dtype=np.int32)
        places[share.columns] = np.arange(len(share.columns), dtype=np.int32)
        return _stacked([_only(block, places, len(share.columns)) for block in self.blocks()], len(share.columns))


def _only(block: sparse.csr_array, places: Array, n_columns: int) -> sparse.csr_array:
    """`block` without the cells whose column has no place."""
    indices = places[block.indices]
    kept = indices >= 0
    pointers = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(kept)])[block.indptr]
    return sparse.csr_array((block.data[kept], indices[kept], pointers), shape=(block.shape[0], n_columns))


def _stacked(parts: list[sparse.csr_array], n_columns: int) -> sparse.csr_array:
    """`parts` one below the other, indices int32 and sorted as theirs."""
    lengths = np.concatenate([np.zeros(1, dtype=np.int64), *(np.diff(part.indptr) for part in parts)])
    indices = np.concatenate([np.empty(0, dtype=np.int32), *(part.indices for part in parts)])
    data = np.concatenate([np.empty(0, dtype=np.float32), *(part.data for part in parts)])
    pointers = np.cumsum(lengths)
    if pointers[-1] < 2**31:
        pointers = pointers.astype(np.int32)
    indices = indices.astype(np.int32, copy=False)
    return sparse.csr_array((data, indices, pointers), shape=(len(pointers) - 1, n_columns))


class StoredDataset:
    """A prepared dataset of which nothing but `dataset.json` has been read.

    Attributes:
        path: Where it was.
        info: What is in `dataset.json`.
        n_users, n_items: Rows and columns of its matrices.
        rating_scale: Lowest and highest rating of the training part.
        fingerprint: As `Dataset.fingerprint`.
        n_ratings: Of each part.
    """

    def __init__(self, path: Path, world: ProcessGroup) -> None:
        """Open the dataset; the processes of each machine share out the checks of its files.

        Raises:
            ArtifactError: it is none, is damaged, or another one than that of the first process.
        """
        self.path = path
        self.info = read_document(path)
        try:
            self._parts = {name: StoredMatrix(path / f"{name}.npz") for name in PARTS}
            self._tables: dict[str, IO[bytes]] = {
                name: (path / f"{name}.parquet").open("rb") for name in ("users", "items")
            }
            here, n_here = local_rank()  # every machine may have files of its own
            for name in FILES[here::n_here]:
                if checksums.of_file(path / name) != self.info["checksums"][name]:
                    raise ValueError(f"{name} is not what was written")
        except UNREADABLE as error:
            raise damaged(path, error) from error
        self.fingerprint = str(self.info["fingerprint"])
        written = json.dumps([self.fingerprint, self.info["checksums"]], sort_keys=True)
        if world.max(world.broadcast_text(written) != written):
            raise ArtifactError(
                f"{path} is another dataset for some process than for the first; copy that one to every machine"
            )
        self.n_users, self.n_items = self._parts["train"].shape
        low, high = self.info["rating_scale"]
        self.rating_scale = (float(low), float(high))
        self.n_ratings = {name: part.n_cells for name, part in self._parts.items()}

    def counts(self, variant: str) -> Array:
        """Training ratings of each column of the examples: of each user, or in the user variant of each item."""
        train = self._parts["train"]
        if variant == "item":
            return np.diff(train.pointers(0, self.n_users))
        blocks = (np.bincount(block.indices, minlength=self.n_items) for block in train.blocks())
        return sum(blocks, np.zeros(self.n_items, dtype=np.int64))

    def column(self, table: str, column: str) -> pl.Series | None:
        """A column of the "users" or "items"; None if there is none."""
        import polars as pl

        handle = self._tables[table]
        handle.seek(0)
        if column not in pl.read_parquet_schema(handle):
            return None
        handle.seek(0)
        return pl.read_parquet(handle, columns=[column])[column]

    def own(self, part: str, variant: str, share: Partition) -> sparse.csr_array:
        """The cells of a part in the columns of `share`: the ratings of its users, or in the user variant its items."""
        matrix = self._parts[part]
        return matrix.own_rows(share) if variant == "item" else matrix.own_columns(share)

    def rated(self) -> Iterator[sparse.csr_array]:
        """The ratings of all parts together, some rows at a time."""
        for train, valid, test in zip(*(self._parts[name].blocks() for name in PARTS), strict=True):
            yield add_parts(add_parts(train, valid), test)

    def owners(self, part: str, variant: str, share: Partition) -> Iterator[Array]:
        """The ranks that hold the cells of a part, in the order of the matrix, in blocks."""
        start = 0
        for block in self._parts[part].blocks():
            if variant == "item":
                users = np.arange(start, start + block.shape[0])
                yield np.repeat(share.owners_of(users), np.diff(block.indptr))
            else:
                yield share.owners_of(block.indices)
            start += block.shape[0]
