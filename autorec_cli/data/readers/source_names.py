"""Names of sources: files, globs, directories, and stdin."""

from __future__ import annotations

import glob
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from autorec_cli.data.readers.sources import PARQUET_MAGIC, STDIN
from autorec_cli.errors import InputDataError, UsageError, without_passwords
from autorec_cli.storage import file_kinds
from autorec_cli.storage.files import is_special

IGNORED_PREFIXES = ("_", ".")
"""Spark and Hive give these to files without data: `_SUCCESS`, `_temporary`, `.part-0.parquet.crc`."""

URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
WEB = (
    "http",
    "https",
    "ftp",
    "ftps",
    "sftp",
    "s3",
    "s3a",
    "gs",
    "gcs",
    "az",
    "abfs",
    "abfss",
    "wasbs",
    "hdfs",
    "dbfs",
    "hf",
)


def expand_sources(names: Iterable[str]) -> list[str]:
    """Expand globs and directories into file names, in sorted order.

    "-" stands for stdin. A directory stands for the Parquet files in it, however deep. Names with one of
    `IGNORED_PREFIXES` are ignored there, and in globs unless the pattern asks for them.

    Raises:
        InputDataError: a file is missing, a glob matches nothing, or a directory has files other than Parquet.
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
        UsageError: a file is named twice.
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
    if path.exists():  # before globs: file names may contain "[" and "*"
        return [name]
    if any(character in name for character in "*?[") and not URL.match(name):
        return _matches(name)
    if URL.match(name):
        raise InputDataError(_advice_on_url(name))
    raise InputDataError(f"there is no file {name}; check the name")


def _advice_on_url(url: str) -> str:
    scheme = url.partition("://")[0].lower()
    if scheme == "file":
        return f"{url} is a URL; give the path alone"
    if scheme in WEB:
        return f"{url} is a URL; download it first, then prepare the file"
    return f"{without_passwords(url)} is the URI of a database; give it to --database, with --query"


def _matches(pattern: str) -> list[str]:
    """Files that match a glob, else files in matching directories."""
    asked_for = {part[0] for part in Path(pattern).parts}
    ignored = tuple(prefix for prefix in IGNORED_PREFIXES if prefix not in asked_for)
    matches = sorted(
        match
        for match in glob.glob(pattern, recursive=True)  # noqa: PTH207 (absolute patterns too)
        if not any(part.startswith(ignored) for part in Path(match).parts)
    )
    files = [match for match in matches if not Path(match).is_dir()]
    files = files or [file for directory in matches for file in _files_in(Path(directory))]
    if not files:
        raise InputDataError(f"no file matches {pattern}; check the pattern and the directory")
    return files


def _files_in(directory: Path) -> list[str]:
    """Parquet files in `directory` and below it, sorted.

    Raises:
        InputDataError: there are none, or also files of other kinds, which may or may not be ratings.
    """
    if file_kinds.is_dataset(directory):
        raise InputDataError(f"{directory} is already a prepared dataset; run `autorec train {directory} -o MODEL`")
    files = [
        file
        for file in sorted(directory.rglob("*"))
        if not any(part.startswith(IGNORED_PREFIXES) for part in file.relative_to(directory).parts)
        and not file.is_dir()
    ]
    other = next((file for file in files if not _is_parquet(file)), None)
    if other is not None or not files:
        holds = (
            "without Parquet files" if other is None else f"with {other.relative_to(directory)}, which is not Parquet"
        )
        example = directory / "*.csv" if other is None else other
        raise InputDataError(f"{directory} is a directory {holds}; name the files in it, for example '{example}'")
    return [str(file) for file in files]


def _is_parquet(path: Path) -> bool:
    """True for a Parquet file, or an unreadable one.

    The latter fails with its own message when opened. A pipe or a device is neither, as its reader might wait for ever.
    """
    try:
        if is_special(path):
            return False
        with path.open("rb") as file:
            return file.read(len(PARQUET_MAGIC)) == PARQUET_MAGIC
    except OSError:
        return True
