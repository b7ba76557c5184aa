"""Errors of predicted ratings by group, calibration and residuals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from autorec_cli.evaluation.groups.bins import binned_mean, binned_rmse, bins_by_count, bins_by_value
from autorec_cli.evaluation.measurement import BIAS_BASELINE, Predictions
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
            *_rmse_charts(subject, predicted),
            _calibration(subject, predicted),
            _residuals(subject, predicted),
        ]
    text = "Predicted ratings beside the user+item bias baseline. Bars are 95% intervals over users." if charts else ""
    return Section("errors", "Errors of predicted ratings", text, charts=charts)


def _is_model(subject: Subject, predicted: Predictions) -> bool:
    return predicted.name in {name for name, _ in subject.all_models}


def _rmse_charts(subject: Subject, predicted: Sequence[Predictions]) -> Iterator[Chart]:
    """Charts of the RMSE of groups of ratings."""
    held_out, users = subject.held_out, subject.held_out_users
    of_equal_size = "each group has about as many ratings"
    for bins, key, by, text, x_label in (
        (
            bins_by_count(subject.item_counts[held_out.indices], N_BINS),
            "popularity",
            "item popularity",
            f"RMSE of ratings of rarely and often rated items; {of_equal_size}.",
            "ratings of the item",
        ),
        (
            bins_by_count(subject.user_counts[users], N_BINS),
            "activity",
            "user activity",
            f"RMSE of ratings by users with few and with many ratings; {of_equal_size}.",
            "ratings of the user",
        ),
        (
            bins_by_value(held_out.data, N_BINS, subject.dataset.rating_scale),
            "rating",
            "rating",
            "RMSE by the rating that was given: extreme ratings are the hardest, as predictions shrink toward the "
            "mean.",
            "rating given",
        ),
    ):
        series = [
            Series.of(name, bins.labels, binned_rmse(values - held_out.data, users, bins), name == BIAS_BASELINE)
            for name, values, _ in predicted
        ]
        yield Chart(f"error-{key}", f"Error by {by}", text, x_label, "RMSE", GROUPS, series)


def _calibration(subject: Subject, predicted: Sequence[Predictions]) -> Chart:
    series = []
    for name, values, _ in predicted:
        bins = bins_by_value(values, N_BINS, subject.dataset.rating_scale)
        means = binned_mean(subject.held_out.data - values, subject.held_out_users, bins)
        series.append(Series.of(name, bins.labels, means, name == BIAS_BASELINE))
    return Chart(
        "calibration",
        "Calibration",
        "Mean of the rating less its prediction, by predicted rating; 0 is perfectly calibrated, above 0 is too low.",
        "predicted rating",
        "rating - prediction",
        GROUPS,
        series,
        reference="zero",
    )


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
