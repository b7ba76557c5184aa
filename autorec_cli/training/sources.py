"""Training data of a run, its networks, and its outcome.

For a single process, which may train several networks, and for one of several processes, which train one together.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from autorec_cli.config import Hyperparameters
from autorec_cli.data import dataset
from autorec_cli.data.dataset import Dataset
from autorec_cli.errors import UsageError
from autorec_cli.inference.files import model_file
from autorec_cli.inference.scorer import Scorer
from autorec_cli.network.memory_estimate import Need, Shape, training_need
from autorec_cli.runtime.partition import Partition
from autorec_cli.runtime.process_group import ProcessGroup
from autorec_cli.storage.file_kinds import is_encoded
from autorec_cli.training.plan import complete_networks, networks_for, shape_of
from autorec_cli.training.retraining.promotion import Promotion, compare_with_current, load_current, log_replacement
from autorec_cli.training.retraining.warm_start import load_older_model, prepare_start
from autorec_cli.training.settings import TrainSettings

if TYPE_CHECKING:
    from autorec_cli.training.checkpoints.checkpointer import Checkpointer
    from autorec_cli.training.loop.epoch_result import EpochResult
    from autorec_cli.training.loop.phases import Fitted
    from autorec_cli.training.loop.validation import ValidationResult
    from autorec_cli.training.request import TrainRequest


@dataclass(frozen=True)
class Outcome:
    """Outcome of the training, before the model is saved.

    Attributes:
        provenance: See `export.provenance_of` and `networks.fit_networks`.
        validations: Result of each objective before the refit; none without validation ratings.
        save: Writes the model file, or keeps the current one; returns that decision, None if there was none to take.
    """

    provenance: dict[str, Any]
    validations: Sequence[ValidationResult]
    save: Callable[[], Promotion | None]


class WholeSource:
    """Training data of a single process, with warm start and promotion.

    Raises:
        ArtifactError: the dataset or the older model cannot be read.
    """

    def __init__(self, request: TrainRequest) -> None:
        self._request = request
        self._prepared = dataset.load_dataset(request.data)
        self._older = None if request.warm_start is None else load_older_model(request.warm_start)
        if self._older is None:
            self.networks = networks_for(request.settings, self._prepared)
        else:
            self.networks = self._older.completed(request.settings, self._prepared)
        self.shape = shape_of(self._prepared)
        self.fingerprint = self._prepared.fingerprint()
        self.split, self.feedback = (self._prepared.info.get(name) for name in ("split", "feedback"))
        self.checksum = self._older.checksum if self._older else None

    def read(self) -> None:
        """Load the current model, and prepare the start.

        The current model is needed only if the new one must not be worse.
        """
        # Now and not after hours of training: it may be unreadable, or not comparable.
        metric, output = self._request.keep_if_better, self._request.output
        objectives = {network.objective for network in self.networks}
        self._current = None if metric is None else load_current(output, self._prepared, metric, objectives)
        warm = prepare_start(self._older, self._prepared, self.networks)
        self.dataset: Dataset = warm.dataset
        self._warm = warm
        self.training_shape = shape_of(warm.dataset)

    def fit(self, device: str, checkpointer: Checkpointer) -> Generator[EpochResult, None, Outcome]:
        """Train the networks, one result after each epoch."""
        from autorec_cli.training.loop.phases import NetworkTraining
        from autorec_cli.training.networks import fit_networks

        trainings = [
            NetworkTraining(self.dataset, settings, device, start, checkpointer=checkpointer)
            for settings, start in zip(self.networks, self._warm.starts, strict=True)
        ]
        trained = yield from fit_networks(trainings, self._describe, self._warm.weights)
        return Outcome(trained.model.provenance, trained.validations, partial(self._save, trained.model))

    def need(self, engine: str) -> Need:
        """Memory that training needs."""
        return training_need(shape_of(self.dataset), self.networks, engine)

    def _describe(self, fitted: Fitted) -> dict[str, Any]:
        from autorec_cli.training.export import provenance_of

        # Entries of a warm start win: it may have been fitted to more than this run's splits.
        return {**provenance_of(fitted, self._request.data, self.fingerprint, self.split), **self._warm.provenance}

    def _save(self, model: Scorer) -> Promotion | None:
        """Write the model file, unless the current model is better."""
        metric, output = self._request.keep_if_better, self._request.output
        if metric is None:
            model_file.save_model(model, output)
            return None
        promotion = compare_with_current(model, self._current, self._prepared, metric, self._request.tolerance)
        log_replacement(promotion, output)
        if promotion.reason is None:
            if promotion.deficits:
                model.provenance["promotion"] = dict(promotion.deficits)
            model_file.save_model(model, output)
        return promotion

    def process_facts(self) -> list[dict[str, int]]:
        """Nothing, for a single process."""
        return []


@dataclass(frozen=True)
class Part:
    """Network to train, and this process's columns of its ratings."""

    settings: Hyperparameters
    partition: Partition
    dataset: Dataset


