"""Training in memory, without files and without a terminal."""

import subprocess
import sys
import threading

import numpy as np
import pytest

from autorec_cli.errors import NotEnoughMemoryError, UsageError
from autorec_cli.network import memory_estimate
from autorec_cli.runtime import memory
from autorec_cli.training.fit import fit, train
from autorec_cli.training.plan import complete
from autorec_cli.training.settings import TrainSettings
from tests.planted import planted_dataset
from tests.program import ROOT

TINY = TrainSettings(objective="rating", variant="item", hidden_sizes=(4,), epochs=2)


def test_a_dataset_in_memory_becomes_a_model_and_nothing_is_said(capfd):
    dataset = planted_dataset()
    settings = TrainSettings(objective="rating", variant="user", hidden_sizes=(4,), epochs=2)
    model = train(dataset, settings, device="cpu", threads=1)
    assert model.settings == complete(settings, dataset)
    assert (len(model.codes), model.provenance["fingerprint"]) == (dataset.n_users, dataset.fingerprint())
    assert capfd.readouterr() == ("", "")


def test_a_loop_over_epochs_trains_the_same_model():
    dataset = planted_dataset()
    fitting = fit(dataset, TINY, device="cpu", threads=1)
    results = list(fitting)
    assert [(result.phase, result.epoch) for result in results[:2]] == [("selection", 1), ("selection", 2)]
    assert len(results) == 2 + fitting.model.provenance["epochs"]
    assert repr(fitting) == f"Fit({len(results)} epochs, {fitting.model})"
    assert list(fitting) == []
    other = train(dataset, TINY, device="cpu", threads=1)
    np.testing.assert_array_equal(fitting.model.decoder_weight, other.decoder_weight)


def test_a_loop_that_stopped_early_can_be_continued_or_dropped():
    dataset = planted_dataset()
    fitting, dropped = (fit(dataset, TINY, device="cpu", threads=1) for _ in range(2))
    first, also_first = next(fitting), next(dropped)
    assert (first.epoch, first.train_rmse) == (1, also_first.train_rmse)
    with pytest.raises(UsageError, match="before the last epoch"):
        _ = fitting.model
    assert repr(fitting) == "Fit(1 epoch, not finished)"
    assert next(iter(fitting)).epoch == 2
    fitting.close()  # or its threads end amid another test
    dropped.close()
    assert list(dropped) == []
    with pytest.raises(UsageError, match="before the last epoch"):
        _ = dropped.model


def test_threads_end_with_the_training():
    before = threading.active_count()
    train(planted_dataset(), TINY, device="cpu", threads=2)
    assert threading.active_count() == before


def test_a_dataset_that_does_not_fit_into_memory_is_refused(monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda: 1000)
    with pytest.raises(NotEnoughMemoryError, match=memory_estimate.mib(1000)):
        fit(planted_dataset(), TINY, device="cpu")


@pytest.mark.parametrize("what", ["fit", "batches"])
def test_an_abandoned_training_is_collected_while_threads_start(what):
    """In a process of its own, which a deadlock or a thread that stays would hang for good."""
    subprocess.run([sys.executable, "-m", "tests.abandoned", what], cwd=ROOT, check=True, capture_output=True)
