"""Learning curves: training and validation errors of every epoch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

DIGITS = 6


def learning_curves(epochs: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Learning curves, one for each phase of each network.

    Args:
        epochs: Facts of all epochs in their order; see `EpochResult.to_record`.

    Returns:
        Objective, variant, phase and validation metric, with `train` and `valid`, a value for each epoch; `valid` is
        empty where nothing was validated. `train` is an RMSE of ratings, or the loss of a ranking objective.
    """
    curves: list[dict[str, Any]] = []
    for epoch in epochs:
        metric = next(name for name in epoch if name.startswith("valid_"))
        if epoch["epoch"] == 1:  # a phase begins
            described = {name: epoch[name] for name in ("objective", "variant", "phase")}
            curves.append({**described, "metric": metric.removeprefix("valid_"), "train": [], "valid": []})
        curves[-1]["train"].append(_rounded(epoch.get("train_rmse", epoch.get("train_loss"))))
        if epoch[metric] is not None:
            curves[-1]["valid"].append(_rounded(epoch[metric]))
    return curves


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
