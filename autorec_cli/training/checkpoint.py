"""Where training stands, and the file that holds it, so that a run that was cut off goes on as if it never had been.

The file is a `.safetensors` sealed as the model file is: parameters, Adam's averages, the generator's
state, the best epoch so far and what it predicted, beside the identity of the run that they are of. It is no model and
never takes the place of one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from autorec_cli.csr import Array
from autorec_cli.errors import ArtifactError
from autorec_cli.network.autoencoder import AdamState, Network
from autorec_cli.storage import checksums, safetensors_writer
from autorec_cli.storage.safetensors_writer import Pieces
from autorec_cli.training.validation import Validated

FORMAT_VERSION = 2
METADATA_KEY = "autorec-resume"
ADAM = ("parameters", "means", "squares")
"""The fields of `AdamState` that are large, and how the names of their tensors in the file begin."""
FINAL = 1 << 40
"""More steps than the first of two fits takes."""


Stored = TypeVar("Stored", Array, Pieces)


@dataclass(frozen=True)
class Chosen:
    """The best epoch of a fit; `network` is None where a second fit on train and valid will make it."""

    network: Network | None
    epoch: int
    validation: Validated | None


NOTHING_YET = Chosen(None, 0, None)


@dataclass(frozen=True)
class EpochPart:
    """The steps of one epoch that have been taken: their number, and the sum of squared errors before each."""

    n_steps: int
    squared_error: float


NOT_BEGUN = EpochPart(0, 0.0)


@dataclass(frozen=True)
class State:
    """Where training stands.

    Attributes:
        chosen: What the first fit, on train alone, chose; None while it runs.
        epoch: Whole epochs of the present fit.
        part: What has been done of the next one.
        adam: The parameters and the optimizer's averages.
        generator: State of the random generator when `epoch` ended, uint8; the draws of `part` are drawn again.
        best: The best epoch of the present fit.
    """

    chosen: Chosen | None
    epoch: int
    part: EpochPart
    adam: AdamState
    generator: Tensor
    best: Chosen


class Keeper(Protocol):
    """Knows where an earlier run stood and decides when the state of this one is kept; what it raises ends training."""

    def chosen(self) -> Chosen | None:
        """What the first fit of the earlier run chose; None if it had not ended or there was no such run."""

    def take(self) -> State | None:
        """Where the earlier run stood, once and then forgotten: it is as large as all that is trained."""

    def after_step(self, state: Callable[[], State]) -> None:
        """A step has been taken; `state` tells where training stands, until the next one."""

    def after_epoch(self, state: Callable[[], State]) -> None:
        """An epoch has ended and whoever follows the training knows of it."""


class KeepsNothing:
    """For whoever would begin again anyway; see `Keeper`."""

    def chosen(self) -> Chosen | None:
        """See `Keeper`."""
        return None

    def take(self) -> State | None:
        """See `Keeper`."""
        return None

    def after_step(self, state: Callable[[], State]) -> None:
        """See `Keeper`."""

    def after_epoch(self, state: Callable[[], State]) -> None:
        """See `Keeper`."""


@dataclass(frozen=True)
class Saved:
    """What a file of `save` holds.

    Attributes:
        run: What the run is: dataset, settings and the like, JSON types; equal for equal runs only.
        place: What does not change what is learned but its last bits: device, engine, threads, versions.
        history: What was told of the epochs, JSON types.
        state: Where training stood.
    """

    run: Mapping[str, Any]
    place: Mapping[str, Any]
    history: Sequence[Mapping[str, Any]]
    state: State


def save(saved: Saved, path: Path) -> None:
    """Write `saved` to `path`, whole or not at all.

    Raises:
        UsageError: it cannot be written there, for example because the disk is full.
    """
    state = saved.state
    tensors: dict[str, Array] = {"generator": state.generator.numpy()}
    document = {
        "format_version": FORMAT_VERSION,
        "run": saved.run,
        "place": saved.place,
        "history": list(saved.history),
        "epoch": state.epoch,
        "n_steps_in_part": state.part.n_steps,
        "squared_error": state.part.squared_error,
        "n_steps": state.adam.n_steps,
        "best": _pack_chosen("best", state.best, tensors),
        "chosen": None if state.chosen is None else _pack_chosen("chosen", state.chosen, tensors),
    }
    pieces = {name: safetensors_writer.in_one(array) for name, array in tensors.items()}
    for name in ADAM:
        pieces |= {f"{name}.{number}": part for number, part in enumerate(getattr(state.adam, name))}
    safetensors_writer.write(path, METADATA_KEY, document, pieces)


def load(path: Path) -> Saved:
    """Read what `save` wrote; what is of `ADAM` is checked, and read again when its pieces are made.

    Raises:
        ArtifactError: it is damaged, no such file, or of another version.
    """
    with _explained(path):
        file: Any = safe_open(path, framework="numpy")  # stays open for the pieces, whatever becomes of the name
        document = _document(file.metadata())
        arrays: dict[str, Array] = {}
        pieces: dict[str, Pieces] = {}
        found = {}
        for name in file.keys():  # noqa: SIM118 - not a dict
            array = file.get_tensor(name)
            found[name] = checksums.of_array(array)
            if name.partition(".")[0] in ADAM:
                pieces[name] = Pieces(array.dtype, array.shape, partial(_tensor_of, path, file, name, found[name]))
            else:
                arrays[name] = array
        if document["checksums"] != found:
            raise ValueError("its checksums are not those of its contents")
        state = _unpack_state(document, arrays, pieces)
        return Saved(document["run"], document["place"], document["history"], state)


def _tensor_of(path: Path, file: Any, name: str, checksum: int) -> Iterator[Array]:  # noqa: ANN401
    with _explained(path):
        array = file.get_tensor(name)
        if checksums.of_array(array) != checksum:
            raise ValueError("it was changed while it was read")
    yield array


def run_of(path: Path) -> Mapping[str, Any]:
    """The run that the state `path` is of, see `Saved`, without reading where it stood.

    Raises:
        ArtifactError: as `load`, as far as that can be seen.
    """
    with _reading(path) as file:
        run: Mapping[str, Any] = _document(file.metadata())["run"]
        return run


@contextmanager
def _reading(path: Path) -> Iterator[Any]:
    """The file, open; whatever is wrong with what is read from it in the block becomes an ArtifactError."""
    with _explained(path), safe_open(path, framework="numpy") as file:
        yield file


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Make an ArtifactError of whatever is wrong with what is read from `path` in the block."""
    try:
        yield
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise ArtifactError(
            f"the resume state {path} cannot be used ({error}); train without --resume to start from the beginning"
        ) from error


