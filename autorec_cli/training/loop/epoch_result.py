"""Result of an epoch, for callers and logs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class EpochResult:
    """Result of one epoch.

    Attributes:
        objective: Objective of the network: "rating" or "ranking".
        variant: Its variant.
        phase: "selection", "refit", or "fit" where there are no validation ratings.
        epoch: From 1.
        n_epochs: Maximum number of epochs of this phase.
        train_rmse: RMSE in rating units, each batch measured just before its step; with the ranking objective, the
            root of `train_loss`.
        metric: Validation metric: "rmse", or "ndcg@10" for the ranking objective.
        valid: Its value; None if nothing was validated.
        seconds: Duration of training and validation.
        best: True if no epoch of this phase was better so far.
    """

    objective: str
    variant: str
    phase: str
    epoch: int
    n_epochs: int
    train_rmse: float
    metric: str
    valid: float | None
    seconds: float
    best: bool

    def __repr__(self) -> str:
        error = f"train RMSE {self.train_rmse:.4f}" if self.metric == "rmse" else f"train loss {self.train_loss:.4g}"
        valid = "" if self.valid is None else f", validation {self.metric} {self.valid:.4f}"
        place = f"{self.objective}, {self.variant} variant, {self.phase}, epoch {self.epoch} of {self.n_epochs}"
        return f"EpochResult({place}: {error}{valid}{', best' if self.best else ''})"

    @property
    def train_loss(self) -> float:
        """Weighted squared error per rating.

        Where unrated items count too, it is no error of ratings.
        """
        return self.train_rmse**2

    def to_record(self) -> dict[str, Any]:
        """Facts of the epoch as JSON types."""
        return {
            "objective": self.objective,
            "variant": self.variant,
            "phase": self.phase,
            "epoch": self.epoch,
            "n_epochs": self.n_epochs,
            **({"train_rmse": self.train_rmse} if self.metric == "rmse" else {"train_loss": self.train_loss}),
            "seconds": self.seconds,
            "best": self.best,
            f"valid_{self.metric}": self.valid,
        }
