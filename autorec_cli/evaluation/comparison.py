"""Paired comparison of two models on the same held-out ratings.

Differences of the same users vary far less than the metric itself, so small losses can be told from chance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np

from autorec_cli.csr import Array
from autorec_cli.evaluation.measurement import Measurement
from autorec_cli.evaluation.metrics import (
    RANKING_METRICS,
    RATING_METRICS,
    Z_95,
    Estimate,
    UserErrors,
    mean_over_pairs,
    rmse,
)

ONE_SIDED = NormalDist().inv_cdf(0.95) / Z_95
"""1.645 standard errors, as a share of the half width of a two-sided interval."""


@dataclass(frozen=True)
class Comparison:
    """A new and a current model by one metric.

    Attributes:
        new: Value of the new model; NaN if no user could be measured.
        current: Value of the current model.
        loss: The new model's loss against the current one, with its 95% interval; negative if it is better.
    """

    new: float
    current: float
    loss: Estimate

    @property
    def noise(self) -> float:
        """Loss that chance exceeds in 5% of cases.

        0 for a single user.
        """
        return ONE_SIDED * float(np.nan_to_num(self.loss.margin))

    @property
    def is_worse(self) -> bool:
        """True if the new model is worse beyond the noise."""
        return self.loss.value > self.noise


def has_user_values(metric: str) -> bool:
    """True for a metric of single users, such as "ndcg@10"."""
    return metric.partition("@")[0] in (*PAIRED_ERRORS, *RANKING_METRICS)


def compare(new: Measurement, current: Measurement, metric: str) -> Comparison:
    """Compare measurements of the same held-out ratings.

    The interval of a ranking metric is that of the mean of n paired differences, with the variance s^2 / n.

    Args:
        new: Of the new model.
        current: Of the current one.
        metric: "rmse", "mae", or a ranking metric that was measured, such as "ndcg@10".
    """
    name = metric.partition("@")[0]
    if name in PAIRED_ERRORS:
        assert new.errors is not None
        assert current.errors is not None
        value = RATING_METRICS[name]
        return Comparison(
            value(new.errors).value, value(current.errors).value, PAIRED_ERRORS[name](new.errors, current.errors)
        )
    assert new.rankings is not None
    assert current.rankings is not None
    losses = {name: current.rankings.values[name] - new.rankings.values[name]}
    return Comparison(
        new.rankings.mean_of(name).value,
        current.rankings.mean_of(name).value,
        # Losses in place of the values: their mean comes with its interval.
        replace(new.rankings, values=losses).mean_of(name),
    )


def _rmse_loss(new: UserErrors, current: UserErrors) -> Estimate:
    """Difference of two RMSEs on the same pairs.

    Delta method (Casella and Berger, Statistical Inference, 2002, section 5.5.4): the root has the slope 1 / (2 rmse),
    so the variance is that of `mean_over_pairs` of s_u / (2 rmse) - s'_u / (2 rmse'), where s_u and s'_u are user u's
    sums of squared errors by both models.
    """

    def linear(errors: UserErrors) -> Array:
        # A root of 0 has no slope, and sums that are all 0.
        return errors.squared / (2 * rmse(errors).value or 1.0)

    margin = mean_over_pairs(linear(new) - linear(current), new.n_pairs).margin
    return Estimate(rmse(new).value - rmse(current).value, margin)


def _mae_loss(new: UserErrors, current: UserErrors) -> Estimate:
    return mean_over_pairs(new.absolute - current.absolute, new.n_pairs)


PAIRED_ERRORS: Mapping[str, Callable[[UserErrors, UserErrors], Estimate]] = {"rmse": _rmse_loss, "mae": _mae_loss}
"""Loss of the first errors against the second ones; one for each of RATING_METRICS."""
