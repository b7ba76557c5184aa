"""Training data of a run, and the way its model is saved: for a single process, and for one of several."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from autorec_cli.data import dataset
from autorec_cli.data.dataset import Dataset
from autorec_cli.data.lazy_dataset import LazyDataset
from autorec_cli.inference import model_file
from autorec_cli.network.memory_estimate import Shape
from autorec_cli.runtime.partition import Partition, partition_columns
from autorec_cli.runtime.process_group import ProcessGroup
from autorec_cli.training.plan import complete, shape_of
from autorec_cli.training.promotion import load_current, require_no_worse
from autorec_cli.training.warm_start import load_older_model, prepare_start

if TYPE_CHECKING:
    from autorec_cli.training.phases import Fitted
    from autorec_cli.training.train import TrainRequest
    from autorec_cli.training.trainer import Start


class WholeSource:
    """Training data of a single process, with warm start and promotion.

    Raises:
        ArtifactError: the dataset or the older model cannot be read.
    """

    partition: Partition | None = None

    def __init__(self, request: TrainRequest) -> None:
        self._request = request
        self._prepared = dataset.load_dataset(request.data)
        self._older = None if request.warm_start is None else load_older_model(request.warm_start)
        settings = request.settings if self._older is None else self._older.completed(request.settings)
        self.settings = complete(settings, self._prepared)
        self.shape = shape_of(self._prepared)
        self.fingerprint = self._prepared.fingerprint()
        self.split = self._prepared.info.get("split")
        self.checksum = self._older.checksum if self._older else None

    def read(self) -> None:
        """Load the current model, if the new one must not be worse, and prepare the start."""
        metric, output = self._request.keep_if_better, self._request.output
        objective = self.settings.objective
        self._current = None if metric is None else load_current(output, self._prepared, metric, objective)
        warm = prepare_start(self._older, self._prepared, self.settings)
        self.dataset: Dataset = warm.dataset
        self.start: Start | None = warm.start
        self.provenance = warm.provenance
        self.training_shape = shape_of(warm.dataset)

    def save(self, fitted: Fitted, provenance: Mapping[str, Any]) -> None:
        """Write the model file, unless the current model is better."""
        from autorec_cli.training.export import to_model

        metric, output = self._request.keep_if_better, self._request.output
        model = to_model(fitted, self.dataset, self.settings, provenance)
        if self.dataset is not self._prepared:  # there are predictions for a part of its validation set only
            model = replace(model, valid_predictions=model.valid_predictions[:0])
        if self._current is not None and metric is not None:
            require_no_worse(model, self._current, self._prepared, metric, output)
        model_file.save_model(model, output)

    def process_facts(self) -> list[dict[str, int]]:
        """Nothing, for a single process."""
        return []


class PartitionedSource:
    """Training data of one of several processes.

    Raises:
        ArtifactError: the dataset cannot be read, or differs from that of the first process.
    """

    start: Start | None = None
    checksum: int | None = None
    provenance: Mapping[str, Any] = {}

    def __init__(self, request: TrainRequest, process_group: ProcessGroup) -> None:
        lazy = LazyDataset(request.data, process_group)
        self._request, self._lazy, self._process_group = request, lazy, process_group
        self.shape = self.training_shape = Shape(lazy.n_users, lazy.n_items, *lazy.n_ratings.values())
        sides = (lazy.n_users, lazy.n_items)
        self.settings = request.settings.complete(sides, self.shape.n_train, lazy.moments(process_group))
        self.fingerprint = lazy.fingerprint
        self.split = lazy.info.get("split")

    def read(self) -> None:
        """Read the ratings of this process's columns."""
        from autorec_cli.training.distributed import read_partition

        self.partition = partition_columns(self._lazy.counts(self.settings.variant), self._process_group)
        self.dataset: Dataset = read_partition(self._lazy, self.settings, self.partition)

    def save(self, fitted: Fitted, provenance: Mapping[str, Any]) -> None:
        """Write the model file, together with the other processes."""
        from autorec_cli.training import distributed

        distributed.save(fitted, self._lazy, self.settings, provenance, self._request.output)

    def process_facts(self) -> list[dict[str, int]]:
        """Columns, ratings and memory of each process."""
        from autorec_cli.training import distributed

        return distributed.process_facts(self.dataset, self.partition)


Source = WholeSource | PartitionedSource


def open_training_data(request: TrainRequest, process_group: ProcessGroup) -> Source:
    """Open the training data of this process.

    Raises:
        ArtifactError: the dataset or the older model cannot be read.
    """
    return WholeSource(request) if process_group.size == 1 else PartitionedSource(request, process_group)
