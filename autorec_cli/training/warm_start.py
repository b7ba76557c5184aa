"""Warm start: training that begins with the parameters of an older model, whose users and items may differ.

Users and items are matched by id. Those that the older model was never fitted to start as in a fresh network. The
older model may have been fitted to ratings that are now held out; `separate_known` finds out which.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scipy import sparse

from autorec_cli.config import BOTH, VARIANTS, Hyperparameters, TrainSettings
from autorec_cli.csr import Array, add_splits
from autorec_cli.data.dataset import Dataset
from autorec_cli.defaults import WARM_EPOCHS
from autorec_cli.errors import ArtifactError, UsageError
from autorec_cli.evaluation.metrics import LEAST_PAIRS
from autorec_cli.inference import model_file
from autorec_cli.inference.alignment import input_rows, unseen
from autorec_cli.inference.blending import Blend
from autorec_cli.inference.catalog import UNKNOWN, SeenItems, positions
from autorec_cli.inference.model import Model
from autorec_cli.inference.scorer import Scorer
from autorec_cli.storage import checksums
from autorec_cli.training.plan import complete

if TYPE_CHECKING:
    from torch import Tensor

    from autorec_cli.network.autoencoder import Network
    from autorec_cli.training.trainer import Start

logger = logging.getLogger(__name__)

KEPT = 0.5
"""Weight of the older V and W in the initial ones; the rest is a fresh network's.

Shrink and perturb (Ash and Adams, NeurIPS 2020): from unshrunk weights a network overfits, and ends worse than a cold
start (docs/benchmarks.md).
"""

MUST_AGREE = {
    "objective": "--objective",
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
        models: Its networks, one or more.
        checksum: CRC-32 of the file.
    """

    path: Path
    scorer: Scorer
    models: tuple[Model, ...]
    checksum: int

    @property
    def weights(self) -> Sequence[float]:
        """Weights of the networks."""
        return self.scorer.weights if isinstance(self.scorer, Blend) else (1.0,)

    def completed(self, settings: TrainSettings, dataset: Dataset) -> tuple[Hyperparameters, ...]:
        """Fill in what was not given: the networks of the older model, and fewer epochs.

        Defaults follow the data, which change every night; the networks must stay the same.

        Raises:
            UsageError: a given option does not fit the older model.
        """
        if settings.variant == BOTH:
            require_both(self.models, self.path)
            settings = replace(settings, variant=None)
        return tuple(complete(self._completed(model, settings), dataset) for model in self.models)

    def _completed(self, model: Model, settings: TrainSettings) -> TrainSettings:
        require_compatible(model, settings, self.path)
        suitable = {name: getattr(model.settings, name) for name in (*MUST_AGREE, *SCALE_OF_SCORES)}
        suitable["epochs"] = WARM_EPOCHS
        return replace(settings, **{name: suitable[name] for name in suitable if getattr(settings, name) is None})


def load_older_model(path: Path) -> OlderModel:
    """Load the model to start from.

    Raises:
        ArtifactError: it is not a model, or corrupted.
    """
    scorer = model_file.load_model(path)
    models = scorer.models if isinstance(scorer, Blend) else (scorer,)
    # A blend is of single models, and everything else is one.
    return OlderModel(
        path, scorer, tuple(model for model in models if isinstance(model, Model)), checksums.of_file(path)
    )


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
    """Prepare a run from `older`, or a cold start if it is None; logs which held-out ratings `older` may know.

    Raises:
        ArtifactError: the older model's ids are not those of the dataset.
    """
    if older is None:
        return WarmStart(dataset, [None] * len(networks), None, {})
    user_ids, item_ids = dataset.users["id"].to_list(), dataset.items["id"].to_list()
    for model in older.models:
        require_common_ids(model, user_ids, item_ids, older.path)
    separated = separate_known(older.scorer, dataset)
    _log_known(separated, dataset, networks[0].epochs, older.path)
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
    starts = [start_from(model, user_ids, item_ids) for model in older.models]
    return WarmStart(separated.dataset, starts, older.weights, provenance)


def require_compatible(model: Model, given: TrainSettings, path: Path) -> None:
    """Check that a network with the `given` settings can start with the parameters of `model`.

    Raises:
        UsageError: it cannot; the message names the differences.
    """
    theirs = model.settings.to_document()
    ours = {name: list(value) if name == "hidden_sizes" and value else value for name, value in vars(given).items()}
    differing = [
        f"{flag} is {_shown(ours[name])} here and {_shown(theirs[name])} there"
        for name, flag in MUST_AGREE.items()
        if ours[name] not in (None, theirs[name])
    ]
    if differing:
        raise UsageError(
            f"training cannot start from {path}: {', '.join(differing)}; leave out these options or --warm-start"
        )


def require_both(models: Sequence[Model], path: Path) -> None:
    """Check that there is a network of each variant.

    Raises:
        UsageError: there is not.
    """
    if {model.settings.variant for model in models} != set(VARIANTS):
        raise UsageError(
            f"training cannot start from {path}: --variant is {BOTH} here and {models[0].settings.variant} there; "
            "leave out these options or --warm-start"
        )


