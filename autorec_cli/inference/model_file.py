"""The model file: one `.safetensors` holding all that `recommend` and `evaluate` need, and no code.

Tensors are the parameters, the codes of all examples, the means, the ids and the pattern of seen items; everything
else is one JSON document in the file's metadata. Loading it needs numpy only. A CRC-32 of every tensor and one of the
document tell a damaged file from a whole one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from autorec_cli.config import TrainSettings
from autorec_cli.csr import Array
from autorec_cli.data.bias import DampedMeans
from autorec_cli.errors import ArtifactError, AutoRecError
from autorec_cli.inference.model import Blend, Model, Predictor, SeenItems
from autorec_cli.storage import checksums
from autorec_cli.storage.file_kinds import MODEL_KEY
from autorec_cli.storage.safetensors_writer import Pieces, in_one, write

FORMAT_VERSION = 4
METADATA_KEY = MODEL_KEY  # one key, because the order of several in the file is not fixed
ROWS_AT_ONCE = 1 << 14
"""Rows of a tensor that pass through memory at a time to be checked."""


def save(predictor: Predictor, path: Path) -> None:
    """Write a model or a blend to `path`, whole or not at all; equal ones give equal bytes.

    Raises:
        UsageError: it cannot be written there, for example because the disk is full.
    """
    document, tensors = _blend_to_parts(predictor) if isinstance(predictor, Blend) else to_parts(predictor)
    save_parts(document, {name: in_one(array) for name, array in tensors.items()}, path)


def save_parts(document: Mapping[str, Any], tensors: Mapping[str, Pieces], path: Path) -> None:
    """As `save`, from what `to_parts` gives of a model.

    Raises:
        UsageError: it cannot be written there.
    """
    write(path, METADATA_KEY, {"format_version": FORMAT_VERSION, **document}, tensors)


def load(path: Path) -> Predictor:
    """Read a model file: a model, or a blend of several.

    Raises:
        ArtifactError: there is none, it is no model, it is damaged, or its format version is unknown.
    """
    if path.is_dir():
        raise ArtifactError(f"{path} is a folder, no model; a model is the file that `autorec train` wrote")
    if not path.is_file():
        raise ArtifactError(f"there is no model {path}; make one with `autorec train DATA -o {path}`")
    try:
        with safe_open(path, framework="numpy") as file:
            document = _read_document(path, file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        _check_tensors(path, document, {name: checksums.of_array(array) for name, array in tensors.items()})
        return _blend_from_parts(document, tensors) if "models" in document else _from_parts(document, tensors)
    except AutoRecError:
        raise
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise ArtifactError(
            f"{path} is not a model file or is damaged ({error}); train it again with `autorec train`"
        ) from error


def check(path: Path) -> dict[str, Any]:
    """What a model file says of the model besides its tensors, which pass through memory in blocks to be checked.

    Raises:
        ArtifactError: as `load`.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            document = _read_document(path, file.metadata() or {})
            _check_tensors(path, document, {name: _checksum(file, name) for name in file.keys()})  # noqa: SIM118
            return document
    except AutoRecError:
        raise
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{path} is not a model file or is damaged ({error}); train it again") from error


def _checksum(file: Any, name: str) -> int:  # noqa: ANN401 - safetensors has no types
    """`checksums.of_array` of a tensor in a file."""
    stored = file.get_slice(name)
    shape = tuple(stored.get_shape())
    if 0 in shape:  # of which safetensors cuts no slice
        return checksums.of_array(file.get_tensor(name))
    value = checksums.of_kind(stored[:1].dtype, shape)
    for start in range(0, shape[0], ROWS_AT_ONCE):
        value = checksums.with_piece(value, stored[start : min(start + ROWS_AT_ONCE, shape[0])])
    return value


def _read_document(path: Path, metadata: dict[str, str]) -> dict[str, Any]:
    if METADATA_KEY not in metadata:
        raise ArtifactError(f"{path} is a safetensors file, but no autorec model; make one with `autorec train`")
    text = metadata[METADATA_KEY]
    version = json.loads(text)["format_version"]
    if version == 1:
        return _from_version_2(json.loads(text))  # without checksums; training it again gives it some
    if version == 2:
        return _from_version_2(checksums.unseal(text))
    if version == 3:
        return _from_version_3(checksums.unseal(text))
    if version != FORMAT_VERSION:
        raise ArtifactError(
            f"the model {path} has format version {version}, this program knows up to {FORMAT_VERSION}; "
            "upgrade autorec-cli or train the model again"
        )
    return checksums.unseal(text)


def _from_version_2(document: dict[str, Any]) -> dict[str, Any]:
    """A document from before there was more than one objective."""
    added = {"objective": "rating", "dropout": 0.0, "normalize": False, "missing_weight": 0.0, "missing_value": None}
    return _from_version_3({**document, "input_norm": None, "settings": {**document["settings"], **added}})


def _from_version_3(document: dict[str, Any]) -> dict[str, Any]:
    """A document, of a model or a blend, from before the implicit channel and the scaling of outputs."""
    if "models" in document:
        return {**document, "models": [_from_version_3(model) for model in document["models"]]}
    return {**document, "output_unit": document["unit"], "settings": {**document["settings"], "implicit": False}}


def _check_tensors(path: Path, document: dict[str, Any], found: dict[str, int]) -> None:
    if document["format_version"] == 1:
        return
    if document["checksums"] != found:
        raise ArtifactError(f"the model {path} is damaged; copy it again or train it again with `autorec train`")


