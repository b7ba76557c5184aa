"""Cross-validation: what was fitted on each of several splits, measured by its test part and averaged."""

from __future__ import annotations

from collections.abc import Sequence

from autorec_cli.evaluation.evaluate import Row
from autorec_cli.evaluation.metrics import LIST_METRICS, RATING_METRICS, mean_over_splits


def average(measured: Sequence[Sequence[Row]]) -> list[Row]:
    """One row for each model of `measured`, which holds the rows of each split, in the same order.

    Returns:
        Rows of `model`, each metric with its `_margin`, the half width of the 95% interval of `mean_over_splits`, and
        `n_splits`. A metric that a split lacks, because it had no list to judge, is left out.
    """
    averages = []
    for of_model in zip(*measured, strict=True):
        row: Row = {"model": of_model[0]["model"]}
        for metric in (name for name in of_model[0] if _is_metric(name)):
            values = [split_row[metric] for split_row in of_model if metric in split_row]
            if len(values) == len(of_model):
                estimate = mean_over_splits(values)
                row[metric], row[f"{metric}_margin"] = estimate.value, estimate.margin
        averages.append({**row, "n_splits": len(of_model)})
    return averages


def _is_metric(column: str) -> bool:
    return column in RATING_METRICS or column.partition("@")[0] in LIST_METRICS
