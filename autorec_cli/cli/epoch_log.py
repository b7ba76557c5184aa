"""The file of `train --log`: one line an epoch, seen by others when it is whole."""

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
    """What writes to --log; a file appears whole when training ends, and however it ends: that may be what it tells.

    A file begins with the lines `earlier`, of the epochs before a run that is resumed was cut off.

    What is there already and is no plain file, such as /dev/stderr or a named pipe, is written to as it is.
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
                    failure = error
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
