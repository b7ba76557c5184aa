"""Models as a JSON document and tensors, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from autorec_cli.csr import Array
from autorec_cli.data.bias import DampedMeans
from autorec_cli.inference.blending import Blend
from autorec_cli.inference.catalog import Catalog, SeenItems
from autorec_cli.inference.files.item_tensors import pack_items, unpack_items
from autorec_cli.inference.files.model_checks import check_ids, check_model, check_networks, read_settings
from autorec_cli.inference.files.texts import pack_texts, unpack_texts
from autorec_cli.inference.joint import JointModel
from autorec_cli.inference.model import Model
from autorec_cli.inference.scorer import Scorer
from autorec_cli.network.ordinal import Levels, Thresholds

if TYPE_CHECKING:
    import polars as pl


def parts_of(model: Scorer) -> tuple[dict[str, Any], dict[str, Array]]:
    """Split a model into its JSON document and its tensors."""
    if isinstance(model, Model):
        return to_parts(model)
    if isinstance(model, Blend | JointModel):
        return _several_to_parts(model.networks, model.weights, model.provenance)
    raise TypeError(f"no model: {model!r}")


def to_parts(model: Model) -> tuple[dict[str, Any], dict[str, Array]]:
    """Split a model into its JSON document and its tensors."""
    catalog = model.catalog
    tensors: dict[str, Array] = {
        "codes": model.codes,
        "decoder.weight": model.decoder_weight,
        "decoder.bias": model.decoder_bias,
        "user_counts": catalog.user_counts.astype(np.int64),
        "item_counts": catalog.item_counts.astype(np.int64),
        "seen.indptr": catalog.seen.indptr.astype(np.int64),
        "seen.indices": catalog.seen.indices.astype(np.int32),
    }
    if model.thresholds is not None:
        tensors["thresholds.weight"], tensors["thresholds.bias"] = model.thresholds.weight, model.thresholds.bias
    for layer, (weight, bias) in enumerate(zip(model.encoder_weights, model.encoder_biases, strict=True)):
        tensors[f"encoder.{layer}.weight"] = weight
        tensors[f"encoder.{layer}.bias"] = bias
    for name, means in (("centering", model.centering), ("baseline", model.baseline)):
        tensors[f"{name}.user_bias"] = means.user_bias
        tensors[f"{name}.item_bias"] = means.item_bias
    for name, strings in (("user_ids", catalog.user_ids), ("item_ids", catalog.item_ids), ("titles", catalog.titles)):
        if strings is not None:
            tensors[f"{name}.bytes"], tensors[f"{name}.ends"] = pack_texts(strings)
    columns, packed = pack_items(catalog.items)
    tensors |= packed
    document = {
        # Versions that know nothing of linear units read them as units like the others.
        "settings": {**model.settings.to_document(), "hidden_sizes": list(model.settings.layer_sizes)},
        "output_range": list(model.output_range),
        "levels": None if model.thresholds is None else _levels_document(model.thresholds.levels),
        "unit": model.unit,
        "output_unit": model.output_unit,
        "input_norm": model.input_norm,
        "centering_mean": model.centering.mean,
        "centering_user_damping": model.centering.user_damping,
        "baseline_mean": model.baseline.mean,
        "baseline_user_damping": model.baseline.user_damping,
        "rating_scale": list(catalog.rating_scale),
        "item_columns": columns,
        "provenance": model.provenance,
    }
    return document, tensors


def _several_to_parts(
    networks: Sequence[Model], weights: Sequence[float], provenance: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Array]]:
    """Split networks into document and tensors.

    Tensors equal to the first network's are written once.
    """
    documents: list[dict[str, Any]] = []
    tensors: dict[str, Array] = {}
    first: dict[str, Array] = {}
    for number, model in enumerate(networks):
        document, own = to_parts(model)
        # Networks of one dataset have the same ids and seen items, most of a small file's bytes.
        shared = [name for name in own if name in first and np.array_equal(own[name], first[name])]
        first = first or own
        documents.append({**document, "shared": shared})
        tensors |= {f"{number}.{name}": array for name, array in own.items() if name not in shared}
    return {"models": documents, "weights": list(weights), "provenance": dict(provenance)}, tensors


def from_parts(document: dict[str, Any], tensors: dict[str, Array]) -> Scorer:
    """Invert `parts_of`.

    Raises:
        ValueError, KeyError: they are not those of a model.
    """
    return _several_from_parts(document, tensors) if "models" in document else _from_parts(document, tensors)


def _several_from_parts(document: dict[str, Any], tensors: dict[str, Array]) -> Blend | JointModel:
    models: list[Model] = []
    for number, described in enumerate(document["models"]):
        own = {
            name.removeprefix(f"{number}."): array for name, array in tensors.items() if name.startswith(f"{number}.")
        }
        own |= {name: tensors[f"0.{name}"] for name in described["shared"]}
        # Unpacked once: all networks are of the same items.
        models.append(_from_parts(described, own, models[0].catalog.items if models else None))
    check_networks(document, models)
    provenance = document["provenance"]
    raters = tuple(model for model in models if model.predicts_ratings)
    rater = Blend(raters, tuple(document["weights"][: len(raters)]), provenance)
    if len(raters) == len(models):
        return rater
    return JointModel(rater if len(raters) > 1 else raters[0], models[-1], provenance)


def _from_parts(document: dict[str, Any], tensors: dict[str, Array], items: pl.DataFrame | None = None) -> Model:
    settings = read_settings(document)
    check_model(document, tensors, settings)
    layers = range(len(settings.layer_sizes))
    low, high = document["rating_scale"]
    output_low, output_high = document["output_range"]

    def means(name: str) -> DampedMeans:
        return DampedMeans(
            document[f"{name}_mean"],
            tensors[f"{name}.user_bias"],
            tensors[f"{name}.item_bias"],
            document[f"{name}_user_damping"],
        )

    def strings(name: str) -> list[str]:
        return unpack_texts(tensors[f"{name}.bytes"], tensors[f"{name}.ends"])

    if items is None:
        titles = strings("titles") if "titles.bytes" in tensors else None
        items = unpack_items(document["item_columns"], tensors, titles)
    model = Model(
        settings=settings,
        encoder_weights=tuple(tensors[f"encoder.{layer}.weight"] for layer in layers),
        encoder_biases=tuple(tensors[f"encoder.{layer}.bias"] for layer in layers),
        codes=tensors["codes"],
        decoder_weight=tensors["decoder.weight"],
        decoder_bias=tensors["decoder.bias"],
        output_range=(output_low, output_high),
        thresholds=_thresholds(document, tensors),
        unit=document["unit"],
        output_unit=document["output_unit"],
        input_norm=document["input_norm"],
        centering=means("centering"),
        baseline=means("baseline"),
        catalog=Catalog(
            user_ids=strings("user_ids"),
            item_ids=strings("item_ids"),
            items=items,
            user_counts=tensors["user_counts"],
            item_counts=tensors["item_counts"],
            seen=SeenItems(tensors["seen.indptr"], tensors["seen.indices"]),
            rating_scale=(low, high),
        ),
        provenance=document["provenance"],
    )
    check_ids((model.catalog.user_ids, model.catalog.item_ids))
    return model


def _levels_document(levels: Levels) -> dict[str, Any]:
    return {"values": list(levels.values), "slope": levels.slope}


def _thresholds(document: Mapping[str, Any], tensors: Mapping[str, Array]) -> Thresholds[Array] | None:
    levels = document["levels"]
    if levels is None:
        return None
    return Thresholds(
        tensors["thresholds.weight"], tensors["thresholds.bias"], Levels(tuple(levels["values"]), levels["slope"])
    )
