"""Prepared dataset: a directory that scipy and polars can read.

train.npz valid.npz test.npz   scipy.sparse CSR, n_users x n_items, float32; a stored 0 is a rating of 0
users.parquet items.parquet    index, id (as in the source), n_ratings, n_train_ratings, title (items, if known)
dataset.json                   format and version, sources, columns found, rating scale, split, seed, counts,
                               fingerprint, CRC-32 of every other file

docs/formats.md has every field.
"""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from autorec_cli.errors import ArtifactError, UsageError
from autorec_cli.runtime.threads import in_order
from autorec_cli.storage import checksums
from autorec_cli.storage.file_formats import DATASET
from autorec_cli.storage.file_kinds import DOCUMENT, FILES
from autorec_cli.storage.files import create_file, replace_folder

if TYPE_CHECKING:  # both take a while to import
    import polars as pl
    from scipy import sparse

SPLITS = ("train", "valid", "test")
TABLES = ("users", "items")
HASHED_AT_ONCE = 1 << 16  # values: few enough for the processor's cache
WRITTEN_AT_ONCE = 1 << 18  # bytes


@dataclass(frozen=True)
class Dataset:
    """Ratings in disjoint training, validation and test sets.

    Attributes:
        train, valid, test: CSR matrices of one shape (n_users, n_items), float32, indices sorted, no duplicates.
            Every stored cell is a rating, zeros included; cells that are not stored are unrated.
        users, items: One row per matrix row (column) in index order: `index`, `id` (string), `n_ratings`,
            `n_train_ratings`, and for items `title` where titles were given.
        rating_scale: Lowest and highest rating of the training set.
        info: Other fields of `dataset.json`: sources, columns, split, seed, counts.
    """

    train: sparse.csr_array
    valid: sparse.csr_array
    test: sparse.csr_array
    users: pl.DataFrame
    items: pl.DataFrame
    rating_scale: tuple[float, float]
    info: dict[str, Any]

    @property
    def n_users(self) -> int:
        """Number of rows of the matrices."""
        return int(self.train.shape[0])

    @property
    def n_items(self) -> int:
        """Number of columns of the matrices."""
        return int(self.train.shape[1])

    def split(self, name: str) -> sparse.csr_array:
        """Matrix of the split called "train", "valid" or "test"."""
        return {"train": self.train, "valid": self.valid, "test": self.test}[name]

    def fingerprint(self) -> str:
        """SHA-256 (hex) of shape, rating scale, ratings and ids.

        Equal exactly if the data is equal.
        """
        import polars as pl

        digest = hashlib.sha256(repr((self.train.shape, tuple(map(float, self.rating_scale)))).encode())
        for name in SPLITS:
            matrix = self.split(name)
            for array, dtype in ((matrix.indptr, np.int64), (matrix.indices, np.int64), (matrix.data, np.float32)):
                for start in range(0, len(array), HASHED_AT_ONCE):
                    digest.update(array[start : start + HASHED_AT_ONCE].astype(dtype, copy=False).data)
        for table in (self.users, self.items):
            ids = table["id"]
            for start in range(0, len(ids), HASHED_AT_ONCE):
                block = ids.slice(start, HASHED_AT_ONCE)
                # With their lengths: ids may hold any separator.
                lengths = block.str.len_bytes().cast(pl.String)
                digest.update(str((lengths + ":" + block).str.join("").item()).encode())
        return digest.hexdigest()


def save_dataset(dataset: Dataset, path: str | Path) -> None:
    """Write the directory `path`, whole or not at all.

    An existing dataset is replaced.

    Raises:
        UsageError: it cannot be written, for example because the disk is full, or `path` is not a dataset.
    """
    path = Path(path)
    require_replaceable(path)
    with replace_folder(path) as folder:
        # Hash, write and wait for the disk in parallel; the fingerprint takes longest and starts first.
        tasks: list[Callable[[], Any]] = [dataset.fingerprint]
        tasks += [partial(_save_matrix, dataset.split(name), folder / f"{name}.npz") for name in SPLITS]
        tasks += [partial(_save_table, getattr(dataset, name), folder / f"{name}.parquet") for name in TABLES]
        with in_order(lambda task: task(), tasks) as results:
            fingerprint, *written = results
        document = {
            "fingerprint": fingerprint,
            "n_users": dataset.n_users,
            "n_items": dataset.n_items,
            "rating_scale": list(dataset.rating_scale),
            **dataset.info,
            "checksums": dict(zip(FILES, written, strict=True)),
        }
        with create_file(folder / DOCUMENT) as file:
            file.write((DATASET.seal(document, indent=2) + "\n").encode())


def require_replaceable(path: Path) -> None:
    """Check that nothing but an older dataset would be replaced.

    Raises:
        UsageError: `path` is a file, or a directory that holds anything else.
    """
    if path.exists() and not path.is_dir():
        raise UsageError(f"{path} is a file; give another name for the dataset directory")
    found = {file.name for file in path.iterdir()} if path.exists() else set()
    if found and not (found <= {*FILES, DOCUMENT} and DOCUMENT in found):
        raise UsageError(f"{path} is not a prepared dataset; not overwriting it; give another name")


