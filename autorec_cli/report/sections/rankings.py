"""Coverage, popularity and quality of recommendations."""

from __future__ import annotations

import numpy as np

from autorec_cli.csr import Array
from autorec_cli.evaluation.groups.bins import Bins, binned_mean, bins_by_count
from autorec_cli.evaluation.measurement import EASE_BASELINE, POPULARITY_BASELINE
from autorec_cli.evaluation.metrics import gini, lorenz_curve
from autorec_cli.evaluation.ranking import UserRankings
from autorec_cli.report.contents import GROUPS, LINES, Chart, Section, Series
from autorec_cli.report.subject import Subject

N_BINS = 8
N_POINTS = 40
"""Points of a Lorenz curve besides its start."""
BASELINES = (POPULARITY_BASELINE, EASE_BASELINE)


def rankings_section(subject: Subject) -> Section:
    """Charts of recommendations; empty if nothing was ranked."""
    ranked = {m.name: m.rankings for m in subject.measured if m.rankings is not None and m.rankings.n_relevant.any()}
    if not ranked:
        return Section("recommendations", "Recommendations")
    charts = [_lorenz(subject, ranked), _by_popularity(subject, ranked), _by_activity(subject, ranked)]
    return Section("recommendations", "Recommendations", charts=charts)


def _lorenz(subject: Subject, ranked: dict[str, UserRankings]) -> Chart:
    counts = {name: rankings.times for name, rankings in ranked.items()}
    series = [
        Series(f"{name} (Gini {gini(times):.3f})", *_sampled(lorenz_curve(times)), is_baseline=name in BASELINES)
        for name, times in counts.items()
    ]
    known = subject.item_counts
    series.append(Series(f"ratings (Gini {gini(known):.3f})", *_sampled(lorenz_curve(known)), is_baseline=True))
    return Chart(
        "lorenz",
        "Coverage: Lorenz curve",
        "Share of all recommendations that goes to the least recommended items. On the diagonal all are recommended "
        "equally often; where a curve is at 0, items are never recommended.",
        "% of the items, least recommended first",
        "% of recommendations",
        LINES,
        series,
        reference="diagonal",
    )


def _sampled(curve: Array) -> tuple[list[float], list[float]]:
    """Points of a curve over equal steps, both in percent."""
    n = len(curve) - 1
    positions = np.unique(np.linspace(0, n, N_POINTS + 1).round().astype(int))
    return (100 * positions / n).round(1).tolist(), (100 * curve[positions]).round(3).tolist()


def _by_popularity(subject: Subject, ranked: dict[str, UserRankings]) -> Chart:
    known = np.flatnonzero(subject.item_counts)
    bins = bins_by_count(subject.item_counts[known], N_BINS)
    series = [
        Series(name, bins.labels, _shares(rankings.times[known], bins), is_baseline=name in BASELINES)
        for name, rankings in ranked.items()
    ]
    series.append(Series("ratings", bins.labels, _shares(subject.item_counts[known], bins), is_baseline=True))
    return Chart(
        "recommended-popularity",
        "Popularity of what is recommended",
        "Share of recommendations, and of ratings, by how often the item was rated; groups have about as many items.",
        "ratings of the item",
        "% of recommendations",
        GROUPS,
        series,
    )


def _shares(times: Array, bins: Bins) -> list[float]:
    totals = np.bincount(bins.index, weights=times, minlength=len(bins.labels))
    shares: list[float] = (100 * totals / max(times.sum(), 1)).tolist()
    return shares


def _by_activity(subject: Subject, ranked: dict[str, UserRankings]) -> Chart:
    users = np.flatnonzero(next(iter(ranked.values())).n_relevant)
    bins = bins_by_count(subject.user_counts[users], N_BINS)
    series = [
        Series.of(name, bins.labels, binned_mean(rankings.values["ndcg"][users], users, bins), name in BASELINES)
        for name, rankings in ranked.items()
    ]
    return Chart(
        "ndcg-activity",
        f"nDCG@{subject.k} by user activity",
        "Quality of recommendations to users with few and with many ratings; each group has about as many users.",
        "ratings of the user",
        f"nDCG@{subject.k}",
        GROUPS,
        series,
    )
