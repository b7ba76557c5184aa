"""Progress of a training run over all its phases.

It is the fraction done and the remaining time, over all networks.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import mean
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autorec_cli.config import Hyperparameters
    from autorec_cli.training.plan import TrainingPlan

RECENT = 10
"""Epochs of a phase whose mean duration is expected of its next ones."""
UNRATED_COST = 0.05
"""Cost of an unrated cell per rated one, for the ranking objective: dense products are that much faster."""


@dataclass
class Phase:
    """Selection phase, refit or fit of one network.

    Attributes:
        network: Number of the network, from 0.
        key: Variant, phase and validation metric, as of an `EpochResult`.
        n_epochs: Most epochs it may have.
        cost: Estimated cost of an epoch, in a unit that all phases have in common.
        epoch: Completed epochs.
        best_epoch: Best of them.
        seconds: Duration of each epoch.
        is_over: True if no more epochs follow.
    """

    network: int
    key: tuple[str, str, str]
    n_epochs: int
    cost: float
    epoch: int = 0
    best_epoch: int = 0
    seconds: list[float] = field(default_factory=list)
    is_over: bool = False


@dataclass
class TrainingProgress:
    """Epochs of all phases, those to come included.

    Attributes:
        phases: In the order of training; others are added when their first epoch comes.
        clock: Seconds, as `time.monotonic`.
    """

    phases: list[Phase]
    clock: Callable[[], float] = time.monotonic
    _current: Phase | None = field(default=None, init=False)
    _fraction: float = field(default=0.0, init=False)
    _since: float = field(default=0.0, init=False)

    def add(self, record: Mapping[str, Any]) -> None:
        """Add a completed epoch, as in `train.Record`."""
        phase = self._phase_of(record)
        if phase is not self._current:
            self._begin(phase)
        phase.epoch, phase.n_epochs = record["epoch"], record["n_epochs"]
        phase.seconds.append(record["seconds"])
        if record["best"]:
            phase.best_epoch = phase.epoch
        self._since = self.clock()
        spent, left = sum(sum(phase.seconds) for phase in self.phases), self._left()
        # The estimate of an epoch may rise, but a bar that moves back looks like a mistake.
        self._fraction = max(self._fraction, spent / (spent + left) if spent else 0.0)

    def finish(self) -> None:
        """End all phases."""
        for phase in self.phases:
            phase.is_over = True
        self._fraction = 1.0

    @property
    def fraction(self) -> float:
        """Fraction of the time that has passed, in [0, 1].

        It never falls.
        """
        return self._fraction

    @property
    def remaining(self) -> float | None:
        """Seconds left, counting down within an epoch.

        None before the first one has ended. A selection phase may end early, and the epochs of a refit depend on the
        best of its selection; until these are known, the maximum is expected.
        """
        if self._current is None:
            return None
        # An epoch that takes longer than expected leaves the epochs after it to be waited for.
        running = 0.0 if self._current.epoch >= self._current.n_epochs else self._pace(self._current)
        return max(0.0, self._left() - min(self.clock() - self._since, running))

    def _phase_of(self, record: Mapping[str, Any]) -> Phase:
        key, current = (record["variant"], record["phase"], metric_in(record)), self._current
        if current and current.key == key and record["epoch"] > current.epoch:
            return current
        coming = (phase for phase in self.phases if phase.key == key and not phase.epoch and not phase.is_over)
        found = next(coming, None)
        if found is None:
            found = Phase(len(self.phases), key, record["n_epochs"], mean([phase.cost for phase in self.phases] or [1]))
            self.phases.append(found)
        return found

    def _begin(self, phase: Phase) -> None:
        """Start `phase`, which ends all before it.

        Networks without weight in the model are not refitted.
        """
        if ended := self._current:
            # A refit trains as long as the best epoch of its selection tells; until now the maximum was expected.
            for refit in self.phases:
                if refit.network == ended.network and not refit.epoch:
                    refit.n_epochs = math.ceil(refit.n_epochs * ended.best_epoch / ended.n_epochs)
        for earlier in self.phases[: self.phases.index(phase)]:
            earlier.is_over = True
        self._current = phase

    def _left(self) -> float:
        """Seconds of the epochs to come."""
        return sum((phase.n_epochs - phase.epoch) * self._pace(phase) for phase in self.phases if not phase.is_over)

    def _pace(self, phase: Phase) -> float:
        """Expected seconds of an epoch.

        As measured in its phase, else in its network, else in any.
        """
        if phase.seconds:
            return mean(phase.seconds[-RECENT:])
        measured = [other for other in self.phases if other.seconds]
        of_network = [other for other in measured if other.network == phase.network]
        rates = [mean(other.seconds[-RECENT:]) / other.cost for other in of_network or measured]
        return phase.cost * mean(rates)


def metric_in(record: Mapping[str, Any]) -> str:
    """Validation metric of a record: "rmse" or "ndcg@10"."""
    return next(name.removeprefix("valid_") for name in record if name.startswith("valid_"))


def phases_of(plan: TrainingPlan) -> list[Phase]:
    """Phases of a plan, each at its maximum number of epochs."""
    from autorec_cli.training.loop.validation import metric_of

    def phase(number: int, network: Hyperparameters, name: str) -> Phase:
        n_fitted = plan.shape.n_train + (plan.shape.n_valid if name == "refit" else 0)
        key = (network.variant, name, metric_of(network.objective))
        n_epochs = network.refit_epochs(network.epochs) if name == "refit" else network.epochs
        return Phase(number, key, n_epochs, _epoch_cost(plan, network, n_fitted))

    networks = list(enumerate(plan.networks))
    if plan.shape.n_valid == 0:
        return [phase(number, network, "fit") for number, network in networks]
    phases = []
    # As in `training.networks`: all that predict ratings, then the one that ranks.
    for objective in ("rating", "ranking"):
        part = [(number, network) for number, network in networks if network.objective == objective]
        phases += [phase(number, network, "selection") for number, network in part]
        phases += [phase(number, network, "refit") for number, network in part if network.refit]
    return phases


def _epoch_cost(plan: TrainingPlan, network: Hyperparameters, n_fitted: int) -> float:
    """Multiplications of an epoch, roughly.

    Each rating with a row of V and of W, and a step of Adam on both.
    """
    sizes, n_examples = plan.layer_sizes(network), plan.n_examples(network)
    per_column: int = sizes[1] * network.n_channels + sizes[-2]
    n_steps = -(-n_examples // network.batch_size)
    cost = float(n_fitted * per_column + n_steps * sizes[0] * per_column)
    if network.objective == "ranking":
        cost += UNRATED_COST * n_examples * sizes[0] * per_column
    return cost
