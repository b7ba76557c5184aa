"""Training that begins with the parameters of an older model, on a dataset whose users and items have changed.

Users and items are matched by id. What the older model has never been fitted on starts as in a fresh network. Since the
older model may have been fitted on what is now held out, `honest` says which held-out ratings still are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from scipy import sparse

from autorec_cli.config import TrainSettings
from autorec_cli.csr import Array, add_parts
from autorec_cli.data.dataset import Dataset
from autorec_cli.errors import ArtifactError
from autorec_cli.evaluation.metrics import LEAST_PAIRS
from autorec_cli.inference.alignment import UNKNOWN, align, input_rows, positions, unseen
from autorec_cli.inference.model import Model, SeenItems
from autorec_cli.network.autoencoder import Network
from autorec_cli.training.examples import Examples

KEPT = 0.5
"""Partition of the older V and W in those that training starts from, the rest being those of a fresh network.

Shrinking and perturbing (Ash and Adams, NeurIPS 2020): from unshrunk weights a network ends where it fits the training
ratings better and others worse than a cold start does (docs/benchmarks.md).
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
"""Settings without which parameters mean something else, and their flags."""


def require_likeness(model: Model, settings: TrainSettings, path: Path) -> None:
    """Check that a network with `settings` can begin with the parameters of `model`.

    Raises:
        ArtifactError: it cannot; the message names what differs.
    """
    ours, theirs = settings.to_document(), model.settings.to_document()
    differing = [
        f"{flag} is {_told(ours[name])} here and {_told(theirs[name])} there"
        for name, flag in MUST_AGREE.items()
        if ours[name] != theirs[name]
    ]
    if differing:
        raise ArtifactError(
            f"training cannot start from {path}: {', '.join(differing)}; give the options that it was trained with, or "
            "leave out --warm-start"
        )


def require_common_ids(model: Model, user_ids: Sequence[str], item_ids: Sequence[str], path: Path) -> None:
    """Check that `model` knows anyone of those whose parameters a network has: users, or items in the user variant.

    Raises:
        ArtifactError: it does not, so a warm start would be a cold one of too few epochs.
    """
    by_item = model.settings.variant == "item"
    theirs, ours = (model.user_ids, user_ids) if by_item else (model.item_ids, item_ids)
    if set(theirs).isdisjoint(ours):
        whom = "users" if by_item else "items"
        raise ArtifactError(
            f"training cannot start from {path}: it knows none of the {whom} of this dataset by their ids; compare the "
            "ids of the two, or leave out --warm-start"
        )


def _told(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def start_from(
    model: Model, user_ids: Sequence[str], item_ids: Sequence[str]
) -> Callable[[Examples, Network], Network]:
    """What gives a fresh network of users and items with these ids the parameters of `model`; see `training.Start`."""
    by_item = model.settings.variant == "item"
    known, wanted, counts = (
        (model.user_ids, user_ids, model.user_counts) if by_item else (model.item_ids, item_ids, model.item_counts)
    )
    place = positions(known, wanted)
    place[(place != UNKNOWN) & (counts[place] == 0)] = UNKNOWN  # it has an id there, but was never fitted

    def start(_examples: Examples, fresh: Network) -> Network:
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


def _mixed(old: Array, place: Array, fresh: torch.Tensor, share: float) -> torch.Tensor:
    """A `share` of the rows of `old` at `place` and the rest of `fresh`; all of `fresh` where it is UNKNOWN."""
    mixed = fresh.clone().numpy()
    known = place != UNKNOWN
    mixed[known] = share * old[place[known]] + (1 - share) * mixed[known]
    return torch.from_numpy(mixed)


@dataclass(frozen=True)
class Honest:
    """What of a dataset's held-out ratings an older model cannot have been fitted on.

    Attributes:
        dataset: As it was, but validation ratings that the older model may know are training ratings; the others too
            if they are too few to choose epochs by.
        n_known: How many the older model may know.
        n_doubtful: Test ratings that it, or a model before it, may have been fitted on.
    """

    dataset: Dataset
    n_known: int
    n_doubtful: int


def honest(model: Model, dataset: Dataset) -> Honest:
    """Keep only validation ratings that `model` cannot have been fitted on.

    It knows none of them if it was fitted on train alone and every rating was in the same part then, else those that
    were not in its dataset at all.
    """
    stays = keeps_parts(model.provenance, dataset)
    aligned = align(model, dataset.users["id"].to_list(), dataset.items["id"].to_list()).seen
    n_doubtful = 0 if stays else dataset.test.nnz - unseen(dataset.test, aligned).nnz
    if stays and not fitted_on(model.provenance, "valid"):
        return Honest(dataset, 0, n_doubtful)
    new = unseen(dataset.valid, aligned)
    n_known = int(dataset.valid.nnz - new.nnz)
    if n_known and new.nnz < LEAST_PAIRS:
        new = sparse.csr_array(new.shape, dtype=new.dtype)
    moved = _without(dataset.valid, new)
    train = add_parts(dataset.train, moved) if moved.nnz else dataset.train
    return Honest(replace(dataset, train=train, valid=new), n_known, n_doubtful)


def keeps_parts(provenance: dict[str, Any], dataset: Dataset) -> bool:
    """Whether ratings of the older model's dataset, and of those before it, are in the same part of `dataset`."""
    before = provenance.get("warm_start")
    if before is not None and not before["kept_parts"]:
        return False
    theirs, ours = provenance.get("split"), dataset.info.get("split")
    if before is None and provenance.get("fingerprint") == dataset.fingerprint():
        return True
    return ours is not None and theirs == ours and ours["strategy"] == "stable" and not ours["test_given"]


def fitted_on(provenance: dict[str, Any], part: str) -> bool:
    """Whether a model, or one that it started from, was fitted on `part`."""
    before = provenance.get("warm_start")
    return part in provenance["fitted_parts"] or (before is not None and part in before["fitted_parts"])


def _without(matrix: sparse.csr_array, other: sparse.csr_array) -> sparse.csr_array:
    """The cells of `matrix` that are not in `other`."""
    return unseen(matrix, SeenItems(other.indptr, other.indices))
