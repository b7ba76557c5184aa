"""Prepared dataset: a directory that scipy and polars can read.

train.npz valid.npz test.npz   scipy.sparse CSR, n_users x n_items, float32; a stored 0 is a rating of 0
users.parquet items.parquet    index, id (as in the source), n_ratings, n_train_ratings, columns of `prepare --items`
dataset.json                   format and version, sources, columns found, rating scale, split, seed, counts,
                               fingerprint, CRC-32 of every other file

docs/formats.md has every field.
"""

from __future__ import annotations

import hashlib
import io
import struct
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from autorec_cli.csr import Array
from autorec_cli.data.dataset_checks import (
    SPLITS,
    check_ratings,
    check_table,
    scale_in,
    shape_in,
)
from autorec_cli.data.matrix_file import load_matrix, save_matrix
from autorec_cli.errors import ArtifactError, UsageError
from autorec_cli.runtime.stages import begin_stage
from autorec_cli.runtime.threads import in_order
from autorec_cli.storage import checksums, file_formats
from autorec_cli.storage.file_formats import DATASET, reason_of
from autorec_cli.storage.file_kinds import DOCUMENT, FILES, is_encoded
from autorec_cli.storage.files import create_file, replace_folder

if TYPE_CHECKING:  # both take a while to import
    import polars as pl
    from scipy import sparse

TABLES = ("users", "items")
HASHED_AT_ONCE = 1 << 16  # values: few enough for the processor's cache


