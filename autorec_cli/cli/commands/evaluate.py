"""`autorec evaluate`: models and held-out ratings -> a table of metrics, next to baselines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from autorec_cli import __version__
from autorec_cli.cli.console import say, warn
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
from autorec_cli.cli.output import choose_format, open_output, reserve_output, write_table, writer_for
from autorec_cli.errors import ArtifactError, UsageError
from autorec_cli.evaluation.gates import Gate, check_metric, enforce, parse_gate
from autorec_cli.runtime.process_group import (
    EVALUATION_TIMEOUT,
    ProcessGroup,
    connected,
    current_process_group,
    require_same,
)
from autorec_cli.storage import checksums

Row = dict[str, Any]

if TYPE_CHECKING:
    import polars as pl

    from autorec_cli.data.dataset import Dataset
    from autorec_cli.inference.model import Blend, Predictor

EXAMPLES = """
[bold]Examples[/bold]

autorec evaluate item.model

autorec evaluate item.model user.model --blend -o blend.model

autorec evaluate item.model user.model --ranking -k 20

autorec evaluate item.model --format json | jq '.[0].rmse'
"""

PARTS = ("test", "valid", "train")
BASELINES = ("global mean", "item mean", "user+item bias", "popularity")
MODEL_ENDING = ".model"
BLEND = "blend"
CLEARLY_WORSE = 1.005
"""A model whose RMSE is above the bias baseline's by more than this factor is called worse in words."""


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
    on: Annotated[str, typer.Option("--on", help="Ratings to predict."), OneOf(PARTS)] = "test"
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
    return evaluate(
        options.models,
        part=options.on,
        data=options.data,
        ranking=options.ranking,
        k=options.top_k,
        relevant_from=options.relevant_from,
        blend=options.blend,
        gates=[
            *(parse_gate(text, above=True) for text in options.fail_above or ()),
            *(parse_gate(text, above=False) for text in options.fail_below or ()),
        ],
        output=options.output,
        format=options.format,
        csv_safe=options.csv_safe,
        wait_lock=options.wait_lock,
    )


def evaluate(
    paths: Sequence[Path],
    *,
    part: str = "test",
    data: Path | None = None,
    ranking: bool = False,
    k: int = 10,
    relevant_from: float | None = None,
    blend: bool = False,
    gates: Sequence[Gate] = (),
    output: str = "-",
    format: str | None = None,
    csv_safe: bool = False,
    wait_lock: float = 0.0,
) -> list[Row]:
    """Write a row of metrics for each model file and each baseline; returns the rows as they are written.

    Of several processes that torchrun has started each measures some of the users, and the first one writes.

    Raises:
        UsageError: an option has a value that cannot work, or the processes were not started alike.
        LockedError: another run is writing `output`.
        ArtifactError: a file cannot be used, models and dataset do not belong together, or the part is empty.
        QualityGateError: a model misses one of `gates`; its metrics are written all the same.
    """
    from autorec_cli.data import dataset
    from autorec_cli.evaluation.evaluate import metric_rows
    from autorec_cli.evaluation.ranking import RankingProtocol, default_relevance
    from autorec_cli.inference import model_file

    if part not in PARTS:
        raise UsageError(f"--on must be one of {', '.join(PARTS)}, not {part!r}")
    if k < 1:
        raise UsageError(f"--top-k must be a whole number from 1, not {k}")
    # Every gate is checked, and one that is about lists asks for them.
    ranking = any([ranking, *(check_metric(gate.metric, k, gate.flag) for gate in gates)])
    stored = Path(output) if blend and output.endswith(MODEL_ENDING) else None
    if stored is not None:
        output = "-"
    format = choose_format(format, output)
    write = writer_for(format, csv_safe=csv_safe)
    paths = list({path.resolve(): path for path in paths}.values())
    world = current_process_group()
    with ExitStack() as reserved:
        for place in (output, str(stored or "-")) if world.is_first else ():
            reserved.enter_context(reserve_output(place, wait_lock, say, warn))
        models: list[tuple[str, Predictor]] = list(zip(_names(paths), map(model_file.load, paths), strict=True))
        scorers = [name for name, model in models if not model.predicts_ratings]
        _check_gates(gates, scorers, k)
        data = data or _dataset_of(models, paths)
        prepared = dataset.load(data)
        _check_match(models, paths, prepared, data, part)
        if world.is_first:
            _warn_of_training_errors(models, paths, part)
        if blend:
            models.append((BLEND if stored is None else stored.name, _blend(models, prepared)))
        lists = None
        if ranking or not all(model.predicts_ratings for _, model in models):
            threshold = default_relevance(prepared.rating_scale) if relevant_from is None else relevant_from
            say(f"lists: all items a user has not rated before, relevant: {part} ratings from {threshold:g}")
            lists = RankingProtocol(k, threshold)
        if 0 < len(scorers) < len(models):
            say(f"measured by lists only, as scores are no ratings: {', '.join(scorers)}")
        with connected(world, EVALUATION_TIMEOUT):
            if world.size > 1:
                _require_alike(paths, {"on": part, "blend": blend, "lists": lists and asdict(lists)}, world)
            rows = metric_rows(models, prepared, part, lists, world)
        if not world.is_first:
            return complete_rows(rows)
        if lists and not any("n_users" in row for row in rows):
            warn(f"no user has a {part} rating from {threshold:g}, so no list was judged; lower --relevant-from")
        if stored is not None:
            model_file.save(models[-1][1], stored)
            say(f"the blend is stored in {stored}; lists of it: autorec recommend {stored}")
        elif blend and output != "-":
            say(f"{output} holds metrics, the blend is not stored; --output NAME{MODEL_ENDING} stores it")
        with open_output(output) as stream:
            if format == "table":
                _write_tables(rows, part, k, stream)
            else:
                write([to_frame(rows)], stream)
    _say_what_it_means(rows, len(models), prepared, part, k)
    enforce(rows[: len(models)], gates)
    return complete_rows(rows)