def _save_table(table: pl.DataFrame, file: Path) -> int:
    """Write `table` and return the checksum of `file`."""
    packed = io.BytesIO()  # polars would wrap the error of a full disk
    table.write_parquet(packed)
    with create_file(file) as stream:
        stream.write(packed.getbuffer())
    return checksums.of_file(file)


def _save_matrix(matrix: sparse.csr_array, file: Path) -> int:
    """Write a matrix as `save_npz` does; return the checksum.

    The bytes are those of `scipy.sparse.save_npz`, but the arrays are not copied.
    """
    arrays = {
        "indices": matrix.indices,
        "indptr": matrix.indptr,
        "format": np.array(b"csr"),
        "shape": np.array(matrix.shape),
        "data": matrix.data,
        "_is_array": np.array(True),
    }
    with create_file(file) as stream:
        with zipfile.ZipFile(stream, "w", allowZip64=True) as archive:
            for name, array in arrays.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                    np.lib.format.write_array_header_1_0(entry, np.lib.format.header_data_from_array_1_0(array))
                    view = array.reshape(-1).view(np.uint8)
                    for start in range(0, len(view), WRITTEN_AT_ONCE):
                        entry.write(view[start : start + WRITTEN_AT_ONCE].data)
        stream.flush()
        os.fsync(stream.fileno())
    return checksums.of_file(file)


UNREADABLE_ERRORS = (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile)
"""Errors raised by reading truncated or foreign files."""


def load_dataset(path: str | Path) -> Dataset:
    """Read the dataset directory `path`.

    If it is replaced meanwhile, read the new one.

    Raises:
        ArtifactError: it is not a prepared dataset, is damaged, or is of another format version.
    """
    path = Path(path)
    while True:
        before = _identity(path)
        try:
            dataset = _load(path)
        except ArtifactError:
            if _identity(path) == before:
                raise
        else:
            if _identity(path) == before:  # else its files might be of two datasets
                return dataset


def _identity(path: Path) -> tuple[int, int, int] | None:
    """Device, inode and time of a directory; None without one.

    They differ once it is replaced.
    """
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns


def _load(path: Path) -> Dataset:
    import polars as pl

    document = read_document(path)
    own = ("format", "version", "fingerprint", "n_users", "n_items", "rating_scale", "checksums")
    try:
        _check_files(path, document)
        low, high = document["rating_scale"]
        return Dataset(
            **{name: _load_matrix(path / f"{name}.npz") for name in SPLITS},
            **{name: _load_table(path / f"{name}.parquet") for name in TABLES},
            rating_scale=(float(low), float(high)),
            info={key: value for key, value in document.items() if key not in own},
        )
    except (*UNREADABLE_ERRORS, pl.exceptions.PolarsError) as error:
        raise damaged(path, error) from error


def read_document(path: Path) -> dict[str, Any]:
    """Read `path`/dataset.json.

    Raises:
        ArtifactError: it does not exist, is damaged, or is of another format version.
    """
    if not path.exists():
        raise ArtifactError(f"there is no dataset {path}; make one with `autorec prepare RATINGS -o {path}`")
    file = path / DOCUMENT
    if not file.is_file():
        raise ArtifactError(f"{path} is not a prepared dataset: it has no {DOCUMENT}; make one with `autorec prepare`")
    try:
        return DATASET.unseal(file.read_text(encoding="utf-8"), f"the dataset {path}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise damaged(path, f"{DOCUMENT}: {error}") from error


def damaged(path: Path, reason: object) -> ArtifactError:
    """Error for a damaged dataset at `path`."""
    return ArtifactError(f"the dataset {path} is damaged ({reason}); make it again with `autorec prepare`")


def describe(path: Path) -> dict[str, Any]:
    """Check a dataset and describe it as JSON types.

    Raises:
        ArtifactError: it cannot be loaded.
    """
    dataset = load_dataset(path)
    return {"kind": "dataset", "has_titles": "title" in dataset.items.columns, **read_document(path)}


def _check_files(path: Path, document: dict[str, Any]) -> None:
    """Compare every file with its checksum."""
    for name, checksum in document["checksums"].items():
        if checksums.of_file(path / name) != checksum:
            raise ValueError(f"{name} is not what was written")


def _load_matrix(file: Path) -> sparse.csr_array:
    from scipy import sparse

    with file.open("rb") as handle:  # scipy leaves a damaged file open
        return sparse.csr_array(sparse.load_npz(handle))


def _load_table(file: Path) -> pl.DataFrame:
    import polars as pl

    with file.open("rb") as handle:  # polars cannot open names that are not UTF-8
        return pl.read_parquet(handle)
