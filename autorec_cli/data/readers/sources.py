"""Sources: files, globs, folders and stdin as streams of bytes, decompressed and hashed."""

from __future__ import annotations

import glob
import gzip
import hashlib
import io
import os
import shutil
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from autorec_cli.errors import InputDataError, UsageError
from autorec_cli.runtime.threads import BackgroundThread
from autorec_cli.storage import file_kinds

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

STDIN = "-"
CHUNK_BYTES = 128 << 10
"""Read at once of a source at first."""
MAX_CHUNK_GROWTH = 16
"""How much larger chunks may become; much larger ones would leave a processor's cache."""
READ_PER_CHUNK = 64
"""A chunk is at most this part of what was read before, so that it takes little memory beside the ratings."""
MAX_WHOLE_BYTES = 512 << 20
GZIP_MAGIC = b"\x1f\x8b"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
PARQUET_MAGIC = b"PAR1"
LONGEST_MAGIC = 8
IGNORED_PREFIXES = ("_", ".")
"""How names begin that Spark and Hive give to what is no data: `_SUCCESS`, `_temporary`, `.part-0.parquet.crc`."""
UNREADABLE = {b"PK\x03\x04": "zip", b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz", b"7z\xbc\xaf": "7z"}


class FileDigest:
    """Size and SHA-256 of what was read of a file so far, as it is stored.

    Hashing takes longer than reading does, so that a thread of its own does it.

    Args:
        n_bytes: Of a file that may be read in part only and is not hashed, its size; None for others.
    """

    def __init__(self, n_bytes: int | None = None) -> None:
        self.n_bytes = n_bytes or 0
        self._digest = hashlib.sha256() if n_bytes is None else None
        self._hashing = BackgroundThread()

    def add(self, data: bytes) -> None:
        """Count and hash `data`."""
        assert self._digest is not None
        self.n_bytes += len(data)
        self._hashing.call(self._digest.update, data)

    def finish(self) -> None:
        """Wait until all that was added is hashed."""
        self._hashing.finish()

    @property
    def sha256(self) -> str | None:
        """The hash of all that was added, once it is finished; None for a file that may be read in part only."""
        return self._digest.hexdigest() if self._digest else None


@dataclass(frozen=True)
class OpenSource:
    """A source that is being read: either text in `chunks` or a Parquet file.

    Attributes:
        name: What to call it in messages.
        digest: Complete once `chunks` is exhausted; at once for Parquet.
        chunks: Decompressed bytes in order.
        parquet: The file to hand to polars.
    """

    name: str
    digest: FileDigest
    chunks: Iterator[bytes] | None = None
    parquet: Path | None = None


def expand_sources(names: Iterable[str]) -> list[str]:
    """File names (and "-" for stdin) that `names` stand for; globs and folders are expanded in sorted order.

    A folder stands for the Parquet files in it, however deep. Names that begin as in `IGNORED_PREFIXES` are passed over there, and
    in globs that do not ask for them.

    Raises:
        InputDataError: a file is missing, a glob matches nothing, or a folder holds anything but Parquet files.
        UsageError: "-" is named while stdin is a terminal.
    """
    expanded: list[str] = []
    for name in names:
        expanded += [STDIN] if name == STDIN else _expand(name)
    if STDIN in expanded and sys.stdin.isatty():
        raise UsageError("`-` reads ratings from standard input, which is a terminal; pipe a file into it")
    return expanded


def check_distinct(names: Sequence[str]) -> None:
    """Check that no source would be read twice.

    Raises:
        UsageError: one would.
    """
    seen: set[str] = set()
    for name in names:
        key = name if name == STDIN else str(Path(name).resolve())
        if key in seen:
            raise UsageError(f"the source {name} is named twice; name every file once")
        seen.add(key)


def _expand(name: str) -> list[str]:
    path = Path(name)
    if path.is_dir():
        return _files_in(path)
    if path.exists():
        return [name]
    if any(character in name for character in "*?["):
        asked_for = {part[0] for part in path.parts}
        passed_over = tuple(mark for mark in IGNORED_PREFIXES if mark not in asked_for)
        matches = sorted(
            match
            for match in glob.glob(name, recursive=True)  # noqa: PTH207 (absolute patterns too)
            if not any(part.startswith(passed_over) for part in Path(match).parts)
        )
        files = [match for match in matches if not Path(match).is_dir()]
        files = files or [file for folder in matches for file in _files_in(Path(folder))]
        if not files:
            raise InputDataError(f"no file matches {name}; check the pattern and the folder")
        return files
    raise InputDataError(f"there is no file {name}; check the name")


def _files_in(folder: Path) -> list[str]:
    """The Parquet files in `folder` and in the folders in it, sorted.

    Raises:
        InputDataError: there are none, or other files beside them: which of them are ratings cannot be told.
    """
    if file_kinds.is_dataset(folder):
        raise InputDataError(f"{folder} is a prepared dataset already; train on it: `autorec train {folder} -o MODEL`")
    files = [
        file
        for file in sorted(folder.rglob("*"))
        if not any(part.startswith(IGNORED_PREFIXES) for part in file.relative_to(folder).parts) and not file.is_dir()
    ]
    other = next((file for file in files if not _is_parquet(file)), None)
    if other is not None or not files:
        holds = "without Parquet files" if other is None else f"with {other.relative_to(folder)}, which is not Parquet"
        example = folder / "*.csv" if other is None else other
        raise InputDataError(f"{folder} is a folder {holds}; name the files in it, for example '{example}'")
    return [str(file) for file in files]


def _is_parquet(path: Path) -> bool:
    """Whether the file `path` begins as Parquet files do; one that cannot be read is left to be opened and told."""
    try:
        with path.open("rb") as file:
            return file.read(len(PARQUET_MAGIC)) == PARQUET_MAGIC
    except OSError:
        return True


@contextmanager
def open_source(name: str, in_part: bool = False) -> Iterator[OpenSource]:
    """Open the file `name` ("-" for stdin); what it is, gzip, zstd, Parquet or text, is seen from its first bytes.

    Args:
        name: The file.
        in_part: Whether of a Parquet file only a part may be read, so that it is not read through to be hashed.

    Raises:
        InputDataError: it cannot be opened, is empty, or is of a kind that cannot be read.
    """
    shown = "standard input" if name == STDIN else name
    digest = FileDigest()
    with ExitStack() as stack:
        stack.callback(digest.finish)
        try:
            if name == STDIN:
                _wait_for_stdin()
            raw = sys.stdin.buffer if name == STDIN else stack.enter_context(Path(name).open("rb"))
            head = raw.read(LONGEST_MAGIC)
        except OSError as error:
            raise InputDataError(f"{shown} cannot be read: {error.strerror or error}") from error
        if not head:
            raise InputDataError(f"{shown} is empty")
        stream = _HashingStream(head, raw, digest)
        for magic, kind in UNREADABLE.items():
            if head.startswith(magic):
                raise InputDataError(f"{shown} is a {kind} file, which cannot be read; unpack it first")
        if head.startswith(PARQUET_MAGIC):
            path = Path(name)
            if name == STDIN or not path.is_file() or not _is_text(name):  # polars needs a file to seek in, and a name
                path = _spooled(stream, stack)
            if in_part and path == Path(name):
                yield OpenSource(shown, FileDigest(path.stat().st_size), parquet=path)
                return
            while stream.read(CHUNK_BYTES):  # hashed here, read once more by polars
                pass
            yield OpenSource(shown, digest, parquet=path)
        else:
            kind = "zstd" if head.startswith(ZSTD_MAGIC) else "gzip"
            yield OpenSource(shown, digest, chunks=_guarded(_chunks(_unpacked(stream, head).read), shown, kind))


def _unpacked(stream: _HashingStream, head: bytes) -> gzip.GzipFile | zstd.ZstdFile | _HashingStream:
    """Text of `stream`, which begins with `head`."""
    if head.startswith(GZIP_MAGIC):
        return gzip.GzipFile(fileobj=io.BufferedReader(stream, CHUNK_BYTES))  # which asks for 8 KiB at a time
    if head.startswith(ZSTD_MAGIC):
        return zstd.ZstdFile(io.BufferedReader(stream, CHUNK_BYTES))
    return stream


def _wait_for_stdin() -> None:
    """Let reading stdin wait for more, also where another program has made it not to: it would seem to have ended."""
    with suppress(OSError, ValueError):  # it has no descriptor
        os.set_blocking(sys.stdin.fileno(), True)


def _is_text(name: str) -> bool:
    """Whether a file's name is text, and not bytes that Python had to escape."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _spooled(stream: _HashingStream, stack: ExitStack) -> Path:
    """A temporary file of what `stream` holds, which goes when `stack` is closed.

    Raises:
        UsageError: there is no room for it.
    """
    try:
        path = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "spooled"
        with path.open("wb") as spool:
            shutil.copyfileobj(stream, spool, CHUNK_BYTES)
    except OSError as error:
        raise UsageError(
            f"cannot write a temporary file: {error.strerror or error}; make room or name another folder with TMPDIR"
        ) from error
    return path


class _HashingStream(io.RawIOBase):
    """What a source holds, added to a digest as it is read; the first time `head` comes besides what is asked for.

    Args:
        head: What was read of the source to see what it is.
        rest: The source, which reads as much as it is asked for.
        digest: Gets everything.
    """

    def __init__(self, head: bytes, rest: BinaryIO, digest: FileDigest) -> None:
        self._head = head
        self._rest = rest
        self._file_digest = digest

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._rest.read(size)
        if self._head:
            data, self._head = self._head + data, b""
        self._file_digest.add(data)
        return data

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        data = self.read(len(view) - len(self._head))
        view[: len(data)] = data
        return len(data)


def chunk_bytes(n_read: int) -> int:
    """How many bytes of a source to take at once when `n_read` are read."""
    return CHUNK_BYTES * min(max(n_read // (READ_PER_CHUNK * CHUNK_BYTES), 1), MAX_CHUNK_GROWTH)


def _chunks(read: Callable[[int], bytes]) -> Iterator[bytes]:
    n_read = 0
    while chunk := read(chunk_bytes(n_read)):
        yield chunk
        n_read += len(chunk)


def _guarded(chunks: Iterator[bytes], shown: str, kind: str) -> Iterator[bytes]:
    """`chunks`, with every failure to read or unzip turned into one sentence; no chunk at all is a failure."""
    empty = True
    try:
        for chunk in chunks:
            empty = False
            yield chunk
    except (gzip.BadGzipFile, zlib.error, zstd.ZstdError, EOFError) as error:
        raise InputDataError(f"{shown} is a damaged {kind} file ({error}); fetch or pack it again") from error
    except OSError as error:
        raise InputDataError(f"{shown} cannot be read: {error.strerror or error}") from error
    if empty:
        raise InputDataError(f"{shown} is empty")


def read_whole(source: OpenSource) -> bytes:
    """All bytes of a text source.

    Raises:
        InputDataError: they are more than a small table can have.
    """
    read: list[bytes] = []
    n_bytes = 0
    for chunk in source.chunks or ():
        n_bytes += len(chunk)
        if n_bytes > MAX_WHOLE_BYTES:
            raise InputDataError(f"{source.name} has more than {MAX_WHOLE_BYTES >> 20} MiB; it is no table of titles")
        read.append(chunk)
    return b"".join(read)