def _require_alike(paths: Sequence[Path], asked: dict[str, Any], world: ProcessGroup) -> None:
    """Check that all processes measure the same models, which belong to one dataset, in the same way."""
    read = {f"checksum of model {number}": checksums.of_file(path) for number, path in enumerate(paths, 1)}
    require_same({"autorec-cli": __version__, **read, **asked}, world)


def _write_tables(rows: Sequence[Row], part: str, k: int, stream: IO[bytes]) -> None:
    rated = [row for row in rows if "n_pairs" in row]
    listed = [row for row in rows if "n_users" in row]
    if rated:
        write_table([_ratings_table(rated)], stream, title=f"{part} ratings, ± half of the 95% interval")
    if listed:
        write_table([_lists_table(listed)], stream, title=f"top-{k} lists against {part} ratings")


def _names(paths: Sequence[Path]) -> list[str]:
    """A name for each model: its file's, or the whole path where two files, or a baseline, have the same."""
    names = [*(path.name for path in paths), *BASELINES]
    return [str(path.absolute()) if names.count(path.name) > 1 else path.name for path in paths]


def _check_gates(gates: Sequence[Gate], scorers: Sequence[str], k: int) -> None:
    """Check that all models have the metrics of `gates`, those called `scorers` too, which have scores only.

    Raises:
        UsageError: one is about predicted ratings, and there are such models.
    """
    for gate in gates:
        if scorers and not check_metric(gate.metric, k, gate.flag):
            raise UsageError(
                f"{gate.flag} {gate.metric} needs predicted ratings, and the ranking model {scorers[0]} has scores; "
                f"use --fail-below ndcg@{k}, or leave that model out"
            )


def _blend(models: Sequence[tuple[str, Predictor]], prepared: Dataset) -> Blend:
    """The blend of `models`, telling its weights.

    Raises:
        UsageError: there are not two of them.
        ArtifactError: they cannot be blended.
    """
    from autorec_cli.inference.blending import blend
    from autorec_cli.inference.model import Model

    single = [(name, model) for name, model in models if isinstance(model, Model)]
    if len(single) < len(models):
        raise UsageError("--blend takes single models; one of those given is a blend already")
    if len(single) < 2:
        raise UsageError("--blend needs two models or more; name another one")
    blended = blend(single, prepared.valid.data)
    weights = ", ".join(f"{weight:.3f} {name}" for (name, _), weight in zip(single, blended.weights, strict=True))
    rmse = blended.provenance["metrics"]["valid_rmse"]
    say(f"blend: {weights}, intercept {blended.intercept:+.3f}; valid RMSE {rmse:.4f}")
    return blended


