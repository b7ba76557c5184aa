"""Matrix files: CSR matrices as `scipy.sparse.save_npz` writes them, read without trusting them."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np

from autorec_cli.csr import Array
from autorec_cli.storage import checksums
from autorec_cli.storage.files import create_file

if TYPE_CHECKING:
    from scipy import sparse

WRITTEN_AT_ONCE = 1 << 18  # bytes


def save_matrix(matrix: sparse.csr_array, file: Path) -> int:
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
        # Not compressed, so that rows can be read by their offsets (`lazy_dataset`).
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


def load_matrix(file: Path) -> sparse.csr_array:
    """Read a matrix.

    Raises:
        Exception: one of `dataset.UNREADABLE_ERRORS` if the file is not one that `save_matrix` wrote.
    """
    from scipy import sparse

    with file.open("rb") as handle, zipfile.ZipFile(handle) as archive:
        data, indices, indptr, shape = (read_array(archive, name) for name in ("data", "indices", "indptr", "shape"))
    check_arrays(data, indices, indptr, shape)
    return sparse.csr_array((data, indices, indptr), shape=tuple(shape.tolist()))


def check_arrays(data: Array, indices: Array, indptr: Array, shape: Array) -> None:
    """Check types and lengths of the arrays of a matrix.

    Raises:
        ValueError: they are not those of a CSR matrix of ratings.
    """
    types = data.dtype == np.float32 and all(array.dtype in (np.int32, np.int64) for array in (indices, indptr, shape))
    if not types or len(shape) != 2 or len(indices) != len(data) or len(indptr) != shape[0] + 1:
        raise ValueError("its arrays are not those of a matrix of ratings")


def read_array(archive: zipfile.ZipFile, name: str) -> Array:
    """Read a one-dimensional array, whose size is that of its entry.

    Raises:
        ValueError: it is compressed, or its header promises more or less than there is.
    """
    entry = archive.getinfo(f"{name}.npy")
    if entry.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{name} is compressed")
    with archive.open(entry) as stream:
        length, dtype = array_header(stream)
        # Before memory is taken for it.
        if stream.tell() + length * dtype.itemsize != entry.file_size:
            raise ValueError(f"{name} has another size than its header says")
        array = np.empty(length, dtype)
        view = array.view(np.uint8).data
        while view:
            n_bytes = cast(BinaryIO, stream).readinto(view)  # type: ignore[attr-defined]
            if not n_bytes:
                raise ValueError(f"{name} ends too early")
            view = view[n_bytes:]
    return array


def array_header(stream: IO[bytes]) -> tuple[int, np.dtype[Any]]:
    """Length and type in the header of a one-dimensional array.

    Raises:
        ValueError: it is of another kind.
    """
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    try:
        (length,), _, dtype = read(stream)
    except (MemoryError, RecursionError, SyntaxError) as error:  # of a header that is nested too deeply
        raise ValueError("the header of an array is broken") from error
    if dtype.hasobject:
        raise ValueError("an array holds Python objects")
    return length, dtype
