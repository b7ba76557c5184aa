"""`train --warm-start`: the older model, the settings that suit it, and what it may know of held-out ratings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autorec_cli.cli.console import say, warn
from autorec_cli.config import WARM_EPOCHS

if TYPE_CHECKING:
    from autorec_cli.config import TrainSettings
    from autorec_cli.data.dataset import Dataset
    from autorec_cli.inference.model import Model
    from autorec_cli.training.trainer import Start


@dataclass(frozen=True)
class Older:
    """The model to start from.

    Attributes:
        path: Its file.
        model: What is in it.
        checksum: Of the file.
    """

    path: Path
    model: Model
    checksum: int

    def given(self, given: Mapping[str, object]) -> dict[str, object]:
        """Settings that were `given`, and for those that were not what suits a warm start from this model."""
        settings = self.model.settings
        suited = {name: getattr(settings, name) for name in ("center", "implicit", "normalize")}
        suited["epochs"] = WARM_EPOCHS
        return suited | {name: value for name, value in given.items() if value is not None}


@dataclass(frozen=True)
class Warmth:
    """What a warm start changes of a run.

    Attributes:
        dataset: What is fitted; validation ratings that the older model may know are in train.
        start: Gives a fresh network its parameters; None for a cold start.
        provenance: What the model file tells otherwise than of a cold start.
    """

    dataset: Dataset
    start: Start | None
    provenance: Mapping[str, Any]


def load_older(path: Path | None) -> Older | None:
    """The model at `path`, None for a cold start.

    Raises:
        ArtifactError: it is no model or damaged.
    """
    if path is None:
        return None
    from autorec_cli.inference import model_file
    from autorec_cli.storage import checksums

    return Older(path, model_file.load_model(path), checksums.of_file(path))


def warm_up(older: Older | None, prepared: Dataset, settings: TrainSettings) -> Warmth:
    """What fits `prepared` from `older`; says what of the held-out ratings it may know.

    Raises:
        ArtifactError: its parameters mean nothing to a network with `settings`, or are of others.
    """
    if older is None:
        return Warmth(prepared, None, {})
    from autorec_cli.training import warm_start

    warm_start.require_likeness(older.model, settings, older.path)
    user_ids, item_ids = prepared.users["id"].to_list(), prepared.items["id"].to_list()
    warm_start.require_common_ids(older.model, user_ids, item_ids, older.path)
    honest = warm_start.honest(older.model, prepared)
    left = honest.dataset.valid.nnz
    if honest.n_known:
        n_few = prepared.valid.nnz - honest.n_known - left
        few = f", and so are the other {n_few}, too few to choose epochs by" if n_few else ""
        none = f"all {settings.epochs} epochs run, none is chosen"
        what = f"epochs are chosen by the other {left:,}" if left else none
        say(
            f"{older.path} may have learned from {honest.n_known:,} of {prepared.valid.nnz:,} validation ratings, "
            f"which are trained on{few}: {what}"
        )
    if honest.n_doubtful:
        warn(
            f"{older.path} may have learned from {honest.n_doubtful:,} of {prepared.test.nnz:,} test ratings, so that "
            "measuring the new model on them flatters it; prepare both datasets with --split stable"
        )
    before = {
        "checksum": older.checksum,
        "n_chosen_by": left,
        "kept_parts": not honest.n_doubtful,
        "fitted_parts": [part for part in ("train", "valid") if warm_start.fitted_on(older.model.provenance, part)],
    }
    provenance: dict[str, Any] = {"warm_start": before}
    if honest.n_known:
        provenance["fitted_parts"] = ["train", "valid"]
    return Warmth(honest.dataset, warm_start.start_from(older.model, user_ids, item_ids), provenance)
