"""Training in memory, without files and without a terminal."""

import numpy as np
import pytest

from autorec_cli.config import TrainSettings
from autorec_cli.errors import NotEnoughMemoryError
from autorec_cli.network import memory_estimate
from autorec_cli.runtime import memory
from autorec_cli.training.plan import complete
from autorec_cli.training.train import fit_dataset, train_dataset
from tests.planted import planted_dataset

TINY = {"hidden_sizes": (4,), "epochs": 2}


def test_a_dataset_in_memory_becomes_a_model_and_nothing_is_said(capfd):
    dataset = planted_dataset()
    settings = complete(TrainSettings(variant="user", **TINY), dataset)
    results = []
    model = train_dataset(dataset, settings, device="cpu", threads=1, on_epoch=results.append)
    assert model.settings == settings
    assert (len(model.codes), model.provenance["fingerprint"]) == (
        dataset.n_users,
        dataset.fingerprint(),
    )
    assert [result.epoch for result in results if result.phase == "selection"] == [1, 2]
    assert capfd.readouterr() == ("", "")


def test_a_loop_over_epochs_trains_the_same_model():
    dataset = planted_dataset()
    settings = complete(TrainSettings(**TINY), dataset)
    epochs = fit_dataset(dataset, settings, device="cpu", threads=1)
    results = []
    while True:
        try:
            results.append(next(epochs))
        except StopIteration as end:
            model = end.value
            break
    assert len(results) == 2 + model.provenance["epochs"]
    other = train_dataset(dataset, settings, device="cpu", threads=1)
    np.testing.assert_array_equal(model.decoder_weight, other.decoder_weight)


def test_a_dataset_that_does_not_fit_into_memory_is_refused(monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda: 1000)
    dataset = planted_dataset()
    with pytest.raises(NotEnoughMemoryError, match=memory_estimate.mib(1000)):
        train_dataset(dataset, complete(TrainSettings(**TINY), dataset), device="cpu")
