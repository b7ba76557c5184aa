"""Searching for settings: Optuna proposes them, the validation part judges them. Test ratings are never read.

A trial is the first half of a training: epochs are chosen on valid, nothing is refitted. The tree-structured Parzen
estimator (Bergstra et al. 2011) proposes settings after what good trials had in common. A trial that is behind the
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

from autorec_cli.config import CENTERS, MAX_BATCH_SIZE, TrainSettings, settings_for
from autorec_cli.data.dataset import Dataset
from autorec_cli.errors import ArtifactError, TrainingDivergedError, UsageError
from autorec_cli.training.trainer import EpochResult, fit

if TYPE_CHECKING:
    import torch

STUDY = "autorec"
REPORTS = 10
"""How often, in equal shares of its epochs, a trial is compared with the others."""
LEAST_BATCH = 16
FIRST_TRIALS = 5
"""Trials that are never pruned, because there is little to compare them with."""
FIRST_REPORT = 3
"""The report of a trial, from 1, at which it can be pruned first."""


@dataclass(frozen=True)
class Limits:
    """What bounds the search.

    Attributes:
        objective: "rating", judged by RMSE, or "ranking", judged by nDCG@10.
        variants: "item", "user" or both.
        max_hidden_size: The most units of the hidden layer.
        max_epochs: The most epochs of a trial.
        seed: Of the proposals and of every training.
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
    """How one trial ended.

    Attributes:
        number: From 1, among the trials that ended.
        settings: What was tried.
        outcome: "complete", "pruned" or "diverged".
        valid: The best of its epochs; None if it had none.
        epochs: How many it had.
        best: Whether it is the best complete trial so far.
    """

    number: int
    settings: TrainSettings
    outcome: str
    valid: float | None
    epochs: int
    best: bool


def space(limits: Limits, n_examples: int) -> dict[str, BaseDistribution]:
    """What is searched: the names of settings, `hidden_size` for a single hidden layer, and their ranges.

    Args:
        limits: Bounds of the search.
        n_examples: Of the variant that has more of them.
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


def to_settings(params: Mapping[str, Any], dataset: Dataset, limits: Limits) -> TrainSettings:
    """The settings of a trial with these values of `space`; three digits of a number are enough."""
    given = {name: float(f"{value:.3g}") if isinstance(value, float) else value for name, value in params.items()}
    given |= {"hidden_sizes": (given.pop("hidden_size"),), "seed": limits.seed, "objective": limits.objective}
    shape = (dataset.n_users, dataset.n_items)
    return settings_for(str(given.pop("variant")), shape, dataset.train.nnz, given, dataset.rating_scale)


def largest(dataset: Dataset, limits: Limits) -> list[TrainSettings]:
    """For each variant, settings within the limits that need the most memory."""
    most = {"hidden_size": limits.max_hidden_size, "batch_size": min(MAX_BATCH_SIZE, _most_examples(dataset))}
    return [to_settings({"variant": variant, **most}, dataset, limits) for variant in limits.variants]


def open_study(dataset: Dataset, limits: Limits, storage: Path | None) -> optuna.Study:
    """The study to add trials to: the one in the file `storage`, or a new one; its first trials are the defaults.

    Raises:
        UsageError: the study in the file was about something else.
        ArtifactError: the file is none of ours, or cannot be read.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    pruner = optuna.pruners.MedianPruner(FIRST_TRIALS, FIRST_REPORT)
    # A RuntimeError is Optuna's about a database of another version.
    unusable: tuple[type[Exception], ...] = (*_of_storage(), RuntimeError)
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
        _put_back(study, trial)
    return study


@contextmanager
def storing(storage: Path | None) -> Iterator[None]:
    """Name the file where a search fails because its trials cannot be stored.

    Raises:
        UsageError: in place of what Optuna raises, for example because the disk is full.
    """
    try:
        yield
    except _of_storage() as error:
        raise UsageError(
            f"cannot write {storage} ({_first_line(error)}); make room or choose another place for --storage"
        ) from error


def ended(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """The trials that count: an interrupted one does not."""
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))


