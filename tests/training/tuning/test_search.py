"""The search for settings: what is tried, what it costs, and that interruptions change nothing."""

import dataclasses
import importlib
from pathlib import Path

import pytest

from autorec_cli.defaults import RatingFacts
from autorec_cli.errors import ArtifactError, TrainingDivergedError, UsageError
from autorec_cli.training.checkpoints.checkpoint import Selection
from autorec_cli.training.loop.epoch_result import EpochResult
from autorec_cli.training.loop.phases import NetworkTraining
from autorec_cli.training.loop.trainer import drain
from autorec_cli.training.loop.validation import ValidationResult
from autorec_cli.training.plan import complete
from autorec_cli.training.settings import TrainSettings
from tests.planted import dataset_of, matrix_of, planted_dataset

optuna = pytest.importorskip("optuna")
space = importlib.import_module("autorec_cli.training.tuning.space")
tuning = importlib.import_module("autorec_cli.training.tuning.search")

CPU = "cpu"
LIMITS = space.Limits("rating", ("item",), max_hidden_size=20, max_epochs=12, seed=3)


@pytest.fixture(autouse=True)
def never_refitted(monkeypatch):
    def refuse(training, selection):
        raise AssertionError("the search went on to the final fit")

    monkeypatch.setattr(NetworkTraining, "finish", refuse)


def ignore(result):
    pass


def trials(search, n_trials, follow=ignore):
    return list(search.run(n_trials, CPU, follow))


def fake_fit(rmse_of):
    """A selection phase whose validation RMSE at each epoch is `rmse_of(settings, epoch)`; NaN is divergence."""

    def fit(training):
        settings, found = training.settings, []
        for epoch in range(1, settings.epochs + 1):
            rmse = rmse_of(settings, epoch)
            if rmse is None:
                raise TrainingDivergedError("diverged")
            found.append(rmse)
            yield EpochResult(
                "rating", settings.variant, "selection", epoch, settings.epochs, 1.0, "rmse", rmse, 0.0, True
            )
        return Selection(None, settings.epochs, ValidationResult("rmse", min(found), 0.0, None))

    return fit


def test_the_first_trials_are_the_defaults_of_each_variant():
    dataset = planted_dataset()
    limits = dataclasses.replace(LIMITS, variants=("item", "user"))
    results = trials(tuning.open_search(dataset, limits, None), 3)
    assert [result.number for result in results] == [1, 2, 3]
    for result, variant in zip(results, limits.variants, strict=False):
        given = {"hidden_sizes": (20,), "epochs": 12, "seed": 3, "batch_size": result.settings.batch_size}
        assert result.settings == TrainSettings(variant=variant, **given).complete(
            (80, 50), dataset.train.nnz, RatingFacts(3.0, 1.0, 5)
        )
        assert (result.outcome, result.epochs) == ("complete", 12)


def test_the_default_batch_of_sparse_examples_is_clipped_to_the_limits():
    cells = {(number, number): 1.0 + number % 5 for number in range(9000)}
    dataset = dataset_of({"train": cells}, (9000, 9000))
    assert complete(TrainSettings(variant="item"), dataset).batch_size > 1024
    defaults = space.default_values("item", dataset, LIMITS)
    for name, distribution in space.space(LIMITS, dataset).items():
        assert distribution._contains(distribution.to_internal_repr(defaults[name])), name


def test_the_best_is_the_lowest_and_within_the_limits():
    dataset = planted_dataset()
    search = tuning.open_search(dataset, LIMITS, None)
    results = trials(search, 8)
    settings, rmse = search.best()
    complete = [result for result in results if result.outcome == "complete"]
    assert rmse == min(result.valid for result in complete)
    assert [result.settings for result in complete if result.best][-1] == settings
    for result in results:
        assert result.settings.hidden_sizes[0] <= 20
        assert result.settings.epochs <= 12
        assert result.settings.seed == 3


def test_an_interrupted_search_goes_on_as_it_would_have(tmp_path):
    dataset = planted_dataset()
    whole = trials(tuning.open_search(dataset, LIMITS, None), 5)
    epochs = [0]

    def interrupt(result):
        epochs[0] += 1
        if epochs[0] == sum(trial.epochs for trial in whole[:3]) + 2:
            raise KeyboardInterrupt

    search = tuning.open_search(dataset, LIMITS, None)
    with pytest.raises(KeyboardInterrupt):
        trials(search, 5, follow=interrupt)
    assert search.n_ended == 3
    assert trials(search, 5) == whole[3:]


def test_test_ratings_are_never_read():
    dataset = planted_dataset()
    other = dataclasses.replace(dataset, test=matrix_of({(0, 0): 1}, dataset.test.shape))
    assert trials(tuning.open_search(other, LIMITS, None), 3) == trials(tuning.open_search(dataset, LIMITS, None), 3)


