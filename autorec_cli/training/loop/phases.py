"""Phases of training, as generators of one result per epoch.

The selection phase trains on the train split and picks the best epoch on the validation split. The refit then trains
on both, for as many epochs, or fewer from the network of that epoch. Test ratings are never read here.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from scipy import sparse

from autorec_cli.config import Hyperparameters
from autorec_cli.csr import Array, add_splits
from autorec_cli.data.dataset import Dataset
from autorec_cli.errors import UsageError
from autorec_cli.network.autoencoder import Network
from autorec_cli.network.engine import make_engine
from autorec_cli.network.linear_units import add_linear_units
from autorec_cli.runtime.partition import Partition
from autorec_cli.runtime.process_group import SINGLE_PROCESS
from autorec_cli.training.checkpoints.checkpoint import Selection
from autorec_cli.training.loop.epoch_result import EpochResult
from autorec_cli.training.loop.examples import Examples, make_examples
from autorec_cli.training.loop.shrink_and_perturb import Start, shrink_and_perturb
from autorec_cli.training.loop.trainer import Trainer, make_trainer
from autorec_cli.training.loop.validation import Validation, ValidationResult

if TYPE_CHECKING:
    from autorec_cli.training.checkpoints.checkpointer import Checkpointer


@dataclass(frozen=True)
class Fitted:
    """Trained network.

    Attributes:
        network: On the CPU.
        examples: What it was fitted to.
        fitted_parts: Splits of the dataset that are in `examples`.
        epochs: Number of epochs.
        validation: Result of the selected epoch, with linear units if there are any; None without validation ratings.
    """

    network: Network[Array]
    examples: Examples
    fitted_parts: tuple[str, ...]
    epochs: int
    validation: ValidationResult | None


@dataclass(frozen=True)
class NetworkTraining:
    """Training of one network.

    Attributes:
        dataset: Ratings, of the columns in `partition` only.
        settings: Hyperparameters.
        device: Device to train on.
        start: Warm start.
        partition: Columns of this process; all if None. All processes of its group train together.
        checkpointer: Saves the state after steps and epochs, and knows the state to resume from.
    """

    dataset: Dataset
    settings: Hyperparameters
    device: str
    start: Start | None = None
    partition: Partition | None = None
    checkpointer: Checkpointer | None = None

    def select(self) -> Generator[EpochResult, None, Selection]:
        """Select the best epoch on the validation set, if any.

        Yields:
            One result after each epoch.

        Raises:
            TrainingDivergedError: the loss is not finite.
            UsageError: the train split is empty.
        """
        return (yield from self._phase(self._select_trainer))

    def finish(self, selection: Selection) -> Generator[EpochResult, None, Fitted]:
        """Refit on train and valid, or keep the selected network.

        Yields:
            One result after each epoch.

        Raises:
            TrainingDivergedError: the loss is not finite.
        """
        valid = self._valid()
        # The best network was kept while training; it is the result.
        if valid is None or not self.settings.refit:
            return _fitted(selection, selection, self._examples(self.dataset.train), ("train",))
        examples = self._examples(add_splits(self.dataset.train, valid))
        refit = yield from self._phase(lambda: self._refit_trainer(examples, selection))
        return _fitted(refit, selection, examples, ("train", "valid"))

    def _select_trainer(self) -> Trainer:
        examples = self._examples(self.dataset.train)
        if examples.n_ratings == 0:
            raise UsageError("the train split has no ratings; prepare it again with smaller --test and --valid")
        return make_trainer(examples, self.settings, self.device, self.start, self._valid())

    def _refit_trainer(self, examples: Examples, selection: Selection) -> Trainer:
        n_epochs, settings, start = self.settings.refit_epochs(selection.epoch), self.settings, self.start
        if settings.continues:
            # With a schedule of its own. A resumed refit has been handed the network before, and trained it.
            selected = selection.take_network()
            settings = replace(settings, epochs=n_epochs)
            start = partial(shrink_and_perturb, selected) if selected else None
        return make_trainer(examples, settings, self.device, start, refit_epochs=n_epochs)

    def _examples(self, ratings: sparse.csr_array) -> Examples:
        return make_examples(ratings, self.dataset.rating_scale, self.settings, self.partition)

    def _valid(self) -> sparse.csr_array | None:
        # Asked of all processes: one without validation ratings must take part in every sum.
        process_group = self.partition.process_group if self.partition else SINGLE_PROCESS
        return self.dataset.valid if process_group.sum(self.dataset.valid.nnz) else None

    def _phase(self, make: Callable[[], Trainer]) -> Generator[EpochResult, None, Selection]:
        """Train to the end of a phase, or take its earlier outcome."""
        checkpointer = self.checkpointer
        if checkpointer and (earlier := checkpointer.next_outcome()):
            return earlier
        outcome = yield from _train(make(), checkpointer)
        if checkpointer:
            checkpointer.complete(outcome)
        return outcome


def select_and_refit(training: NetworkTraining) -> Generator[EpochResult, None, Fitted]:
    """Run both phases of a training, epoch by epoch.

    Raises:
        TrainingDivergedError: the loss is not finite.
        UsageError: the train split is empty.
    """
    selection = yield from training.select()
    return (yield from training.finish(selection))


def _train(trainer: Trainer, checkpointer: Checkpointer | None) -> Generator[EpochResult, None, Selection]:
    """Train to the end of a phase.

    Returns:
        The best epoch, with linear units if there are any.
    """
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
        trainer.require_learned()
    best, examples, settings, validation = trainer.best, trainer.examples, trainer.settings, trainer.validation
    del trainer  # linear units need its memory
    return _with_linear_units(best, examples, settings, validation) if settings.linear_units else best


def _with_linear_units(
    best: Selection, examples: Examples, settings: Hyperparameters, validation: Validation | None
) -> Selection:
    """Add linear units to a trained network, and measure both together."""
    assert best.network is not None  # a network with linear units is kept until its refit
    engine = make_engine(best.network, "cpu", settings.batch_size)
    codes = engine.codes(examples.inputs)
    engine.close()
    del engine  # it is as large as the network
    network = add_linear_units(best.network, codes, examples.inputs, settings.linear_units, settings.seed)
    if validation is None:
        return replace(best, network=network)
    engine = make_engine(network, "cpu", settings.batch_size)
    # A refit continues with the trained units.
    kept = best.network if settings.refit else network
    del network
    measured = validation.measure(engine)
    engine.close()
    return Selection(kept, best.epoch, measured)


def _fitted(last: Selection, selection: Selection, examples: Examples, splits: tuple[str, ...]) -> Fitted:
    assert last.network is not None
    return Fitted(last.network, examples, splits, selection.epoch, selection.validation)