class PartitionedSource:
    """Training data of one of several processes, or encoded ratings.

    They train one network of each objective.

    Raises:
        ArtifactError, InputDataError: the dataset cannot be read, or differs from that of the first process.
        UsageError: the settings need a prepared dataset in one process.
    """

    checksum: int | None = None

    def __init__(self, request: TrainRequest, process_group: ProcessGroup) -> None:
        from autorec_cli.training import distributed

        settings = _settings_of_group(request)
        self._request, self._ratings = request, (ratings := distributed.open_ratings(request.data, process_group))
        self.shape = self.training_shape = Shape(ratings.n_users, ratings.n_items, *ratings.n_ratings.values())
        # No blend: to fit its weights, a process would need the validation ratings of all.
        self.networks = complete_networks(settings, self.shape, ratings.facts(), can_blend=False)
        self.fingerprint = ratings.fingerprint
        self.split, self.feedback = (ratings.info.get(name) for name in ("split", "feedback"))

    def read(self) -> None:
        """Read the ratings of this process's columns.

        The variant of a network decides whether they are users or items.
        """
        from autorec_cli.training.distributed import read_partition

        self._parts = []
        for settings in self.networks:
            partition = self._ratings.partition(settings.variant)
            self._parts.append(Part(settings, partition, read_partition(self._ratings, settings, partition)))

    def need(self, engine: str) -> Need:
        """Memory that training needs.

        Networks are trained one after the other, but the host keeps the ratings of all.
        """
        needs = [training_need(shape_of(part.dataset), [part.settings], engine) for part in self._parts]
        return Need(
            sum(need.host for need in needs), max(need.device for need in needs), max(need.ratings for need in needs)
        )

    def fit(self, device: str, checkpointer: Checkpointer) -> Generator[EpochResult, None, Outcome]:
        """Train this process's columns, one result after each epoch."""
        from autorec_cli.training import distributed
        from autorec_cli.training.export import provenance_of
        from autorec_cli.training.loop.phases import NetworkTraining, select_and_refit
        from autorec_cli.training.networks import joint_provenance

        trained = []
        for part in self._parts:
            training = NetworkTraining(
                part.dataset, part.settings, device, partition=part.partition, checkpointer=checkpointer
            )
            fitted = yield from select_and_refit(training)
            provenance = provenance_of(fitted, self._request.data, self.fingerprint, self.split)
            trained.append(distributed.TrainedPart(part.settings, fitted, provenance))
        of_model = trained[0].provenance
        if len(trained) > 1:
            of_model = joint_provenance([(part.provenance, part.settings) for part in trained])
        validations = [part.fitted.validation for part in trained if part.fitted.validation is not None]
        # Every process calls it, and the first one writes.
        save = partial(distributed.save, trained, self._ratings, of_model, self._request.output)
        return Outcome(of_model, validations, save)

    def process_facts(self) -> list[dict[str, int]]:
        """Columns and ratings of the first network, and memory, of each process."""
        from autorec_cli.training import distributed

        return distributed.process_facts(self._parts[0].dataset, self._parts[0].partition)


def _settings_of_group(request: TrainRequest) -> TrainSettings:
    """Settings of a run whose ratings are in several processes, or encoded.

    Raises:
        UsageError: they need others than this process has.
    """
    asked = "--linear-units" if request.settings.linear_units else request.settings.averaged_by
    settings = replace(request.settings, linear_units=0)
    if not is_encoded(request.data):
        if asked:
            raise UsageError(f"{asked} needs the whole dataset in one process: no torchrun")
        return settings
    if asked or settings.variant not in (None, "item"):
        raise UsageError(
            f"{asked or f'--variant {settings.variant}'} needs a prepared dataset: encoded ratings are read user by "
            f"user, as --variant item needs them; run `autorec prepare --encoded {request.data} -o DATASET` first"
        )
    return replace(settings, variant="item")


Source = WholeSource | PartitionedSource


def open_training_data(request: TrainRequest, process_group: ProcessGroup) -> Source:
    """Open the training data of this process.

    Raises:
        ArtifactError, InputDataError: the dataset or the older model cannot be read.
        UsageError: the settings need a prepared dataset in one process.
    """
    if process_group.size == 1 and not is_encoded(request.data):
        return WholeSource(request)
    return PartitionedSource(request, process_group)
