"""`train --keep-if-better`: the model that is already there is replaced by no worse one."""

from __future__ import annotations

from dataclasses import replace
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
LEAST_PAIRS = 30
"""Ratings below which a comparison says nothing."""


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
    """Measure both models on test ratings that neither was fitted on, the older one by the ids that it knows.

    Of another dataset than its own, the older model may know any rating that it has seen: only pairs that are new to
    it count.

    Raises:
        QualityGateError: the new one is worse, or there are too few such ratings to tell.
    """
    from autorec_cli.alignment import align, unseen
    from autorec_cli.evaluation import RankingProtocol, default_relevance, ranking_rows, rating_rows

    user_ids, item_ids = (table["id"].to_list() for table in (prepared.users, prepared.items))
    aligned = align(rival, user_ids, item_ids)
    models = [("new", model), ("old", aligned)]
    if rival.provenance["fingerprint"] != model.provenance["fingerprint"]:
        prepared = replace(prepared, test=unseen(prepared.test, aligned.seen))
    n_pairs = int(prepared.test.nnz)
    if n_pairs < LEAST_PAIRS:
        raise QualityGateError(
            f"{path} stays as it was: only {n_pairs} test ratings are new to it, and {LEAST_PAIRS} are needed to "
            f"compare; gather more ratings, or use --force instead of {FLAG}"
        )
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
    say(f"on {n_pairs:,} test ratings new to both {metric} is {told}: {path} is replaced")
