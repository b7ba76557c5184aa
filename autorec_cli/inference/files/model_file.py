"""Model file: all that `recommend` and `evaluate` need, no code.

Tensors are the parameters, the codes of all examples, the means, the ids and the pattern of seen items; everything
else is one JSON document in the file's metadata. CRC-32 checksums of every tensor and of the document reveal damage.
docs/formats.md has every field.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError, safe_open

from autorec_cli.csr import Array
from autorec_cli.data.bias import DampedMeans
from autorec_cli.errors import ArtifactError, AutoRecError
from autorec_cli.inference.blending import Blend
from autorec_cli.inference.catalog import Catalog, SeenItems
from autorec_cli.inference.files.item_tensors import pack_items, unpack_items
from autorec_cli.inference.files.model_checks import check_ids, check_model, check_networks, read_settings
from autorec_cli.inference.files.texts import pack_texts, unpack_texts
from autorec_cli.inference.joint import JointModel
from autorec_cli.inference.model import Model
from autorec_cli.inference.scorer import Scorer
from autorec_cli.network.ordinal import Levels, ThresholdArrays
from autorec_cli.runtime.stages import begin_stage
from autorec_cli.storage import checksums, file_formats
from autorec_cli.storage.file_formats import MODEL, OLD_MODEL_KEY, reason_of
from autorec_cli.storage.safetensors_reader import map_tensors
from autorec_cli.storage.safetensors_writer import Pieces, in_one, write

if TYPE_CHECKING:
    import polars as pl

UNREADABLE_ERRORS = (SafetensorError, *file_formats.UNREADABLE_ERRORS)
"""Errors raised by reading truncated, foreign or hostile files."""

ROWS_PER_CHECK = 1 << 14
"""Rows of a tensor that are read at a time while it is checked."""


def save_model(model: Scorer, path: str | Path) -> None:
    """Write a model file, whole or not at all.

    Equal models give equal bytes.

    Raises:
        UsageError: the file cannot be written, for example because the disk is full.
    """
    document, tensors = parts_of(model)
    save_parts(document, {name: in_one(array) for name, array in tensors.items()}, Path(path))


def parts_of(model: Scorer) -> tuple[dict[str, Any], dict[str, Array]]:
    """Split a model of one or several networks into its JSON document and its tensors."""
    if isinstance(model, Model):
        return to_parts(model)
    if isinstance(model, Blend | JointModel):
        return _several_to_parts(model.networks, model.weights, model.provenance)
    raise TypeError(f"no model: {model!r}")


def save_parts(document: Mapping[str, Any], tensors: Mapping[str, Pieces], path: Path) -> None:
    """Write a model from its parts; see `to_parts`.

    Raises:
        UsageError: the file cannot be written.
    """
    begin_stage(f"writing model {path}")
    # One document under one key: safetensors does not keep the order of several.
    write(path, MODEL.name, {**MODEL.header(), **document}, tensors)


def load_model(path: str | Path) -> Scorer:
    """Read a model file: a model, a blend or a joint model.

    Raises:
        ArtifactError: it does not exist, is not a model, is damaged, or is of another format version.
    """
    path = Path(path)
    require_model(path)
    begin_stage(f"reading model {path}")
    with explained(path):
        mapped = map_tensors(path)
        document, tensors = read_document(path, mapped.metadata), dict(mapped.tensors)
        _check_tensors(path, document, mapped.checksums)
        _find_dataset(document["provenance"], path)
        return _several_from_parts(document, tensors) if "models" in document else _from_parts(document, tensors)


def _find_dataset(provenance: dict[str, Any], path: Path) -> None:
    """Point to the dataset beside the model if it is no longer where it was, as in a moved directory of `autorec run`.

    Whoever reads it compares fingerprints.
    """
    recorded, beside = provenance["dataset"], path.parent / "data"
    if recorded and not Path(recorded).exists() and beside.is_dir():
        provenance["dataset"] = str(beside.absolute())


def require_model(path: Path) -> None:
    """Check that a file is there.

    Raises:
        ArtifactError: it is missing, or a directory or special file, which could not be read.
    """
    if path.is_dir():
        of_run = path / "model"  # of `autorec run -o PATH`
        advice = f"its model is {of_run}" if of_run.is_file() else "a model is the file that `autorec train` wrote"
        raise ArtifactError(f"{path} is a directory, not a model; {advice}")
    if not path.is_file():
        raise ArtifactError(f"there is no model {path}; make one with `autorec train DATA -o {path}`")


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn errors of reading a model file into an ArtifactError."""
    try:
        yield
    except AutoRecError:
        raise
    except UNREADABLE_ERRORS as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise ArtifactError(f"cannot read {path}: {error.strerror}; check the disk and permissions") from error
        raise ArtifactError(
            f"{path} is not a model file or is damaged ({reason_of(error)}); train it again with `autorec train`"
        ) from error


def check(path: Path) -> dict[str, Any]:
    """Check a model file in blocks, and return its document.

    Raises:
        ArtifactError: as `load_model`.
    """
    with explained(path), safe_open(path, framework="numpy") as file:
        document = read_document(path, file.metadata() or {})
        _check_tensors(path, document, {name: _checksum(file, name) for name in file.keys()})  # noqa: SIM118
        return document


def _checksum(file: Any, name: str) -> int:  # noqa: ANN401 - safetensors has no types
    """Checksum of a tensor in a file, as of `checksums.of_array`."""
    tensor = file.get_slice(name)
    shape = tuple(tensor.get_shape())
    if 0 in shape:  # safetensors cannot slice it
        return checksums.of_array(file.get_tensor(name))
    # The type is known only from a slice; the shape is that of the whole tensor.
    value = checksums.of_kind(tensor[:1].dtype, shape)
    for start in range(0, shape[0], ROWS_PER_CHECK):
        value = checksums.with_piece(value, tensor[start : min(start + ROWS_PER_CHECK, shape[0])])
    return value


def read_document(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    """Read the document in the metadata of a model file.

    Raises:
        ArtifactError: there is none, or it is of another version.
        ValueError: it is damaged.
    """
    if MODEL.name in metadata:
        return MODEL.unseal(metadata[MODEL.name], f"the model {path}")
    if OLD_MODEL_KEY in metadata:
        raise MODEL.too_old(f"the model {path}")
    raise ArtifactError(f"{path} is a safetensors file, but not an autorec model; make one with `autorec train`")


def _check_tensors(path: Path, document: dict[str, Any], found: Mapping[str, int]) -> None:
    if document["checksums"] != found:
        raise ArtifactError(f"the model {path} is damaged; copy it again or train it again with `autorec train`")


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
        "settings": model.settings.to_document(),
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
    layers = range(len(settings.hidden_sizes))
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
        items = unpack_items(document.get("item_columns", ()), tensors, titles)
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


def _thresholds(document: Mapping[str, Any], tensors: Mapping[str, Array]) -> ThresholdArrays | None:
    levels = document["levels"]
    if levels is None:
        return None
    return ThresholdArrays(
        tensors["thresholds.weight"], tensors["thresholds.bias"], Levels(tuple(levels["values"]), levels["slope"])
    )