def load_model(path: Path) -> Model:
    """Read the file of a model.

    Raises:
        ArtifactError: as `load`, or it is a blend.
    """
    predictor = load(path)
    if isinstance(predictor, Blend):
        raise ArtifactError(f"{path} is a blend of {len(predictor.models)} models; name one of those")
    return predictor


def to_parts(model: Model) -> tuple[dict[str, Any], dict[str, Array]]:
    """The document and the tensors of a model."""
    tensors: dict[str, Array] = {
        "codes": model.codes,
        "decoder.weight": model.decoder_weight,
        "decoder.bias": model.decoder_bias,
        "user_counts": model.user_counts.astype(np.int64),
        "item_counts": model.item_counts.astype(np.int64),
        "seen.indptr": model.seen.indptr.astype(np.int64),
        "seen.indices": model.seen.indices.astype(np.int32),
        "valid_predictions": model.valid_predictions.astype(np.float32),
    }
    for layer, (weight, bias) in enumerate(zip(model.encoder_weights, model.encoder_biases, strict=True)):
        tensors[f"encoder.{layer}.weight"] = weight
        tensors[f"encoder.{layer}.bias"] = bias
    for name, means in (("centering", model.centering), ("baseline", model.baseline)):
        tensors[f"{name}.user_bias"] = means.user_bias
        tensors[f"{name}.item_bias"] = means.item_bias
    for name, strings in (("user_ids", model.user_ids), ("item_ids", model.item_ids), ("titles", model.titles)):
        if strings is not None:
            tensors[f"{name}.bytes"], tensors[f"{name}.ends"] = _pack(strings)
    document = {
        "settings": model.settings.to_document(),
        "output_range": list(model.output_range),
        "unit": model.unit,
        "output_unit": model.output_unit,
        "input_norm": model.input_norm,
        "centering_mean": model.centering.mean,
        "baseline_mean": model.baseline.mean,
        "rating_scale": list(model.rating_scale),
        "provenance": model.provenance,
    }
    return document, tensors


def _blend_to_parts(blend: Blend) -> tuple[dict[str, Any], dict[str, Array]]:
    """The document and the tensors of a blend; a later model's tensor that the first one has too is written once."""
    documents: list[dict[str, Any]] = []
    tensors: dict[str, Array] = {}
    first: dict[str, Array] = {}
    for number, model in enumerate(blend.models):
        document, own = to_parts(model)
        shared = [name for name in own if name in first and np.array_equal(own[name], first[name])]
        first = first or own
        documents.append({**document, "shared": shared})
        tensors |= {f"{number}.{name}": array for name, array in own.items() if name not in shared}
    described = {
        "models": documents,
        "weights": list(blend.weights),
        "intercept": blend.intercept,
        "provenance": blend.provenance,
    }
    return described, tensors


def _blend_from_parts(document: dict[str, Any], tensors: dict[str, Array]) -> Blend:
    models = []
    for number, described in enumerate(document["models"]):
        own = {
            name.removeprefix(f"{number}."): array for name, array in tensors.items() if name.startswith(f"{number}.")
        }
        own |= {name: tensors[f"0.{name}"] for name in described["shared"]}
        models.append(_from_parts(described, own))
    return Blend(tuple(models), tuple(document["weights"]), document["intercept"], document["provenance"])


def _from_parts(document: dict[str, Any], tensors: dict[str, Array]) -> Model:
    settings = TrainSettings.from_document(document["settings"])
    layers = range(len(settings.hidden_sizes))
    low, high = document["rating_scale"]
    output_low, output_high = document["output_range"]

    def means(name: str) -> DampedMeans:
        return DampedMeans(document[f"{name}_mean"], tensors[f"{name}.user_bias"], tensors[f"{name}.item_bias"])

    def strings(name: str) -> list[str]:
        return _unpack(tensors[f"{name}.bytes"], tensors[f"{name}.ends"])

    return Model(
        settings=settings,
        encoder_weights=tuple(tensors[f"encoder.{layer}.weight"] for layer in layers),
        encoder_biases=tuple(tensors[f"encoder.{layer}.bias"] for layer in layers),
        codes=tensors["codes"],
        decoder_weight=tensors["decoder.weight"],
        decoder_bias=tensors["decoder.bias"],
        output_range=(output_low, output_high),
        unit=document["unit"],
        output_unit=document["output_unit"],
        input_norm=document["input_norm"],
        centering=means("centering"),
        baseline=means("baseline"),
        rating_scale=(low, high),
        user_ids=strings("user_ids"),
        item_ids=strings("item_ids"),
        titles=strings("titles") if "titles.bytes" in tensors else None,
        user_counts=tensors["user_counts"],
        item_counts=tensors["item_counts"],
        seen=SeenItems(tensors["seen.indptr"], tensors["seen.indices"]),
        valid_predictions=tensors.get("valid_predictions", np.empty(0, dtype=np.float32)),
        provenance=document["provenance"],
    )


def _pack(strings: Sequence[str]) -> tuple[Array, Array]:
    """All strings as UTF-8 in one byte array, and where each ends."""
    encoded = [string.encode() for string in strings]
    ends = np.cumsum([len(part) for part in encoded], dtype=np.int64)
    return np.frombuffer(b"".join(encoded), dtype=np.uint8), ends


def _unpack(data: Array, ends: Array) -> list[str]:
    blob = data.tobytes()
    starts = [0, *ends.tolist()[:-1]]
    return [blob[start:end].decode() for start, end in zip(starts, ends.tolist(), strict=True)]
