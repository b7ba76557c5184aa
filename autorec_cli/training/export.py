"""Models from trained networks: parameters, ids, counts and provenance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from autorec_cli import __version__
from autorec_cli.config import Hyperparameters
from autorec_cli.csr import add_splits
from autorec_cli.data.dataset import Dataset
from autorec_cli.data.item_columns import item_columns
from autorec_cli.inference.catalog import Catalog, SeenItems
from autorec_cli.inference.model import Model
from autorec_cli.network.engine import make_engine
from autorec_cli.training.loop.phases import Fitted
from autorec_cli.training.loop.validation import ValidationResult


def versions() -> dict[str, str]:
    """Versions of the libraries that decide the result of training."""
    # From metadata: importing torch takes a second.
    return {"autorec-cli": __version__, "numpy": np.__version__, "torch": version("torch")}


def to_model(fitted: Fitted, dataset: Dataset, settings: Hyperparameters, provenance: Mapping[str, Any]) -> Model:
    """Combine a trained network with its dataset's ids and items."""
    # Held-out items are seen too: what a user has rated is not recommended to them.
    rated = add_splits(add_splits(dataset.train, dataset.valid), dataset.test)
    items = dataset.items
    model = partition_model(fitted, settings, provenance)
    catalog = replace(
        model.catalog,
        user_ids=dataset.users["id"].to_list(),
        item_ids=items["id"].to_list(),
        items=item_columns(items),
        seen=SeenItems(rated.indptr, rated.indices),
    )
    engine = make_engine(fitted.network, "cpu", settings.batch_size)
    codes = engine.codes(fitted.examples.inputs)
    engine.close()
    return replace(model, codes=codes, catalog=catalog)


def partition_model(fitted: Fitted, settings: Hyperparameters, provenance: Mapping[str, Any]) -> Model:
    """Model of this process's columns, without codes and ids."""
    network, examples, validation = fitted.network, fitted.examples, fitted.validation
    user_counts, item_counts = examples.counts(settings.variant)
    empty = np.empty(0, dtype=np.int32)
    return Model(
        settings=settings,
        encoder_weights=network.encoder_weights,
        encoder_biases=network.encoder_biases,
        codes=np.empty((0, settings.layer_sizes[-1]), dtype=np.float32),
        decoder_weight=network.decoder_weight,
        decoder_bias=network.decoder_bias,
        output_range=network.output_range,
        thresholds=network.thresholds,
        unit=examples.unit,
        output_unit=examples.unit * (validation.scale if validation else 1.0),
        input_norm=examples.input_norm,
        centering=examples.centering,
        baseline=examples.baseline,
        catalog=Catalog(
            (), (), pl.DataFrame(), user_counts, item_counts, SeenItems(empty, empty), examples.rating_scale
        ),
        provenance=dict(provenance),
    )


def metrics_of(validation: ValidationResult | None = None) -> dict[str, float]:
    """Validation metrics of a model."""
    return {} if validation is None else {f"valid_{validation.metric}": validation.value}


def provenance_of(fitted: Fitted, data: Path | None, fingerprint: str, split: object) -> dict[str, Any]:
    """Provenance of a model, the same for resumed and distributed runs.

    Args:
        fitted: The trained network.
        data: Path of the dataset; None for one in memory.
        fingerprint: Fingerprint of the dataset.
        split: How the dataset was split, as JSON types.
    """
    return {
        "dataset": "" if data is None else str(data.resolve()),
        "fingerprint": fingerprint,
        "split": split,
        "fitted_parts": list(fitted.fitted_parts),
        "epochs": fitted.epochs,
        "metrics": metrics_of(fitted.validation),
        "versions": versions(),
    }
