"""The prepared dataset: a directory that scipy and polars open without this package.

train.npz valid.npz test.npz   scipy.sparse CSR, n_users x n_items, float32; a stored 0 is a rating of 0
users.parquet items.parquet    index, id (as in the source), n_ratings, n_train_ratings, title (items, if known)
dataset.json                   format version, sources, columns found, rating scale, split, seed, counts, fingerprint,
                               size and CRC-32 of every other file
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from autorec_cli.errors import ArtifactError
from autorec_cli.runtime.threads import in_order
from autorec_cli.storage import checksums
from autorec_cli.storage.files import replace_folder, sync_file

if TYPE_CHECKING:  # both take a while to import
    import polars as pl
    from scipy import sparse

FORMAT_VERSION = 2
PARTS = ("train", "valid", "test")
TABLES = ("users", "items")
FILES = (*(f"{part}.npz" for part in PARTS), *(f"{table}.parquet" for table in TABLES))
HASHED_AT_ONCE = 1 << 16  # values: few enough for the processor's cache
WRITTEN_AT_ONCE = 1 << 20  # bytes


@dataclass(frozen=True)
class Dataset:
    """Ratings split into three disjoint parts, with the ids of their rows and columns.

    Attributes:
        train, valid, test: CSR matrices of one shape (n_users, n_items), float32, indices sorted, no duplicates.
            Every stored cell is a rating, zeros included; what is not stored was not rated.
        users, items: One row per matrix row (column) in index order: `index`, `id` (string), `n_ratings`,
            `n_train_ratings`, and for items `title` where titles were given.
        rating_scale: Lowest and highest rating of the training part.
        info: What else `dataset.json` holds: sources, columns, split, seed, counts.
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
        """Rows of the matrices."""
        return int(self.train.shape[0])

    @property
    def n_items(self) -> int:
        """Columns of the matrices."""
        return int(self.train.shape[1])

    def part(self, name: str) -> sparse.csr_array:
        """The matrix called "train", "valid" or "test"."""
        return {"train": self.train, "valid": self.valid, "test": self.test}[name]

    def fingerprint(self) -> str:
        """SHA-256 (hex) of shapes, patterns, ratings, rating scale and ids: equal exactly when the data is equal."""
        import polars as pl

        digest = hashlib.sha256(repr((self.train.shape, tuple(map(float, self.rating_scale)))).encode())
        for name in PARTS:
            matrix = self.part(name)
            for array, dtype in ((matrix.indptr, np.int64), (matrix.indices, np.int64), (matrix.data, np.float32)):
                for start in range(0, len(array), HASHED_AT_ONCE):
                    digest.update(array[start : start + HASHED_AT_ONCE].astype(dtype, copy=False).data)
        for table in (self.users, self.items):
            ids = table["id"]
            for start in range(0, len(ids), HASHED_AT_ONCE):
                part = ids.slice(start, HASHED_AT_ONCE)
                lengths = part.str.len_bytes().cast(pl.String)
                digest.update(str((lengths + ":" + part).str.join("").item()).encode())
        return digest.hexdigest()


def save(dataset: Dataset, path: Path) -> None:
    """Write `dataset` as the directory `path`, whole or not at all; an older one there is replaced.

    Raises:
        UsageError: it cannot be written there, for example because the disk is full.
    """
    with replace_folder(path) as folder:
        # Hashing, writing and waiting for the disk side by side; the fingerprint takes longest and starts first.
        tasks: list[Callable[[], Any]] = [dataset.fingerprint]
        tasks += [partial(_save_matrix, dataset.part(name), folder / f"{name}.npz") for name in PARTS]
        tasks += [partial(_save_table, getattr(dataset, name), folder / f"{name}.parquet") for name in TABLES]
        with in_order(lambda task: task(), tasks) as results:
            fingerprint, *written = results
        document = {
            "format_version": FORMAT_VERSION,
            "fingerprint": fingerprint,
            "n_users": dataset.n_users,
            "n_items": dataset.n_items,
            "rating_scale": list(dataset.rating_scale),
            **dataset.info,
            "checksums": dict(zip(FILES, written, strict=True)),
        }
        (folder / "dataset.json").write_text(checksums.seal(document, indent=2) + "\n", encoding="utf-8")


def _save_table(table: pl.DataFrame, file: Path) -> int:
    """Write `table`; returns the checksum of `file`."""
    packed = io.BytesIO()  # polars would wrap a full disk into an error of its own
    table.write_parquet(packed)
    file.write_bytes(packed.getbuffer())
    return checksums.of_file(file)


