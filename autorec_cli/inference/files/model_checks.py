"""Checks of a model file's types, shapes, ranges and order.

A checksum says that a file is what was written, and not that a model was written.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from autorec_cli.config import Hyperparameters
from autorec_cli.csr import Array, check_rows
from autorec_cli.errors import UsageError
from autorec_cli.inference.files.item_tensors import Shapes, item_shapes

if TYPE_CHECKING:
    from autorec_cli.inference.model import Model

MAX_SLOPE = 1e9
"""Largest slope of an ordinal output, per range of its levels; one outlier among a million ratings makes thousands."""


def read_settings(document: Mapping[str, Any]) -> Hyperparameters:
    """Read the hyperparameters of a model's document.

    Raises:
        ValueError: a value is out of range.
    """
    try:
        settings = dict(document["settings"])
        # A file counts linear units among those of their layer.
        n_linear, sizes = settings.get("linear_units", 0), settings["hidden_sizes"]
        are_counts = isinstance(sizes, list) and bool(sizes) and all(type(n) is int for n in (*sizes, n_linear))
        _require(are_counts, "its numbers of units are no whole numbers")
        return Hyperparameters.from_document({**settings, "hidden_sizes": [*sizes[:-1], sizes[-1] - n_linear]})
    except UsageError as error:  # which is about an option that nobody gave
        raise ValueError(str(error)) from error


def check_model(document: Mapping[str, Any], tensors: Mapping[str, Array], settings: Hyperparameters) -> None:
    """Check the document and the finite tensors of a model.

    Raises:
        ValueError: they are not those of a model.
    """
    _check_document(document)
    n_levels = _check_levels(document["levels"], settings)
    for name in ("user_counts", "item_counts", "seen.indices"):
        _require(name in tensors, f"it has no tensor {name}")
    n_users, n_items = len(tensors["user_counts"]), len(tensors["item_counts"])
    _require(n_users > 0 and n_items > 0, "it has no users or no items")
    expected = _expected(settings, n_users, n_items, has_titles="titles.bytes" in tensors)
    expected |= item_shapes(document["item_columns"], n_items)
    if n_levels:
        expected["thresholds.weight"] = ("float32", (n_levels - 1, settings.layer_sizes[-1]))
        expected["thresholds.bias"] = ("float32", (n_levels - 1,))
    _require(set(tensors) == set(expected), f"its tensors are {', '.join(sorted(tensors))}")
    for name, (dtype, shape) in expected.items():
        array = tensors[name]
        _require(array.dtype == dtype, f"{name} is {array.dtype} instead of {dtype}")
        fits = array.ndim == len(shape) and all(size in (None, found) for size, found in zip(shape, array.shape))  # noqa: B905
        _require(fits, f"{name} has the shape {array.shape}")
    for name in ("user_counts", "item_counts"):
        _require(int(tensors[name].min()) >= 0, f"{name} holds negative numbers")
    check_rows(tensors["seen.indptr"], tensors["seen.indices"], n_items, "seen")
    for name in (name.removesuffix(".ends") for name in tensors if name.endswith(".ends")):
        check_texts(tensors[f"{name}.bytes"], tensors[f"{name}.ends"], name)


def check_ids(ids: Iterable[Sequence[str]]) -> None:
    """Check that no id is there twice.

    Raises:
        ValueError: one is.
    """
    for side in ids:
        _require(len(set(side)) == len(side), "an id is there twice")


def check_networks(document: Mapping[str, Any], models: Sequence[Model]) -> None:
    """Check the document of several networks, and their ids.

    Networks that predict ratings come first, and their weights sum up to 1; one more may rank.

    Raises:
        ValueError: they are not those of a model.
    """
    weights, n_raters = document["weights"], sum(model.predicts_ratings for model in models)
    _require(isinstance(weights, list) and len(weights) == len(models), "it has no weight for each network")
    _require(all(map(_is_number, weights)) and min(weights, default=-1) >= 0, "a weight is no number from 0")
    # One at least rates, and all but one.
    _require(0 < n_raters >= len(models) - 1, "it has several networks that rank")
    _require(all(model.predicts_ratings for model in models[:n_raters]), "its networks are not in order")
    _require(abs(sum(weights[:n_raters]) - 1) < 1e-6, f"its weights sum up to {sum(weights[:n_raters])}")
    first = models[0].catalog
    for model in models:
        same = (model.catalog.user_ids, model.catalog.item_ids) == (first.user_ids, first.item_ids)
        _require(same, "its networks are of different users or items")
    check_provenance(document["provenance"])


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise ValueError(message)


def _is_number(value: object) -> bool:
    """True for a finite number that float32 holds."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float(np.finfo("f4").max)


