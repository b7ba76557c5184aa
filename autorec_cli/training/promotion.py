"""`train --keep-if-better`: the model that is already there is replaced by no worse one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from autorec_cli.cli.console import say
from autorec_cli.errors import ArtifactError, QualityGateError, UsageError
from autorec_cli.evaluation.gates import check_metric, is_worse
from autorec_cli.evaluation.metrics import LEAST_PAIRS

if TYPE_CHECKING:
    from autorec_cli.data.dataset import Dataset
    from autorec_cli.inference.model import Model, Predictor

FLAG = "--keep-if-better"
LIST_LENGTH = 10


def load_rival(path: Path, prepared: Dataset, metric: str, objective: str) -> Predictor | None:
    """The model that the new one must not fall behind, None if there is none yet; what cannot be compared is refused.

    Raises:
        UsageError: there is no such metric, it says nothing of models of `objective`, or there is no test part.
        ArtifactError: the old model cannot be read, or was trained for another objective where that matters.
    """
    from autorec_cli.inference import model_file

    of_lists = check_metric(metric, LIST_LENGTH, FLAG)
    if objective != "rating" and not of_lists:
        raise UsageError(f"{FLAG} {metric} needs predicted ratings, a ranking model has scores; use ndcg@{LIST_LENGTH}")
    if not prepared.test.nnz:
        raise UsageError(f"{FLAG} compares models on test ratings, and the dataset has none; prepare it with --test")
    rival = model_file.load(path) if path.exists() else None
    if rival is not None and not (rival.predicts_ratings or of_lists):
        raise ArtifactError(
            f"{path} is a ranking model, whose scores have no {metric}; use {FLAG} ndcg@{LIST_LENGTH}, or --force"
        )
    return rival


def compete(model: Model, rival: Predictor, prepared: Dataset, metric: str, path: Path) -> None:
    """Measure both models on test ratings that neither was fitted on, the older one by the ids that it knows.

    Of another dataset than its own, the older model may know any rating that it has seen: only pairs that are new to
    it count, unless a stable split has kept every rating in its part.

    Raises:
        QualityGateError: the new one is worse, or there are too few such ratings to tell.
    """
    from autorec_cli.evaluation.evaluate import ranking_rows, rating_rows
    from autorec_cli.evaluation.ranking import RankingProtocol, default_relevance
    from autorec_cli.inference.alignment import align, unseen
    from autorec_cli.training.warm_start import keeps_parts

    user_ids, item_ids = (table["id"].to_list() for table in (prepared.users, prepared.items))
    aligned = align(rival, user_ids, item_ids)
    models = [("new", model), ("old", aligned)]
    if not keeps_parts(rival.provenance, prepared):
        prepared = replace(prepared, test=unseen(prepared.test, aligned.seen))
    n_pairs = int(prepared.test.nnz)
    if n_pairs < LEAST_PAIRS:
        raise QualityGateError(
            f"{path} stays as it was: of the {LEAST_PAIRS} test ratings new to it that are needed to compare "
            f"there are {n_pairs}; gather more ratings, or use --force instead of {FLAG}"
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
