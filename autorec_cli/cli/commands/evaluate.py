"""`autorec evaluate`: metrics of models, compared with simple baselines."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autorec_cli import __version__
from autorec_cli.cli.console import LOG, say, warn
from autorec_cli.cli.metric_tables import complete_rows, to_frame, write_tables
from autorec_cli.cli.options import (
    UNATTENDED,
    CsvSafe,
    Format,
    InputFile,
    OneOf,
    OutputFile,
    Ranking,
    RelevantFrom,
    TopK,
    WaitLock,
)
from autorec_cli.cli.output import Writer, choose_format, open_output, reserve_output, writer_for
from autorec_cli.data.dataset_checks import SPLITS
from autorec_cli.evaluation.gates import Gate, check_gates, check_metric, enforce, lower_limit, upper_limit
from autorec_cli.runtime.process_group import ProcessGroup, current_process_group
from autorec_cli.storage import checksums

if TYPE_CHECKING:
    from autorec_cli.evaluation.evaluate import EvaluateSettings
    from autorec_cli.evaluation.measurement import Row
    from autorec_cli.inference.scorer import Scorer

EXAMPLES = """
[bold]Examples[/bold]

autorec evaluate ratings.model

autorec evaluate item.model user.model --blend -o blend.model

autorec evaluate ratings.model user.model --ranking -k 20

autorec evaluate ratings.model --format json | jq '.[0].rmse'
"""

MODEL_ENDING = ".model"


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """Options of `autorec evaluate`."""

    models: Annotated[
        list[Path], typer.Argument(metavar="MODEL", help="Model files made by `autorec train`."), InputFile()
    ]
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Output file; - is stdout. With --blend, NAME.model saves the blend there.",
        ),
        OutputFile(may_replace=lambda options, found: options.blend and found == "a blend"),
    ] = "-"
    format: Format = None
    csv_safe: CsvSafe = False
    on: Annotated[str, typer.Option("--on", help="Ratings to predict."), OneOf(SPLITS)] = "test"
    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Dataset directory.", show_default="where it was when MODEL was trained"),
        InputFile(),
    ] = None
    blend: Annotated[
        bool,
        typer.Option(
            "--blend",
            help="Also evaluate a weighted mean of the models, with weights fitted on the validation set; -o "
            "NAME.model saves it as a model for `recommend`.",
        ),
    ] = False
    ranking: Ranking = False
    top_k: TopK = 10
    relevant_from: RelevantFrom = None
    fail_above: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METRIC=NUMBER",
            help="Exit with status 8 if this metric of a model is above NUMBER, as in rmse=0.85; can be repeated.",
            rich_help_panel=UNATTENDED,
        ),
    ] = None
    fail_below: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METRIC=NUMBER",
            help="Exit with status 8 if this metric of a model is below NUMBER, as in ndcg@10=0.3; can be repeated.",
            rich_help_panel=UNATTENDED,
        ),
    ] = None
    wait_lock: WaitLock = 0.0


def evaluate_command(options: EvaluateOptions) -> list[Row]:
    """Evaluate models on held-out ratings and report how they compare with simple baselines."""
    from autorec_cli.evaluation.evaluate import log_findings

    settings, gates = _settings(options)
    destination, process_group = _Destination.of(options), current_process_group()
    if not process_group.is_first:
        LOG.setLevel(logging.ERROR)  # the first process warns for all
        _, rows = _evaluate(options, settings, gates, destination.blend_name, process_group)
        return complete_rows(rows)
    with destination.reserved(options.wait_lock):
        named, rows = _evaluate(options, settings, gates, destination.blend_name, process_group)
        destination.save_blend(named[-1][1])
        destination.write(rows, settings)
    # After the output: a failed gate must not keep the metrics from those who ask why.
    log_findings(rows, len(named), settings)
    enforce(rows[: len(named)], gates)
    return complete_rows(rows)


def _settings(options: EvaluateOptions) -> tuple[EvaluateSettings, list[Gate]]:
    """Settings, and the quality gates, which may need ranking metrics."""
    from autorec_cli.evaluation.evaluate import EvaluateSettings

    gates = [*map(upper_limit, options.fail_above or ()), *map(lower_limit, options.fail_below or ())]
    settings = EvaluateSettings(options.on, options.ranking, options.top_k, options.relevant_from)
    needs_ranking = [check_metric(gate.metric, settings.k, gate.flag) for gate in gates]
    return replace(settings, ranking=settings.ranking or any(needs_ranking)), gates


@dataclass(frozen=True)
class _Destination:
    """Output of the rows, and the file of the blend."""

    output: str
    format: str
    write_frames: Writer
    blends: bool
    blend_file: Path | None

    @classmethod
    def of(cls, options: EvaluateOptions) -> _Destination:
        """Check the options.

        With --blend, `-o NAME.model` is the file of the blend.
        """
        file = Path(options.output) if options.blend and options.output.endswith(MODEL_ENDING) else None
        output = "-" if file is not None else options.output
        format = choose_format(options.format, output)
        return cls(output, format, writer_for(format, csv_safe=options.csv_safe), options.blend, file)

    @property
    def blend_name(self) -> str:
        """Name of the blend in the rows."""
        return "blend" if self.blend_file is None else self.blend_file.name

    @contextmanager
    def reserved(self, wait_lock: float) -> Iterator[None]:
        """Hold the locks of both files."""
        with (
            reserve_output(self.output, wait_lock, say, warn),
            reserve_output(str(self.blend_file or "-"), wait_lock, say, warn),
        ):
            yield

    def save_blend(self, blend: Scorer) -> None:
        """Save the blend if it has a file."""
        from autorec_cli.inference import model_file

        if self.blend_file is not None:
            model_file.save_model(blend, self.blend_file)
            say(f"saved the blend as {self.blend_file}; recommend with it: autorec recommend {self.blend_file}")
        elif self.blends and self.output != "-":
            say(f"{self.output} holds metrics, the blend is not saved; --output NAME{MODEL_ENDING} saves it")

    def write(self, rows: Sequence[Row], settings: EvaluateSettings) -> None:
        """Write the rows."""
        with open_output(self.output) as stream:
            if self.format == "table":
                write_tables(rows, settings.split, settings.k, stream)
            else:
                self.write_frames([to_frame(rows)], stream)


def _evaluate(
    options: EvaluateOptions,
    settings: EvaluateSettings,
    gates: Sequence[Gate],
    blend_name: str,
    process_group: ProcessGroup,
) -> tuple[list[tuple[str, Scorer]], list[Row]]:
    """Load models and dataset, and measure; returns both models and rows."""
    from autorec_cli.data import dataset
    from autorec_cli.evaluation.evaluate import check_models, evaluate_in_group, load_models, training_data_of
    from autorec_cli.inference.blending import blend

    files = list({path.resolve(): path for path in options.models}.values())  # each once
    named = load_models(files)
    check_gates(gates, named, settings.k)
    prepared = dataset.load_dataset(options.data or training_data_of(named))
    check_models(named, prepared, settings.split)
    if options.blend:
        named.append((blend_name, blend(named, prepared.valid.data)))
    facts = _facts(files) if process_group.size > 1 else {}
    return named, evaluate_in_group(named, prepared, settings, process_group, facts)


def _facts(files: Sequence[Path]) -> dict[str, str | int]:
    """Program and models that all processes must have in common."""
    return {
        "autorec-cli": __version__,
        **{f"checksum of model {number}": checksums.of_file(file) for number, file in enumerate(files, 1)},
    }
