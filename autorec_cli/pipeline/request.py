"""Request for a run of the pipeline, and its reporter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from autorec_cli.data.preparation import PrepareSettings
from autorec_cli.evaluation.gates import Gate
from autorec_cli.evaluation.measurement import EvaluateSettings
from autorec_cli.inference.ranking.settings import RecommendSettings
from autorec_cli.pipeline.generations import KEEP
from autorec_cli.training.request import TrainRequest
from autorec_cli.training.train import Reporter

if TYPE_CHECKING:
    import polars as pl

    from autorec_cli.data.builder.ratings_table import SourceFacts
    from autorec_cli.data.dataset import Dataset
    from autorec_cli.data.readers.layout import Layout
    from autorec_cli.evaluation.measurement import Row


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """A run from files of ratings to a published generation.

    Attributes:
        output: Directory of generations.
        source: See `preparation.prepare`, as are `items` and `test_files`.
        prepare: Settings of the dataset.
        train: Options of training. The run itself decides data, output, warm start and resume; `keep_if_better` is
            None for the metric that suits the objective, `force` compares nothing.
        evaluate: Settings of the evaluation.
        gates: Limits that the model to publish must keep.
        recommend: Settings of the recommendations.
        recommendations: Name of their file.
        keep: Number of generations to keep.
        warm_start: Start training from the current model, if possible.
    """

    output: Path
    source: Any
    train: TrainRequest
    items: Any = None
    test_files: Sequence[str] = ()
    prepare: PrepareSettings = field(default_factory=PrepareSettings)
    evaluate: EvaluateSettings = field(default_factory=EvaluateSettings)
    gates: Sequence[Gate] = ()
    recommend: RecommendSettings = field(default_factory=RecommendSettings)
    recommendations: str = "recommendations.csv"
    keep: int = KEEP
    warm_start: bool = True


class RunReporter(Protocol):
    """Receives the facts of a run, and writes its tables.

    They are in the format that the user wants.
    """

    @property
    def of_training(self) -> Reporter:
        """Receives the facts of the training."""

    def reading(self, name: str, layout: Layout) -> None:
        """Show how a source is read."""

    def skipped(self, source: SourceFacts) -> None:
        """Show which rows of a source were skipped."""

    def prepared(self, dataset: Dataset, path: Path) -> None:
        """Show the dataset."""

    def write_metrics(self, rows: Sequence[Row], path: Path) -> Sequence[Row]:
        """Write rows of metrics; returns them as written."""

    def write_recommendations(self, frames: Iterator[pl.DataFrame], path: Path) -> int:
        """Write recommendations as they come; returns the number of rows."""
