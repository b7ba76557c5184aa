"""Safetensors files written in pieces.

No tensor has to be in memory as a whole.

The format (github.com/huggingface/safetensors): the length of the header in eight bytes, the header as JSON, the bytes
of all tensors without gaps. The header, which holds checksums of what follows it, is written last.
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

TYPE_NAMES = {"<f4": "F32", "<f8": "F64", "<i4": "I32", "<i8": "I64", "|u1": "U8"}
"""Type names of numpy and of the format."""

TensorChecksums = tuple[int, list[int]]
"""Checksum of a tensor, and those of its blocks."""


@dataclass(frozen=True)
class Pieces:
    """Tensor made piece by piece while it is written.

    Attributes:
        dtype: Type of its values.
        shape: Shape of all pieces, concatenated along the first axis.
        make: Function that yields the pieces in order, C-contiguous.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    make: Callable[[], Iterator[Array]]

    @property
    def n_bytes(self) -> int:
        """Size of the whole tensor."""
        return self.dtype.itemsize * int(np.prod(self.shape, dtype=np.int64))

    def whole(self) -> Array:
        """Concatenate the pieces.

        Do not write to the result, as a single piece is not copied.
        """
        pieces = list(self.make())
        return pieces[0] if len(pieces) == 1 else np.concatenate([np.empty((0, *self.shape[1:]), self.dtype), *pieces])


def in_one(array: Array) -> Pieces:
    """Wrap an array as a single piece."""
    array = np.ascontiguousarray(array)
    return Pieces(array.dtype, array.shape, lambda: iter((array,)))


def in_file_order(tensors: Mapping[str, Pieces]) -> list[str]:
    """Names in the order of the file.

    Wide types first, so that all are aligned.
    """
    return sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name))


def write(
    path: Path, key: str, document: Mapping[str, Any], tensors: Mapping[str, Pieces], like: Path | None = None
) -> None:
    """Write `tensors` to `path`, whole or not at all.

    Equal ones give equal bytes.

    Args:
        path: The file.
        key: Metadata key of `document`, which is sealed and gets the `checksums` of all tensors.
        document: JSON types; it gets `block_checksums` of large tensors, too.
        tensors: By name.
        like: File whose permissions the new one gets; see `replace_file`.

    Raises:
        UsageError: it cannot be written, for example because the disk is full.
        ValueError: the pieces of a tensor do not have its type or size.
    """
    # The order in which the format's own library writes.
    order = in_file_order(tensors)
    # The largest checksums give the longest header; the final one is padded to it.
    largest = (1 << 32) - 1
    room = len(_header(key, document, tensors, {
        name: (largest, [largest] * checksums.n_blocks(tensors[name].n_bytes)) for name in order
    }))  # fmt: skip
    found = {}
    with replace_file(path, like) as file:
        # Checksums in the header are known only after the tensors were made, and those are made once.
        file.seek(room)
        for name in order:
            found[name] = _write_pieces(file.write, name, tensors[name])
        header = _header(key, document, tensors, found)
        file.seek(0)
        file.write(_padded(header[8:], room - 8))


def _write_pieces(write: Callable[[memoryview], object], name: str, pieces: Pieces) -> TensorChecksums:
    """Write all pieces of a tensor; return their checksums."""
    checksum, n_bytes = checksums.of_kind(pieces.dtype, pieces.shape), 0
    blocks = checksums.BlockChecksums(pieces.dtype, pieces.shape) if checksums.n_blocks(pieces.n_bytes) else None
    for piece in pieces.make():
        if piece.dtype != pieces.dtype:
            raise ValueError(f"a piece of {name} is {piece.dtype} instead of {pieces.dtype}")
        data = piece.reshape(-1).view(np.uint8).data
        write(data)
        checksum, n_bytes = checksums.with_piece(checksum, piece), n_bytes + piece.nbytes
        if blocks is not None:
            blocks.add(data)
    # Offsets in the header come from the shapes; a wrong size would shift all tensors after it.
    if n_bytes != pieces.n_bytes:
        raise ValueError(f"the pieces of {name} have {n_bytes} bytes instead of {pieces.n_bytes}")
    return checksum, [] if blocks is None else blocks.values


def _header(
    key: str, document: Mapping[str, Any], tensors: Mapping[str, Pieces], found: Mapping[str, TensorChecksums]
) -> bytes:
    """Header after its length.

    Its size depends only on the number of digits of the checksums.
    """
    sums: dict[str, Any] = {"checksums": {name: whole for name, (whole, _) in found.items()}}
    if blocks := {name: values for name, (_, values) in found.items() if values}:
        sums["block_checksums"] = blocks
    sealed = checksums.seal({**document, **sums})
    header: dict[str, Any] = {"__metadata__": {key: sealed}}
    end = 0
    for name in in_file_order(tensors):
        start, end = end, end + tensors[name].n_bytes
        header[name] = {
            "dtype": TYPE_NAMES[tensors[name].dtype.str],
            "shape": list(tensors[name].shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    return _padded(text, -(-(len(text) + 16) // 8) * 8)


def _padded(header: bytes, length: int) -> bytes:
    """Pad `header` with blanks, and put its length first."""
    text = header.rstrip(b" ").ljust(length)
    return struct.pack("<Q", len(text)) + text
