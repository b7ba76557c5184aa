"""Record of a finished training, for continuing an unpublished run.

It is beside the model in an unfinished generation, and removed once that is published.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autorec_cli.config import Hyperparameters
from autorec_cli.data.dataset import read_document
from autorec_cli.errors import ArtifactError
from autorec_cli.inference.files import model_file
from autorec_cli.pipeline.generations import FINISHED
from autorec_cli.storage.files import replace_file
from autorec_cli.training.plan import TrainingPlan
from autorec_cli.training.retraining.promotion import Promotion
from autorec_cli.training.train import Record, Reporter, TrainedModel

logger = logging.getLogger(__name__)


def training_identity(
    data: Path, networks: Sequence[Hyperparameters], current: int | None, choices: Sequence[Any]
) -> dict[str, Any]:
    """Identity of a training, as JSON types.

    Equal only for trainings of the same data with the same options and versions. Device and threads may differ, which
    decide the last digits of a model.

    Args:
        data: Prepared dataset.
        networks: Hyperparameters of each network.
        current: Checksum of the published model; None if it has no part in this.
        choices: How that model is used, as JSON types.
    """
    from autorec_cli.training.export import versions

    document = read_document(data)
    facts = {
        "dataset": [document["fingerprint"], document["checksums"]],  # of titles and other columns too
        "networks": [network.to_document() for network in networks],
        "current": current,
        "choices": choices,
        "versions": versions(),
    }
    return dict(json.loads(json.dumps(facts)))  # as a record is read


def decision_of(promotion: Promotion | None) -> dict[str, Any]:
    """Decision as in `run.json`.

    Without a comparison the new model is taken.
    """
    return {"promoted": True, "promotion": None} if promotion is None else promotion.to_document()


def find_decision(model: Path, training: Mapping[str, Any]) -> dict[str, Any] | None:
    """Decision of a finished training of an unpublished run.

    None if there is none, it is another training, or its model is damaged.

    Args:
        model: Model file in an unfinished generation.
        training: See `training_identity`.
    """
    record = model.with_name(FINISHED)
    try:
        found, decision = _read(record)
        if found == training:
            model_file.check(model)
            logger.info("continuing the unpublished run, whose training had finished")
            return decision
        logger.info(
            "ratings, options, versions or the published model differ from those of the unpublished run, so training "
            "starts from the beginning"
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, ArtifactError) as problem:
        logger.warning(f"training starts from the beginning, as the unpublished run cannot be continued: {problem}")
    record.unlink(missing_ok=True)  # before its model is replaced
    return None


def _read(record: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read the identity of a finished training, and its decision.

    Raises:
        ValueError: the record is damaged.
    """
    match json.loads(record.read_text(encoding="utf-8")):
        case {
            "training": dict() as training,
            "decision": {"promoted": True, "promotion": _}
            | {"promoted": False, "promotion": {"reason": _, "metrics": _}} as decision,
        }:
            return training, dict(decision)
    raise ValueError(f"{record} is damaged")


@dataclass(frozen=True)
class Recorder:
    """Reporter of a training that records its end before it shows it.

    Attributes:
        identity: See `training_identity`.
        reporter: Shows the training.
    """

    identity: Mapping[str, Any]
    reporter: Reporter

    def planned(self, plan: TrainingPlan) -> None:
        """Show the plan."""
        self.reporter.planned(plan)

    def training(self, plan: TrainingPlan, earlier: list[Record]) -> AbstractContextManager[Callable[[Record], object]]:
        """Show the training."""
        return self.reporter.training(plan, earlier)

    def finished(self, trained: TrainedModel) -> None:
        """Write the record and show the outcome."""
        record = {"training": self.identity, "decision": decision_of(trained.promotion)}
        with replace_file(trained.output.with_name(FINISHED)) as stream:
            stream.write(json.dumps(record).encode())
        self.reporter.finished(trained)
