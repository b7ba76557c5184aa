"""Command-line options, each declared once, as the fields of dataclasses.

A command takes one such object. `with_options` gives Typer the signature that it needs, one parameter per field; a
field that is itself a dataclass of options stands for its fields. What a field is besides an option is said beside it:
`InputFile`, `OutputFile`, `OneOf`.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, get_args, get_type_hints

import typer
from typer.models import ParameterInfo

from autorec_cli.cli.output import FORMATS, WITH_DATABASE
from autorec_cli.config import AUTO, BOTH, VARIANTS
from autorec_cli.data.readers.options import QUOTES, ReadOptions, parse_columns, parse_delimiter
from autorec_cli.defaults import MAX_LOPSIDED, MAX_RANKED_USERS, MIN_RATINGS

NETWORK = "Network"
OPTIMIZER = "Optimizer"
FILE_FORMAT = "Format of input files"
FILTERS = "Filters"
NEW_USERS = "New and unknown users"
METRICS = "Ranking metrics"
UNATTENDED = "Unattended runs"
ADVANCED = "Advanced"
PANELS = (None, NETWORK, OPTIMIZER, FILTERS, NEW_USERS, FILE_FORMAT, METRICS, UNATTENDED, ADVANCED)
"""Panels of the help from top to bottom; None is the one that has no name, with what everybody needs."""


@dataclass(frozen=True)
class InputFile:
    """Marks an option that names files to read, globs included.

    Attributes:
        replaceable: Whether --output may name the same file, which is replaced at the end.
    """

    replaceable: bool = False


@dataclass(frozen=True)
class OutputFile:
    """Marks an option that names an output file.

    Attributes:
        may_replace: Whether the command, given its options, may replace what `file_kinds.artifact_at` found there.
        inside: Names in an output directory that no other output may have or be in.
    """

    may_replace: Callable[[Any, str], bool] = lambda _options, _found: False
    inside: Sequence[str] = ()


@dataclass(frozen=True)
class OneOf:
    """Marks a text option with fixed `values`."""

    values: Sequence[str]


class Given(NamedTuple):
    """One option of a command with its value."""

    name: str
    value: Any
    marks: Sequence[Any]

    @property
    def flag(self) -> str:
        """Long form on the command line."""
        return f"--{self.name.replace('_', '-')}"


Options = TypeVar("Options")


def with_options(run: Callable[[typer.Context, dict[str, Any]], None], *declared: type) -> Callable[..., None]:
    """Typer command with the options in the dataclasses `declared`."""

    def command(context: typer.Context, **values: Any) -> None:  # noqa: ANN401
        run(context, values)

    parameters = [parameter for options in declared for parameter in _parameters(options)]
    # Typer shows panels in the order of their first option; sort is stable, so options keep theirs.
    parameters.sort(key=lambda parameter: PANELS.index(_typer_info(parameter.annotation).rich_help_panel or None))
    context = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
    command.__signature__ = inspect.Signature([context, *parameters])  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in (context, *parameters)}
    return command


def _parameters(options: type) -> Iterator[inspect.Parameter]:
    hints = get_type_hints(options, include_extras=True)
    for field in fields(options):
        hint = hints[field.name]
        if is_dataclass(hint):
            yield from _parameters(hint)  # type: ignore[arg-type]
            continue
        default = inspect.Parameter.empty if field.default is MISSING else field.default
        yield inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=_for_typer(hint)
        )


def _for_typer(hint: Any) -> Any:  # noqa: ANN401
    """Annotation for Typer, with choices as a Literal.

    Help shows no environment variables, as one rule names them all.
    """
    kind, *marks = get_args(hint)
    # Several commands share these objects.
    info = copy.copy(_typer_info(hint))
    info.show_envvar = False
    for choice in (mark for mark in marks if isinstance(mark, OneOf)):
        kind = Literal[tuple(choice.values)] if kind is str else Literal[tuple(choice.values)] | None
    return Annotated[kind, info]


def _typer_info(hint: Any) -> ParameterInfo:  # noqa: ANN401
    (info,) = (mark for mark in get_args(hint)[1:] if isinstance(mark, ParameterInfo))
    return info


def gather(options: type[Options], values: Mapping[str, Any]) -> Options:
    """Object of the dataclass `options` from `values`."""
    hints = get_type_hints(options)
    gathered = {}
    for field in fields(options):  # type: ignore[arg-type]
        hint = hints[field.name]
        gathered[field.name] = gather(hint, values) if is_dataclass(hint) else values[field.name]  # type: ignore[arg-type]
    return options(**gathered)


def given(options: Any) -> Iterator[Given]:  # noqa: ANN401
    """All options in an object and its groups."""
    hints = get_type_hints(type(options), include_extras=True)
    for field in fields(options):
        value = getattr(options, field.name)
        if is_dataclass(hints[field.name]):
            yield from given(value)
        else:
            yield Given(field.name, value, get_args(hints[field.name])[1:])


def declared(options: type) -> Iterator[tuple[str, Sequence[Any]]]:
    """Names and marks of all options in a dataclass and its groups."""
    hints = get_type_hints(options, include_extras=True)
    for field in fields(options):
        hint = hints[field.name]
        if is_dataclass(hint):
            yield from declared(hint)  # type: ignore[arg-type]
        else:
            yield field.name, get_args(hint)[1:]


def parse_fraction(value: str | float) -> float:
    """Parse a fraction such as 0.2 or 20%.

    Raises:
        ValueError: it is neither.
    """
    text = str(value).strip()
    try:
        return float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a fraction such as 0.2 or 20%") from None


# --- options that several commands share

Sources = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="SOURCE",
        help="Files of ratings, quoted globs, or - for stdin: delimited text, JSON lines (plain, .gz or .zst), Parquet "
        "or Arrow; also directories of Parquet files, as Spark and Hive write them.",
        show_default=False,
    ),
    InputFile(),
]
Data = Annotated[Path, typer.Argument(metavar="DATA", help="Dataset directory made by `autorec prepare`."), InputFile()]
Output = Annotated[str, typer.Option("--output", "-o", metavar="FILE", help="Output file; - is stdout."), OutputFile()]
_FORMAT = typer.Option(
    "--format",
    help="Output format.",
    show_default="from the ending of FILE; else table on a terminal, csv elsewhere",
)
Format = Annotated[str | None, _FORMAT, OneOf(tuple(FORMATS))]
DatabaseFormat = Annotated[str | None, _FORMAT, OneOf(tuple(WITH_DATABASE))]
CsvSafe = Annotated[
    bool,
    typer.Option(
        "--csv-safe",
        help="In csv and tsv, put ' before cells that a spreadsheet would take for formulas.",
    ),
]
WaitLock = Annotated[
    float,
    typer.Option(
        "--wait-lock",
        metavar="SECONDS",
        help="How long to wait if another run is writing the same output.",
        rich_help_panel=UNATTENDED,
    ),
]
Variant = Annotated[
    str,
    typer.Option(
        help="item: one training example per item (I-AutoRec); user: one per user (U-AutoRec); both: a network of each "
        "and a weighted mean of their predictions; auto: user to rank and both to rate, or, to rate, only the one that "
        f"suits the shape of the data if users and items differ by more than a factor of {MAX_LOPSIDED} or have fewer "
        f"than {MIN_RATINGS} training ratings each, if there are no validation ratings, and under torchrun.",
        show_default=AUTO,
    ),
    OneOf((AUTO, *VARIANTS, BOTH)),
]
Threads = Annotated[int, typer.Option(metavar="N", help="CPU threads; 0 uses one per core.")]
Device = Annotated[
    str,
    typer.Option(
        metavar="DEVICE",
        help="auto, cpu, cuda or cuda:N; auto uses CUDA if available.",
        autocompletion=lambda: ["auto", "cpu", "cuda"],
    ),
]
TopK = Annotated[
    int, typer.Option("--top-k", "-k", metavar="K", help="Length of the top-k lists.", rich_help_panel=METRICS)
]
PerUser = Annotated[int, typer.Option("--top-k", "-k", metavar="K", help="Number of recommendations per user.")]
RelevantFrom = Annotated[
    float | None,
    typer.Option(
        metavar="RATING",
        help="Held-out ratings from this value up count as relevant.",
        show_default="three quarters up the rating scale",
        rich_help_panel=METRICS,
    ),
]
AllUsers = Annotated[
    bool,
    typer.Option(
        "--all-users",
        help=f"Measure the recommendations of all users, and not of a sample of {MAX_RANKED_USERS:,}.",
        rich_help_panel=METRICS,
    ),
]
HistoryData = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="DIR",
        help="Dataset directory of MODEL, which has the ratings of its users.",
        show_default="where it was when MODEL was trained",
        rich_help_panel=NEW_USERS,
    ),
    InputFile(),
]

Items = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="File of items: ids and any other columns, such as title, genre and price. Titles make recommendations "
        "readable; `recommend --where` and `--max-per` use all columns.",
    ),
    InputFile(),
]
Where = Annotated[
    str | None,
    typer.Option(
        metavar="SQL",
        help="Recommend only items for which this condition over item_id and the columns of `prepare --items` is true, "
        "such as \"genre LIKE '%Comedy%' AND year >= 1990\".",
        rich_help_panel=FILTERS,
    ),
]
MaxPer = Annotated[
    list[str] | None,
    typer.Option(
        metavar="COLUMN=N",
        help="Recommend at most N items with the same value in this column of `prepare --items` to a user; can be "
        "repeated.",
        rich_help_panel=FILTERS,
    ),
]
Interactions = Annotated[
    bool,
    typer.Option(
        "--interactions",
        help="The ratings are counts, such as plays: each above 0 is an interaction, whatever its value.",
        rich_help_panel=FILE_FORMAT,
    ),
]
FailAbove = Annotated[
    list[str] | None,
    typer.Option(
        metavar="METRIC=NUMBER",
        help="Exit with status 8 if this metric of a model is above NUMBER, as in rmse=0.85; can be repeated.",
        rich_help_panel=UNATTENDED,
    ),
]
FailBelow = Annotated[
    list[str] | None,
    typer.Option(
        metavar="METRIC=NUMBER",
        help="Exit with status 8 if this metric of a model is below NUMBER, as in ndcg@10=0.3; can be repeated.",
        rich_help_panel=UNATTENDED,
    ),
]


@dataclass(frozen=True, kw_only=True)
class ReadingOptions:
    """Options for reading files of ratings."""

    delimiter: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="Field delimiter: , ; | :: tab or blanks.",
            show_default="detected",
            rich_help_panel=FILE_FORMAT,
        ),
    ] = None
    columns: Annotated[
        str | None,
        typer.Option(
            metavar="ROLE=COLUMN,...",
            help="Columns by name or number from 1: user=..,item=..,rating=..,timestamp=.. (timestamp=none ignores "
            "timestamps).",
            show_default="detected",
            rich_help_panel=FILE_FORMAT,
        ),
    ] = None
    quote: Annotated[
        str | None,
        typer.Option(
            help="double: quotes enclose fields, and are doubled inside (RFC 4180); none: a quote is a character.",
            show_default="double; none in tab-separated text",
            rich_help_panel=FILE_FORMAT,
        ),
        OneOf(QUOTES),
    ] = None
    encoding: Annotated[
        str,
        typer.Option(metavar="NAME", help="Text encoding, such as latin-1 or cp1252.", rich_help_panel=FILE_FORMAT),
    ] = "utf-8"
    date_format: Annotated[
        str | None,
        typer.Option(
            metavar="FORMAT",
            help="Format of the timestamps, such as %m/%d/%Y or '%d.%m.%Y %H:%M' (codes of strptime).",
            show_default="ISO 8601 and numbers",
            rich_help_panel=FILE_FORMAT,
        ),
    ] = None
    on_error: Annotated[
        str,
        typer.Option(help="On a bad row: fail, or skip and count it.", rich_help_panel=FILE_FORMAT),
        OneOf(("fail", "skip")),
    ] = "fail"

    def read_options(self, **others: Any) -> ReadOptions:  # noqa: ANN401
        """Settings of the readers; `others` are further fields.

        Raises:
            UsageError: an option has a value that cannot work.
        """
        return ReadOptions(
            delimiter=parse_delimiter(self.delimiter),
            quote=self.quote,
            columns=parse_columns(self.columns),
            encoding=self.encoding,
            skip_bad_rows=self.on_error == "skip",
            date_format=self.date_format,
            **others,
        )