@dataclass(frozen=True)
class Dataset:
    """Ratings in disjoint training, validation and test sets.

    Attributes:
        train, valid, test: CSR matrices of one shape (n_users, n_items), float32, indices sorted, no duplicates.
            Every stored cell is a rating, zeros included; cells that are not stored are unrated.
        users, items: One row per matrix row (column) in index order: `index`, `id` (string), `n_ratings`,
            `n_train_ratings`, and for items the columns of `prepare --items`, such as `title`.
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

    def __repr__(self) -> str:
        low, high = self.rating_scale
        splits = ", ".join(f"{self.split(name).nnz:,} {name}" for name in SPLITS)
        return f"Dataset({self.n_users:,} users, {self.n_items:,} items, ratings {low:g} to {high:g}: {splits})"

    def split(self, name: str) -> sparse.csr_array:
        """Matrix of the split called "train", "valid" or "test"."""
        return {"train": self.train, "valid": self.valid, "test": self.test}[name]

    def fingerprint(self) -> str:
        """SHA-256 (hex) of shape, rating scale, ratings and ids.

        Equal exactly if the data is equal.
        """
        splits = map(self.split, SPLITS)
        arrays = (array for split in splits for array in (split.indptr, split.indices, split.data))
        blocks = (
            array[start : start + HASHED_AT_ONCE] for array in arrays for start in range(0, len(array), HASHED_AT_ONCE)
        )
        ids = self.users["id"], self.items["id"]
        return fingerprint_of((self.n_users, self.n_items), self.rating_scale, blocks, ids)


def fingerprint_of(
    shape: tuple[int, int], scale: tuple[float, float], blocks: Iterable[Array], ids: Iterable[pl.Series]
) -> str:
    """`Dataset.fingerprint` of a dataset that need not be in memory.

    Args:
        shape: (n_users, n_items).
        scale: Lowest and highest rating.
        blocks: Row pointers, columns and values of each split, in pieces of any size.
        ids: Those of users, then those of items.
    """
    import polars as pl

    digest = hashlib.sha256(repr((shape, tuple(map(float, scale)))).encode())
    for values in blocks:
        dtype = np.int64 if values.dtype.kind == "i" else np.float32
        digest.update(values.astype(dtype, copy=False).data)
    for side in ids:
        for start in range(0, len(side), HASHED_AT_ONCE):
            block = side.slice(start, HASHED_AT_ONCE)
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
    begin_stage(f"writing dataset {path}")
    with replace_folder(path) as folder:
        # Hash, write and wait for the disk in parallel; the fingerprint takes longest and starts first.
        tasks: list[Callable[[], Any]] = [dataset.fingerprint]
        tasks += [partial(save_matrix, dataset.split(name), folder / f"{name}.npz") for name in SPLITS]
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


UNREADABLE_ERRORS = (*file_formats.UNREADABLE_ERRORS, RuntimeError, struct.error, zipfile.BadZipFile)
"""Errors raised by reading truncated, foreign or hostile files; RuntimeError is of encrypted zip files."""


def load_dataset(path: str | Path) -> Dataset:
    """Read the dataset directory `path`.

    If it is replaced meanwhile, read the new one.

    Raises:
        ArtifactError: it is not a prepared dataset, is damaged, or is of another format version.
    """
    path = Path(path)
    begin_stage(f"reading dataset {path}")
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
        for name in FILES:
            check_file(path, name, document)
        shape, scale = shape_in(document), scale_in(document)
        dataset = Dataset(
            **{name: load_matrix(path / f"{name}.npz") for name in SPLITS},
            **{name: _load_table(path / f"{name}.parquet", size) for name, size in zip(TABLES, shape, strict=True)},
            rating_scale=scale,
            info={key: value for key, value in document.items() if key not in own},
        )
        for name in SPLITS:
            check_ratings(dataset.split(name), shape, scale, name)
        if not dataset.train.nnz:
            raise ValueError("it has no training rating")
        return dataset
    # A panic of polars is not an Exception.
    except (*UNREADABLE_ERRORS, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise damaged(path, error) from error


def read_document(path: Path) -> dict[str, Any]:
    """Read `path`/dataset.json.

    Raises:
        ArtifactError: it does not exist, is damaged, or is of another format version.
    """
    if not path.exists():
        raise ArtifactError(f"there is no dataset {path}; make one with `autorec prepare RATINGS -o {path}`")
    if is_encoded(path):
        raise ArtifactError(
            f"{path} has encoded ratings, which only `autorec train` reads; name the dataset that `autorec prepare "
            f"--encoded {path} --split stable -o DATASET` makes"
        )
    file = path / DOCUMENT
    if not file.is_file():
        raise ArtifactError(f"{path} is not a prepared dataset: it has no {DOCUMENT}; make one with `autorec prepare`")
    try:
        return DATASET.unseal(file.read_text(encoding="utf-8"), f"the dataset {path}")
    except UNREADABLE_ERRORS as error:
        raise damaged(path, error, f"{DOCUMENT}: ") from error


def damaged(path: Path, error: BaseException, where: str = "") -> ArtifactError:
    """Error for an unreadable or damaged dataset at `path`."""
    if isinstance(error, OSError) and error.errno is not None:
        return ArtifactError(f"cannot read {error.filename or path}: {error.strerror}; check the disk and permissions")
    return ArtifactError(
        f"the dataset {path} is damaged ({where}{reason_of(error)}); make it again with `autorec prepare`"
    )


def require_file(file: Path) -> None:
    """Check that a file is a regular one."""
    if not file.is_file():  # opening a named pipe would wait for its other end
        raise ValueError(f"{file.name} is missing or is no regular file")


def check_file(path: Path, name: str, document: dict[str, Any]) -> None:
    """Compare a file of a dataset with its checksum.

    Raises:
        ValueError: they do not match.
        OSError: it cannot be read.
    """
    require_file(path / name)
    if checksums.of_file(path / name) != document["checksums"][name]:
        raise ValueError(f"{name} is not what was written")


def _load_table(file: Path, n_rows: int) -> pl.DataFrame:
    import polars as pl

    with file.open("rb") as handle:  # polars cannot open names that are not UTF-8
        # From the metadata: a few bytes may stand for billions of equal rows.
        found = pl.scan_parquet(handle).select(pl.len()).collect().item()
        if found != n_rows:
            raise ValueError(f"{file.name} has {found:,} rows instead of {n_rows:,}")
        handle.seek(0)
        table = pl.read_parquet(handle)
    check_table(table, file.stem)
    return table
