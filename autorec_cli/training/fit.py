"""Training in memory, epoch by epoch or in one call."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from autorec_cli.config import Hyperparameters
from autorec_cli.data.dataset import Dataset
from autorec_cli.errors import UsageError, counted, settings_of_kind
from autorec_cli.inference.scorer import Scorer
from autorec_cli.training.curves import learning_curves
from autorec_cli.training.loop.epoch_result import EpochResult
from autorec_cli.training.plan import check_memory, networks_for
from autorec_cli.training.settings import TrainSettings

if TYPE_CHECKING:
    from autorec_cli.network.device import Place


class Fit(Iterator[EpochResult]):
    """Training that runs while you iterate over it.

    `model` is there after the last epoch. A loop that stops early leaves the training paused, and another loop
    continues it. To drop it, drop the object or call `close`; there is no model then.
    """

    def __init__(self, epochs: Generator[EpochResult, None, Scorer]) -> None:
        self._epochs = epochs
        self._history: list[dict[str, Any]] = []
        self._model: Scorer | None = None

    def __repr__(self) -> str:
        state = "not finished" if self._model is None else str(self._model)
        return f"Fit({counted(len(self._history), 'epoch')}, {state})"

    def __next__(self) -> EpochResult:
        """Train one more epoch.

        Raises:
            TrainingDivergedError: the loss is not finite.
        """
        try:
            result = next(self._epochs)
        except StopIteration as end:
            # A second loop over a finished fit ends at once, with None; the model stays.
            self._model = end.value or self._model
            if end.value:
                end.value.provenance["curves"] = learning_curves(self._history)
            raise
        self._history.append(result.to_record())
        return result

    def close(self) -> None:
        """End the training; its memory and threads are released."""
        self._epochs.close()

    @property
    def model(self) -> Scorer:
        """The trained model.

        Raises:
            UsageError: the last epoch has not ended.
        """
        if self._model is None:
            raise UsageError("there is no model before the last epoch; iterate over the fit to its end")
        return self._model


def fit(dataset: Dataset, settings: TrainSettings | None = None, *, device: str = "auto", threads: int = 0) -> Fit:
    """Train a model epoch by epoch.

    The number of epochs is selected on the validation set; the model is then refitted on training and validation sets.
    By default the model predicts ratings with one part and ranks items with another (a `JointModel`). The first has a
    network of each variant, whose predictions are averaged (a `Blend`), unless users and items are of very different
    numbers, or have very few ratings. Where all ratings are equal, the model only ranks.

    Args:
        dataset: Ratings with their ids.
        settings: Hyperparameters; defaults if None.
        device: "auto", "cpu", "cuda" or "cuda:N".
        threads: CPU threads, 0 for one per core.

    Returns:
        An iterator of one `EpochResult` per epoch, with the model at its end.

    Raises:
        UsageError: the device is not available, or the train split is empty.
        NotEnoughMemoryError: training would not fit into memory.
    """
    from autorec_cli.network.device import find_place

    networks = networks_for(settings_of_kind(TrainSettings, settings), dataset)
    place = find_place(device, threads)
    # Before the generator exists: the error comes from `fit`, not from the first epoch.
    check_memory(dataset, networks, place)
    return Fit(_train(dataset, networks, place))


def train(dataset: Dataset, settings: TrainSettings | None = None, *, device: str = "auto", threads: int = 0) -> Scorer:
    """Train a model; see `fit`.

    Raises:
        UsageError: the device is not available, or the train split is empty.
        NotEnoughMemoryError: training would not fit into memory.
        TrainingDivergedError: the loss is not finite.
    """
    fitting = fit(dataset, settings, device=device, threads=threads)
    for _ in fitting:
        pass
    return fitting.model


def _train(dataset: Dataset, networks: Sequence[Hyperparameters], place: Place) -> Generator[EpochResult, None, Scorer]:
    from autorec_cli.training.export import provenance_of
    from autorec_cli.training.loop.phases import NetworkTraining
    from autorec_cli.training.networks import fit_networks

    fingerprint = dataset.fingerprint()
    trainings = [NetworkTraining(dataset, settings, place.device) for settings in networks]
    # A dataset in memory has no path; its fingerprint identifies it all the same.
    trained = yield from fit_networks(
        trainings, lambda fitted: provenance_of(fitted, None, fingerprint, dataset.info.get("split"))
    )
    return trained.model
