"""Checksums that reveal damaged files.

A CRC-32 detects every error within four bytes. It protects against faulty disks and transfers, not against tampering.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

KEY = "checksum"
READ_AT_ONCE = 1 << 18
BLOCK_BYTES = 1 << 20
"""Bytes of a block of a tensor that has a checksum of its own."""
MIN_BLOCKS = 4
"""Blocks of the smallest tensor whose blocks have checksums; a smaller one is checked as a whole in no time."""


def of_bytes(*parts: bytes | memoryview) -> int:
    """CRC-32 of all `parts`, one after the other."""
    value = 0
    for part in parts:
        value = zlib.crc32(part, value)
    return value


def of_array(array: NDArray[Any]) -> int:
    """CRC-32 of a contiguous array: its type, shape and values."""
    return with_piece(of_kind(array.dtype, array.shape), array)


def of_kind(dtype: np.dtype[Any], shape: tuple[int, ...]) -> int:
    """CRC-32 of an array's type and shape."""
    return of_bytes(repr((dtype.str, shape)).encode())


def with_piece(value: int, piece: NDArray[Any]) -> int:
    """Update an array's CRC-32 with its next contiguous piece."""
    # A view, not `tobytes`: the copy would double the memory of a large tensor.
    return zlib.crc32(piece.reshape(-1).view("u1").data, value)


class BlockChecksums:
    """CRC-32 of each block of an array: its type and shape, and the bytes of the block.

    Attributes:
        values: Checksums of the blocks so far, the last of which may not be full.
    """

    def __init__(self, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
        self.values: list[int] = []
        self._kind = of_kind(dtype, shape)
        self._n_bytes = 0

    def add(self, data: memoryview) -> None:
        """Add the next bytes of the array."""
        while data:
            n_left = BLOCK_BYTES - self._n_bytes % BLOCK_BYTES
            if n_left == BLOCK_BYTES:
                self.values.append(self._kind)
            self.values[-1] = zlib.crc32(data[:n_left], self.values[-1])
            self._n_bytes += len(data[:n_left])
            data = data[n_left:]


def n_blocks(n_bytes: int) -> int:
    """Number of blocks of an array that have checksums; 0 for a small one."""
    count = -(-n_bytes // BLOCK_BYTES)
    return count if count >= MIN_BLOCKS else 0


def of_file(path: Path) -> int:
    """CRC-32 of the contents of a file.

    Raises:
        OSError: it cannot be read.
    """
    value = 0
    with path.open("rb") as file:
        # In blocks: models are larger than what we would like to hold twice.
        while block := file.read(READ_AT_ONCE):
            value = zlib.crc32(block, value)
    return value


def seal(document: Mapping[str, Any], indent: int | None = None) -> str:
    """Write `document` as JSON with its checksum.

    Keys are sorted, so that equal documents are equal texts, unless it is indented.
    """
    sealed = {**document, KEY: _of_document(document)}
    # ASCII only: paths may hold bytes that are not UTF-8, which JSON escapes.
    return json.dumps(sealed, sort_keys=indent is None, indent=indent)


def unseal(text: str) -> dict[str, Any]:
    """Read a document that `seal` wrote, without its checksum.

    Raises:
        ValueError: it is no JSON object, or its checksum is wrong.
    """
    document = json.loads(text)
    if not isinstance(document, dict):
        raise ValueError("it holds no JSON object")
    if document.pop(KEY, None) != _of_document(document):
        raise ValueError("its checksum is not that of its contents")
    return document


def _of_document(document: Mapping[str, Any]) -> int:
    return of_bytes(json.dumps(document, sort_keys=True).encode())
