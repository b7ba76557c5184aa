"""Rows of metrics as frames, and as tables for reading."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING

from autorec_cli.cli.output.formats import writer_for
from autorec_cli.cli.output.tables import parts_that_fit, room_beside, write_table
from autorec_cli.cli.reports.charts import ASCII_STROKES, STROKES, draws_unicode, interval_bars
from autorec_cli.errors import decimals_of, error_text
from autorec_cli.evaluation.metrics import RANKING_METRICS, TOP_K_METRICS, Estimate

if TYPE_CHECKING:
    import polars as pl

    from autorec_cli.evaluation.measurement import Row
    from autorec_cli.evaluation.ranking import RankingProtocol

RANKED = (*RANKING_METRICS, "coverage", "mean_popularity")
"""Metrics in the first table of recommendations."""
VARIETY = tuple(name for name in TOP_K_METRICS if name not in RANKED)
"""Metrics in the second one."""
AVERAGED = (*RANKING_METRICS, "coverage")
"""Metrics of recommendations in a table of averages."""
LEAST_BAR, WIDEST_BAR = 20, 72
"""Characters of an interval's bar; on fewer, intervals could not be told apart."""


def to_frame(rows: Sequence[Row]) -> pl.DataFrame:
    """Make one frame of all rows."""
    import polars as pl

    return pl.DataFrame(complete_rows(rows), infer_schema_length=None)


