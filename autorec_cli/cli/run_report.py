"""Report of `autorec run` on stderr, and the tables that it writes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autorec_cli.cli.console import show_facts
from autorec_cli.cli.metric_tables import complete_rows, to_frame
from autorec_cli.cli.output import Writer, counted_blocks, open_output, writer_for
from autorec_cli.cli.preparation_report import announcer, facts_of, readable, warn_about_dataset, warn_about_skipped
from autorec_cli.cli.training_report import TrainingReport

if TYPE_CHECKING:
    import polars as pl

    from autorec_cli.data.builder.ratings_table import SourceFacts
    from autorec_cli.data.dataset import Dataset
    from autorec_cli.data.readers.layout import Layout
    from autorec_cli.evaluation.measurement import Row


@dataclass(frozen=True)
class RunReport:
    """Shows a run; see `pipeline.request.RunReporter`.

    Attributes:
        write: Writer of the recommendations.
        of_training: Shows the training.
        announce: Shows the layout of a source.
    """

    write: Writer
    of_training: TrainingReport
    announce: Callable[[str, Layout], None] = field(default_factory=announcer)

    def reading(self, name: str, layout: Layout) -> None:
        """Show how a source is read, if that is new."""
        self.announce(name, layout)

    def skipped(self, source: SourceFacts) -> None:
        """Warn of skipped rows."""
        warn_about_skipped(source)

    def prepared(self, dataset: Dataset, path: Path) -> None:
        """Show the dataset, and warn of what is odd."""
        warn_about_dataset(dataset)
        show_facts("dataset", readable(facts_of(dataset, path)))

    def write_metrics(self, rows: Sequence[Row], path: Path) -> Sequence[Row]:
        """Write metrics as `evaluate --format json` does."""
        with open_output(str(path)) as stream:
            writer_for("json")([to_frame(rows)], stream)
        return complete_rows(rows)

    def write_recommendations(self, frames: Iterator[pl.DataFrame], path: Path) -> int:
        """Write recommendations as `recommend` does."""
        written: list[int] = []
        with open_output(str(path)) as stream:
            self.write(counted_blocks(frames, written), stream)
        return sum(written)


def show_run(document: Mapping[str, Any], output: Path) -> None:
    """Show a published generation."""
    metrics, recommended = document["metrics"], document["recommendations"]
    shown = [
        f"{name} {value:.4f}"
        for name, value in metrics.items()
        if value is not None and (name in ("rmse", "mae") or name.startswith("ndcg@"))
    ]
    seconds = ", ".join(f"{stage} {taken:.1f} s" for stage, taken in document["seconds"].items())
    facts = [
        ("generation", f"{document['generation']} in {output}"),
        ("model", "new" if document["promoted"] else "kept, as it is better than the new one"),
        ("test metrics", ", ".join(shown) or "none"),
        (
            "recommendations",
            f"{output / recommended['file']}, {recommended['n_rows']:,} for {recommended['n_users']:,} users",
        ),
        ("time", seconds),
    ]
    show_facts("published", facts)
