"""Model file: all that `recommend` and `evaluate` need, no code.

Tensors are the parameters, the codes of all examples, the means, the ids and the pattern of seen items; everything
else is one JSON document in the file's metadata. CRC-32 checksums of every tensor and of the document reveal damage.
docs/formats.md has every field.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from autorec_cli.csr import Array
from autorec_cli.errors import ArtifactError, AutoRecError
from autorec_cli.inference.files.model_parts import from_parts, parts_of
from autorec_cli.inference.files.user_rows import parts_of_users
from autorec_cli.inference.scorer import Scorer
from autorec_cli.runtime.stages import begin_stage
from autorec_cli.storage import checksums, file_formats
from autorec_cli.storage.file_formats import MODEL, OLD_MODEL_KEY, reason_of
from autorec_cli.storage.safetensors_reader import TensorFile, open_tensors
from autorec_cli.storage.safetensors_writer import Pieces, in_one, write

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


def save_parts(document: Mapping[str, Any], tensors: Mapping[str, Pieces], path: Path) -> None:
    """Write a model from its parts; see `model_parts`.

    Raises:
        UsageError: the file cannot be written.
    """
    begin_stage(f"writing model {path}")
    # One document under one key: safetensors does not keep the order of several.
    write(path, MODEL.name, {**MODEL.header(), **document}, tensors)


def load_model(path: str | Path) -> Scorer:
    """Read a model, a blend or a joint model.

    Raises:
        ArtifactError: it does not exist, is not a model, is damaged, or is of another format version.
    """
    return _load(Path(path), lambda _file, _document: None)


def load_users(path: str | Path, user_ids: Sequence[str]) -> Scorer:
    """Read a model for some users only.

    It is read whole if it does not know all of them, else most of it is neither read nor checked. Scores and
    predictions are those of the whole model; similarities, which depend on all users, are not.

    Args:
        path: Model file.
        user_ids: Their ids, each once.

    Raises:
        ArtifactError: as `load_model`.
    """
    return _load(Path(path), lambda file, document: parts_of_users(file, document, user_ids))


def _load(path: Path, part: Callable[[TensorFile, dict[str, Any]], dict[str, Array] | None]) -> Scorer:
    """Read a model from the tensors that `part` reads.

    They are all tensors if it reads none.
    """
    require_model(path)
    begin_stage(f"reading model {path}")
    with explained(path), open_tensors(path) as file:
        document = read_document(path, file.metadata)
        tensors = part(file, document)
        if tensors is None:
            _check_tensors(path, document, {name: file.checksum(name) for name in file.tensors})
            tensors = dict(file.tensors)
        _find_dataset(document["provenance"], path)
        return from_parts(document, tensors)


def _find_dataset(provenance: dict[str, Any], path: Path) -> None:
    """Point to the dataset beside the model if it moved.

    A directory of `autorec run` may be moved as a whole. Whoever reads the dataset compares fingerprints.
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
    """Checksum of a tensor in a file, as in `checksums.of_array`."""
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
