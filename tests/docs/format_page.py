"""docs/formats.md as data: its names, types, shapes and example."""

from __future__ import annotations

import ast
import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl
from safetensors import safe_open
from scipy import sparse

from tests.program import ROOT

PAGE = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
SETS = ("train", "valid", "test")
READERS = {"json", "numpy", "safetensors"}

OBJECTS = (
    "levels",
    "checksums",
    "columns",
    "provenance.split",
    "metrics",
    "versions",
    "warm_start",
    "promotion",
    "networks[].settings",
)
"""Fields whose values are objects that are described as a whole."""
OF_SOME = {"provenance.warm_start", "provenance.promotion"}
"""Fields that models have only after a warm start, or after a promotion."""
THRESHOLDS = {"thresholds.weight", "thresholds.bias"}
TYPES = {
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value),
    "object": lambda value: isinstance(value, dict),
    "null": lambda value: value is None,
}


def section(title: str) -> str:
    """The text under a heading, up to the next one."""
    return re.split(r"\n#+ ", PAGE.split(f"# {title}\n", 1)[1], maxsplit=1)[0]


def rows_in(title: str) -> Iterator[tuple[list[str], list[str]]]:
    """Names, and the other cells, of each row of the tables of a section."""
    for row in re.findall(r"^\|(.*)\|$", section(title), re.MULTILINE):
        first, *others = (cell.strip() for cell in row.split("|"))
        if names := re.findall(r"`([^`]+)`", first):
            yield names, others


def named_in(title: str) -> set[str]:
    """The names in the first column of the tables of a section."""
    return {name for names, _ in rows_in(title) for name in names}


def types_in(title: str) -> dict[str, str]:
    """Type of each field that a section describes; those of fields described elsewhere are left out."""
    types = {}
    for names, (text, *_) in rows_in(title):
        told = [text] if "[" in text else text.split(", ")
        if text:
            types |= dict(zip(names, told * len(names) if len(told) == 1 else told, strict=True))
    return types


def has_type(value: Any, text: str) -> bool:
    """True if a value is of a type of the page, such as "[number, number] or null"."""
    if " or " in text:
        return any(has_type(value, part) for part in text.split(" or "))
    if not text.startswith("["):
        return TYPES[text](value)
    parts = text[1:-1].split(", ")
    if not isinstance(value, list):
        return False
    if parts[-1] == "...":
        return all(has_type(part, parts[0]) for part in value)
    return len(value) == len(parts) and all(map(has_type, value, parts))


def assert_types(document: Mapping[str, Any], types: Mapping[str, str]) -> None:
    """Check the type of every value of the fields."""
    for name, text in types.items():
        for value in values_of(document, name):
            assert has_type(value, text), f"{name} is {value!r}, not {text}"


def values_of(document: Mapping[str, Any], name: str) -> list[Any]:
    """All values of a field, such as `sources[].path`."""
    values: list[Any] = [document]
    for part in name.split("."):
        key = part.removesuffix("[]")
        values = [value[key] for value in values if key in value]
        if part.endswith("[]"):
            values = [entry for value in values for entry in value]
    return values


def fields(document: Mapping[str, Any], before: str = "") -> set[str]:
    """Names of all fields; inner ones follow a dot, those of objects in an array `[]`."""
    names = set()
    for name, value in document.items():
        if isinstance(value, dict) and not f"{before}{name}".endswith(OBJECTS):
            names |= fields(value, f"{before}{name}.")
        elif isinstance(value, list) and value and isinstance(value[0], dict) and name != "curves":
            names |= set().union(*(fields(entry, f"{before}{name}[].") for entry in value))
        else:
            names.add(f"{before}{name}")
    return names


def networks() -> set[str]:
    """Names of the facts of several networks."""
    return {name for name in named_in("Document") if name.startswith("provenance.networks[]")}


def dataset_at(path: Path) -> tuple[dict[str, Any], dict[str, sparse.csr_array], dict[str, pl.DataFrame]]:
    """Document, matrices and tables of a dataset, read as the page says."""
    matrices = {part: sparse.csr_array(sparse.load_npz(path / f"{part}.npz")) for part in SETS}
    tables = {side: pl.read_parquet(path / f"{side}.parquet") for side in ("users", "items")}
    return json.loads((path / "dataset.json").read_text()), matrices, tables


def fingerprint_of(
    document: Mapping[str, Any], matrices: Mapping[str, sparse.csr_array], tables: Mapping[str, pl.DataFrame]
) -> str:
    """Fingerprint of a dataset, computed as the page says."""
    scale = tuple(map(float, document["rating_scale"]))
    digest = hashlib.sha256(repr(((document["n_users"], document["n_items"]), scale)).encode())
    for matrix in matrices.values():
        for array, kind in ((matrix.indptr, "<i8"), (matrix.indices, "<i8"), (matrix.data, "<f4")):
            digest.update(array.astype(kind).tobytes())
    for table in tables.values():
        digest.update("".join(f"{len(each.encode())}:{each}" for each in table["id"]).encode())
    return digest.hexdigest()


def document_of(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Document and tensors of a model file."""
    with safe_open(path, framework="numpy") as file:
        return json.loads(file.metadata()["autorec-model"]), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def example() -> dict[str, Any]:
    """Names that the page's example defines."""
    (text,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    imported = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
    }
    assert imported == READERS
    names: dict[str, Any] = {}
    exec(compile(text, "docs/formats.md", "exec"), names)
    return names
