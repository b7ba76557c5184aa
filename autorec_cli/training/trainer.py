"""Training loop: a generator that yields one result per epoch and returns the trained network.

The selection phase trains on the train split and picks the best epoch on the validation split. The refit then trains
on both for that many epochs. Test ratings are never read here.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Self, TypeVar, cast

import torch
from scipy import sparse
from torch import Tensor

from autorec_cli.config import Hyperparameters
from autorec_cli.csr import add_splits
from autorec_cli.data.dataset import Dataset
from autorec_cli.errors import TrainingDivergedError, UsageError
from autorec_cli.network.autoencoder import Loss, Network
from autorec_cli.network.engine import Engine, make_engine
from autorec_cli.runtime.partition import Partition
from autorec_cli.training.checkpoints.checkpoint import (
    EPOCH_START,
    NO_SELECTION,
    EpochProgress,
    Selection,
    TrainerState,
)
from autorec_cli.training.examples import Examples, make_examples
from autorec_cli.training.fit import EpochResult
from autorec_cli.training.randomness import dropout_factors, initial_network, shuffled_rows
from autorec_cli.training.validation import Validation, ValidationResult, make_validation, metric_of

if TYPE_CHECKING:
    from autorec_cli.training.checkpoints.checkpointer import Checkpointer

WARM_UP = 0.1
"""Fraction of all steps during which the learning rate rises."""


@dataclass(frozen=True)
class Fitted:
    """Trained network.

    Attributes:
        network: On the CPU.
        examples: What it was fitted to.
        fitted_parts: Splits of the dataset that are in `examples`.
        epochs: Number of epochs.
        validation: Result of the selected epoch; None without validation ratings.
    """

    network: Network
    examples: Examples
    fitted_parts: tuple[str, ...]
    epochs: int
    validation: ValidationResult | None


Start = Callable[[Network], Network]
"""Warm start: replaces the parameters of a fresh network."""


def select_and_refit(
    dataset: Dataset,
    settings: Hyperparameters,
    device: torch.device,
    *,
    start: Start | None = None,
    checkpointer: Checkpointer | None = None,
    partition: Partition | None = None,
) -> Generator[EpochResult, None, Fitted]:
    """Select the number of epochs on the validation set, then refit on train and valid together.

    Args:
        dataset: Ratings, of the columns in `partition` only.
        settings: Hyperparameters.
        device: Device to train on.
        start: Warm start, for both phases.
        checkpointer: Saves the state after steps and epochs, and knows the state to resume from.
        partition: Columns of this process; all if None. All processes of its group call this together.

    Yields:
        One result after each epoch of both phases.

    Returns:
        The trained network (the generator's return value).

    Raises:
        TrainingDivergedError: the loss is not finite.
        UsageError: the train split is empty.
    """
    examples = make_examples(dataset.train, dataset.rating_scale, settings, partition)
    if examples.n_ratings == 0:
        raise UsageError("the train split has no ratings; prepare it again with smaller --test and --valid")
    # Asked of all processes: one without validation ratings must take part in every sum.
    valid = dataset.valid if examples.partition.process_group.sum(dataset.valid.nnz) else None
    selection = checkpointer.selection() if checkpointer else None
    if selection is None:
        selection = yield from _train(make_trainer(examples, settings, device, start, valid), checkpointer)
    # The best network was kept while training; it is the result.
    if valid is None or not settings.refit:
        return _fitted(selection, selection, examples, ("train",))
    del examples  # the refit needs its memory
    examples = make_examples(add_splits(dataset.train, valid), dataset.rating_scale, settings, partition)
    refit = yield from _train(make_trainer(examples, settings, device, start, selection=selection), checkpointer)
    return _fitted(refit, selection, examples, ("train", "valid"))


def _train(trainer: Trainer, checkpointer: Checkpointer | None) -> Generator[EpochResult, None, Selection]:
    """Train to the end of a phase; returns the best epoch."""
    if checkpointer and (state := checkpointer.take()):
        trainer.restore(state)
        del state  # it is as large as the trainer
    # The engine owns threads; they end here, whatever ends the training.
    with trainer:
        while not trainer.is_done:
            for batch in trainer.batches():
                trainer.step(batch)
                if checkpointer:
                    checkpointer.after_step(trainer.state)
            # Before the checkpoint, whose history holds this epoch.
            yield trainer.end_epoch()
            if checkpointer:
                checkpointer.after_epoch(trainer.state)
    return trainer.best


def _fitted(last: Selection, selection: Selection, examples: Examples, splits: tuple[str, ...]) -> Fitted:
    assert last.network is not None
    return Fitted(last.network, examples, splits, selection.epoch, selection.validation)


def make_trainer(
    examples: Examples,
    settings: Hyperparameters,
    device: torch.device,
    start: Start | None = None,
    valid: sparse.csr_array | None = None,
    selection: Selection | None = None,
) -> Trainer:
    """Make a trainer at the beginning of the selection phase, or of the refit if there is a `selection`."""
    generator = torch.Generator().manual_seed(settings.seed)
    network = initial_network(examples, settings, generator)
    if start is not None:
        network = start(network)
    loss = Loss(settings.missing_weight, settings.decoder_mean)
    engine = make_engine(network, device, settings.batch_size, loss, examples.partition.process_group)
    del network  # the engine has its own
    validation = None if valid is None else make_validation(examples, valid, settings)
    n_epochs = selection.epoch if selection else settings.epochs
    return Trainer(engine, examples, settings, generator, n_epochs, validation, selection)


class Batch(NamedTuple):
    """Targets and encoder inputs of some examples, CSR."""

    targets: sparse.csr_array
    inputs: sparse.csr_array


@dataclass
class Trainer:
    """One phase of training: its engine, random generator and progress.

    Attributes:
        engine: Network and optimizer.
        examples: What it is fitted to.
        settings: Hyperparameters.
        generator: Source of batches and dropout.
        n_epochs: Maximum number of epochs.
        validation: Measures the network after each epoch; None in a refit.
        selection: Outcome of the selection phase, in a refit.
        epoch: Completed epochs.
        best: Best epoch so far.
    """

    engine: Engine
    examples: Examples
    settings: Hyperparameters
    generator: torch.Generator
    n_epochs: int
    validation: Validation | None = None
    selection: Selection | None = None
    epoch: int = field(default=0, init=False)
    best: Selection = field(default=NO_SELECTION, init=False)
    _n_steps: int = field(default=0, init=False)
    _squared_error: Tensor | float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self._n_examples = self.examples.matrix.shape[0]
        self._steps_per_epoch = math.ceil(self._n_examples / self.settings.batch_size)
        self._epoch_start = self.generator.get_state()

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
        self._started, n_done = time.perf_counter(), self._n_steps
        columns, dropout = self.examples.partition.columns, self.settings.dropout
        for number, rows in enumerate(shuffled_rows(self._n_examples, self.settings.batch_size, self.generator)):
            targets = self.examples.matrix[rows]
            factors = dropout_factors(targets, columns, dropout, self.generator)
            if number >= n_done:  # earlier ones are drawn too, because later draws depend on it
                yield Batch(targets, self.examples.inputs.of(targets, rows, factors))

    def step(self, batch: Batch) -> None:
        """Take one step of the optimizer."""
        settings, number = self.settings, self.epoch * self._steps_per_epoch + self._n_steps
        rate = settings.learning_rate * _schedule(number, settings.epochs * self._steps_per_epoch)
        # In a batch of B of N examples the penalty counts B/N, so that an epoch sums to the paper's objective.
        decay = settings.regularization * batch.targets.shape[0] / self._n_examples
        # Left on the device: reading it would make every step wait for the GPU.
        self._squared_error = self._squared_error + self.engine.step(batch.targets, batch.inputs, rate, decay)
        self._n_steps += 1

    def end_epoch(self) -> EpochResult:
        """Complete the epoch: check the loss, validate, and keep the network if it is the best.

        Raises:
            TrainingDivergedError: the loss or a parameter is not finite.
        """
        train_rmse = self._train_rmse()
        self.epoch, self._n_steps, self._squared_error = self.epoch + 1, 0, 0.0
        self._epoch_start = self.generator.get_state()
        result = self.validation.measure(self.engine) if self.validation else None
        improved = result is None or self.best.validation is None or result.is_better_than(self.best.validation)
        if improved:
            self.best = NO_SELECTION  # or two networks would be in memory
            self.best = Selection(self.engine.network() if self._keeps_network() else None, self.epoch, result)
        return EpochResult(
            phase="selection" if result else "refit" if self.selection else "fit",
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
        # A refit replaces it: a copy after every better epoch would only take memory.
        return not self.settings.refit

    def _train_rmse(self) -> float:
        # The loss is measured before each step, so the effect of the last one shows in the parameters only.
        sums = [float(self._squared_error), not self.engine.is_finite()]
        total, n_broken = self.examples.partition.process_group.sum(sums).tolist()
        if not math.isfinite(total) or n_broken:
            raise TrainingDivergedError(
                f"the loss is not finite in epoch {self.epoch + 1}, so no model was written; try a --learning-rate "
                f"below {self.settings.learning_rate:g} or a --regularization below {self.settings.regularization:g}"
            )
        return math.sqrt(total / self.examples.n_ratings) * self.examples.unit

    def state(self) -> TrainerState:
        """State to resume from, valid until the next step."""
        # The generator is saved as it was when the epoch began; `batches` draws again what was done.
        progress = EpochProgress(self._n_steps, float(self._squared_error)) if self._n_steps else EPOCH_START
        return TrainerState(self.selection, self.epoch, progress, self.engine.state(), self._epoch_start, self.best)

    def restore(self, state: TrainerState) -> None:
        """Continue from `state`."""
        self.epoch, self.best, self._epoch_start = state.epoch, state.best, state.generator
        self._n_steps, self._squared_error = state.progress.n_steps, state.progress.squared_error
        self.engine.restore(state.adam)
        self.generator.set_state(state.generator)


def _schedule(step: int, n_steps: int) -> float:
    """Learning rate of a step as a fraction of the peak: linear warm-up times cosine decay.

    Without the warm-up Adam's first steps, all of one size and sign, drive every hidden unit of an uncentered input
    into saturation (docs/notes/defaults.md). The cosine is Loshchilov and Hutter's (2017), without restarts.
    """
    warm_up = min(1.0, (step + 1) / max(1, round(WARM_UP * n_steps)))
    return warm_up * 0.5 * (1 + math.cos(math.pi * step / n_steps))


Yielded = TypeVar("Yielded")
Returned = TypeVar("Returned")


def drain(generator: Generator[Yielded, None, Returned], report: Callable[[Yielded], object]) -> Returned:
    """Run a generator to its end, reporting what it yields; returns its return value."""
    while True:
        try:
            report(next(generator))
        except StopIteration as end:
            return cast("Returned", end.value)
