"""Cross-validation: what was fitted on each of several splits, measured by its test part and averaged."""

from __future__ import annotations

from collections.abc import Sequence

from autorec_cli.config import TrainSettings
from autorec_cli.data.dataset import Dataset
from autorec_cli.evaluation.evaluate import Row, metric_rows
from autorec_cli.evaluation.metrics import LIST_METRICS, RATING_METRICS, mean_over_splits
from autorec_cli.evaluation.ranking import RankingProtocol
from autorec_cli.training.trainer import Fitted, to_model

NAMES = {"item": "I-AutoRec", "user": "U-AutoRec"}
"""What the paper calls the variants, and rows the networks."""


def measure(fitted: Fitted, dataset: Dataset, settings: TrainSettings, lists: RankingProtocol | None) -> list[Row]:
    """The rows that `autorec evaluate` has for the test part: the fitted network, then the baselines.

    Args:
        fitted: What `training.fit` made of `dataset`.
        dataset: One split.
        settings: Of the training.
        lists: How top-k lists are judged; None leaves them out.
    """
    model = to_model(fitted, dataset, settings, {"fitted_parts": list(fitted.fitted_parts)})
    models = [(NAMES[settings.variant], model)]
    return metric_rows(models, dataset, "test", lists)


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