def complete_rows(rows: Sequence[Row]) -> list[Row]:
    """Give all rows all columns; None where one does not apply."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return [{name: _rounded(row.get(name), _digits(name, row)) for name in columns} for row in rows]


def _digits(column: str, row: Row) -> int:
    """Decimals of a column.

    Six, more than any sample can tell, and more for small errors on small scales.
    """
    error = row.get("rmse")
    is_small = isinstance(error, float) and error < 0.01 and column.startswith(("rmse", "mae", "clip"))
    return decimals_of(error, 4) if is_small and error else 6


def _rounded(value: object, digits: int) -> object:
    if not isinstance(value, float):
        return value
    return round(value, digits) if math.isfinite(value) else None


def write_tables(rows: Sequence[Row], split: str, k: int, stream: IO[bytes]) -> None:
    """Write tables of rating metrics, ranking metrics and recommended items.

    Each is written if there is something to show. They fit 80 columns, and are cut in two where there are fewer: a
    count that is the same for all models is in the title, and so is not in the table.
    """
    import polars as pl

    rated = [row for row in rows if "n_pairs" in row]
    ranked = [row for row in rows if "n_users" in row]
    if rated:
        table, n_pairs = _with_counts(rated, _ratings_cells(rated), "n_pairs", "pairs")
        table = _with_bars(table, rated, room_beside(table, stream))
        _write_parts(table, stream, f"{n_pairs}{split} ratings, ± half of the 95% interval")
    if ranked:
        table, n_users = _with_counts(ranked, _rankings_cells(ranked, RANKED), "n_users", "users")
        of_users = f" for {n_users}users" if n_users else ""
        _write_parts(table, stream, f"top-{k} recommendations{of_users}, against the {split} set")
        variety = pl.DataFrame(_rankings_cells(ranked, VARIETY))
        if variety.width > 1:
            _write_parts(variety, stream, "variety of these recommendations")


def _write_parts(table: pl.DataFrame, stream: IO[bytes], title: str) -> None:
    """Write a table, in parts if it is too wide."""
    for number, part in enumerate(parts_that_fit(table, stream)):
        write_table([part], stream, title=title if number == 0 else None)


def _with_counts(rows: Sequence[Row], cells: list[Row], count: str, heading: str) -> tuple[pl.DataFrame, str]:
    """Table of `cells`, with counts if they differ.

    Otherwise the count is returned for the title.
    """
    import polars as pl

    # Equal for all models as a rule: a column of one number would only take room.
    counts = [row[count] for row in rows]
    if len(set(counts)) == 1:
        return pl.DataFrame(cells), f"{counts[0]:,} "
    return pl.DataFrame([{**cell, heading: n} for cell, n in zip(cells, counts, strict=True)]), ""


def _with_bars(table: pl.DataFrame, rows: Sequence[Row], room: int) -> pl.DataFrame:
    """Table with a bar for each interval of the RMSE.

    Without room it stays as it is.
    """
    import polars as pl

    if room < LEAST_BAR:
        return table
    width, strokes = min(room, WIDEST_BAR), STROKES if draws_unicode(sys.stdout) else ASCII_STROKES
    ends = [row[name] for row in rows for name in ("rmse_low", "rmse", "rmse_high") if math.isfinite(row[name])]
    if not ends:
        return table
    bars = interval_bars(
        [Estimate(row["rmse"], row["rmse_high"] - row["rmse"]) for row in rows], (min(ends), max(ends)), width, strokes
    )
    low, high = error_text(min(ends)), error_text(max(ends))
    return table.with_columns(pl.Series(f"{low}{'rmse':^{width - len(low) - len(high)}}{high}", bars))


def _ratings_cells(rows: Sequence[Row]) -> list[Row]:
    """Cells of rating metrics with their intervals.

    They have cold pairs only if there are any.
    """
    metrics = [name for name in rows[0] if f"{name}_low" in rows[0]]
    has_cold = any(row["n_cold"] for row in rows)
    return [
        {
            "model": row["model"],
            **{name: _with_margin(row, name) for name in metrics},
            **({"cold pairs": row["n_cold"]} if has_cold else {}),
        }
        for row in rows
    ]


def _with_margin(row: Row, metric: str) -> str:
    value, high = row[metric], row[f"{metric}_high"]
    return error_text(value) if math.isnan(high) else f"{error_text(value)} ± {error_text(high - value, like=value)}"


def _rankings_cells(rows: Sequence[Row], names: Sequence[str]) -> list[Row]:
    """Cells of some ranking metrics.

    The popularity, a number of ratings, is in whole ones.
    """
    return [
        {
            "model": row["model"],
            **{
                name: round(value) if name.startswith("mean_popularity") else value
                for name, value in row.items()
                if "@" in name and _metric(name) in names
            },
        }
        for row in rows
    ]


def _metric(column: str) -> str:
    return column.partition("@")[0]


def write_group_tables(rows: Sequence[Row], split: str, by: str, stream: IO[bytes]) -> None:
    """Write a table of groups for each model.

    It has what fits 80 columns.
    """
    import polars as pl

    for model in dict.fromkeys(row["model"] for row in rows):
        cells = [_group_cells(row) for row in rows if row["model"] == model]
        columns = list(dict.fromkeys(name for cell in cells for name in cell))
        table = pl.DataFrame([{name: cell.get(name) for name in columns} for cell in cells], infer_schema_length=None)
        _write_parts(table, stream, f"{model}: {split} ratings by {by.rpartition('/')[2]}")


def _group_cells(row: Row) -> Row:
    metrics = [name for name in row if f"{name}_low" in row and _metric(name) in ("rmse", "ndcg", "recall")]
    shown = {name: _with_margin(row, name) if name == "rmse" else _ranking_margin(row, name) for name in metrics}
    shares = {name: value for name, value in row.items() if _metric(name) == "share"}
    return {"group": row["group"], "ratings": row["n_pairs"], **shown, **shares}


def _ranking_margin(row: Row, metric: str) -> str:
    value, high = row[metric], row[f"{metric}_high"]
    return f"{value:.4f}" if math.isnan(high) else f"{value:.4f} ± {high - value:.4f}"


def write_averages(averages: Sequence[Row], protocol: RankingProtocol, format: str, stream: IO[bytes]) -> None:
    """Write the averages of a cross-validation."""
    if format != "table":
        writer_for(format)([to_frame(averages)], stream)
        return
    title = f"test ratings of {averages[0]['n_splits']} splits, mean ± 95% margin"
    if "rmse" in averages[0]:
        write_table([_averages_table(averages, ranking=False)], stream, title=title)
    title = f"top-{protocol.k} recommendations against the test sets, mean ± 95% margin"
    write_table([_averages_table(averages, ranking=True)], stream, title=title)


def _averages_table(averages: Sequence[Row], ranking: bool) -> pl.DataFrame:
    """Rating or ranking metrics for reading, each with its interval.

    Metrics of the recommended items other than coverage are in the other formats only, or the table would not fit 80
    columns.
    """
    import polars as pl

    cells = []
    for row in averages:
        metrics = [
            name
            for name in row
            if f"{name}_margin" in row and ("@" in name) == ranking and (not ranking or _metric(name) in AVERAGED)
        ]
        if metrics:
            text = (lambda value, _: f"{value:.4f}") if ranking else error_text
            shown = {
                name: f"{text(row[name], row[name])} ± {text(row[f'{name}_margin'], row[name])}" for name in metrics
            }
            cells.append({"model": row["model"], **shown})
    return pl.DataFrame(cells)
