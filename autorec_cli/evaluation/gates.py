"""Quality gates: limits of metrics that stop a script."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from autorec_cli.errors import QualityGateError, UsageError
from autorec_cli.evaluation.metrics import RANKING_METRICS, RATING_METRICS, TOP_K_METRICS

if TYPE_CHECKING:
    from autorec_cli.inference.scorer import Scorer

FLAGS = BELOW, ABOVE = ("--fail-below", "--fail-above")
SMALLER_IS_BETTER = frozenset(RATING_METRICS)

CLEARLY_WORSE = 1.005
"""Factor on the bias baseline's RMSE above which a model is reported as worse."""


@dataclass(frozen=True)
class Gate:
    """Limit of a metric.

    Attributes:
        metric: Such as "rmse" or "ndcg@10".
        limit: The value.
        above: The gate fails above the limit; otherwise below.
    """

    metric: str
    limit: float
    above: bool

    @property
    def flag(self) -> str:
        """Option that sets the gate."""
        return ABOVE if self.above else BELOW

    def miss(self, row: Mapping[str, Any]) -> str | None:
        """Explain why `row` misses the gate.

        None if it passes. A metric that is missing or NaN misses it.
        """
        value = row.get(self.metric)
        # A gate must not pass because nothing was measured.
        if value is None or math.isnan(value):
            return f"{self.metric} of {row['model']} could not be measured"
        if value > self.limit if self.above else value < self.limit:
            side = "above" if self.above else "below"
            return f"{self.metric} of {row['model']} is {value:.6g}, {side} {self.limit:g}"
        return None


def parse_gate(text: str, above: bool) -> Gate:
    """Parse a gate such as `rmse=0.85`.

    Raises:
        UsageError: it is not METRIC=NUMBER, or it is backwards: a lower RMSE is better, a higher nDCG is.
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
        other, better = replace(gate, above=not above).flag, "higher" if above else "lower"
        raise UsageError(f"{gate.flag} {text} is backwards: a {better} {name} is better; use {other} {text}")
    return gate


def upper_limit(text: str) -> Gate:
    """Parse `--fail-above`; see `parse_gate`."""
    return parse_gate(text, above=True)


def lower_limit(text: str) -> Gate:
    """Parse `--fail-below`; see `parse_gate`."""
    return parse_gate(text, above=False)


def check_gates(gates: Sequence[Gate], models: Sequence[tuple[str, Scorer]], k: int) -> None:
    """Check that all models have the metrics of all gates.

    Raises:
        UsageError: a gate needs predicted ratings, and a model only ranks.
    """
    rankers = [name for name, model in models if not model.predicts_ratings]
    for gate in gates:
        if rankers and not check_metric(gate.metric, k, gate.flag):
            raise UsageError(
                f"{gate.flag} {gate.metric} needs predicted ratings, and the ranking model {rankers[0]} has scores; "
                f"use --fail-below ndcg@{k}, or leave that model out"
            )


def check_metric(metric: str, k: int, flag: str) -> bool:
    """Check that `metric` exists for `k` recommendations per user.

    Return True if it is a ranking metric.

    Args:
        metric: Such as "rmse" or "ndcg@10".
        k: Recommendations per user.
        flag: Option that names the metric.

    Raises:
        UsageError: there is no such metric, or it is for another k.
    """
    name, at, length = metric.partition("@")
    known = [*RATING_METRICS, *(f"{name}@{k}" for name in TOP_K_METRICS)]
    if metric in known:
        return bool(at)
    if name in TOP_K_METRICS and length.isdigit():
        other = f", or evaluate with --top-k {length}" if flag in FLAGS else ""
        raise UsageError(f"{flag} {metric} is for another number of recommendations than {k}; use {name}@{k}{other}")
    raise UsageError(f"{flag} {metric} is not a metric{_hint(metric, known)}")


def _hint(name: str, known: Collection[str]) -> str:
    nearest = get_close_matches(name, known, n=1)
    return f"; did you mean {nearest[0]}?" if nearest else f"; known are {', '.join(known)}"


def enforce(
    rows: Sequence[Mapping[str, Any]], gates: Sequence[Gate], outcome: str = "the results were written all the same"
) -> None:
    """Check every row against every gate; `outcome` ends the message.

    Raises:
        QualityGateError: a gate is missed; the message names all of them.
    """
    # All of them, as whoever reads the mail in the morning cannot ask again.
    misses = [miss for row in rows for gate in gates if (miss := gate.miss(row)) is not None]
    if misses:
        raise QualityGateError(f"quality gate missed: {'; '.join(misses)}; {outcome}")
