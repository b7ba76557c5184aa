"""Safetensors files mapped into memory: what is not used takes none.

Tensors are read in blocks to be checked, all of them or what is needed. The mapping shows the file as it was opened,
even if another one takes its name meanwhile, and outlives it.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from autorec_cli.csr import Array
from autorec_cli.storage import checksums
from autorec_cli.storage.file_formats import MAX_HEADER_BYTES
from autorec_cli.storage.safetensors_writer import TYPE_NAMES

READ_AT_ONCE = 1 << 20
TYPES = {name: np.dtype(dtype) for dtype, name in TYPE_NAMES.items()}


@dataclass(frozen=True)
class TensorFile:
    """Open file, of which nothing but the header was read.

    Attributes:
        metadata: Texts by key.
        tensors: Arrays by name, in the order of the file; writing to them changes a private copy only.
        starts: Position of each in the file.
        file: Open for checksums; the arrays are mapped.
    """

    metadata: Mapping[str, str]
    tensors: Mapping[str, Array]
    starts: Mapping[str, int]
    file: BinaryIO

    def checksum(self, name: str) -> int:
        """Read a tensor; return its checksum.

        Raises:
            ValueError: it holds values that are infinite or NaN.
        """
        array = self.tensors[name]
        value = checksums.of_kind(array.dtype, array.shape)
        self.file.seek(self.starts[name])
        for begin in range(0, array.nbytes, READ_AT_ONCE):
            # Read and not taken from the mapping, whose pages would count as memory of this process.
            data = self.file.read(min(READ_AT_ONCE, array.nbytes - begin))
            block = np.frombuffer(data, array.dtype)
            value = checksums.with_piece(value, require_finite(name, block))
        return value

    def block_checksum(self, name: str, number: int) -> int:
        """Read a block of a tensor; return its checksum, as `checksums.BlockChecksums`."""
        array, begin = self.tensors[name], number * checksums.BLOCK_BYTES
        self.file.seek(self.starts[name] + begin)
        data = self.file.read(min(checksums.BLOCK_BYTES, array.nbytes - begin))
        return checksums.with_piece(checksums.of_kind(array.dtype, array.shape), np.frombuffer(data, np.uint8))


def require_finite(name: str, block: Array) -> Array:
    """Check values of a tensor called `name` in messages, and return them.

    Raises:
        ValueError: some are infinite or NaN.
    """
    if block.dtype.kind == "f" and not (np.abs(block) <= np.finfo("f4").max).all():
        raise ValueError(f"{name} holds values that are no finite numbers")
    return block


@contextmanager
def open_tensors(path: Path) -> Iterator[TensorFile]:
    """Map a file without reading its tensors.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not a safetensors file.
    """
    with path.open("rb") as file:
        start, header = _read_header(file)
        metadata = header.pop("__metadata__", {})
        if not isinstance(metadata, dict):
            raise ValueError("its metadata is no object")
        mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        tensors, starts, end = {}, {}, start
        for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
            array = _mapped(mapping, start, entry)
            if start + entry["data_offsets"][0] != end:
                raise ValueError(f"there is a gap before {name}")
            tensors[name], starts[name] = array, end
            end += array.nbytes
        if end != len(mapping):
            raise ValueError("it has another size than its header says")
        yield TensorFile(metadata, tensors, starts, file)


def _read_header(file: BinaryIO) -> tuple[int, dict[str, Any]]:
    """Position of the first tensor, and the header."""
    length = int.from_bytes(file.read(8), "little")
    if not 2 <= length <= MAX_HEADER_BYTES:
        raise ValueError("it is no safetensors file")
    text = file.read(length)
    header = json.loads(text)
    if len(text) < length or not isinstance(header, dict):
        raise ValueError("it is no safetensors file, or is cut off")
    return 8 + length, header


def _mapped(mapping: mmap.mmap, start: int, entry: Mapping[str, Any]) -> Array:
    dtype, shape, (first, last) = TYPES[entry["dtype"]], entry["shape"], entry["data_offsets"]
    if not all(type(number) is int and number >= 0 for number in (*shape, first, last)):
        raise ValueError("a shape or an offset is no number")
    count = 1
    for size in shape:
        count *= size
    if last - first != count * dtype.itemsize or start + last > len(mapping):
        raise ValueError("a tensor does not fit, or the file is cut off")
    # numpy needs aligned arrays; the writer aligns them.
    return np.frombuffer(mapping, dtype, count, start + first).reshape(shape) if count else np.empty(shape, dtype)
