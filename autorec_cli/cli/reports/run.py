"""Report of `autorec run` on stderr, and its tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autorec_cli.cli.console import show_facts
from autorec_cli.cli.output.destination import open_output
from autorec_cli.cli.output.formats import Writer, counted_blocks, writer_for
from autorec_cli.cli.reports.epochs import metric_label, metric_text
from autorec_cli.cli.reports.metric_tables import complete_rows, to_frame
from autorec_cli.cli.reports.preparation import announcer, facts_of, readable, warn_about_dataset, warn_about_skipped
from autorec_cli.cli.reports.training import TrainingReport

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
        measured: Rows of metrics as written, for `show_run`.
    """

    write: Writer
    of_training: TrainingReport
    announce: Callable[[str, Layout], None] = field(default_factory=announcer)
    measured: list[Row] = field(default_factory=list)

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
        self.measured[:] = complete_rows(rows)
        return self.measured

    def write_recommendations(self, frames: Iterator[pl.DataFrame], path: Path) -> int:
        """Write recommendations as `recommend` does."""
        written: list[int] = []
        with open_output(str(path)) as stream:
            self.write(counted_blocks(frames, written), stream)
        return sum(written)


def show_run(document: Mapping[str, Any], rows: Sequence[Row], output: Path) -> None:
    """Show a published generation, and its metrics beside those of baselines."""
    recommended = document["recommendations"]
    seconds = ", ".join(f"{stage} {taken:.1f}" for stage, taken in document["seconds"].items())
    facts = [
        ("generation", f"{document['generation']} in {output}"),
        ("model", "new" if document["promoted"] else "kept from the last run; the warning says why"),
        *_metric_facts(rows),
        (
            "recommendations",
            f"{output / recommended['file']}, {recommended['n_rows']:,} for {recommended['n_users']:,} users",
        ),
        ("time", f"{seconds} s"),
    ]
    show_facts("published", facts)


def _metric_facts(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """RMSE and nDCG of the first row, each with its baseline."""
    from autorec_cli.evaluation.measurement import BIAS_BASELINE, POPULARITY_BASELINE

    by_name = {row["model"]: row for row in rows}
    facts = []
    for metric, value in rows[0].items():
        baseline = BIAS_BASELINE if metric == "rmse" else POPULARITY_BASELINE if metric.startswith("ndcg@") else None
        if baseline is not None and value is not None:
            texts = [metric_text(metric, number) for number in (value, by_name[baseline][metric])]
            name = baseline.removeprefix("user+item ")
            facts.append((f"test {metric_label(metric)}", f"{texts[0]} ({name} baseline: {texts[1]})"))
    return facts or [("test metrics", "none")]
