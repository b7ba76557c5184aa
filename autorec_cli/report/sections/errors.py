"""Errors of predicted ratings: by item popularity, user activity and rating, calibration and residuals."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from autorec_cli.csr import Array
from autorec_cli.evaluation.breakdown import Bins, binned_mean, binned_rmse, bins_by_count, bins_by_value
from autorec_cli.evaluation.measurement import BIAS_BASELINE, Predictions
from autorec_cli.evaluation.metrics import Estimate
from autorec_cli.report.contents import GROUPS, LINES, Chart, Section, Series
from autorec_cli.report.subject import Subject

N_BINS = 8
N_RESIDUAL_BINS = 30


def errors_section(subject: Subject) -> Section:
    """Charts of errors; empty without a model that predicts ratings."""
    predicted = [each for each in subject.predicted if each.name == BIAS_BASELINE or _is_model(subject, each)]
    charts: list[Chart] = []
    if predicted:
        charts = [
            _by_popularity(subject, predicted),
            _by_activity(subject, predicted),
            _by_rating(subject, predicted),
            _calibration(subject, predicted),
            _residuals(subject, predicted),
        ]
    text = "Predicted ratings beside the user+item bias baseline. Bars are 95% intervals over users." if charts else ""
    return Section("errors", "Errors of predicted ratings", text, charts=charts)


def _is_model(subject: Subject, predicted: Predictions) -> bool:
    return predicted.name in {name for name, _ in subject.all_models}


def _by_popularity(subject: Subject, predicted: Sequence[Predictions]) -> Chart:
    bins = bins_by_count(subject.item_counts[subject.held_out.indices], N_BINS)
    return Chart(
        "error-popularity",
        "Error by item popularity",
        "RMSE of ratings of rarely and often rated items; each group has about as many ratings.",
        "ratings of the item",
        "RMSE",
        GROUPS,
        _rmse_series(subject, predicted, bins),
    )


def _by_activity(subject: Subject, predicted: Sequence[Predictions]) -> Chart:
    bins = bins_by_count(subject.user_counts[subject.held_out_users], N_BINS)
    return Chart(
        "error-activity",
        "Error by user activity",
        "RMSE of ratings by users with few and with many ratings; each group has about as many ratings.",
        "ratings of the user",
        "RMSE",
        GROUPS,
        _rmse_series(subject, predicted, bins),
    )


def _by_rating(subject: Subject, predicted: Sequence[Predictions]) -> Chart:
    bins = bins_by_value(subject.held_out.data, N_BINS, subject.dataset.rating_scale)
    return Chart(
        "error-rating",
        "Error by rating",
        "RMSE by the rating that was given: extreme ratings are the hardest, as predictions shrink toward the mean.",
        "rating given",
        "RMSE",
        GROUPS,
        _rmse_series(subject, predicted, bins),
    )


def _rmse_series(subject: Subject, predicted: Sequence[Predictions], bins: Bins) -> list[Series]:
    def estimates(values: Array) -> list[Estimate]:
        return binned_rmse(values - subject.held_out.data, subject.held_out_users, bins)

    return _series(predicted, lambda _: bins, estimates)


def _calibration(subject: Subject, predicted: Sequence[Predictions]) -> Chart:
    def bins(values: Array) -> Bins:
        return bins_by_value(values, N_BINS, subject.dataset.rating_scale)

    def estimates(values: Array) -> list[Estimate]:
        return binned_mean(subject.held_out.data - values, subject.held_out_users, bins(values))

    return Chart(
        "calibration",
        "Calibration",
        "Mean of the rating less its prediction, by predicted rating; 0 is perfectly calibrated, above 0 is too low.",
        "predicted rating",
        "rating - prediction",
        GROUPS,
        _series(predicted, bins, estimates),
        reference="zero",
    )


def _series(
    predicted: Sequence[Predictions],
    bins: Callable[[Array], Bins],
    estimates: Callable[[Array], list[Estimate]],
) -> list[Series]:
    series = []
    for name, values, _ in predicted:
        found = estimates(values)
        ys, margins = [each.value for each in found], [each.margin for each in found]
        series.append(Series(name, bins(values).labels, ys, margins, name == BIAS_BASELINE))
    return series


def _residuals(subject: Subject, predicted: Sequence[Predictions]) -> Chart:
    residuals = [subject.held_out.data - values for _, values, _ in predicted]
    end = max(float(np.abs(each).max()) for each in residuals) or 1.0
    edges = np.linspace(-end, end, N_RESIDUAL_BINS + 1)
    centers = ((edges[:-1] + edges[1:]) / 2).round(4).tolist()
    series = []
    for (name, _, _), each in zip(predicted, residuals, strict=True):
        shares = 100 * np.histogram(each, edges)[0] / len(each)
        series.append(Series(name, centers, shares.tolist(), is_baseline=name == BIAS_BASELINE))
    return Chart(
        "residuals",
        "Residuals",
        "Distribution of the rating less its prediction.",
        "rating - prediction",
        "% of ratings",
        LINES,
        series,
    )
