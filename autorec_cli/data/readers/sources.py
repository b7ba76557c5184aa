"""Sources as streams of bytes: opened, hashed and decompressed."""

from __future__ import annotations

import gzip
import hashlib
import io
import itertools
import os
import shutil
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from autorec_cli.data.readers.foreign import SNIFFED_BYTES, refuse_foreign
from autorec_cli.errors import InputDataError, UsageError
from autorec_cli.runtime.threads import BackgroundThread

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

STDIN = "-"
CHUNK_BYTES = 128 << 10
"""Bytes of the first chunks of a source."""
MAX_CHUNK_GROWTH = 32
"""Factor by which chunks grow at most; larger ones would not fit in the processor's cache."""
READ_PER_CHUNK = 32
"""Chunks read before they may double: a chunk then takes little memory compared with the ratings."""
MAX_WHOLE_BYTES = 512 << 20
PARQUET_MAGIC = b"PAR1"
ARROW_MAGIC = b"ARROW1"
ARROW_STREAM_MAGIC = b"\xff\xff\xff\xff"  # each message of a stream begins so
FILE_KINDS = {PARQUET_MAGIC: "Parquet", ARROW_MAGIC: "Arrow", ARROW_STREAM_MAGIC: "Arrow"}
"""Formats that polars reads from a file, by its first bytes."""


class Compression(NamedTuple):
    """Compression format: name, decompressor, errors for corrupted data."""

    name: str
    open: Callable[[io.BufferedReader], BinaryIO | io.BufferedIOBase]
    errors: tuple[type[Exception], ...]


COMPRESSIONS = {
    b"\x1f\x8b": Compression(
        "gzip", lambda file: gzip.GzipFile(fileobj=file), (gzip.BadGzipFile, zlib.error, EOFError)
    ),
    b"\x28\xb5\x2f\xfd": Compression("zstd", zstd.ZstdFile, (zstd.ZstdError, EOFError)),
}
"""Compression formats by the first bytes of a file."""


class FileDigest:
    """Size and SHA-256 of the stored bytes of a source.

    Hashing takes longer than reading, so it runs in a background thread.

    Args:
        n_bytes: Size of a file that may be read in part only and is not hashed; None for others.
    """

    def __init__(self, n_bytes: int | None = None) -> None:
        self.n_bytes = n_bytes or 0
        self._hash = hashlib.sha256() if n_bytes is None else None
        self._thread = BackgroundThread()

    def add(self, data: bytes) -> None:
        """Count and hash `data`."""
        assert self._hash is not None
        self.n_bytes += len(data)
        self._thread.call(self._hash.update, data)

    def finish(self) -> None:
        """Wait until everything added is hashed."""
        self._thread.finish()

    @property
    def sha256(self) -> str | None:
        """Hash, valid after `finish`; None if not hashed."""
        return self._hash.hexdigest() if self._hash else None


@dataclass(frozen=True)
class OpenSource:
    """Open source: text `chunks`, or a seekable `file`.

    Attributes:
        name: Name for messages.
        digest: Complete once `chunks` is exhausted; at once for a file.
        chunks: Decompressed bytes in order.
        file: File to hand to the reader.
        magic: First bytes by which the file was recognized; empty for text.
    """

    name: str
    digest: FileDigest
    chunks: Iterator[bytes] | None = None
    file: Path | None = None
    magic: bytes = b""


@contextmanager
def open_source(name: str, file_magics: Sequence[bytes] = (), in_part: bool = False) -> Iterator[OpenSource]:
    """Open a file, or stdin if `name` is "-".

    Args:
        name: The file.
        file_magics: First bytes of files to hand over as a file; anything else is text, compressed or not.
        in_part: Allow such a file to be read in part only: it is not read through to be hashed.

    Raises:
        InputDataError: it cannot be opened, is empty, or is of a foreign format.
    """
    shown = "standard input" if name == STDIN else name
    digest = FileDigest()
    with ExitStack() as stack:
        stack.callback(digest.finish)  # its thread ends, whatever happens
        raw, head = _open(name, shown, stack)
        stream = _HashingStream(head, raw, digest)
        magic = next((magic for magic in file_magics if head.startswith(magic)), None)
        if magic is None:
            yield OpenSource(shown, digest, chunks=_checked(_text_chunks(stream, head, shown), shown))
            return
        # polars seeks in a file, and cannot open names that are not UTF-8.
        is_usable = name != STDIN and Path(name).is_file() and _is_encodable(name)
        path = Path(name) if is_usable else _spooled(stream, stack)
        if in_part and is_usable:
            digest = FileDigest(path.stat().st_size)
        else:
            while stream.read(CHUNK_BYTES):  # for the hash; polars reads the file once more
                pass
        yield OpenSource(shown, digest, file=path, magic=magic)


