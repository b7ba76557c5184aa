"""Checkpoint of an interrupted run, and its file.

The `.safetensors` file holds parameters, Adam's moments, the state of the random generator and the best epoch so far,
and identifies the run it belongs to. It is not a model, and never takes the place of one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError, safe_open

from autorec_cli.csr import Array
from autorec_cli.errors import ArtifactError
from autorec_cli.network.adam import AdamState
from autorec_cli.network.autoencoder import Network
from autorec_cli.network.ordinal import Levels, Thresholds
from autorec_cli.storage import checksums, safetensors_writer
from autorec_cli.storage.file_formats import CHECKPOINT, OLD_CHECKPOINT_KEY
from autorec_cli.storage.safetensors_writer import Pieces
from autorec_cli.training.loop.validation import ValidationResult

ADAM = ("parameters", "means", "squares")
"""Large fields of `AdamState`; the names of their tensors in the file begin with these."""
PHASE = 1 << 40
"""More steps than a phase takes."""


@dataclass
class Selection:
    """Best epoch so far.

    `network` is None where a refit will make it, or has taken it.
    """

    network: Network[Array] | None
    epoch: int
    validation: ValidationResult | None

    def take_network(self) -> Network[Array] | None:
        """Hand over the network and forget it."""
        # Otherwise two would be in memory during the refit.
        network, self.network = self.network, None
        return network


NO_SELECTION = Selection(None, 0, None)


@dataclass(frozen=True)
class EpochProgress:
    """Steps taken in an epoch, and their squared errors.

    The errors are summed; each is measured before its step.
    """

    n_steps: int
    squared_error: float


EPOCH_START = EpochProgress(0, 0.0)


@dataclass(frozen=True)
class TrainerState:
    """State of a phase of training.

    Attributes:
        epoch: Completed epochs of the phase.
        progress: Progress of the next one.
        adam: Parameters and the optimizer's moments.
        generator: State of numpy's random generator when `epoch` ended; the draws of `progress` are repeated.
        best: Best epoch of the phase.
    """

    epoch: int
    progress: EpochProgress
    adam: AdamState
    generator: Mapping[str, Any]
    best: Selection


@dataclass(frozen=True)
class Checkpoint:
    """Contents of a checkpoint file.

    Attributes:
        run: Identity of the run: dataset, hyperparameters and the like, as JSON types.
        environment: Device, engine, threads and versions, which change only the last digits of a model.
        history: Facts of the epochs so far, as JSON types.
        outcomes: Best epochs of the phases that ended.
        state: State of the present phase.
    """

    run: Mapping[str, Any]
    environment: Mapping[str, Any]
    history: Sequence[Mapping[str, Any]]
    outcomes: Sequence[Selection]
    state: TrainerState


Tensors = TypeVar("Tensors", Array, Pieces)


def save(checkpoint: Checkpoint, path: Path, like: Path | None = None) -> None:
    """Write a checkpoint, whole or not at all.

    It gets the permissions of `like` if that exists.

    Raises:
        UsageError: it cannot be written, for example because the disk is full.
    """
    state = checkpoint.state
    # Adam's tensors stay out of it: they are written piece by piece, never copied whole.
    tensors: dict[str, Array] = {}
    document = {
        **CHECKPOINT.header(),
        "run": checkpoint.run,
        "environment": checkpoint.environment,
        "history": list(checkpoint.history),
        "epoch": state.epoch,
        "steps_of_epoch": state.progress.n_steps,
        "squared_error": state.progress.squared_error,
        "n_steps": state.adam.n_steps,
        "generator": state.generator,
        "best": _pack_selection("best", state.best, tensors),
        "outcomes": [
            _pack_selection(f"outcome.{number}", outcome, tensors) for number, outcome in enumerate(checkpoint.outcomes)
        ],
    }
    pieces = {name: safetensors_writer.in_one(array) for name, array in tensors.items()}
    for name in ADAM:
        pieces |= {f"{name}.{number}": part for number, part in enumerate(getattr(state.adam, name))}
    safetensors_writer.write(path, CHECKPOINT.name, document, pieces, like)


def load(path: Path) -> Checkpoint:
    """Read a checkpoint.

    The large tensors are checked now, and read again when they are used.

    Raises:
        ArtifactError: it does not exist, is corrupted, or is of another version.
    """
    with _explained(path):
        file: Any = safe_open(path, framework="numpy")  # stays open for the pieces, whatever becomes of the name
        document = _document(path, file.metadata())
        arrays: dict[str, Array] = {}
        pieces: dict[str, Pieces] = {}
        found = {}
        for name in file.keys():  # noqa: SIM118 - not a dict
            array = file.get_tensor(name)
            found[name] = checksums.of_array(array)
            if name.partition(".")[0] in ADAM:
                pieces[name] = Pieces(array.dtype, array.shape, partial(_read_tensor, path, file, name, found[name]))
            else:
                arrays[name] = array
        # Checked as a whole before training starts: hours later would be too late.
        if document["checksums"] != found:
            raise ValueError("its checksums do not match its contents")
        state = _unpack_state(document, arrays, pieces)
        outcomes = [
            _unpack_selection(f"outcome.{number}", outcome, arrays)
            for number, outcome in enumerate(document["outcomes"])
        ]
        return Checkpoint(document["run"], document["environment"], document["history"], outcomes, state)


def _read_tensor(path: Path, file: Any, name: str, checksum: int) -> Iterator[Array]:  # noqa: ANN401
    with _explained(path):
        array = file.get_tensor(name)
        if checksums.of_array(array) != checksum:
            raise ValueError("it was changed while it was read")
    yield array


def read_run(path: Path) -> Mapping[str, Any]:
    """Read the identity of a checkpoint's run, and nothing else.

    Raises:
        ArtifactError: as `load`, as far as the header shows.
    """
    run: Mapping[str, Any] = _read_document(path)["run"]
    return run


def read_progress(path: Path) -> int:
    """Read the number of steps taken.

    It is larger for later checkpoints of a run.

    Raises:
        ArtifactError: as `read_run`.
    """
    document = _read_document(path)
    # A phase begins anew at step 0, but is later than any step of the phases before it.
    return int(document["n_steps"]) + PHASE * len(document["outcomes"])


def _read_document(path: Path) -> dict[str, Any]:
    with _explained(path), safe_open(path, framework="numpy") as file:
        return _document(path, file.metadata())


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn errors of reading `path` into an ArtifactError."""
    try:
        yield
    # The last three come from JSON of another structure.
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise ArtifactError(f"the checkpoint {path} cannot be used ({error}); {CHECKPOINT.again}") from error


