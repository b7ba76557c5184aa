"""Description of a model file, without reading most tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl
from safetensors import safe_open

from autorec_cli.csr import Array
from autorec_cli.data.item_columns import TITLE
from autorec_cli.errors import ArtifactError
from autorec_cli.inference.catalog import Catalog, SeenItems
from autorec_cli.inference.files.item_tensors import item_shapes
from autorec_cli.inference.files.model_checks import check_provenance, read_settings
from autorec_cli.inference.files.model_file import explained, read_document, require_model
from autorec_cli.storage import checksums

Counts = Callable[[str], Array]


def describe(path: Path) -> dict[str, Any]:
    """Describe a model as JSON types.

    Raises:
        ArtifactError: it does not exist, is not a model, is cut off, or is of another format version.
    """
    require_model(path)
    with explained(path), safe_open(path, framework="numpy") as file:
        document = read_document(path, file.metadata() or {})
        names = set(file.keys())

        def counts(name: str) -> Array:
            array: Array = file.get_tensor(name)
            if checksums.of_array(array) != document["checksums"][name]:
                raise ArtifactError(f"the model {path} is damaged; copy it again or train it again")
            if array.dtype != np.int64 or array.ndim != 1:
                raise ValueError(f"{name} is {array.dtype}{array.shape}")
            return array

        if "models" not in document:
            catalog = _catalog(document, counts, "titles.bytes" in names)
            return {"kind": "model", **_network(document, catalog), **catalog.describe(), **_provenance(document)}
        return _describe_several(document, counts, "0.titles.bytes" in names)


def _describe_several(document: Mapping[str, Any], counts: Counts, has_titles: bool) -> dict[str, Any]:
    catalogs, models = [], []
    for number, (weight, model) in enumerate(zip(document["weights"], document["models"], strict=True)):
        shared = model["shared"]

        # Defaults keep the numbers of this network; a closure would see those of the last.
        def own(name: str, number: int = number, shared: list[str] = shared) -> Array:
            return counts(f"{0 if name in shared else number}.{name}")

        catalogs.append(_catalog(model, own, has_titles))
        models.append({"weight": weight, **_network(model, catalogs[-1]), **_provenance(model)})
    kind = "joint model" if models[-1]["objective"] == "ranking" else "blend"
    # A joint model is of the items that it ranks.
    of_kind = catalogs if kind == "blend" else catalogs[-1:]
    # As `Blend.catalog` has them.
    user_counts, item_counts = (
        np.minimum.reduce([getattr(catalog, name) for catalog in of_kind]) for name in ("user_counts", "item_counts")
    )
    first = catalogs[0]
    catalog = Catalog(
        first.user_ids, first.item_ids, first.items, user_counts, item_counts, first.seen, first.rating_scale
    )
    return {"kind": kind, **catalog.describe(), **_provenance(document), "models": models}


def _catalog(document: Mapping[str, Any], counts: Counts, has_titles: bool) -> Catalog:
    """Catalog without ids and values: numbers and column names."""
    user_counts, item_counts = counts("user_counts"), counts("item_counts")
    users, items = (cast("Sequence[str]", range(len(side))) for side in (user_counts, item_counts))
    low, high = document["rating_scale"]
    nothing = SeenItems(np.zeros(0), np.zeros(0))
    columns = document["item_columns"]
    item_shapes(columns, len(items))
    named = pl.DataFrame(schema=[*([TITLE] if has_titles else []), *(column["name"] for column in columns)])
    return Catalog(users, items, named, user_counts, item_counts, nothing, (low, high))


def _network(document: Mapping[str, Any], catalog: Catalog) -> dict[str, Any]:
    """Objective, variant, layers and hyperparameters."""
    settings = read_settings(document)
    n_decoded = catalog.n_users if settings.variant == "item" else catalog.n_items
    return {
        "objective": settings.objective,
        "variant": settings.variant,
        "layers": [n_decoded, *settings.layer_sizes, n_decoded],
        "settings": settings.to_document(),
    }


def _provenance(document: Mapping[str, Any]) -> dict[str, Any]:
    check_provenance(document["provenance"])
    # Hundreds of numbers, for `autorec report`.
    return {name: value for name, value in document["provenance"].items() if name != "curves"}
