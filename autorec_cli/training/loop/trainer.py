"""Trainer of a network for one phase of training."""

from __future__ import annotations

import functools
import math
import operator
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self, SupportsFloat, TypeVar, cast

import numpy as np
from scipy import sparse

from autorec_cli.config import Hyperparameters
from autorec_cli.csr import Array, moments_of, power_sums
from autorec_cli.errors import TrainingDivergedError
from autorec_cli.network.autoencoder import Loss
from autorec_cli.network.dropout import Dropout
from autorec_cli.network.encoder_input import Batch
from autorec_cli.network.engine import Engine, make_engine
from autorec_cli.runtime.threads import one_ahead
from autorec_cli.training.checkpoints.checkpoint import (
    EPOCH_START,
    NO_SELECTION,
    EpochProgress,
    Selection,
    TrainerState,
)
from autorec_cli.training.loop.epoch_result import EpochResult
from autorec_cli.training.loop.examples import Examples
from autorec_cli.training.loop.randomness import draw_dropout, initial_network, shuffled_rows
from autorec_cli.training.loop.shrink_and_perturb import Start
from autorec_cli.training.loop.validation import Validation, make_validation, metric_of

WARM_UP = 0.1
"""Fraction of all steps during which the learning rate rises."""


def make_trainer(
    examples: Examples,
    settings: Hyperparameters,
    device: str,
    start: Start | None = None,
    valid: sparse.csr_array | None = None,
    refit_epochs: int | None = None,
) -> Trainer:
    """Make a trainer at the beginning of a phase.

    That is the selection phase, or with `refit_epochs` a refit.
    """
    generator = np.random.default_rng(settings.seed)
    network = initial_network(examples, settings, generator)
    if start is not None:
        network = start(network)
    loss = loss_of(examples, settings)
    engine = make_engine(network, device, settings.batch_size, loss, examples.partition.process_group)
    del network  # the engine has its own
    validation = None if valid is None else make_validation(examples, valid, settings)
    phase = "fit" if validation is None else "selection"
    if refit_epochs is not None:
        phase = "refit"
    return Trainer(engine, examples, settings, generator, refit_epochs or settings.epochs, phase, validation)


def loss_of(examples: Examples, settings: Hyperparameters) -> Loss:
    """Terms of the loss that the settings ask for."""
    if settings.output_activation == "ordinal":
        return Loss(offsets=examples.offsets(settings.variant))
    return Loss(settings.missing_weight, settings.decoder_mean)


