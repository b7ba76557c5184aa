"""`autorec report`: models -> one page about them."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autorec_cli.cli.console import say
from autorec_cli.cli.options.declaration import InputFile, OneOf, OutputFile
from autorec_cli.cli.options.shared import AllUsers, HeldOut, ModelData, RelevantFrom, TopK, WaitLock, ids_option
from autorec_cli.cli.output.destination import open_output, reserve_output
from autorec_cli.cli.output.formats import check_agreement
from autorec_cli.cli.runner import Command
from autorec_cli.config import require_choice, require_count
from autorec_cli.errors import ArtifactError, UsageError, counted, missing_extra

if TYPE_CHECKING:
    from autorec_cli.data.dataset import Dataset
    from autorec_cli.inference.scorer import Scorer
    from autorec_cli.report.subject import Subject

EXAMPLES = """
[bold]Examples[/bold]

autorec report ratings.model -o report.html

autorec report item.model user.model -o report.html --user 007,011

autorec report ratings.model --against last-night.model -o report.html
"""

PAGE_FORMATS = ("html", "json")


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """Options of `autorec report`."""

    models: Annotated[
        list[Path],
        typer.Argument(metavar="MODEL", help="Model files made by `autorec train`, up to four."),
        InputFile(),
    ]
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE", help="Page to write; - is stdout."), OutputFile()
    ] = "report.html"
    format: Annotated[
        str | None,
        typer.Option("--format", help="html, or json for all numbers without figures.", show_default="by file ending"),
        OneOf(PAGE_FORMATS),
    ] = None
    against: Annotated[
        Path | None,
        typer.Option(
            metavar="MODEL",
            help="Also compare with this older model, such as last night's. Its dataset may be older too: models are "
            "compared on ratings that neither has seen.",
        ),
        InputFile(),
    ] = None
    user: Annotated[list[str] | None, ids_option("Show these users", "ten, from the least to the most active")] = None
    users: Annotated[
        str | None, typer.Option(metavar="FILE", help="Show these users, one id per line; - is stdin."), InputFile()
    ] = None
    on: HeldOut = "test"
    data: ModelData = None
    top_k: TopK = 10
    relevant_from: RelevantFrom = None
    all_users: AllUsers = False
    wait_lock: WaitLock = 0.0


def report_command(options: ReportOptions) -> dict[str, Any]:
    """Write one self-contained page about models: what they were trained on, what they are worth, and warnings.

    It has metrics beside baselines, learning curves, errors by popularity, activity and rating, the coverage of
    recommendations, some users with theirs, and similar items. The page needs the extra `report`, and no network.
    """
    from autorec_cli.report.page import to_html
    from autorec_cli.report.report import make_report

    format = _format_of(options)
    if options.user and options.users:
        raise UsageError("--user and --users both name users; leave out one of them")
    with reserve_output(options.output, options.wait_lock):
        report = make_report(_subject(options))
        text = to_html(report) if format == "html" else json.dumps(_finite(asdict(report)), indent=1) + "\n"
        page = text.encode("utf-8", "backslashreplace")
        with open_output(options.output) as stream:
            stream.write(page)
    if options.output != "-":
        of_what = "no warnings" if not report.warnings else f"{counted(len(report.warnings), 'warning')} on it"
        say(f"{options.output}: {len(page) / 1000:.0f} kB, {of_what}")
    return {"output": options.output, "findings": list(report.warnings)}


def _format_of(options: ReportOptions) -> str:
    """Format as asked, or by the file's ending.

    Raises:
        UsageError: it is unknown or contradicts the ending, or html needs packages that are not installed.
    """
    from autorec_cli.report.report import missing_packages

    name = Path(options.output.removesuffix(".gz").removesuffix(".zst"))
    by_name = {".html": "html", ".htm": "html", ".json": "json"}.get(name.suffix.lower())
    if options.format is not None:
        require_choice("--format", options.format, PAGE_FORMATS)
        check_agreement("--format", options.format, by_name, options.output)
    elif by_name is None and name.suffix:
        raise UsageError(f"cannot write {name.suffix} files ({options.output}); end the name with .html or .json")
    format = options.format or by_name or "html"
    missing = missing_packages() if format == "html" else []
    if missing:
        raise missing_extra("a page", missing, "report")
    return format


def _subject(options: ReportOptions) -> Subject:
    """Load the models and their dataset."""
    from autorec_cli.data.dataset import load_dataset
    from autorec_cli.evaluation.evaluate import check_models, load_models, training_data_of
    from autorec_cli.evaluation.measurement import EvaluateSettings
    from autorec_cli.report.subject import ReportSettings, Subject

    require_count("--top-k", options.top_k, minimum=1)
    evaluate = EvaluateSettings(options.on, options.top_k, options.relevant_from, options.all_users)
    files = list({path.resolve(): path for path in options.models}.values())  # each once
    if options.against is not None and options.against.resolve() in {path.resolve() for path in files}:
        raise UsageError(f"--against {options.against} is one of the models to report on; name an older one")
    # Together, as their names tell them apart.
    models = load_models([*files, *([options.against] if options.against else [])])
    models, older = models[: len(files)], models[len(files) :]
    prepared = load_dataset(options.data or training_data_of(models))
    check_models(models, prepared, "train")  # other sets may be empty
    subject = Subject(models, prepared, ReportSettings(evaluate, _user_ids(options, models[0][1])))
    for name, model in older:
        _check_common(name, model, prepared)
        subject = subject.against(name, model)
    return subject


def _check_common(name: str, model: Scorer, dataset: Dataset) -> None:
    """Check that an older model can be compared on a dataset.

    Raises:
        ArtifactError: it knows none of the users, or none of the items.
    """
    for side, ids in (("users", model.catalog.user_ids), ("items", model.catalog.item_ids)):
        table = dataset.users if side == "users" else dataset.items
        if not set(table["id"]) & set(ids):
            raise ArtifactError(f"--against {name} knows none of the {side} of the dataset; name an older model of it")


def _user_ids(options: ReportOptions, model: Scorer) -> Sequence[str] | None:
    from autorec_cli.inference.users.id_file import read_ids, split_ids

    if options.users is not None:
        return read_ids(options.users, "--users")
    return split_ids(options.user, model.catalog.user_ids) if options.user else None


def _finite(value: Any) -> Any:  # noqa: ANN401
    """JSON value with null for each number that could not be measured."""
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


COMMAND = Command(report_command, ReportOptions, EXAMPLES)
