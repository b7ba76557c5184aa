"""Files of ids, one per line, and lists of ids."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path

from autorec_cli.errors import InputDataError, UsageError

MAX_IDS_BYTES = 256 << 20
"""Largest file of ids; /dev/zero has more."""


def read_ids(file: str, flag: str, may_be_empty: bool = False) -> list[str]:
    """Read ids, one per line and exactly as written.

    "-" is stdin. Empty lines are ignored.

    Raises:
        UsageError: stdin is a terminal.
        InputDataError: the file cannot be read, is not UTF-8, or has no ids and may not be empty; the message
            names `flag`.
    """
    if file == "-" and sys.stdin.isatty():
        raise UsageError(f"{flag} - reads ids from stdin, which is a terminal; pipe them in or name a file")
    try:
        with nullcontext(sys.stdin.buffer) if file == "-" else Path(file).open("rb") as stream:
            text = stream.read(MAX_IDS_BYTES + 1)
        if len(text) > MAX_IDS_BYTES:
            raise InputDataError(f"{flag} {file} has more than {MAX_IDS_BYTES >> 20} MiB; it is not a list of ids")
        lines = text.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise InputDataError(f"{flag} {file} is not UTF-8 (byte {error.start}); convert it first") from error
    except OSError as error:
        raise InputDataError(f"{flag} {file} cannot be read: {error.strerror}; check the name") from error
    ids = [line for line in (line.removesuffix("\r") for line in lines) if line]
    if not ids and not may_be_empty:
        raise InputDataError(f"{flag} {file} has no ids; write one per line")
    return ids


def split_ids(texts: Iterable[str], known: Iterable[str]) -> list[str]:
    """Split texts at commas.

    Those that are `known` ids, or nothing but commas, stay whole.
    """
    whole = set(known)
    ids: list[str] = []
    for text in texts:
        parts = [] if text in whole else [part.strip() for part in text.split(",")]
        ids += [part for part in parts if part] or [text]
    return ids