def _open(name: str, shown: str, stack: ExitStack) -> tuple[BinaryIO, bytes]:
    """Open a source until `stack` closes, and read its head.

    Raises:
        InputDataError: it cannot be opened, is empty, or is of a foreign format.
    """
    try:
        if name == STDIN:
            _make_stdin_block()
            raw: BinaryIO = sys.stdin.buffer
        else:
            raw = stack.enter_context(Path(name).open("rb"))  # noqa: SIM115
        head = raw.read(SNIFFED_BYTES)
    except OSError as error:
        raise InputDataError(f"cannot read {shown}: {error.strerror or error}") from error
    if not head:
        raise InputDataError(f"{shown} is empty")
    refuse_foreign(head, shown)
    return raw, head


def _make_stdin_block() -> None:
    """Make reads of stdin block.

    Another program may have set the pipe to non-blocking; a pause would then look like the end of the data.
    """
    with suppress(OSError, ValueError):  # stdin has no descriptor
        os.set_blocking(sys.stdin.fileno(), True)


def _is_encodable(name: str) -> bool:
    """True unless a file name has escaped bytes."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _spooled(stream: _HashingStream, stack: ExitStack) -> Path:
    """Copy `stream` into a temporary file, removed when `stack` closes.

    Raises:
        UsageError: it cannot be written.
    """
    try:
        path = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "spooled"
        with path.open("wb") as spool:
            shutil.copyfileobj(stream, spool, CHUNK_BYTES)
    except OSError as error:
        raise UsageError(
            f"cannot write a temporary file: {error.strerror or error}; make room or set TMPDIR"
        ) from error
    return path


class _HashingStream(io.RawIOBase):
    """Stream that adds the bytes it yields to a digest.

    Args:
        head: Bytes already read from the source; the first read returns them on top of the size asked for.
        rest: The remaining source; its reads return as many bytes as asked for.
        digest: Gets all bytes.
    """

    def __init__(self, head: bytes, rest: BinaryIO, digest: FileDigest) -> None:
        self._head = head
        self._rest = rest
        self._digest = digest

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._rest.read(size)
        if self._head:
            data, self._head = self._head + data, b""
        self._digest.add(data)
        return data

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        # `read` adds the head to what it was asked for, and both must fit.
        data = self.read(len(view) - len(self._head))
        view[: len(data)] = data
        return len(data)


def chunk_bytes(n_read: int) -> int:
    """Size of the next chunk after `n_read` bytes."""
    return CHUNK_BYTES * min(max(n_read // (READ_PER_CHUNK * CHUNK_BYTES), 1), MAX_CHUNK_GROWTH)


def _text_chunks(stream: _HashingStream, head: bytes, shown: str) -> Iterator[bytes]:
    """Chunks of text, decompressed as `head` requires."""
    compression = next((found for magic, found in COMPRESSIONS.items() if head.startswith(magic)), None)
    if compression is None:
        yield from _chunks(stream.read)
        return
    try:
        # The decompressors ask for 8 KiB at a time; each read of the source is hashed in a call of its own.
        chunks = _chunks(compression.open(io.BufferedReader(stream, CHUNK_BYTES)).read)
        first = next(chunks, b"")
        _refuse_packed(first[:SNIFFED_BYTES], shown, compression.name)
        yield from itertools.chain([first] if first else [], chunks)
    except compression.errors as error:
        raise InputDataError(
            f"{shown} is a damaged {compression.name} file ({error}); download or compress it again"
        ) from error


def _refuse_packed(head: bytes, shown: str, compression: str) -> None:
    refuse_foreign(head, shown, compression)
    kind = next((kind for magic, kind in FILE_KINDS.items() if head.startswith(magic)), None)
    if kind:
        raise InputDataError(
            f"{shown} is a file compressed with {compression} that holds {kind}, which is compressed inside; "
            "decompress it first"
        )


def _chunks(read: Callable[[int], bytes]) -> Iterator[bytes]:
    n_read = 0
    while chunk := read(chunk_bytes(n_read)):
        yield chunk
        n_read += len(chunk)


def _checked(chunks: Iterator[bytes], shown: str) -> Iterator[bytes]:
    """Pass on `chunks`, turning failures into input errors.

    No chunk at all is an error too.
    """
    empty = True
    try:
        for chunk in chunks:
            empty = False
            yield chunk
    except OSError as error:
        raise InputDataError(f"cannot read {shown}: {error.strerror or error}") from error
    if empty:
        raise InputDataError(f"{shown} is empty")


def read_whole(source: OpenSource) -> bytes:
    """All bytes of a text source.

    Raises:
        InputDataError: there are more than `MAX_WHOLE_BYTES`.
    """
    read: list[bytes] = []
    n_bytes = 0
    for chunk in source.chunks or ():
        n_bytes += len(chunk)
        if n_bytes > MAX_WHOLE_BYTES:
            raise InputDataError(f"{source.name} has more than {MAX_WHOLE_BYTES >> 20} MiB; it is not a table of items")
        read.append(chunk)
    return b"".join(read)
