"""Formats that are recognized only to be refused, each with what helps."""

from __future__ import annotations

import re
from typing import NamedTuple

from autorec_cli.errors import InputDataError

AS_CSV = "write it as CSV or Parquet"


class Foreign(NamedTuple):
    """Format by bytes at an offset: its name, and advice."""

    magic: bytes
    name: str
    advice: str
    offset: int = 0


# Containers of other files, told apart by the names of the files in them, which stand near the beginning.
ZIP_MAGIC = b"PK\x03\x04"
IN_ZIP = (
    (b"opendocument.spreadsheet", "an OpenDocument spreadsheet", "save the sheet as CSV"),
    (b"[Content_Types].xml", "an Excel workbook", "save the sheet as CSV"),
    (b"xl/", "an Excel workbook", "save the sheet as CSV"),
    (b".npy", "a NumPy archive", AS_CSV),
    (b"", "a zip file", "unpack it first"),
)
FOREIGN = (
    Foreign(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Excel workbook", "save the sheet as CSV"),
    Foreign(b"SQLite format 3\0", "an SQLite database", "use --database sqlite:///FILE with --query"),
    Foreign(b"DUCK", "a DuckDB database", AS_CSV, 8),
    Foreign(b"ustar", "a tar archive", "unpack it first", 257),
    Foreign(b"BZh", "a bzip2 file", "unpack it first"),
    Foreign(b"\xfd7zXZ\0", "an xz file", "unpack it first"),
    Foreign(b"7z\xbc\xaf", "a 7z archive", "unpack it first"),
    Foreign(b"Rar!\x1a\x07", "a RAR archive", "unpack it first"),
    Foreign(b"\x04\x22\x4d\x18", "an lz4 file", "unpack it first"),
    Foreign(b"Obj\x01", "an Avro file", AS_CSV),
    Foreign(b"ORC", "an ORC file", AS_CSV),
    Foreign(b"PARE", "an encrypted Parquet file", "write it without encryption"),
    Foreign(b"FEA1", "a Feather file of version 1", "write it as Feather version 2"),
    Foreign(b"\x89HDF\r\n\x1a\n", "an HDF5 file", AS_CSV),
    Foreign(b"\x93NUMPY", "a NumPy array", AS_CSV),
    Foreign(b"MATLAB 5.0", "a MATLAB file", AS_CSV),
    Foreign(b"RDX", "an R data file", AS_CSV),
    Foreign(b"X\n\0\0\0", "an R data file", AS_CSV),
    *(Foreign(b"\x80" + bytes([version]), "a Python pickle", AS_CSV) for version in range(2, 6)),
    Foreign(b"%PDF-", "a PDF document", "export its table as CSV"),
)
TEXTS = (
    Foreign(b"%PDF-", "a PDF document", "export its table as CSV"),
    Foreign(b"version https://git-lfs", "a Git LFS pointer, not the file itself", "run `git lfs pull`"),
)
HTML = (b"<!doctype html", b"<html")
SQL = re.compile(
    rb"(?:--\s*)*(?:(?:mysql|mariadb) dump|postgresql database dump)"
    rb"|insert\s+into\s|create\s+table\s|copy\s+\S+\s*\([^)]*\)\s*from\s+stdin"
)
PRINTED = re.compile(rb"(?:[^\n]*\n)?[ |+:=-]*--[ |+:=-]*[|+][ |+:=-]*\r?\n")
"""A line such as |---|---| or +-----+-----+, the first or the second."""
SNIFFED_BYTES = 512
"""Bytes of a file that are enough to recognize it."""


def refuse_foreign(head: bytes, name: str, packed: str = "") -> None:
    """Refuse a file of another format.

    Args:
        head: First `SNIFFED_BYTES` of the file, decompressed.
        name: Name of the file.
        packed: Name of the compression it was in.

    Raises:
        InputDataError: the format is known and cannot be read.
    """
    # A text may begin with "ORC" too, but has no control characters.
    is_text = not re.search(rb"[\x00-\x08\x0e-\x1f]", head)
    magics = TEXTS if is_text else FOREIGN
    found = next(((f.name, f.advice) for f in magics if head.startswith(f.magic, f.offset)), None)
    if head.startswith(ZIP_MAGIC):
        found = next((kind, advice) for member, kind, advice in IN_ZIP if member in head)
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith(HTML):
        found = "a web page", "download the file itself"
    elif text.startswith(b"<?xml"):
        found = "an XML document", AS_CSV
    elif SQL.match(text):
        found = "an SQL dump", "load it and use --database, or export the table as CSV"
    elif PRINTED.match(text):
        found = "a printed table", "export it as CSV"
    if found:
        within = f", compressed with {packed}" if packed else ""
        raise InputDataError(f"{name} is {found[0]}{within}, not a file of ratings; {found[1]}")
