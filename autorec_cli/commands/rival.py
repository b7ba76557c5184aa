"""`train --keep-if-better`: the model that is already there is replaced by no worse one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from autorec_cli.console import say
from autorec_cli.errors import QualityGateError, UsageError
from autorec_cli.gates import check_metric, is_worse

if TYPE_CHECKING:
    from autorec_cli.checkpoint import Model
    from autorec_cli.dataset import Dataset

FLAG = "--keep-if-better"
LIST_LENGTH = 10


def load_rival(path: Path, prepared: Dataset, metric: str) -> Model | None:
    """The model that the new one must not fall behind, None if there is none yet; what cannot be compared is refused.

    Raises:
        UsageError: there is no such metric, or no test part to measure it on.
        ArtifactError: the old model cannot be read.
    """
    from autorec_cli import checkpoint

    check_metric(metric, LIST_LENGTH, FLAG)
    if not prepared.test.nnz:
        raise UsageError(f"{FLAG} compares models on test ratings, and the dataset has none; prepare it with --test")
    return checkpoint.load(path) if path.exists() else None


def compete(model: Model, rival: Model, prepared: Dataset, metric: str, path: Path) -> None:
    """Measure both models on the test ratings, the older one by the ids that it knows.

    Raises:
        QualityGateError: the new one is worse.
    """
    from autorec_cli.alignment import align
    from autorec_cli.evaluation import RankingProtocol, default_relevance, ranking_rows, rating_rows

    user_ids, item_ids = (table["id"].to_list() for table in (prepared.users, prepared.items))
    models = [("new", model), ("old", align(rival, user_ids, item_ids))]
    if check_metric(metric, LIST_LENGTH, FLAG):
        protocol = RankingProtocol(LIST_LENGTH, default_relevance(prepared.rating_scale))
        new, old, *_ = ranking_rows(models, prepared, "test", protocol)
    else:
        new, old, *_ = rating_rows(models, prepared, "test")
    told = " and ".join(f"{row[metric]:.6g} of the {row['model']} model" for row in (new, old) if metric in row)
    if is_worse(metric, new, old):
        raise QualityGateError(
            f"{path} stays as it was: the new model is worse on the test ratings ({metric}: {told or 'not measured'}); "
            f"train with other settings, or use --force instead of {FLAG}"
        )
    say(f"on {prepared.test.nnz:,} test ratings {metric} is {told}: {path} is replaced")
