"""Writing a `.safetensors` file piece by piece, so that a tensor need never be in memory as a whole.

The format (github.com/huggingface/safetensors): the length of a header in eight bytes, the header in JSON, the bytes of
all tensors without gaps. Room is left for the header, which holds checksums of what comes after it.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from autorec_cli.csr import Array
from autorec_cli.storage import checksums
from autorec_cli.storage.files import replace_file

NAMES = {"<f4": "F32", "<f8": "F64", "<i4": "I32", "<i8": "I64", "|u1": "U8"}
"""numpy's names of types and the format's."""


@dataclass(frozen=True)
class Pieces:
    """A tensor that is made when it is wanted, such as while it is written.

    Attributes:
        dtype: Of its values.
        shape: Of all pieces one below the other.
        make: Gives the pieces in order, C-contiguous.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    make: Callable[[], Iterator[Array]]

    @property
    def n_bytes(self) -> int:
        """Of the whole tensor."""
        return self.dtype.itemsize * int(np.prod(self.shape, dtype=np.int64))

    def whole(self) -> Array:
        """The tensor, not to be written to: where it is one piece, that piece itself."""
        pieces = list(self.make())
        return pieces[0] if len(pieces) == 1 else np.concatenate([np.empty((0, *self.shape[1:]), self.dtype), *pieces])


def in_one(array: Array) -> Pieces:
    """An array as its only piece."""
    array = np.ascontiguousarray(array)
    return Pieces(array.dtype, array.shape, lambda: iter((array,)))


def in_file_order(tensors: Mapping[str, Pieces]) -> list[str]:
    """Names in the order in which `write` makes their pieces: wide types first, so that all are aligned."""
    return sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name))


def write(path: Path, key: str, document: Mapping[str, Any], tensors: Mapping[str, Pieces]) -> None:
    """Write `tensors` to `path`, whole or not at all; equal ones give equal bytes.

    Args:
        path: The file.
        key: The entry of the file's metadata that `document` becomes, sealed, with the `checksums` of all tensors.
        document: JSON types.
        tensors: By name.

    Raises:
        UsageError: it cannot be written there, for example because the disk is full.
        ValueError: pieces do not make up the shape that they should.
    """
    order = in_file_order(tensors)
    room = len(_header(key, document, tensors, dict.fromkeys(order, (1 << 32) - 1)))
    found = {}
    with replace_file(path) as temporary, temporary.open("wb") as file:
        file.seek(room)
        for name in order:
            found[name] = _write_pieces(file.write, name, tensors[name])
        header = _header(key, document, tensors, found)
        file.seek(0)
        file.write(_padded(header[8:], room - 8))


def _write_pieces(write: Callable[[memoryview], object], name: str, pieces: Pieces) -> int:
    """Write all pieces of a tensor; their checksum."""
    checksum, n_bytes = checksums.of_kind(pieces.dtype, pieces.shape), 0
    for piece in pieces.make():
        if piece.dtype != pieces.dtype:
            raise ValueError(f"a piece of {name} is {piece.dtype} instead of {pieces.dtype}")
        write(piece.reshape(-1).view(np.uint8).data)
        checksum, n_bytes = checksums.with_piece(checksum, piece), n_bytes + piece.nbytes
    if n_bytes != pieces.n_bytes:
        raise ValueError(f"the pieces of {name} have {n_bytes} bytes instead of {pieces.n_bytes}")
    return checksum


def _header(key: str, document: Mapping[str, Any], tensors: Mapping[str, Pieces], found: Mapping[str, int]) -> bytes:
    """The header with its length before it; checksums of as many digits make one as long."""
    sealed = checksums.seal({**document, "checksums": dict(found)})
    header: dict[str, Any] = {"__metadata__": {key: sealed}}
    end = 0
    for name in in_file_order(tensors):
        start, end = end, end + tensors[name].n_bytes
        header[name] = {
            "dtype": NAMES[tensors[name].dtype.str],
            "shape": list(tensors[name].shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    return _padded(text, -(-(len(text) + 16) // 8) * 8)


def _padded(header: bytes, length: int) -> bytes:
    """`header` filled up with blanks to `length`, which precedes it."""
    text = header.rstrip(b" ").ljust(length)
    return struct.pack("<Q", len(text)) + text
