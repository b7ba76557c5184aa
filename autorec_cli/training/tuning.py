"""Hyperparameter search: Optuna proposes, the validation set decides. Test ratings are never read.

A trial is the selection phase of a training, without a refit. The tree-structured Parzen estimator (Bergstra et al.
2011) proposes hyperparameters. A trial that is behind the
median of the earlier ones is pruned. Median rather than Hyperband, whose brackets need some ten trials each before the
estimator can learn from them, and because it compares trials at equal shares of their schedules: the learning rate
falls along a cosine as long as the trial, so at equal epochs a long trial would look bad that ends well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from autorec_cli.config import CENTERS, MAX_BATCH_SIZE, Hyperparameters, TrainSettings
from autorec_cli.data.dataset import Dataset
from autorec_cli.errors import ArtifactError, TrainingDivergedError, UsageError
from autorec_cli.training.fit import EpochResult
from autorec_cli.training.plan import check_memory, complete
from autorec_cli.training.trainer import select_and_refit

if TYPE_CHECKING:
    import torch

    from autorec_cli.network.device import Place

STUDY = "autorec"
REPORTS = 10
"""Times that a trial is compared with the others, at equal fractions of its epochs."""
LEAST_BATCH = 16
FIRST_TRIALS = 5
"""Trials that are never pruned, for lack of others to compare with."""
FIRST_REPORT = 3
"""First report of a trial, from 1, at which it can be pruned."""


@dataclass(frozen=True)
class Limits:
    """Bounds of the search.

    Attributes:
        objective: "rating", which minimizes RMSE, or "ranking", which maximizes nDCG@10.
        variants: "item", "user" or both.
        max_hidden_size: Largest hidden layer.
        max_epochs: Maximum number of epochs of a trial.
        seed: Seed of the proposals and of every training.
    """

    objective: str
    variants: tuple[str, ...]
    max_hidden_size: int
    max_epochs: int
    seed: int

    def __post_init__(self) -> None:
        for flag, value in (("--max-hidden-size", self.max_hidden_size), ("--max-epochs", self.max_epochs)):
            if value < 1:
                raise UsageError(f"{flag} must be a whole number from 1, not {value}")


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


def space(limits: Limits, n_examples: int) -> dict[str, BaseDistribution]:
    """Search space: names of hyperparameters, with `hidden_size` for a single hidden layer, and their ranges.

    Args:
        limits: Bounds of the search.
        n_examples: Number of examples of the variant that has more.
    """
    batch = min(MAX_BATCH_SIZE, n_examples)
    of_objective: dict[str, BaseDistribution] = {"center": CategoricalDistribution(CENTERS)}
    if limits.objective == "ranking":
        of_objective = {"missing_weight": FloatDistribution(0.02, 2, log=True)}
    return {
        "variant": CategoricalDistribution(limits.variants),
        "hidden_size": IntDistribution(min(16, limits.max_hidden_size), limits.max_hidden_size, log=True),
        "regularization": FloatDistribution(1, 1000, log=True),
        "dropout": FloatDistribution(0, 0.8),
        **of_objective,
        "learning_rate": FloatDistribution(3e-4, 3e-2, log=True),
        "batch_size": IntDistribution(min(LEAST_BATCH, batch), batch, log=True),
        "epochs": IntDistribution(min(10, limits.max_epochs), limits.max_epochs),
    }


def to_settings(params: Mapping[str, Any], dataset: Dataset, limits: Limits) -> Hyperparameters:
    """Hyperparameters of a trial from values of `space`, numbers rounded to three digits."""
    given: dict[str, Any] = {
        name: float(f"{value:.3g}") if isinstance(value, float) else value for name, value in params.items()
    }
    hidden_sizes = (given.pop("hidden_size"),)
    settings = TrainSettings(objective=limits.objective, hidden_sizes=hidden_sizes, seed=limits.seed, **given)
    return complete(settings, dataset)


def largest(dataset: Dataset, limits: Limits) -> list[Hyperparameters]:
    """Hyperparameters of each variant that need the most memory within the limits."""
    maximum = {"hidden_size": limits.max_hidden_size, "batch_size": min(MAX_BATCH_SIZE, _max_examples(dataset))}
    return [to_settings({"variant": variant, **maximum}, dataset, limits) for variant in limits.variants]


def check_memory_of_largest(dataset: Dataset, limits: Limits, place: Place) -> None:
    """Check that every trial will fit into memory.

    Raises:
        NotEnoughMemoryError: one may not.
    """
    for settings in largest(dataset, limits):
        check_memory(dataset, settings, place)


def open_study(dataset: Dataset, limits: Limits, storage: Path | None) -> optuna.Study:
    """Open the study in the file `storage`, or a new one, whose first trials are the defaults.

    Raises:
        UsageError: the study in the file is of another dataset or has other limits.
        ArtifactError: the file is not a study of autorec, or cannot be read.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    pruner = optuna.pruners.MedianPruner(FIRST_TRIALS, FIRST_REPORT)
    # Optuna raises a RuntimeError for a database of another version.
    unusable: tuple[type[Exception], ...] = (*_storage_errors(), RuntimeError)
    about = {"dataset": dataset.fingerprint(), **asdict(limits), "variants": list(limits.variants)}
    try:
        url = None if storage is None else _sqlite_url(storage)
        direction: Literal["minimize", "maximize"] = "minimize" if limits.objective == "rating" else "maximize"
        study = optuna.create_study(
            storage=url, pruner=pruner, study_name=STUDY, direction=direction, load_if_exists=True
        )
        known = study.user_attrs.get("about")
        if known is None:
            study.set_user_attr("about", about)
            for variant in limits.variants:
                study.enqueue_trial(_defaults(variant, dataset, limits))
    except unusable as error:
        raise ArtifactError(
            f"{storage} cannot be used to store trials ({_first_line(error)}); name another file"
        ) from error
    if known not in (None, about):
        differing = " and ".join(name.replace("_", "-") for name in about if known.get(name) != about[name])
        raise UsageError(f"the trials in {storage} were made with another {differing}; name another file for these")
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):  # of a run that was killed
        _enqueue_again(study, trial)
    return study