def _document(path: Path, metadata: Mapping[str, str] | None) -> dict[str, Any]:
    metadata = metadata or {}
    if OLD_CHECKPOINT_KEY in metadata:
        raise CHECKPOINT.too_old(f"the checkpoint {path}")
    return CHECKPOINT.unseal(metadata[CHECKPOINT.name], f"the checkpoint {path}")


def _pack_selection(name: str, selection: Selection, tensors: dict[str, Array]) -> dict[str, Any]:
    """Convert to JSON types; arrays are added to `tensors`."""
    network, validation = selection.network, selection.validation
    document: dict[str, Any] = {"epoch": selection.epoch, "has_network": network is not None, "validation": None}
    if validation is not None:
        if validation.predictions is not None:
            tensors[f"{name}.predictions"] = validation.predictions
        document["validation"] = [validation.metric, validation.value, validation.baseline, validation.scale]
    if network is not None:
        tensors |= {f"{name}.network.{number}": part for number, part in enumerate(network.parameters())}
        document["functions"] = [network.hidden_activation, network.output_activation, list(network.output_range)]
        thresholds = network.thresholds
        document["levels"] = None if thresholds is None else [list(thresholds.levels.values), thresholds.levels.slope]
    return document


def _unpack_selection(name: str, document: Mapping[str, Any], tensors: Mapping[str, Array]) -> Selection:
    network = validation = None
    if document["has_network"]:
        hidden, output, (low, high) = document["functions"]
        parameters = _numbered(f"{name}.network", tensors)
        # In the order of `Network.parameters`: n weights, W, n biases, b.
        thresholds = None
        if document["levels"] is not None:  # the last ones are theirs
            values, slope = document["levels"]
            weight, bias = parameters[-2:]
            thresholds = Thresholds(weight, bias, Levels(tuple(values), slope))
            del parameters[-2:]
        depth = (len(parameters) - 2) // 2
        network = Network(
            encoder_weights=tuple(parameters[:depth]),
            encoder_biases=tuple(parameters[depth + 1 : -1]),
            decoder_weight=parameters[depth],
            decoder_bias=parameters[-1],
            hidden_activation=hidden,
            output_activation=output,
            output_range=(low, high),
            thresholds=thresholds,
        )
    if document["validation"] is not None:
        metric, value, baseline, scale = document["validation"]
        validation = ValidationResult(metric, value, baseline, tensors.get(f"{name}.predictions"), scale)
    return Selection(network, document["epoch"], validation)


def _unpack_state(
    document: Mapping[str, Any], tensors: Mapping[str, Array], pieces: Mapping[str, Pieces]
) -> TrainerState:
    adam = (_numbered(name, pieces) for name in ADAM)
    return TrainerState(
        epoch=document["epoch"],
        progress=EpochProgress(document["steps_of_epoch"], document["squared_error"]),
        adam=AdamState(document["n_steps"], *adam),
        generator=document["generator"],
        best=_unpack_selection("best", document["best"], tensors),
    )


def _numbered(name: str, parts: Mapping[str, Tensors]) -> list[Tensors]:
    """Parts called `name.0`, `name.1` and so on, in order."""
    n_parts = sum(key.startswith(f"{name}.") for key in parts)
    return [parts[f"{name}.{number}"] for number in range(n_parts)]
