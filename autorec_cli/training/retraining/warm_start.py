"""Warm start: training that begins with an older model's parameters.

Users and items are matched by id. Those that the older model was never fitted to start as in a fresh network. The
older model may have been fitted to ratings that are now held out; `known_ratings` finds out which.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autorec_cli.config import BOTH, OBJECTIVES, VARIANTS, Hyperparameters
from autorec_cli.csr import Array
from autorec_cli.data.dataset import Dataset
from autorec_cli.defaults import WARM_EPOCHS
from autorec_cli.errors import ArtifactError, UsageError
from autorec_cli.inference.alignment import input_rows
from autorec_cli.inference.catalog import UNKNOWN, positions
from autorec_cli.inference.files import model_file
from autorec_cli.inference.model import Model
from autorec_cli.inference.scorer import Scorer
from autorec_cli.network.linear_units import without_linear_units
from autorec_cli.storage import checksums
from autorec_cli.training.loop.shrink_and_perturb import Start, shrink_and_perturb
from autorec_cli.training.plan import complete
from autorec_cli.training.retraining.known_ratings import fitted_on, log_known, separate_known
from autorec_cli.training.settings import TrainSettings

if TYPE_CHECKING:
    from autorec_cli.network.autoencoder import Network

logger = logging.getLogger(__name__)

MUST_AGREE = {
    "variant": "--variant",
    "hidden_sizes": "--hidden-size",
    "hidden_activation": "--hidden-activation",
    "output_activation": "--output-activation",
    "center": "--center",
    "implicit": "--implicit",
    "normalize": "--normalize",
}
"""Hyperparameters that decide the meaning of the parameters, and their flags."""
SCALE_OF_SCORES = ("missing_value",)
"""Hyperparameter that scores are measured from; a warm start keeps it unless told otherwise."""


@dataclass(frozen=True)
class OlderModel:
    """Model to start from.

    Attributes:
        path: Its file.
        scorer: The model.
        checksum: CRC-32 of the file.
    """

    path: Path
    scorer: Scorer
    checksum: int

    def completed(self, settings: TrainSettings, dataset: Dataset) -> tuple[Hyperparameters, ...]:
        """Fill in the networks of the older model, and fewer epochs.

        Defaults follow the data, which change every night; the networks must stay the same.

        Raises:
            UsageError: a given option does not fit the older model.
        """
        if settings.ensemble:
            raise UsageError("--preset best trains its networks from scratch; leave out --warm-start")
        require_objective(self.scorer.networks, settings.objective, self.path)
        require_variant(self.scorer.networks, settings.variant, self.path)
        # By default a model of one objective stays one.
        if settings.objective is None and len({model.settings.objective for model in self.scorer.networks}) == 1:
            settings = replace(settings, objective=self.scorer.networks[0].settings.objective)
        return tuple(self._completed(model, settings, dataset) for model in self.scorer.networks)

    def _completed(self, model: Model, settings: TrainSettings, dataset: Dataset) -> Hyperparameters:
        settings = settings.of_objective(model.settings.objective)
        if settings.variant == BOTH:  # each network keeps its own
            settings = replace(settings, variant=None)
        require_compatible(model, settings, self.path)
        suitable = {name: getattr(model.settings, name) for name in (*MUST_AGREE, *SCALE_OF_SCORES)}
        suitable["epochs"] = WARM_EPOCHS
        if not model.settings.linear_units:  # else as many as the data have by now
            suitable["linear_units"] = 0
        given = {name: suitable[name] for name in suitable if getattr(settings, name) is None}
        return complete(replace(settings, **given), dataset)


def load_older_model(path: Path) -> OlderModel:
    """Load the model to start from.

    Raises:
        ArtifactError: it is not a model, or corrupted.
    """
    return OlderModel(path, model_file.load_model(path), checksums.of_file(path))


@dataclass(frozen=True)
class WarmStart:
    """Dataset and initial networks of a run.

    Attributes:
        dataset: Ratings to fit; validation ratings that the older model may know are in train.
        starts: Initializers of the networks; None for a cold start.
        weights: Weights of the networks in the older model; None for a cold start.
        provenance: Entries that differ from those of a cold start.
    """

    dataset: Dataset
    starts: Sequence[Start | None]
    weights: Sequence[float] | None
    provenance: Mapping[str, Any]


def prepare_start(older: OlderModel | None, dataset: Dataset, networks: Sequence[Hyperparameters]) -> WarmStart:
    """Prepare a run from `older`, or a cold start without.

    Raises:
        ArtifactError: the older model's ids are not those of the dataset.
    """
    if older is None:
        return WarmStart(dataset, [None] * len(networks), None, {})
    user_ids, item_ids = dataset.users["id"].to_list(), dataset.items["id"].to_list()
    for model in older.scorer.networks:
        require_common_ids(model, user_ids, item_ids, older.path)
    separated = separate_known(older.scorer, dataset)
    log_known(separated, dataset, networks[0].epochs, older.path)
    fitted_parts = [part for part in ("train", "valid") if fitted_on(older.scorer.provenance, part)]
    provenance: dict[str, Any] = {
        "warm_start": {
            "checksum": older.checksum,
            "n_chosen_by": separated.dataset.valid.nnz,
            "kept_parts": not separated.n_known_test,
            "fitted_parts": fitted_parts,
        }
    }
    if separated.n_known_valid:
        provenance["fitted_parts"] = ["train", "valid"]
    starts = [start_from(model, user_ids, item_ids) for model in older.scorer.networks]
    return WarmStart(separated.dataset, starts, older.scorer.weights, provenance)


def require_compatible(model: Model, given: TrainSettings, path: Path) -> None:
    """Check that a network with the `given` settings can start from `model`.

    Raises:
        UsageError: it cannot; the message names the differences.
    """
    theirs = model.settings.to_document()
    ours = {name: list(value) if name == "hidden_sizes" and value else value for name, value in vars(given).items()}
    _require_equal({flag: (ours[name], theirs[name]) for name, flag in MUST_AGREE.items()}, path)


def _require_equal(options: Mapping[str, tuple[Any, Any]], path: Path) -> None:
    """Check that `options`, by flag, fit the older model.

    Each is the value here, None if not given, and the one there.

    Raises:
        UsageError: one is not.
    """
    differing = {flag: values for flag, values in options.items() if values[0] not in (None, values[1])}
    if differing:
        shown = (
            f"{flag} is {_shown(ours)} here and {_shown(theirs)} there" for flag, (ours, theirs) in differing.items()
        )
        which = "these options" if len(differing) > 1 else next(iter(differing))
        raise UsageError(f"training cannot start from {path}: {', '.join(shown)}; leave out {which} or --warm-start")


def require_objective(models: Sequence[Model], given: str | None, path: Path) -> None:
    """Check that networks of the `given` objective can start from `models`.

    Raises:
        UsageError: they cannot.
    """
    found = {model.settings.objective for model in models}
    theirs = BOTH if found == set(OBJECTIVES) else models[0].settings.objective
    _require_equal({"--objective": (given, theirs)}, path)


def require_variant(models: Sequence[Model], given: str | None, path: Path) -> None:
    """Check that networks of the `given` variant can start from `models`.

    Raises:
        UsageError: they cannot.
    """
    found = {model.settings.variant for model in models if model.predicts_ratings == models[0].predicts_ratings}
    theirs = BOTH if found == set(VARIANTS) else models[0].settings.variant
    if given == theirs and given in VARIANTS:
        # One variant is asked of all networks, the one that ranks too.
        ranking = [model.settings.variant for model in models if not model.predicts_ratings]
        theirs = next((variant for variant in ranking if variant != given), theirs)
    _require_equal({"--variant": (given, theirs)}, path)


def require_common_ids(model: Model, user_ids: Sequence[str], item_ids: Sequence[str], path: Path) -> None:
    """Check that `model` knows some of the dataset's columns.

    Raises:
        ArtifactError: it does not, so a warm start would be a cold one of too few epochs.
    """
    by_item = model.settings.variant == "item"
    catalog = model.catalog
    theirs, ours = (catalog.user_ids, user_ids) if by_item else (catalog.item_ids, item_ids)
    if set(theirs).isdisjoint(ours):
        side = "users" if by_item else "items"
        raise ArtifactError(
            f"training cannot start from {path}: it has no ids in common with the {side} of this dataset; compare the "
            "ids of the two, or leave out --warm-start"
        )


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def start_from(model: Model, user_ids: Sequence[str], item_ids: Sequence[str]) -> Start:
    """Make the initializer of networks of these users and items."""
    by_item = model.settings.variant == "item"
    catalog = model.catalog
    known, wanted = (catalog.user_ids, user_ids) if by_item else (catalog.item_ids, item_ids)
    counts = catalog.user_counts if by_item else catalog.item_counts
    # Only columns are matched: weights belong to columns, examples bring nothing but ratings.
    place = positions(known, wanted)
    place[(place != UNKNOWN) & (counts[place] == 0)] = UNKNOWN  # it has an id there, but was never fitted
    return lambda fresh: shrink_and_perturb(_aligned(model, place, fresh), fresh)


def _aligned(model: Model, place: Array, fresh: Network[Array]) -> Network[Array]:
    """Network of `model` with columns at `place`; fresh ones where UNKNOWN."""

    def rows(old: Array, place: Array, new: Array) -> Array:
        # The fresh draw is kept for unknown ids, so that they start as in a cold run of the same seed.
        aligned = new.copy()
        aligned[place != UNKNOWN] = old[place[place != UNKNOWN]]
        return aligned

    old = replace(
        fresh,
        encoder_weights=model.encoder_weights,
        encoder_biases=model.encoder_biases,
        decoder_weight=model.decoder_weight,
        decoder_bias=model.decoder_bias,
        thresholds=model.thresholds,
    )
    if model.settings.linear_units:
        old = without_linear_units(old, model.settings.linear_units)
    first, *deeper = old.encoder_weights
    return replace(
        old,
        encoder_weights=(rows(first, input_rows(model, place), fresh.encoder_weights[0]), *deeper),
        decoder_weight=rows(old.decoder_weight, place, fresh.decoder_weight),
        decoder_bias=rows(old.decoder_bias, place, fresh.decoder_bias),
    )