@contextmanager
def storing(storage: Path | None) -> Iterator[None]:
    """Turn errors of storing trials into one that names the file.

    Raises:
        UsageError: trials cannot be stored, for example because the disk is full.
    """
    try:
        yield
    except _storage_errors() as error:
        raise UsageError(
            f"cannot write {storage} ({_first_line(error)}); make room or choose another place for --storage"
        ) from error


def ended(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """Complete and pruned trials, without interrupted ones."""
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))


def search(
    study: optuna.Study,
    dataset: Dataset,
    limits: Limits,
    n_trials: int,
    device: torch.device,
    on_epoch: Callable[[EpochResult], None],
) -> Iterator[TrialResult]:
    """Add trials to `study` until `n_trials` have ended; yields each as it ends.

    A proposal depends on the seed and the trials before it only, so that an interrupted search continues as it would
    have.

    Args:
        study: See `open_study`.
        dataset: Train and valid splits are used; valid is not empty.
        limits: Limits of the study.
        n_trials: Total number of trials, including those already in the study.
        device: Device to train on.
        on_epoch: Called after every epoch.
    """
    searched = space(limits, _max_examples(dataset))
    while (n_ended := len(ended(study))) < n_trials:
        seed = int(np.random.SeedSequence([limits.seed, n_ended]).generate_state(1)[0])
        study.sampler = optuna.samplers.TPESampler(seed=seed)
        trial = study.ask(searched)
        settings = to_settings(trial.params, dataset, limits)
        try:
            outcome, valid, epochs = _run_trial(trial, dataset, settings, device, on_epoch)
        except BaseException:
            _enqueue_again(study, trial)
            raise
        if outcome == "complete":
            study.tell(trial, valid)
        else:
            study.tell(trial, state=TrialState.PRUNED)
        best = outcome == "complete" and study.best_trial.number == trial.number
        yield TrialResult(n_ended + 1, settings, outcome, valid, epochs, best)


def best_of(study: optuna.Study, dataset: Dataset, limits: Limits) -> tuple[Hyperparameters, float]:
    """Hyperparameters of the best trial, and its validation result.

    Raises:
        TrainingDivergedError: no trial is complete.
    """
    try:
        best = study.best_trial
    except ValueError:
        raise TrainingDivergedError(
            "no trial ended with a finite loss; run more --trials, or look at the ratings for values far off the scale"
        ) from None
    assert best.value is not None
    return to_settings(best.params, dataset, limits), best.value


def _run_trial(
    trial: optuna.Trial,
    dataset: Dataset,
    settings: Hyperparameters,
    device: torch.device,
    on_epoch: Callable[[EpochResult], None],
) -> tuple[str, float | None, int]:
    """Run one trial; returns the outcome, the best validation result and the number of epochs."""
    better = min if settings.objective == "rating" else max
    best: float | None = None
    epoch, reported = 0, 0
    try:
        with closing(select_and_refit(dataset, settings, device)) as results:
            for result in results:
                on_epoch(result)
                assert result.valid is not None
                best, epoch = result.valid if best is None else better(best, result.valid), result.epoch
                for step in range(reported + 1, REPORTS * epoch // result.n_epochs + 1):
                    trial.report(best, step)
                    reported = step
                if epoch == result.n_epochs:
                    return "complete", best, epoch  # before anything is refitted
                if trial.should_prune():
                    return "pruned", best, epoch
    except TrainingDivergedError:
        return "diverged", best, epoch
    raise AssertionError("training ended before its last epoch")


def _enqueue_again(study: optuna.Study, trial: optuna.Trial | optuna.trial.FrozenTrial) -> None:
    """End an interrupted trial, and enqueue its hyperparameters again."""
    study.tell(trial.number, state=TrialState.FAIL)
    if trial.params:
        study.enqueue_trial(trial.params)


def _defaults(variant: str, dataset: Dataset, limits: Limits) -> dict[str, Any]:
    """Default hyperparameters of a variant, clipped to the limits."""
    defaults = complete(TrainSettings(variant=variant, objective=limits.objective), dataset)
    rating = limits.objective == "rating"
    return {
        "variant": variant,
        "hidden_size": min(defaults.hidden_sizes[0], limits.max_hidden_size),
        "regularization": defaults.regularization,
        "dropout": defaults.dropout,
        **({"center": defaults.center} if rating else {"missing_weight": defaults.missing_weight}),
        "learning_rate": defaults.learning_rate,
        "batch_size": max(defaults.batch_size, min(LEAST_BATCH, _max_examples(dataset))),
        "epochs": min(defaults.epochs, limits.max_epochs),
    }


def _max_examples(dataset: Dataset) -> int:
    return max(dataset.n_users, dataset.n_items)


def _sqlite_url(file: Path) -> str:
    from sqlalchemy import URL

    return URL.create("sqlite", database=str(file.resolve())).render_as_string()


def _storage_errors() -> tuple[type[Exception], ...]:
    """Exceptions of Optuna and SQLAlchemy about a database."""
    from sqlalchemy.exc import SQLAlchemyError

    return optuna.exceptions.OptunaError, SQLAlchemyError


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