def _save_matrix(matrix: sparse.csr_array, file: Path) -> int:
    """Write what `scipy.sparse.save_npz` does, without copies of the arrays; returns the checksum of `file`."""
    arrays = {
        "indices": matrix.indices,
        "indptr": matrix.indptr,
        "format": np.array(b"csr"),
        "shape": np.array(matrix.shape),
        "data": matrix.data,
        "_is_array": np.array(True),
    }
    with zipfile.ZipFile(file, "w", allowZip64=True) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array_header_1_0(entry, np.lib.format.header_data_from_array_1_0(array))
                view = array.reshape(-1).view(np.uint8)
                for start in range(0, len(view), WRITTEN_AT_ONCE):
                    entry.write(view[start : start + WRITTEN_AT_ONCE].data)
    sync_file(file)
    return checksums.of_file(file)


UNREADABLE = (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile)
"""What reading files that were cut off, or are not what their names say, raises."""


def load(path: Path) -> Dataset:
    """Read the directory `path` as written by `save`; if it is replaced meanwhile, the new one.

    Raises:
        ArtifactError: it is not a prepared dataset, is damaged, or has a format this version does not know.
    """
    while True:
        before = _identity(path)
        try:
            dataset = _load(path)
        except ArtifactError:
            if _identity(path) == before:
                raise
        else:
            if _identity(path) == before:  # or its files might be of two datasets
                return dataset


def _identity(path: Path) -> tuple[int, int, int] | None:
    """What tells the folder `path` from another one that takes its name; None if there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns


def _load(path: Path) -> Dataset:
    import polars as pl

    document = read_document(path)
    own = ("format_version", "fingerprint", "n_users", "n_items", "rating_scale", "checksums")
    try:
        _check_files(path, document)
        low, high = document["rating_scale"]
        dataset = Dataset(
            **{name: _load_matrix(path / f"{name}.npz") for name in PARTS},
            **{name: _load_table(path / f"{name}.parquet") for name in TABLES},
            rating_scale=(float(low), float(high)),
            info={key: value for key, value in document.items() if key not in own},
        )
        consistent = document["format_version"] > 1 or _is_consistent(dataset, document["fingerprint"])
    except (*UNREADABLE, pl.exceptions.PolarsError) as error:
        raise ArtifactError(f"the dataset {path} is damaged ({error}); make it again with `autorec prepare`") from error
    if not consistent:
        raise ArtifactError(
            f"the dataset {path} is damaged: its files do not belong together; make it again with `autorec prepare`"
        )
    return dataset


def read_document(path: Path) -> dict[str, Any]:
    """The contents of `path`/dataset.json.

    Raises:
        ArtifactError: there is none, it is not JSON, or its format version is unknown.
    """
    if not path.exists():
        raise ArtifactError(f"there is no dataset {path}; make one with `autorec prepare RATINGS -o {path}`")
    file = path / "dataset.json"
    if not file.is_file():
        raise ArtifactError(
            f"{path} is not a prepared dataset: it has no dataset.json; make one with `autorec prepare`"
        )
    try:
        text = file.read_text(encoding="utf-8")
        version = json.loads(text)["format_version"]
        document = checksums.unseal(text) if version == FORMAT_VERSION else json.loads(text)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(
            f"the dataset {path} is damaged (dataset.json: {error}); make it again with `autorec prepare`"
        ) from error
    if version not in (1, FORMAT_VERSION):
        raise ArtifactError(
            f"the dataset {path} has format version {version}, this program knows up to {FORMAT_VERSION}; "
            "upgrade autorec-cli or make the dataset again with `autorec prepare`"
        )
    return dict(document)


def _check_files(path: Path, document: dict[str, Any]) -> None:
    """Compare every file with its checksum; datasets of version 1 have only their fingerprint."""
    if document["format_version"] == 1:
        return
    for name, checksum in document["checksums"].items():
        if checksums.of_file(path / name) != checksum:
            raise ValueError(f"{name} is not what was written")


def _load_matrix(file: Path) -> sparse.csr_array:
    from scipy import sparse

    with file.open("rb") as handle:  # scipy would leave a damaged file open
        return sparse.csr_array(sparse.load_npz(handle))


def _load_table(file: Path) -> pl.DataFrame:
    import polars as pl

    with file.open("rb") as handle:  # polars opens no file whose name is not UTF-8
        return pl.read_parquet(handle)


def _is_consistent(dataset: Dataset, fingerprint: str) -> bool:
    shape = (len(dataset.users), len(dataset.items))
    return all(dataset.part(name).shape == shape for name in PARTS) and dataset.fingerprint() == fingerprint
