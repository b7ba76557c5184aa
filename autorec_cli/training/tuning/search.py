"""Hyperparameter search: Optuna proposes, the validation set decides.

Test ratings are never read.

A trial is the selection phase of a training, without a refit. The tree-structured Parzen estimator (Bergstra et al.
2011) proposes hyperparameters, and a trial that is behind the median of the earlier ones is pruned. Median rather than
Hyperband, whose brackets need some ten trials each before the estimator can learn from them, and because it compares
trials at equal fractions of their schedules: the learning rate falls along a cosine as long as the trial, so at equal
epochs a long trial would look bad that ends well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import optuna
from optuna.trial import TrialState

from autorec_cli.config import Hyperparameters
from autorec_cli.data.dataset import Dataset
from autorec_cli.errors import ArtifactError, TrainingDivergedError, UsageError
from autorec_cli.training.loop.epoch_result import EpochResult
from autorec_cli.training.loop.phases import NetworkTraining
from autorec_cli.training.loop.trainer import drain
from autorec_cli.training.tuning.space import Limits, default_values, space, to_settings

OnEpoch = Callable[[EpochResult], None]

STUDY = "autorec"
REPORTS = 10
"""Times that a trial is compared with the others, at equal fractions of its epochs."""
FIRST_TRIALS = 5
"""Trials that are never pruned, for lack of others to compare with."""
FIRST_REPORT = 3
"""First report of a trial, from 1, at which it can be pruned."""


@dataclass(frozen=True)
class TrialResult:
    """Outcome of one trial.

    Attributes:
        number: From 1, among the trials that ended.
        settings: Its hyperparameters.
        outcome: "complete", "pruned" or "diverged".
        valid: Best validation result; None if no epoch ended.
        epochs: Number of epochs.
        best: True if no complete trial was better so far.
    """

    number: int
    settings: Hyperparameters
    outcome: str
    valid: float | None
    epochs: int
    best: bool


@dataclass(frozen=True)
class Search:
    """Search for the best hyperparameters of a dataset; see `open_search`.

    Attributes:
        study: Trials so far.
        dataset: Train and valid splits are used; valid is not empty.
        limits: Bounds of the search.
    """

    study: optuna.Study
    dataset: Dataset
    limits: Limits

    @property
    def n_ended(self) -> int:
        """Number of complete and pruned trials, without interrupted ones."""
        return len(self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED)))

    def run(self, n_trials: int, device: str, on_epoch: OnEpoch) -> Iterator[TrialResult]:
        """Add trials until `n_trials` have ended; yields each one.

        Args:
            n_trials: Total number of trials.
            device: Device to train on.
            on_epoch: Called after every epoch.
        """
        searched = space(self.limits, self.dataset)
        while (n_ended := self.n_ended) < n_trials:
            # A sampler per trial, seeded by its number: an interrupted search continues as it would have.
            seed = int(np.random.SeedSequence([self.limits.seed, n_ended]).generate_state(1)[0])
            self.study.sampler = optuna.samplers.TPESampler(seed=seed)
            trial = self.study.ask(searched)
            settings = to_settings(trial.params, self.dataset, self.limits)
            try:
                outcome, valid, epochs = _run_trial(trial, self.dataset, settings, device, on_epoch)
            except BaseException:
                _enqueue_again(self.study, trial)
                raise
            if outcome == "complete":
                self.study.tell(trial, valid)
            else:
                # Optuna has no state for divergence; a failed trial would teach the sampler nothing.
                self.study.tell(trial, state=TrialState.PRUNED)
            best = outcome == "complete" and self.study.best_trial.number == trial.number
            yield TrialResult(n_ended + 1, settings, outcome, valid, epochs, best)

    def best(self) -> tuple[Hyperparameters, float]:
        """Hyperparameters of the best trial, and its validation result.

        Raises:
            TrainingDivergedError: no trial is complete.
        """
        try:
            best = self.study.best_trial
        except ValueError:
            raise TrainingDivergedError(
                "no trial ended with a finite loss; run more --trials, or look at the ratings for values far off the "
                "scale"
            ) from None
        assert best.value is not None
        return to_settings(best.params, self.dataset, self.limits), best.value


def open_search(dataset: Dataset, limits: Limits, storage: Path | None) -> Search:
    """Open the search in `storage`, or a new one.

    Its first trials are the defaults.

    Raises:
        UsageError: the search in the file is of another dataset or has other limits.
        ArtifactError: the file does not hold a search of autorec, or cannot be read.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    # Optuna raises a RuntimeError for a database of another version.
    unusable: tuple[type[Exception], ...] = (*_storage_errors(), RuntimeError)
    about = {"dataset": dataset.fingerprint(), **asdict(limits), "variants": list(limits.variants)}
    try:
        study = _open_study(storage, limits.objective)
        known = study.user_attrs.get("about")
        if known is None:
            study.set_user_attr("about", about)
            for variant in limits.variants:
                study.enqueue_trial(default_values(variant, dataset, limits))
    except unusable as error:
        raise ArtifactError(
            f"{storage} cannot be used to store trials ({_first_line(error)}); name another file"
        ) from error
    if known not in (None, about):
        differing = " and ".join(name.replace("_", "-") for name in about if known.get(name) != about[name])
        raise UsageError(f"the trials in {storage} were made with another {differing}; name another file for these")
    # A run that was killed leaves its trial running for ever.
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        _enqueue_again(study, trial)
    return Search(study, dataset, limits)


