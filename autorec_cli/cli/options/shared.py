"""Options that several commands share, each declared once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.models import OptionInfo

from autorec_cli.cli.options.declaration import (
    FILE_FORMAT,
    FILTERS,
    METRICS,
    NEW_USERS,
    UNATTENDED,
    InputFile,
    OneOf,
    OutputFile,
)
from autorec_cli.cli.output.formats import FORMATS, WITH_DATABASE
from autorec_cli.config import AUTO, BOTH, VARIANTS
from autorec_cli.data.dataset_checks import SPLITS
from autorec_cli.data.readers.options import QUOTES, ReadOptions, parse_columns, parse_delimiter
from autorec_cli.defaults import MAX_LOPSIDED, MAX_RANKED_USERS, MIN_RATINGS

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
ModelFile = Annotated[Path, typer.Argument(metavar="MODEL", help="Model file made by `autorec train`."), InputFile()]
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
    int, typer.Option("--top-k", "-k", metavar="K", help="Number of recommendations per user.", rich_help_panel=METRICS)
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
HeldOut = Annotated[str, typer.Option("--on", help="Ratings to predict."), OneOf(SPLITS)]
ModelData = Annotated[
    Path | None,
    typer.Option(
        "--data", metavar="DIR", help="Dataset directory.", show_default="where it was when MODEL was trained"
    ),
    InputFile(),
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


def _gate(side: str, example: str) -> OptionInfo:
    """Option for a limit of a metric."""
    option: OptionInfo = typer.Option(
        metavar="METRIC=NUMBER",
        help=f"Exit with status 8 if this metric of a model is {side} NUMBER, as in {example}; can be repeated.",
        rich_help_panel=UNATTENDED,
    )
    return option


def ids_option(help: str, show_default: str) -> OptionInfo:
    """Option for ids of users or items."""
    option: OptionInfo = typer.Option(
        metavar="ID,...",
        help=f"{help}; can be repeated. An id with a comma is taken whole if the model knows it.",
        show_default=show_default,
    )
    return option


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
FailAbove = Annotated[list[str] | None, _gate("above", "rmse=0.85")]
FailBelow = Annotated[list[str] | None, _gate("below", "ndcg@10=0.3")]


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