def progress(path: Path) -> int:
    """How far the state at `path` is, from 0, larger for later ones of a run.

    Raises:
        ArtifactError: as `run_of`.
    """
    with _reading(path) as file:
        document = _document(file.metadata())
        return int(document["n_steps"]) + (FINAL if document["chosen"] is not None else 0)


def _document(metadata: Mapping[str, str] | None) -> dict[str, Any]:
    text = (metadata or {})[METADATA_KEY]
    if json.loads(text)["format_version"] != FORMAT_VERSION:
        raise ValueError("its format version is not known")
    return checksums.unseal(text)


def _pack_chosen(name: str, chosen: Chosen, tensors: dict[str, Array]) -> dict[str, Any]:
    """The document of `chosen`; its arrays go to `tensors`."""
    if chosen.network is not None:
        parameters = chosen.network.parameters()
        tensors |= {f"{name}.network.{number}": part.numpy() for number, part in enumerate(parameters)}
    document: dict[str, Any] = {"epoch": chosen.epoch, "has_network": chosen.network is not None, "validation": None}
    validation = chosen.validation
    if validation is not None:
        if validation.predictions is not None:
            tensors[f"{name}.predictions"] = validation.predictions
        document["validation"] = [validation.metric, validation.value, validation.baseline, validation.scale]
    if chosen.network is not None:
        network = chosen.network
        document["functions"] = [network.hidden_activation, network.output_activation, list(network.output_range)]
    return document


def _unpack_chosen(name: str, document: Mapping[str, Any], tensors: Mapping[str, Array]) -> Chosen:
    network = validation = None
    if document["has_network"]:
        hidden, output, (low, high) = document["functions"]
        parameters = [torch.from_numpy(array) for array in _counted(f"{name}.network", tensors)]
        depth = (len(parameters) - 2) // 2
        network = Network(
            encoder_weights=tuple(parameters[:depth]),
            encoder_biases=tuple(parameters[depth + 1 : -1]),
            decoder_weight=parameters[depth],
            decoder_bias=parameters[-1],
            hidden_activation=hidden,
            output_activation=output,
            output_range=(low, high),
        )
    if document["validation"] is not None:
        metric, value, baseline, scale = document["validation"]
        validation = Validated(metric, value, baseline, tensors.get(f"{name}.predictions"), scale)
    return Chosen(network, document["epoch"], validation)


def _unpack_state(document: Mapping[str, Any], tensors: Mapping[str, Array], pieces: Mapping[str, Pieces]) -> State:
    adam = (_counted(name, pieces) for name in ADAM)
    chosen = document["chosen"]
    return State(
        chosen=None if chosen is None else _unpack_chosen("chosen", chosen, tensors),
        epoch=document["epoch"],
        part=EpochPart(document["n_steps_in_part"], document["squared_error"]),
        adam=AdamState(document["n_steps"], *adam),
        generator=torch.from_numpy(tensors["generator"]),
        best=_unpack_chosen("best", document["best"], tensors),
    )


def _counted(name: str, parts: Mapping[str, Stored]) -> list[Stored]:
    """Those of `parts` that are called `name` and a number, in order."""
    n_parts = sum(key.startswith(f"{name}.") for key in parts)
    return [parts[f"{name}.{number}"] for number in range(n_parts)]
