"""What a file is that someone worked for: a model, or a part of a prepared dataset, told without loading it."""

from __future__ import annotations

import json
from pathlib import Path

LONGEST_HEADER = 100 << 20  # that safetensors files may have
MODEL_KEY = "autorec"
DOCUMENT = "dataset.json"
DATASET_FILES = {"train.npz", "valid.npz", "test.npz", "users.parquet", "items.parquet", DOCUMENT}


def artifact_at(path: Path) -> str | None:
    """Say "a model", "a blend" or "a file of the dataset FOLDER"; None for any other file, and where there is none."""
    if not path.is_file():
        return None
    if path.name in DATASET_FILES and is_dataset(path.parent):
        return f"a file of the dataset {path.parent.name}"
    metadata = _metadata(path)
    if MODEL_KEY not in metadata:
        return None
    try:
        return "a blend" if "models" in json.loads(str(metadata[MODEL_KEY])) else "a model"
    except (ValueError, TypeError):  # damaged, and a model all the same
        return "a model"


def is_dataset(folder: Path) -> bool:
    """Whether `folder` is a prepared dataset, damaged or not."""
    try:
        return "fingerprint" in json.loads((folder / DOCUMENT).read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False


def _metadata(path: Path) -> dict[str, object]:
    """What a safetensors file says of itself; nothing if it is no such file."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length)) if 2 <= length <= LONGEST_HEADER else {}
        found = header["__metadata__"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}
