"""Rows of metrics as frames, and as tables for reading."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING

from autorec_cli.cli.output import write_table, writer_for
from autorec_cli.errors import decimals_of, error_text

if TYPE_CHECKING:
    import polars as pl

    from autorec_cli.evaluation.measurement import Row
    from autorec_cli.evaluation.ranking import RankingProtocol


def to_frame(rows: Sequence[Row]) -> pl.DataFrame:
    """Make one frame of all rows."""
    import polars as pl

    return pl.DataFrame(complete_rows(rows), infer_schema_length=None)


def complete_rows(rows: Sequence[Row]) -> list[Row]:
    """Give all rows all columns; None where one does not apply."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return [{name: _rounded(row.get(name), _digits(name, row)) for name in columns} for row in rows]


def _digits(column: str, row: Row) -> int:
    """Decimals of a column: six, more than any sample can tell, and more for small errors on small scales."""
    error = row.get("rmse")
    is_small = isinstance(error, float) and error < 0.01 and column.startswith(("rmse", "mae", "clip"))
    return decimals_of(error, 4) if is_small and error else 6


def _rounded(value: object, digits: int) -> object:
    if not isinstance(value, float):
        return value
    return round(value, digits) if math.isfinite(value) else None


def write_tables(rows: Sequence[Row], split: str, k: int, stream: IO[bytes]) -> None:
    """Write a table of rating metrics and one of ranking metrics, of what there is."""
    rated = [row for row in rows if "n_pairs" in row]
    ranked = [row for row in rows if "n_users" in row]
    if rated:
        write_table([_ratings_table(rated)], stream, title=f"{split} ratings, ± half of the 95% interval")
    if ranked:
        write_table([_rankings_table(ranked)], stream, title=f"top-{k} lists against {split} ratings")


def _ratings_table(rows: Sequence[Row]) -> pl.DataFrame:
    """Table of rating metrics with their intervals."""
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
    return error_text(value) if math.isnan(high) else f"{error_text(value)} ± {error_text(high - value, like=value)}"


def _rankings_table(rows: Sequence[Row]) -> pl.DataFrame:
    """Table of ranking metrics."""
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


def write_averages(averages: Sequence[Row], protocol: RankingProtocol, format: str, stream: IO[bytes]) -> None:
    """Write the averages of a cross-validation."""
    if format != "table":
        writer_for(format)([to_frame(averages)], stream)
        return
    title = f"test ratings of {averages[0]['n_splits']} splits, mean ± half of the 95% interval"
    if "rmse" in averages[0]:
        write_table([_averages_table(averages, ranking=False)], stream, title=title)
    title = f"top-{protocol.k} recommendations against test ratings, mean ± half of the 95% interval"
    write_table([_averages_table(averages, ranking=True)], stream, title=title)


def _averages_table(averages: Sequence[Row], ranking: bool) -> pl.DataFrame:
    """Rating or ranking metrics for reading, each with its interval."""
    import polars as pl

    cells = []
    for row in averages:
        metrics = [name for name in row if f"{name}_margin" in row and ("@" in name) == ranking]
        if metrics:
            text = (lambda value, _: f"{value:.4f}") if ranking else error_text
            shown = {
                _heading(name): f"{text(row[name], row[name])} ± {text(row[f'{name}_margin'], row[name])}"
                for name in metrics
            }
            cells.append({"model": row["model"], **shown, "splits": row["n_splits"]})
    return pl.DataFrame(cells)


def _heading(metric: str) -> str:
    return metric.partition("@")[0].replace("_", " ") if "@" in metric else metric.upper()
