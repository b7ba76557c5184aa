"""Cross-validation: metrics averaged over several splits."""

from __future__ import annotations

from collections.abc import Sequence

from autorec_cli.evaluation.measurement import Row
from autorec_cli.evaluation.metrics import RATING_METRICS, TOP_K_METRICS, mean_over_splits


def average(measured: Sequence[Sequence[Row]]) -> list[Row]:
    """Average the rows of each model over splits.

    Args:
        measured: The rows of each split, models in the same order.

    Returns:
        Rows of `model`, each metric with its `_margin`, the half width of the 95% interval of `mean_over_splits`, and
        `n_splits`. A metric that a split lacks, because nothing was ranked there, is left out.
    """
    averages = []
    for model_rows in zip(*measured, strict=True):
        row: Row = {"model": model_rows[0]["model"]}
        for metric in (name for name in model_rows[0] if _is_metric(name)):
            values = [split_row[metric] for split_row in model_rows if metric in split_row]
            # A mean over some of the splits would not be comparable with the others in its row.
            if len(values) == len(model_rows):
                estimate = mean_over_splits(values)
                row[metric], row[f"{metric}_margin"] = estimate.value, estimate.margin
        averages.append({**row, "n_splits": len(model_rows)})
    return averages


def _is_metric(column: str) -> bool:
    return column in RATING_METRICS or column.partition("@")[0] in TOP_K_METRICS
