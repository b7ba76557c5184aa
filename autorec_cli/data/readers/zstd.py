"""Unpacking zstd piece by piece, with the system's libzstd: from a pipe too, and never more than a piece in memory.

Python has no zstd before 3.14. Where there is no libzstd either, polars unpacks: files of UTF-8 only, and it holds a
whole line, however long that is.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

LIBRARIES = ("libzstd.so.1", "libzstd.so", "libzstd.1.dylib", "libzstd.dylib")
PIECE_BYTES = 128 << 10


class ZstdError(Exception):
    """The data is not what zstd writes."""


class _Buffer(ctypes.Structure):
    """ZSTD_inBuffer and ZSTD_outBuffer."""

    _fields_ = (("data", ctypes.c_void_p), ("size", ctypes.c_size_t), ("position", ctypes.c_size_t))


@lru_cache(maxsize=1)
def library() -> ctypes.CDLL | None:
    """The system's libzstd, if there is one."""
    for name in LIBRARIES:
        try:
            found = ctypes.CDLL(name)
        except OSError:
            continue
        found.ZSTD_createDStream.restype = ctypes.c_void_p
        found.ZSTD_freeDStream.argtypes = [ctypes.c_void_p]
        found.ZSTD_decompressStream.argtypes = [ctypes.c_void_p, ctypes.POINTER(_Buffer), ctypes.POINTER(_Buffer)]
        found.ZSTD_decompressStream.restype = ctypes.c_size_t
        found.ZSTD_isError.argtypes = found.ZSTD_getErrorName.argtypes = [ctypes.c_size_t]
        found.ZSTD_getErrorName.restype = ctypes.c_char_p
        return found
    return None


def unpacked(packed: Iterable[bytes], libzstd: ctypes.CDLL) -> Iterator[bytes]:
    """What `packed` unpacks to, in pieces.

    Raises:
        ZstdError: it is damaged or cut off, or a frame wants a window of more than 128 MiB.
    """
    stream = libzstd.ZSTD_createDStream()
    room = ctypes.create_string_buffer(PIECE_BYTES)
    wanted = 0  # 0 between frames
    try:
        for piece in packed:
            source = _Buffer(ctypes.cast(ctypes.c_char_p(piece), ctypes.c_void_p), len(piece), 0)
            flushed = False
            while not flushed:
                target = _Buffer(ctypes.addressof(room), PIECE_BYTES, 0)
                wanted = libzstd.ZSTD_decompressStream(stream, ctypes.byref(target), ctypes.byref(source))
                if libzstd.ZSTD_isError(wanted):
                    raise ZstdError(libzstd.ZSTD_getErrorName(wanted).decode())
                if target.position:
                    yield ctypes.string_at(room, target.position)
                flushed = source.position == source.size and (target.position < PIECE_BYTES or not wanted)
        if wanted:
            raise ZstdError("it ends early")
    finally:
        libzstd.ZSTD_freeDStream(stream)


def unpacked_by_polars(path: Path) -> Iterator[bytes]:
    """What the file `path` unpacks to, in pieces of whole lines.

    Raises:
        ZstdError: it is damaged or not UTF-8.
    """
    import polars as pl

    try:
        for batch in pl.scan_lines(path).collect_batches(maintain_order=True):
            if batch.height:
                yield str(batch["line"].str.join("\n").item()).encode() + b"\n"
    except (pl.exceptions.PolarsError, OSError) as error:
        raise ZstdError(f"not UTF-8, or {error}") from error
