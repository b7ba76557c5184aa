"""Destination of results: standard output or a file.

The file appears whole at the end.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, cast

from autorec_cli.cli.console import LOG, end_stage
from autorec_cli.errors import UsageError
from autorec_cli.storage.files import open_special, replace_file, require_parent
from autorec_cli.storage.locks import Tell, hold


def check_place(output: str) -> None:
    """Check before the work that `output` can be written.

    Raises:
        UsageError: it is a directory, or its directory does not exist.
    """
    if Path(output).is_dir():
        raise UsageError(f"{output} is a directory; name a file")
    if output != "-":
        require_parent(Path(output))


@contextmanager
def reserve_output(
    output: str, wait_lock: float = 0.0, tell: Tell = LOG.info, warn: Tell = LOG.warning
) -> Iterator[None]:
    """Hold the lock of the file `output`.

    Standard output, pipes and devices have no lock. See `hold`.

    Raises:
        LockedError: another run is still writing `output` after `wait_lock` seconds.
        UsageError: it is a directory, or in one that does not exist or cannot be written.
    """
    path = Path(output)
    if output != "-" and path.is_dir():
        raise UsageError(f"{output} is a directory; name a file for the output")
    if output == "-" or (path.exists() and not path.is_file()):
        yield
    else:
        with hold(path, wait_lock, tell, warn):
            yield


def _is_file(stream: IO[str]) -> bool:
    """True for a file on disk."""
    try:
        return stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    except (OSError, ValueError):  # closed, or in memory
        return False


@contextmanager
def open_output(output: str) -> Iterator[IO[bytes]]:
    """Open stdout, or a file that appears whole.

    It appears at the end, compressed if its name ends with .gz or .zst. Devices and named pipes are written to
    directly.

    Raises:
        UsageError: it cannot be written, for example because the disk is full.
    """
    path = Path(output)
    if output == "-" and not _is_file(sys.stdout):
        end_stage()  # a terminal, or a pipe to what may show it there, such as head and less
    try:
        if output == "-":
            yield sys.stdout.buffer
            sys.stdout.buffer.flush()
        elif path.is_dir():
            raise UsageError(f"{output} is a directory; name a file for the output")
        elif path.exists() and not path.is_file():
            with open_special(path) as stream:
                yield stream
        else:
            with replace_file(path) as stream, _compressing(stream, path.suffix.lower()) as compressed:
                yield compressed
    except OSError as error:
        name = "standard output" if output == "-" else output
        forget_stdout()
        raise UsageError(f"cannot write {name}: {error.strerror}; make room or choose another place with -o") from error


@contextmanager
def _compressing(stream: IO[bytes], suffix: str) -> Iterator[IO[bytes]]:
    if suffix == ".gz":
        import gzip

        # Without name and time, equal results are equal bytes. Level 6 is gzip's own.
        with gzip.GzipFile("", "wb", 6, stream, mtime=0) as compressed:
            yield cast("IO[bytes]", compressed)
    elif suffix == ".zst":
        if sys.version_info >= (3, 14):
            from compression import zstd
        else:
            from backports import zstd

        with zstd.ZstdFile(stream, "w") as compressed:
            yield cast("IO[bytes]", compressed)
    else:
        yield stream


def forget_stdout() -> None:
    """Drop buffered output, or Python would fail again at exit."""
    with suppress(OSError):
        sys.stdout.flush()
        return
    # The interpreter flushes stdout at exit, and would print a second error after ours.
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
