"""Options that several commands share, declared once."""

from __future__ import annotations

from typing import Annotated

import typer

from autorec_cli.cli.output import FORMATS

UNATTENDED = "Running unattended"
"""The part of the help where options for cron and scripts stand."""

CsvSafe = Annotated[
    bool,
    typer.Option("--csv-safe", help="In csv and tsv, put ' before cells that a spreadsheet would take for formulas."),
]
WaitLock = Annotated[
    float,
    typer.Option(
        "--wait-lock",
        metavar="SECONDS",
        help="How long to wait while another run writes the same output.",
        rich_help_panel=UNATTENDED,
    ),
]
Output = Annotated[str, typer.Option("--output", "-o", metavar="FILE", help="Where to write; - is stdout.")]
Format = Annotated[
    str | None,
    typer.Option(
        "--format",
        help=f"One of {', '.join(FORMATS)}.",
        show_default="table on a terminal, else by the ending of FILE, else csv",
    ),
]