def require_common_ids(model: Model, user_ids: Sequence[str], item_ids: Sequence[str], path: Path) -> None:
    """Check that `model` knows some of the users, or of the items in the user variant, that are columns.

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
    """Make the initializer of networks for users and items with these ids; see `trainer.Start`."""
    import torch

    by_item = model.settings.variant == "item"
    catalog = model.catalog
    known, wanted = (catalog.user_ids, user_ids) if by_item else (catalog.item_ids, item_ids)
    counts = catalog.user_counts if by_item else catalog.item_counts
    # Only columns are matched: weights belong to columns, examples bring nothing but ratings.
    place = positions(known, wanted)
    place[(place != UNKNOWN) & (counts[place] == 0)] = UNKNOWN  # it has an id there, but was never fitted

    def start(fresh: Network) -> Network:
        return replace(
            fresh,
            encoder_weights=(
                _mixed(model.encoder_weights[0], input_rows(model, place), fresh.encoder_weights[0], KEPT),
                *(torch.from_numpy(weight).clone() for weight in model.encoder_weights[1:]),
            ),
            encoder_biases=tuple(torch.from_numpy(bias).clone() for bias in model.encoder_biases),
            decoder_weight=_mixed(model.decoder_weight, place, fresh.decoder_weight, KEPT),
            decoder_bias=_mixed(model.decoder_bias, place, fresh.decoder_bias, 1.0),
        )

    return start


def _mixed(old: Array, place: Array, fresh: Tensor, weight: float) -> Tensor:
    """Weighted mean of `fresh` and the rows of `old` at `place`; only `fresh` where `place` is UNKNOWN."""
    import torch

    # The fresh draw is kept for unknown ids, so that they start as in a cold run of the same seed.
    mixed = fresh.clone().numpy()
    known = place != UNKNOWN
    mixed[known] = weight * old[place[known]] + (1 - weight) * mixed[known]
    return torch.from_numpy(mixed)


@dataclass(frozen=True)
class Separated:
    """Dataset whose validation ratings are unknown to an older model.

    Attributes:
        dataset: Validation ratings that the older model may know are in train; all of them, if the rest is too small
            to select epochs.
        n_known_valid: Validation ratings that the older model may know.
        n_known_test: Test ratings that it, or a model it started from, may have been fitted to.
    """

    dataset: Dataset
    n_known_valid: int
    n_known_test: int


def separate_known(model: Scorer, dataset: Dataset) -> Separated:
    """Move validation ratings that `model` may have been fitted to into the train split.

    It knows none if it was fitted to train alone and every rating was in the same split then; otherwise it may know
    all that were in its dataset.
    """
    same_splits = keeps_splits(model.provenance, dataset)
    aligned = model.aligned(dataset.users["id"].to_list(), dataset.items["id"].to_list()).catalog.seen
    n_known_test = 0 if same_splits else dataset.test.nnz - unseen(dataset.test, aligned).nnz
    if same_splits and not fitted_on(model.provenance, "valid"):
        return Separated(dataset, 0, n_known_test)
    new = unseen(dataset.valid, aligned)
    n_known_valid = int(dataset.valid.nnz - new.nnz)
    # A handful of ratings would select an epoch by chance; then all epochs run.
    if n_known_valid and new.nnz < LEAST_PAIRS:
        new = sparse.csr_array(new.shape, dtype=new.dtype)
    moved = unseen(dataset.valid, SeenItems(new.indptr, new.indices))
    train = add_splits(dataset.train, moved) if moved.nnz else dataset.train
    return Separated(replace(dataset, train=train, valid=new), n_known_valid, n_known_test)


def _log_known(separated: Separated, dataset: Dataset, epochs: int, path: Path) -> None:
    n_left = separated.dataset.valid.nnz
    if separated.n_known_valid:
        n_few = dataset.valid.nnz - separated.n_known_valid - n_left
        few = f", together with the other {n_few}, which are too few to select epochs" if n_few else ""
        outcome = f"epochs are selected on the other {n_left:,}" if n_left else f"all {epochs} epochs run"
        logger.info(
            f"{path} may have learned from {separated.n_known_valid:,} of {dataset.valid.nnz:,} validation ratings, "
            f"which are used for training{few}: {outcome}"
        )
    if separated.n_known_test:
        logger.warning(
            f"{path} may have learned from {separated.n_known_test:,} of {dataset.test.nnz:,} test ratings, so that "
            "test metrics of the new model are too good; prepare both datasets with --split stable"
        )


def keeps_splits(provenance: Mapping[str, Any], dataset: Dataset) -> bool:
    """Check that every rating of the older model's dataset, and of those before it, is in the same split here."""
    before = provenance.get("warm_start")
    # Once mixed, splits stay mixed: the parameters still remember the first model's ratings.
    if before is not None and not before["kept_parts"]:
        return False
    theirs, ours = provenance.get("split"), dataset.info.get("split")
    if before is None and provenance.get("fingerprint") == dataset.fingerprint():
        return True
    return ours is not None and theirs == ours and ours["strategy"] == "stable" and not ours["test_given"]


def fitted_on(provenance: Mapping[str, Any], split: str) -> bool:
    """Check whether a model, or one that it started from, was fitted to a split."""
    before = provenance.get("warm_start")
    return split in provenance["fitted_parts"] or (before is not None and split in before["fitted_parts"])