def _check_document(document: Mapping[str, Any]) -> None:
    for name in ("centering_mean", "baseline_mean", "output_unit"):
        _require(_is_number(document[name]), f"{name} is no number")
    for name in ("centering_user_damping", "baseline_user_damping"):
        damping = document[name]
        # Infinite damping is an empty set of ratings, whose biases are all 0.
        _require(_is_number(damping) or damping == math.inf, f"{name} is no number")
        _require(damping >= 0, f"{name} is negative")
    _require(_is_number(document["unit"]) and document["unit"] > 0, "unit is no positive number")
    norm = document["input_norm"]
    _require(norm is None or (_is_number(norm) and norm > 0), "input_norm is no positive number")
    for name in ("rating_scale", "output_range"):
        ends = document[name]
        _require(isinstance(ends, list) and len(ends) == 2 and all(map(_is_number, ends)), f"{name} is no range")
        _require(ends[0] <= ends[1], f"{name} ends before it begins")
    check_provenance(document["provenance"])


def _check_levels(levels: object, settings: Hyperparameters) -> int:
    """Check the levels of an ordinal output; returns their number."""
    if settings.output_activation != "ordinal":
        _require(levels is None, "it has levels without an ordinal output")
        return 0
    _require(isinstance(levels, dict), "it has no levels")
    assert isinstance(levels, dict)
    values, slope = levels["values"], levels["slope"]
    _require(_is_number(slope) and slope > 0, "the slope of its levels is no positive number")
    _require(isinstance(values, list) and len(values) > 1 and all(map(_is_number, values)), "its levels are no numbers")
    _require(bool((np.diff(np.array(values, dtype=np.float32)) > 0).all()), "its levels are not in order")
    _require(slope * (values[-1] - values[0]) < MAX_SLOPE, "the slope of its levels is too steep")
    return len(values)


def check_provenance(provenance: object) -> None:
    """Check the fields that commands use.

    Raises:
        ValueError: one is of another type.
    """
    _require(isinstance(provenance, dict), "its provenance is no object")
    assert isinstance(provenance, dict)
    for name in ("dataset", "fingerprint"):
        text = provenance[name]
        _require(isinstance(text, str) and "\0" not in text, f"provenance.{name} is no text")
    _require(isinstance(provenance.get("metrics", {}), dict), "provenance.metrics is no object")
    parts = provenance["fitted_parts"]
    _require(isinstance(parts, list) and set(parts) <= {"train", "valid"}, "provenance.fitted_parts are no sets")
    warm = provenance.get("warm_start")
    _require(warm is None or isinstance(warm, dict), "provenance.warm_start is no object")
    promotion = provenance.get("promotion", {})
    _require(isinstance(promotion, dict), "provenance.promotion is no object")
    deficits = promotion.values()
    _require(all(map(_is_number, deficits)) and min(deficits, default=0) >= 0, "a deficit is no number from 0")


def _expected(settings: Hyperparameters, n_users: int, n_items: int, has_titles: bool) -> Shapes:
    """Type and shape of each tensor of a model; see `Shapes`."""
    n_encoded, n_decoded = (n_items, n_users) if settings.variant == "item" else (n_users, n_items)
    sizes, last = settings.layer_sizes, settings.layer_sizes[-1]
    expected: Shapes = {
        "codes": ("float32", (n_encoded, last)),
        "decoder.weight": ("float32", (n_decoded, last)),
        "decoder.bias": ("float32", (n_decoded,)),
        "user_counts": ("int64", (n_users,)),
        "item_counts": ("int64", (n_items,)),
        "seen.indptr": ("int64", (n_users + 1,)),
        "seen.indices": ("int32", (None,)),
    }
    for layer, (n_in, n_out) in enumerate(zip((n_decoded * settings.n_channels, *sizes), sizes, strict=False)):
        expected[f"encoder.{layer}.weight"] = ("float32", (n_in, n_out))
        expected[f"encoder.{layer}.bias"] = ("float32", (n_out,))
    for name in ("centering", "baseline"):
        expected[f"{name}.user_bias"] = ("float64", (n_users,))
        expected[f"{name}.item_bias"] = ("float64", (n_items,))
    texts = {"user_ids": n_users, "item_ids": n_items} | ({"titles": n_items} if has_titles else {})
    for name, n_texts in texts.items():
        expected[f"{name}.bytes"] = ("uint8", (None,))
        expected[f"{name}.ends"] = ("int64", (n_texts,))
    return expected


def check_texts(data: Array, ends: Array, name: str) -> None:
    """Check texts as tensors; see `texts.pack_texts`.

    Raises:
        ValueError: they are of other types, or the ends do not fit.
    """
    _require(data.dtype == np.uint8 and ends.dtype == np.int64, f"{name} are no texts")
    _require(bool((np.diff(ends, prepend=0) >= 0).all()), f"{name}.ends are not in order")
    _require(len(ends) > 0 and int(ends[-1]) == len(data), f"{name}.ends do not end with its bytes")
