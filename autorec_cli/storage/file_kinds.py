"""Models and datasets, recognized without loading them.

Outputs check it, so that none of them is replaced by accident.
"""

from __future__ import annotations

import json
from pathlib import Path

from autorec_cli.storage.file_formats import MAX_HEADER_BYTES, MODEL, OLD_MODEL_KEY

DOCUMENT = "dataset.json"
FILES = ("train.npz", "valid.npz", "test.npz", "users.parquet", "items.parquet")
"""Files of a dataset besides DOCUMENT, in the order of its checksums."""


def artifact_at(path: Path) -> str | None:
    """Name the artifact at `path`.

    "a model" or "a file of the dataset DIR"; None for any other file.
    """
    if not path.is_file():
        return None
    if path.name in (*FILES, DOCUMENT) and is_dataset(path.parent):
        return f"a file of the dataset {path.parent.name}"
    # A damaged model is a model all the same.
    return "a model" if {MODEL.name, OLD_MODEL_KEY} & set(_metadata(path)) else None


def is_dataset(directory: Path) -> bool:
    """Return True for a prepared dataset, damaged or not."""
    try:
        return "fingerprint" in json.loads((directory / DOCUMENT).read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False


def is_encoded(directory: Path) -> bool:
    """Return True for a directory of encoded ratings.

    `prepare --encoded` and `train` take it.
    """
    return (directory / "ratings").exists() and not (directory / DOCUMENT).exists()


def _metadata(path: Path) -> dict[str, object]:
    """Metadata of a safetensors file; empty for any other file."""
    try:
        with path.open("rb") as file:
            # Any file may stand here: the limit keeps eight random bytes from asking for exabytes.
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length)) if 2 <= length <= MAX_HEADER_BYTES else {}
        found = header["__metadata__"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}
