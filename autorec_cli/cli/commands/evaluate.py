"""`autorec evaluate`: metrics of models, compared with simple baselines."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
from autorec_cli.data.dataset import SPLITS
from autorec_cli.errors import ArtifactError
from autorec_cli.evaluation.gates import Gate, check_gates, check_metric, enforce, lower_limit, upper_limit
from autorec_cli.runtime.process_group import (
    EVALUATION_TIMEOUT,
    ProcessGroup,
    connected,
    current_process_group,
    require_same,
)
from autorec_cli.storage import checksums

if TYPE_CHECKING:
    from autorec_cli.data.dataset import Dataset
    from autorec_cli.evaluation.evaluate import EvaluateSettings, Row
    from autorec_cli.inference.scorer import Scorer

EXAMPLES = """
[bold]Examples[/bold]

autorec evaluate item.model

autorec evaluate item.model user.model --blend -o blend.model

autorec evaluate item.model user.model --ranking -k 20

autorec evaluate item.model --format json | jq '.[0].rmse'
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
    from autorec_cli.inference.blending import blend

    settings, gates = _settings(options)
    destination, process_group = _Destination.of(options), current_process_group()
    if not process_group.is_first:
        LOG.setLevel(logging.ERROR)  # the first process warns for all
    with destination.reserved(options.wait_lock) if process_group.is_first else nullcontext():
        named, prepared = _read(options, settings, gates)
        if options.blend:
            named.append((destination.blend_name, blend(named, prepared.valid.data)))
        rows = _measure(options.models, named, prepared, settings, process_group)
        if process_group.is_first:
            destination.save_blend(named[-1][1])
            destination.write(rows, settings)
    if process_group.is_first:
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


def _read(
    options: EvaluateOptions, settings: EvaluateSettings, gates: Sequence[Gate]
) -> tuple[list[tuple[str, Scorer]], Dataset]:
    """Load the models by name and their dataset, and check that they belong together."""
    from autorec_cli.data import dataset
    from autorec_cli.evaluation.evaluate import check_models

    named = _load(options.models)
    check_gates(gates, named, settings.k)
    prepared = dataset.load_dataset(options.data or _dataset_of(named))
    check_models(named, prepared, settings.split)
    return named, prepared


def _load(paths: Sequence[Path]) -> list[tuple[str, Scorer]]:
    """Load models, each once, and name them.

    The name is that of the file, or the path if two files or a baseline have it.
    """
    from autorec_cli.evaluation.evaluate import POPULARITY_BASELINE, RATING_BASELINES
    from autorec_cli.inference import model_file

    paths = _distinct(paths)
    taken = [*(path.name for path in paths), *RATING_BASELINES, POPULARITY_BASELINE]
    names = [str(path.absolute()) if taken.count(path.name) > 1 else path.name for path in paths]
    return list(zip(names, map(model_file.load_model, paths), strict=True))


def _distinct(paths: Sequence[Path]) -> list[Path]:
    return list({path.resolve(): path for path in paths}.values())


def _dataset_of(named: Sequence[tuple[str, Scorer]]) -> Path:
    name, model = named[0]
    found = Path(model.provenance["dataset"])
    if not found.exists():
        raise ArtifactError(
            f"the dataset that {name} was trained on is no longer at {found}; say where it is with --data DIR"
        )
    return found


def _measure(
    paths: Sequence[Path],
    named: Sequence[tuple[str, Scorer]],
    prepared: Dataset,
    settings: EvaluateSettings,
    process_group: ProcessGroup,
) -> list[Row]:
    """Measure models, each process some of the users."""
    from autorec_cli.evaluation.evaluate import measure

    protocol = settings.protocol([model for _, model in named], prepared.rating_scale)
    if protocol is not None:
        say(f"recommending from all items a user has not rated before; {settings.split} ratings from "
            f"{protocol.relevant_from:g} are relevant")  # fmt: skip
    rankers = [name for name, model in named if not model.predicts_ratings]
    if 0 < len(rankers) < len(named):
        say(f"ranking metrics only, as these models output scores, not ratings: {', '.join(rankers)}")
    with connected(process_group, EVALUATION_TIMEOUT):
        if process_group.size > 1:
            _require_same(paths, {**asdict(settings), "models": len(named)}, process_group)
        partition = (process_group.rank, process_group.size)
        measured = measure(named, prepared, settings.split, protocol, partition)
        return [of_model.reduced(process_group.sum).row(prepared.rating_scale) for of_model in measured]


def _require_same(paths: Sequence[Path], asked: dict[str, Any], process_group: ProcessGroup) -> None:
    """Check that all processes do the same."""
    read = {f"checksum of model {n}": checksums.of_file(path) for n, path in enumerate(_distinct(paths), 1)}
    require_same({"autorec-cli": __version__, **read, **asked}, process_group)
