"""File of `train --log`: one line per epoch, which appears whole."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TextIO

from autorec_cli.cli.console import say, warn
from autorec_cli.cli.output import forget_stdout
from autorec_cli.storage.files import cannot_write, replace_file
from autorec_cli.storage.locks import hold


@contextmanager
def open_log(log: str | None, wait_lock: float, earlier: Iterable[str] = ()) -> Iterator[Callable[[str], None] | None]:
    """Open the log for writing; it appears when training ends, with or without an error.

    Args:
        log: File, "-" for stdout, or None. An existing special file, such as /dev/stderr or a named pipe, is written
            to directly.
        wait_lock: Seconds to wait while another run writes the file.
        earlier: Lines of the epochs before a resumed run was interrupted.

    Yields:
        A function that writes one line; None without a log.

    Raises:
        UsageError: the file cannot be written.
        LockedError: another run is writing it.
    """
    if log is None or log == "-":
        yield None if log is None else partial(_write_line, sys.stdout, "standard output")
        return
    path = Path(log)
    special = path.exists() and not path.is_file()
    failure: BaseException | None = None
    with ExitStack() as stack:
        if not special:
            stack.enter_context(hold(path, wait_lock, say, warn))
            path = stack.enter_context(replace_file(path))
        try:
            with path.open("w", encoding="utf-8") as stream:
                try:
                    if not special:
                        _write_line(stream, log, "".join(earlier))
                    yield partial(_write_line, stream, log)
                except BaseException as error:
                    failure = error  # raised below, after the log has its name
        except OSError as error:
            raise cannot_write(log, error) from error
    if failure is not None:
        raise failure


def _write_line(stream: TextIO, name: str, line: str) -> None:
    try:
        stream.write(line)
        stream.flush()
    except OSError as error:
        forget_stdout()
        raise cannot_write(name, error) from error