@dataclass
class Trainer:
    """One phase of training: its engine, random generator and progress.

    Attributes:
        engine: Network and optimizer.
        examples: What it is fitted to.
        settings: Hyperparameters.
        generator: Source of batches and dropout.
        n_epochs: Maximum number of epochs.
        phase: See `fit.EpochResult`.
        validation: Measures the network after each epoch; None in a refit.
        epoch: Completed epochs.
        best: Best epoch so far.
    """

    engine: Engine
    examples: Examples
    settings: Hyperparameters
    generator: np.random.Generator
    n_epochs: int
    phase: str
    validation: Validation | None = None
    epoch: int = field(default=0, init=False)
    best: Selection = field(default_factory=lambda: NO_SELECTION, init=False)
    _n_steps: int = field(default=0, init=False)
    _squared_errors: list[SupportsFloat] = field(default_factory=list, init=False)
    _useless: str = field(default="", init=False)

    def __post_init__(self) -> None:
        self._n_examples = self.examples.matrix.shape[0]
        self._steps_per_epoch = math.ceil(self._n_examples / self.settings.batch_size)
        self._epoch_start: Mapping[str, Any] = self.generator.bit_generator.state  # see `state`

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # An abandoned training is closed by the garbage collector, which must not wait: see runtime.threads.in_order.
        self.engine.close(wait=kind is not GeneratorExit)

    @property
    def is_done(self) -> bool:
        """True after the last epoch, or when patience has run out."""
        patience = self.settings.patience
        return self.epoch >= self.n_epochs or bool(patience and self.epoch - self.best.epoch >= patience)

    def batches(self) -> Iterator[Batch]:
        """Draw the remaining batches of the current epoch."""
        self._started = time.perf_counter()
        columns, dropout = self.examples.partition.columns, self.settings.dropout
        # All draws of the epoch at once, so that no thread but this one uses the generator; with those of batches that
        # are done, because later draws depend on it.
        draws = [
            (rows, draw_dropout(len(rows), columns, dropout, self.generator))
            for rows in shuffled_rows(self._n_examples, self.settings.batch_size, self.generator)
        ][self._n_steps :]

        def make(draw: tuple[Array, Dropout | None]) -> Batch:
            return self.engine.batch(self.examples.inputs, *draw)

        with one_ahead(make, draws, self.engine.is_threaded) as batches:
            yield from batches

    def step(self, batch: Batch) -> None:
        """Take one step of the optimizer."""
        settings, number = self.settings, self.epoch * self._steps_per_epoch + self._n_steps
        # The schedule is one of `settings.epochs`, even in a refit of fewer: its epochs repeat those that were
        # selected.
        rate = settings.learning_rate * _schedule(number, settings.epochs * self._steps_per_epoch)
        # In a batch of B of N examples the penalty counts B/N, so that an epoch sums to the paper's objective.
        decay = settings.regularization * batch.targets.shape[0] / self._n_examples
        # Left on the device: reading it would make every step wait for the GPU.
        self._squared_errors.append(self.engine.step(batch, rate, decay))
        self._n_steps += 1

    def end_epoch(self) -> EpochResult:
        """Complete the epoch.

        It checks the loss, validates, and keeps the network if it is the best.

        Raises:
            TrainingDivergedError: the loss or a parameter is not finite.
        """
        train_rmse = self._train_rmse()
        self.epoch, self._n_steps, self._squared_errors = self.epoch + 1, 0, []
        self._epoch_start = self.generator.bit_generator.state
        result = self.validation.measure(self.engine) if self.validation else None
        improved = result is None or self.best.validation is None or result.is_better_than(self.best.validation)
        if improved:
            self.best = NO_SELECTION  # or two networks would be in memory
            self.best = Selection(self.engine.network() if self._keeps_network() else None, self.epoch, result)
            self._useless = self._worse_than_mean(train_rmse) if self._keeps_network() else ""
        return EpochResult(
            objective=self.settings.objective,
            variant=self.settings.variant,
            phase=self.phase,
            epoch=self.epoch,
            n_epochs=self.n_epochs,
            train_rmse=train_rmse,
            metric=metric_of(self.settings.objective),
            valid=result.value if result else None,
            seconds=time.perf_counter() - self._started,
            best=improved,
        )

    def _keeps_network(self) -> bool:
        if self.validation is None:
            return self.epoch == self.n_epochs
        # A fresh refit replaces it: a copy after every better epoch would only take memory.
        return self.settings.continues or not self.settings.refit

    def require_learned(self) -> None:
        """Check the network that is kept, if any.

        One that ranks has no ratings to compare with.

        Raises:
            TrainingDivergedError: it predicts the training ratings worse than their mean does.
        """
        if self._useless:
            raise TrainingDivergedError(
                f"{self._useless}, so no model was written: training has diverged, or too few epochs were run; try a "
                f"--learning-rate below {self.settings.learning_rate:g} or more --epochs"
            )

    def _worse_than_mean(self, train_rmse: float) -> str:
        """Message that the network predicts worse than the mean.

        It is about the training ratings, and empty if the network is better than their mean.
        """
        if self.settings.objective != "rating":
            return ""
        matrix, process_group = self.examples.matrix, self.examples.partition.process_group
        _, by_mean = moments_of(
            self.examples.n_ratings, *process_group.sum(power_sums(self.examples.ratings.data)).tolist()
        )
        # Measured again only where the epoch gives reason to: dropout and the steps before the last add to its error.
        if train_rmse <= by_mean:
            return ""
        errors = (self.engine.predict(self.examples.inputs, matrix) - matrix.data).astype(np.float64)
        total = float(process_group.sum(errors @ errors))
        rmse = math.sqrt(total / self.examples.n_ratings) * self.examples.unit
        if rmse <= by_mean:
            return ""
        return (
            f"after its last epoch the network predicts the training ratings with RMSE {rmse:.4g}, "
            f"and their mean with {by_mean:.4g}"
        )

    def _train_rmse(self) -> float:
        # The loss is measured before each step, so the effect of the last one shows in the parameters only.
        sums = [self._squared_error(), not self.engine.is_finite()]
        total, n_broken = self.examples.partition.process_group.sum(sums).tolist()
        if not math.isfinite(total) or n_broken:
            raise TrainingDivergedError(
                f"the loss is not finite in epoch {self.epoch + 1}, so no model was written; try a --learning-rate "
                f"below {self.settings.learning_rate:g} or a --regularization below {self.settings.regularization:g}"
            )
        return math.sqrt(total / self.examples.n_ratings) * self.examples.unit

    def _squared_error(self) -> float:
        """Sum of the squared errors of this epoch's steps."""
        # In order, as a resumed epoch adds to the sum of its first steps; `sum` compensates from Python 3.12 on.
        return functools.reduce(operator.add, map(float, self._squared_errors), 0.0)

    def state(self) -> TrainerState:
        """State to resume from, valid until the next step."""
        # The generator is saved as it was when the epoch began; `batches` draws again what was done.
        progress = EpochProgress(self._n_steps, self._squared_error()) if self._n_steps else EPOCH_START
        return TrainerState(self.epoch, progress, self.engine.state(), self._epoch_start, self.best)

    def restore(self, state: TrainerState) -> None:
        """Continue from `state`."""
        self.epoch, self.best, self._epoch_start = state.epoch, state.best, state.generator
        self._n_steps, self._squared_errors = state.progress.n_steps, [state.progress.squared_error]
        self.engine.restore(state.adam)
        self.generator.bit_generator.state = state.generator


def _schedule(step: int, n_steps: int) -> float:
    """Fraction of the peak learning rate at a step.

    Linear warm-up times cosine decay. Without the warm-up Adam's first steps, all of one size and sign, drive every
    hidden unit of an uncentered input into saturation (docs/notes/defaults.md). The cosine is Loshchilov and Hutter's
    (2017), without restarts.
    """
    warm_up = min(1.0, (step + 1) / max(1, round(WARM_UP * n_steps)))
    return warm_up * 0.5 * (1 + math.cos(math.pi * step / n_steps))


Yielded = TypeVar("Yielded")
Returned = TypeVar("Returned")


def drain(generator: Generator[Yielded, None, Returned], report: Callable[[Yielded], object]) -> Returned:
    """Run a generator to its end, reporting what it yields.

    Returns:
        Its return value.
    """
    while True:
        try:
            report(next(generator))
        except StopIteration as end:
            return cast("Returned", end.value)
