"""Training in this process, as `autorec train` does it, and small models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from autorec_cli.cli.reports.training import TrainingReport
from autorec_cli.config import Hyperparameters
from autorec_cli.data.dataset import Dataset
from autorec_cli.inference.blending import Blend
from autorec_cli.inference.files import model_file
from autorec_cli.inference.model import Model
from autorec_cli.inference.scorer import Scorer
from autorec_cli.runtime.process_group import ProcessGroup, current_process_group
from autorec_cli.training import train as training
from autorec_cli.training.export import to_model
from autorec_cli.training.loop.phases import NetworkTraining, select_and_refit
from autorec_cli.training.request import TrainRequest
from autorec_cli.training.settings import TrainSettings

CPU = "cpu"
PROVENANCE = {"dataset": "/data", "fingerprint": "0"}


def train(
    data: Path,
    output: Path,
    variant: str | None,
    given: Mapping[str, Any],
    *,
    log: str | None = None,
    process_group: ProcessGroup | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Train `data` into the model `output`; options as of `TrainRequest`."""
    process_group = process_group or current_process_group()
    request = TrainRequest(
        data, output, TrainSettings(**{"objective": "rating", "variant": variant, **given}), **options
    )
    report = TrainingReport(log if process_group.is_first else None)
    return training.train_to_file(request, process_group, report)


def small_settings(variant="item", **given) -> Hyperparameters:
    values = {"hidden_sizes": (16,), "epochs": 30, "batch_size": 16, "regularization": 5.0, "patience": 0, **given}
    return TrainSettings(variant=variant, **values).complete((80, 50), 2000)


def run(dataset: Dataset, settings: Hyperparameters):
    """All epoch results and the fitted network."""
    results = []
    epochs = select_and_refit(NetworkTraining(dataset, settings, CPU))
    while True:
        try:
            results.append(next(epochs))
        except StopIteration as end:
            return results, end.value


def model_of(dataset: Dataset, settings: Hyperparameters) -> Model:
    _, fitted = run(dataset, settings)
    return to_model(fitted, dataset, settings, {**PROVENANCE, "fitted_parts": list(fitted.fitted_parts)})


def blend_of(models: Sequence[Model], weights: Sequence[float] | None = None) -> Blend:
    """Blend of models, by default with equal weights."""
    return Blend(tuple(models), tuple(weights or [1 / len(models)] * len(models)), models[0].provenance)


def described(model: Scorer) -> dict[str, Any]:
    """Description of a model by its attributes, to compare that of its file with."""
    networks = [
        {
            "objective": network.settings.objective,
            "variant": network.settings.variant,
            "layers": [len(network.decoder_bias), *network.settings.layer_sizes, len(network.decoder_bias)],
            "settings": network.settings.to_document(),
        }
        for network in model.networks
    ]
    document = {**model.catalog.describe(), **without_curves(model.provenance)}
    if isinstance(model, Model):
        return {"kind": "model", **networks[0], **document}
    models = [
        {"weight": weight, **network, **without_curves(part.provenance)}
        for weight, network, part in zip(model.weights, networks, model.networks, strict=True)
    ]
    return {"kind": "blend" if isinstance(model, Blend) else "joint model", **document, "models": models}


def without_curves(provenance: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in provenance.items() if name != "curves"}


def assert_same_models(model: Path, other: Path, tolerance: float = 1e-4) -> None:
    """Equal in all that is no float, and in what they predict for every pair."""
    ours, theirs = model_file.load_model(model), model_file.load_model(other)
    assert type(ours) is type(theirs)
    # Networks of several have their metrics there, too.
    skip = ("dataset", "metrics", "networks", "curves")
    for one, two in zip(ours.networks, theirs.networks, strict=True):
        assert_same_networks(one, two, tolerance)
        assert {k: v for k, v in one.provenance.items() if k not in skip} == {
            k: v for k, v in two.provenance.items() if k not in skip
        }
    assert ours.provenance.keys() == theirs.provenance.keys()


def assert_same_networks(ours: Model, theirs: Model, tolerance: float) -> None:
    one, two = ours.catalog, theirs.catalog
    assert (list(one.user_ids), list(one.item_ids)) == (list(two.user_ids), list(two.item_ids))
    assert one.items.equals(two.items)
    assert ours.settings == theirs.settings
    for name in ("user_counts", "item_counts"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    for name in ("indptr", "indices"):
        np.testing.assert_array_equal(getattr(one.seen, name), getattr(two.seen, name))
    pairs = np.meshgrid(np.arange(one.n_users), np.arange(one.n_items))
    users, items = (side.ravel() for side in pairs)
    predicted, wanted = (model.predict_pairs(users, items) for model in (ours, theirs))
    assert np.linalg.norm(predicted - wanted) <= tolerance * np.linalg.norm(wanted)