def _open_study(storage: Path | None, objective: str) -> optuna.Study:
    kept = None if storage is None else _database(storage)
    pruner = optuna.pruners.MedianPruner(FIRST_TRIALS, FIRST_REPORT)
    direction: Literal["minimize", "maximize"] = "minimize" if objective == "rating" else "maximize"
    return optuna.create_study(storage=kept, pruner=pruner, study_name=STUDY, direction=direction, load_if_exists=True)


@contextmanager
def storing(storage: Path | None) -> Iterator[None]:
    """Explain errors of storing trials, naming the file.

    Raises:
        UsageError: trials cannot be stored, for example because the disk is full.
    """
    try:
        yield
    except _storage_errors() as error:
        raise UsageError(
            f"cannot write {storage} ({_first_line(error)}); make room or choose another place for --storage"
        ) from error


def _run_trial(
    trial: optuna.Trial, dataset: Dataset, settings: Hyperparameters, device: str, on_epoch: OnEpoch
) -> tuple[str, float | None, int]:
    """Run one trial; returns outcome, best validation result and epochs."""
    better = min if settings.objective == "rating" else max
    best: float | None = None
    epoch, reported = 0, 0

    def after_epoch(result: EpochResult) -> None:
        nonlocal best, epoch, reported
        on_epoch(result)
        assert result.valid is not None
        best, epoch = result.valid if best is None else better(best, result.valid), result.epoch
        # A short trial passes several tenths of its schedule in one epoch.
        for step in range(reported + 1, REPORTS * epoch // result.n_epochs + 1):
            trial.report(best, step)
            reported = step
        if epoch < result.n_epochs and trial.should_prune():
            raise optuna.TrialPruned

    try:
        with closing(NetworkTraining(dataset, settings, device).select()) as selecting:
            selection = drain(selecting, after_epoch)
    except optuna.TrialPruned:
        return "pruned", best, epoch
    except TrainingDivergedError:
        return "diverged", best, epoch
    # Linear units come after the last epoch.
    return "complete", selection.validation.value if selection.validation else best, epoch


def _enqueue_again(study: optuna.Study, trial: optuna.Trial | optuna.trial.FrozenTrial) -> None:
    """End an interrupted trial, and enqueue its hyperparameters again."""
    study.tell(trial.number, state=TrialState.FAIL)
    if trial.params:
        study.enqueue_trial(trial.params)


def _database(file: Path) -> optuna.storages.RDBStorage:
    from sqlalchemy import URL, NullPool

    # Pasted into a URL, a path with ? or # would name another file.
    url = URL.create("sqlite", database=str(file.resolve())).render_as_string()
    # Without a pool, every connection is closed after its use: nobody closes a study.
    return optuna.storages.RDBStorage(url, engine_kwargs={"poolclass": NullPool})


def _storage_errors() -> tuple[type[Exception], ...]:
    """Exceptions of Optuna and SQLAlchemy about a database."""
    from sqlalchemy.exc import SQLAlchemyError

    return optuna.exceptions.OptunaError, SQLAlchemyError


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
