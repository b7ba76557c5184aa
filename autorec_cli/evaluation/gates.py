"""Limits for metrics, so that a script can stop before a bad model is used."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

from autorec_cli.errors import QualityGateError, UsageError
from autorec_cli.evaluation.metrics import LIST_METRICS, RANKING_METRICS, RATING_METRICS

SMALLER_IS_BETTER = frozenset(RATING_METRICS)


@dataclass(frozen=True)
class Gate:
    """What a metric may be at most (`above` is where it fails) or at least."""

    metric: str
    limit: float
    above: bool

    @property
    def flag(self) -> str:
        """The option that sets it."""
        return "--fail-above" if self.above else "--fail-below"

    def miss(self, row: Mapping[str, Any]) -> str | None:
        """Why the model of `row` is on the wrong side, as what was not measured always is; None if it is not."""
        value = row.get(self.metric)
        if value is None or math.isnan(value):
            return f"{self.metric} of {row['model']} could not be measured"
        if value > self.limit if self.above else value < self.limit:
            side = "above" if self.above else "below"
            return f"{self.metric} of {row['model']} is {value:.6g}, {side} {self.limit:g}"
        return None


def parse_gate(text: str, above: bool) -> Gate:
    """The gate that `text`, such as `rmse=0.85`, stands for.

    Raises:
        UsageError: it is not METRIC=NUMBER, or lets every bad model pass: a larger RMSE is worse, a larger nDCG is not.
    """
    metric, _, number = text.partition("=")
    try:
        limit = float(number)
    except ValueError:
        limit = math.nan
    gate = Gate(metric, limit, above)
    if not math.isfinite(limit):
        raise UsageError(f"{gate.flag} {text} is not METRIC=NUMBER, such as rmse=0.85 or ndcg@10=0.3")
    name = metric.partition("@")[0]
    if name in (RANKING_METRICS if above else SMALLER_IS_BETTER):
        other = replace(gate, above=not above).flag
        raise UsageError(f"{gate.flag} {text} would stop good models only; use {other} {text}")
    return gate


def check_metric(metric: str, k: int, flag: str) -> bool:
    """Check that `metric` is measured with lists of length `k`; returns whether it needs lists at all.

    Args:
        metric: Such as "rmse" or "ndcg@10".
        k: The length of the lists that are made.
        flag: The option that names the metric.

    Raises:
        UsageError: there is no such metric, or its lists are of another length.
    """
    name, at, length = metric.partition("@")
    known = [*RATING_METRICS, *(f"{name}@{k}" for name in LIST_METRICS)]
    if metric in known:
        return bool(at)
    if name in LIST_METRICS and length.isdigit():
        raise UsageError(f"{flag} {metric} needs lists of that length, but they are of {k}: name {name}@{k}")
    raise UsageError(f"{flag} {metric} names no metric{_hint(metric, known)}")


def _hint(name: str, known: Collection[str]) -> str:
    nearest = get_close_matches(name, known, n=1)
    return f"; did you mean {nearest[0]}?" if nearest else f"; known are {', '.join(known)}"


def enforce(rows: Sequence[Mapping[str, Any]], gates: Sequence[Gate]) -> None:
    """Check every row against every gate.

    Raises:
        QualityGateError: one is missed; the message names all that are.
    """
    misses = [miss for row in rows for gate in gates if (miss := gate.miss(row)) is not None]
    if misses:
        raise QualityGateError(f"quality gate missed: {'; '.join(misses)}; the results are written, use them with care")


def is_worse(metric: str, new: Mapping[str, Any], old: Mapping[str, Any]) -> bool:
    """Whether the row `new` is worse than the row `old`; what was not measured is worse than what was."""
    ours, theirs = (float(row.get(metric, math.nan)) for row in (new, old))
    if math.isnan(theirs):
        return math.isnan(ours)
    return not (ours <= theirs if metric in SMALLER_IS_BETTER else ours >= theirs)