def test_another_seed_tries_other_settings():
    dataset = planted_dataset()
    other = dataclasses.replace(LIMITS, seed=4)
    first, second = (trials(tuning.open_search(dataset, limits, None), 2)[1] for limits in (LIMITS, other))
    assert first.settings.regularization != second.settings.regularization


def test_who_is_behind_the_median_is_pruned_and_never_best(monkeypatch):
    """Each trial is worse than the one before; nothing is pruned before five are complete."""
    started = []

    def worse(settings, epoch):
        if epoch == 1:
            started.append(settings)
        return float(len(started))

    monkeypatch.setattr(NetworkTraining, "select", fake_fit(worse))
    dataset = planted_dataset()
    search = tuning.open_search(dataset, LIMITS, None)
    results = trials(search, 8)
    assert [result.outcome for result in results] == ["complete"] * 5 + ["pruned"] * 3
    for result in results[5:]:
        assert result.epochs == -(-3 * result.settings.epochs // 10)  # at three tenths of its schedule
        assert not result.best
    assert search.best() == (results[0].settings, 1.0)


def test_a_trial_is_complete_when_patience_runs_out(monkeypatch):
    def stops(training):
        yield EpochResult("rating", training.settings.variant, "selection", 1, 9, 1.0, "rmse", 0.9, 0.0, True)
        return Selection(None, 1, ValidationResult("rmse", 0.9, 0.0, None))

    monkeypatch.setattr(NetworkTraining, "select", stops)
    (result,) = trials(tuning.open_search(planted_dataset(), LIMITS, None), 1)
    assert (result.outcome, result.valid, result.epochs) == ("complete", 0.9, 1)


def test_rankings_are_judged_with_their_linear_units():
    dataset = planted_dataset()
    limits = dataclasses.replace(LIMITS, objective="ranking", variants=("user",))
    (result,) = trials(tuning.open_search(dataset, limits, None), 1)
    assert result.settings.linear_units == 50
    selection = drain(NetworkTraining(dataset, result.settings, CPU).select(), ignore)
    assert result.valid == selection.validation.value


def test_a_short_trial_reports_all_its_shares(monkeypatch):
    monkeypatch.setattr(NetworkTraining, "select", fake_fit(lambda settings, epoch: 4.0 - epoch))
    dataset = planted_dataset()
    limits = dataclasses.replace(LIMITS, max_epochs=3)
    search = tuning.open_search(dataset, limits, None)
    trials(search, 1)
    values = search.study.trials[0].intermediate_values
    assert values == {1: 3, 2: 3, 3: 3, 4: 2, 5: 2, 6: 2, 7: 1, 8: 1, 9: 1, 10: 1}


def test_a_diverged_trial_is_not_the_end(monkeypatch):
    monkeypatch.setattr(
        NetworkTraining, "select", fake_fit(lambda settings, epoch: 1.0 if settings.learning_rate == 0.006 else None)
    )
    dataset = planted_dataset()
    search = tuning.open_search(dataset, LIMITS, None)
    assert [result.outcome for result in trials(search, 3)] == ["complete", "diverged", "diverged"]
    assert search.best()[1] == 1


def test_if_all_diverge_it_says_so(monkeypatch):
    monkeypatch.setattr(NetworkTraining, "select", fake_fit(lambda settings, epoch: None))
    dataset = planted_dataset()
    search = tuning.open_search(dataset, LIMITS, None)
    assert [result.valid for result in trials(search, 2)] == [None, None]
    with pytest.raises(TrainingDivergedError, match="no trial ended with a finite loss; run more --trials"):
        search.best()


@pytest.mark.linux
def test_no_connection_is_left_open(tmp_path):
    search = tuning.open_search(planted_dataset(), LIMITS, tmp_path / "t.db")
    trials(search, 1)
    (tmp_path / "notes.txt").write_text("no database")
    with pytest.raises(ArtifactError, match="cannot be used to store trials"):
        tuning.open_search(planted_dataset(), LIMITS, tmp_path / "notes.txt")
    opened = [path.readlink() for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    assert [path for path in opened if path.parent == tmp_path] == []


def test_a_storage_that_fails_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"cannot write t.db \(disk full\); make room"), tuning.storing("t.db"):
        raise optuna.exceptions.StorageInternalError("disk full\nmore")


@pytest.mark.parametrize(("limit", "flag"), [("max_hidden_size", "--max-hidden-size"), ("max_epochs", "--max-epochs")])
def test_limits_are_from_1(limit, flag):
    with pytest.raises(UsageError, match=f"{flag} must be a whole number from 1, not 0"):
        dataclasses.replace(LIMITS, **{limit: 0})