def search(
    study: optuna.Study,
    dataset: Dataset,
    limits: Limits,
    n_trials: int,
    device: torch.device,
    follow: Callable[[EpochResult], None],
) -> Iterator[TrialResult]:
    """Add trials to `study` until `n_trials` have ended; yields each as it ends.

    What is proposed depends on the seed and the trials before, so that a search that was interrupted goes on as it
    would have.

    Args:
        study: As `open_study` gives it.
        dataset: Its train and valid parts are used, and valid is not empty.
        limits: Those of the study.
        n_trials: Trials in all, those already in the study included.
        device: Where to train.
        follow: Is told of every epoch.
    """
    searched = space(limits, _most_examples(dataset))
    while (n_ended := len(ended(study))) < n_trials:
        seed = int(np.random.SeedSequence([limits.seed, n_ended]).generate_state(1)[0])
        study.sampler = optuna.samplers.TPESampler(seed=seed)
        trial = study.ask(searched)
        settings = to_settings(trial.params, dataset, limits)
        try:
            outcome, valid, epochs = _try(trial, dataset, settings, device, follow)
        except BaseException:
            _put_back(study, trial)
            raise
        if outcome == "complete":
            study.tell(trial, valid)
        else:
            study.tell(trial, state=TrialState.PRUNED)
        best = outcome == "complete" and study.best_trial.number == trial.number
        yield TrialResult(n_ended + 1, settings, outcome, valid, epochs, best)


def best_of(study: optuna.Study, dataset: Dataset, limits: Limits) -> tuple[TrainSettings, float]:
    """The settings of the best trial and what it reached on the validation part.

    Raises:
        TrainingDivergedError: no trial was complete.
    """
    try:
        best = study.best_trial
    except ValueError:
        raise TrainingDivergedError(
            "no trial ended with a finite loss; run more --trials, or look at the ratings for values far off the scale"
        ) from None
    assert best.value is not None
    return to_settings(best.params, dataset, limits), best.value


def _try(
    trial: optuna.Trial,
    dataset: Dataset,
    settings: TrainSettings,
    device: torch.device,
    follow: Callable[[EpochResult], None],
) -> tuple[str, float | None, int]:
    """Choose epochs with `settings`; returns the outcome, the best on valid, and how many epochs were run."""
    better = min if settings.objective == "rating" else max
    best: float | None = None
    epoch, reported = 0, 0
    try:
        with closing(fit(dataset, settings, device)) as results:
            for result in results:
                follow(result)
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
    raise AssertionError("fit ended before its last epoch")


def _put_back(study: optuna.Study, trial: optuna.Trial | optuna.trial.FrozenTrial) -> None:
    """End a trial that was interrupted, and let another one try its settings."""
    study.tell(trial.number, state=TrialState.FAIL)
    if trial.params:
        study.enqueue_trial(trial.params)


def _defaults(variant: str, dataset: Dataset, limits: Limits) -> dict[str, Any]:
    """The default settings of a variant, as far as they are within the limits."""
    given = {"objective": limits.objective}
    defaults = settings_for(variant, (dataset.n_users, dataset.n_items), dataset.train.nnz, given, dataset.rating_scale)
    rating = limits.objective == "rating"
    return {
        "variant": variant,
        "hidden_size": min(defaults.hidden_sizes[0], limits.max_hidden_size),
        "regularization": defaults.regularization,
        "dropout": defaults.dropout,
        **({"center": defaults.center} if rating else {"missing_weight": defaults.missing_weight}),
        "learning_rate": defaults.learning_rate,
        "batch_size": max(defaults.batch_size, min(LEAST_BATCH, _most_examples(dataset))),
        "epochs": min(defaults.epochs, limits.max_epochs),
    }


def _most_examples(dataset: Dataset) -> int:
    return max(dataset.n_users, dataset.n_items)


def _sqlite_url(file: Path) -> str:
    from sqlalchemy import URL

    return URL.create("sqlite", database=str(file.resolve())).render_as_string()


def _of_storage() -> tuple[type[Exception], ...]:
    """What Optuna and SQLAlchemy raise about a database."""
    from sqlalchemy.exc import SQLAlchemyError

    return optuna.exceptions.OptunaError, SQLAlchemyError


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