def _dataset_of(models: Sequence[tuple[str, Predictor]], paths: Sequence[Path]) -> Path:
    found = Path(models[0][1].provenance["dataset"])
    if not found.exists():
        raise ArtifactError(
            f"the dataset that {paths[0]} was trained on is no longer at {found}; say where it is with --data DIR"
        )
    return found


def _check_match(
    models: Sequence[tuple[str, Predictor]], paths: Sequence[Path], prepared: Dataset, data: Path, part: str
) -> None:
    fingerprint = prepared.fingerprint()
    for path, (_, model) in zip(paths, models, strict=True):
        if model.provenance["fingerprint"] != fingerprint:
            raise ArtifactError(
                f"{path} was not trained on the dataset {data} (their fingerprints differ); models of other datasets "
                "are evaluated on their own, and --data DIR says where a dataset has moved"
            )
    if prepared.part(part).nnz == 0:
        raise ArtifactError(f"the {part} part of the dataset has no ratings; prepare it with --{part} above 0")


def _warn_of_training_errors(models: Sequence[tuple[str, Predictor]], paths: Sequence[Path], part: str) -> None:
    for path, (_, model) in zip(paths, models, strict=True):
        if part in model.provenance["fitted_parts"] and part != "train":
            warn(f"{path} was fitted on the {part} ratings too: what follows is its training error on them")


def to_frame(rows: Sequence[Row]) -> pl.DataFrame:
    """The rows as one block for a writer."""
    import polars as pl

    return pl.DataFrame(complete_rows(rows), infer_schema_length=None)


def complete_rows(rows: Sequence[Row]) -> list[Row]:
    """Rows that all have all columns; what does not apply to a row is None."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return [{name: _rounded(row.get(name)) for name in columns} for row in rows]


def _rounded(value: object) -> object:
    """Six digits are more than any sample can tell; what is not a number has none."""
    if not isinstance(value, float):
        return value
    return round(value, 6) if math.isfinite(value) else None


def _ratings_table(rows: Sequence[Row]) -> pl.DataFrame:
    """For reading: an interval beside its value, one cell for the clip range."""
    import polars as pl

    metrics = [name for name in rows[0] if f"{name}_low" in rows[0]]
    cells = [
        {
            "model": row["model"],
            **{name.upper(): _with_margin(row, name) for name in metrics},
            "pairs": row["n_pairs"],
            "cold": row["n_cold"],
            "clip": f"{row['clip_low']:g} to {row['clip_high']:g}",
        }
        for row in rows
    ]
    return pl.DataFrame(cells)


def _with_margin(row: Row, metric: str) -> str:
    value, high = row[metric], row[f"{metric}_high"]
    return f"{value:.4f}" if math.isnan(high) else f"{value:.4f} ± {high - value:.4f}"


def _lists_table(rows: Sequence[Row]) -> pl.DataFrame:
    """For reading: what the lists are worth."""
    import polars as pl

    cells = [
        {
            "model": row["model"],
            **{name.partition("@")[0].replace("_", " "): value for name, value in row.items() if "@" in name},
            "users": row["n_users"],
        }
        for row in rows
    ]
    return pl.DataFrame(cells)


def _say_what_it_means(rows: Sequence[Row], n_models: int, prepared: Dataset, part: str, k: int) -> None:
    by_name = {row["model"]: row for row in rows}
    bias, popularity = by_name.get("user+item bias"), by_name.get("popularity")
    for row in rows[:n_models]:
        if bias and "rmse" in row and row["rmse"] > bias["rmse"] * CLEARLY_WORSE:
            warn(
                f"{row['model']} predicts worse than user and item averages do ({row['rmse']:.4f} against "
                f"{bias['rmse']:.4f} RMSE): do not use it; try a smaller --learning-rate or another --regularization"
            )
        if popularity and "n_users" in row and row[f"ndcg@{k}"] < popularity[f"ndcg@{k}"]:
            warn(
                f"{row['model']} makes worse lists than the most rated items do ({row[f'ndcg@{k}']:.4f} against "
                f"{popularity[f'ndcg@{k}']:.4f} nDCG@{k}); for lists train with --objective ranking"
            )
    if bias:
        say(
            f"measured on the {part} ratings: {bias['n_pairs']:,} pairs, of which {bias['n_cold']:,} are cold (user or "
            f"item without training ratings, predicted by user+item bias); predictions are clipped to "
            f"{prepared.rating_scale[0]:g} to {prepared.rating_scale[1]:g}; intervals count users as the sample"
        )
