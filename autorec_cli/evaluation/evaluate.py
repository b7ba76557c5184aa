"""Evaluation: rows of metrics for models and for baselines."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from autorec_cli.data.dataset import Dataset
from autorec_cli.errors import ArtifactError, error_text, readable, settings_of_kind
from autorec_cli.evaluation.external_test import with_test_ratings
from autorec_cli.evaluation.gates import CLEARLY_WORSE
from autorec_cli.evaluation.groups.evaluate import evaluate_groups
from autorec_cli.evaluation.groups.members import groups_by
from autorec_cli.evaluation.measurement import (
    BIAS_BASELINE,
    EASE_BASELINE,
    POPULARITY_BASELINE,
    RATING_BASELINES,
    EvaluateSettings,
    Measurement,
    Models,
    Row,
    measure,
    metric_rows,
)
from autorec_cli.evaluation.metrics import is_clearly_better, rmse
from autorec_cli.inference.files import model_file
from autorec_cli.inference.scorer import Scorer
from autorec_cli.runtime.comparison import require_same
from autorec_cli.runtime.process_group import EVALUATION_TIMEOUT, ProcessGroup, connected

logger = logging.getLogger(__name__)

BETTER_RATINGS = "do not use it; try a smaller --learning-rate or another --regularization"
BETTER_RANKING = "train with other options, and, if it only rates, with --objective both or ranking"


def evaluate(
    models: Scorer | Iterable[Scorer] | Mapping[str, Scorer],
    dataset: Dataset,
    settings: EvaluateSettings | None = None,
    test_ratings: Any = None,  # noqa: ANN401 - a pandas frame, among others
    by: str | None = None,
) -> list[Row]:
    """Evaluate models on held-out ratings of their dataset.

    Args:
        models: One, several by name, or an iterable: these are called "model", or "model 1", "model 2", ...
        dataset: Held-out ratings, and those that baselines are fitted on.
        settings: Default settings if None.
        test_ratings: A file or a polars or pandas frame of ratings, instead of the test set of the dataset; see
            `with_test_ratings`.
        by: Measure groups instead: of users or items with the same value of this column, such as "items.genre" or
            "users.n_train_ratings", or "FILE:COLUMN"; see `groups_by`.

    Returns:
        A row for each model, then one for each baseline: `model`; each rating metric with `_low` and `_high`,
        `n_pairs`, `n_cold` (cold pairs, predicted by the baseline), the clip range; each ranking metric `@k`, and
        `n_users`. With `by` those of `evaluate_groups`.

    Raises:
        ArtifactError: a model was trained on another dataset, or the split is empty.
        UsageError: the dataset or the file has no column `by`.
    """
    settings = settings_of_kind(EvaluateSettings, settings)
    if not isinstance(models, Mapping):
        models = list(models) if isinstance(models, Iterable) else [models]
        models = {f"model {number}" if len(models) > 1 else "model": model for number, model in enumerate(models, 1)}
    named: Models = list(models.items())
    check_models(named, dataset, settings.split if test_ratings is None else "train")
    if test_ratings is not None:
        named, dataset = with_test_ratings(named, dataset, test_ratings)
    if by is not None:
        return evaluate_groups(named, dataset, settings, groups_by(dataset, by))
    protocol = settings.protocol(dataset.rating_scale)
    rows = metric_rows(named, dataset, settings.split, protocol)
    log_findings(rows, len(named), settings)
    return rows


def measure_in_group(
    models: Models,
    dataset: Dataset,
    settings: EvaluateSettings,
    process_group: ProcessGroup,
    facts: Mapping[str, Any] | None = None,
) -> list[Measurement]:
    """Measure models and baselines, each process some of the users.

    Args:
        models: Names and models.
        dataset: Held-out ratings, and those that baselines are fitted on.
        settings: Split and metrics.
        process_group: The processes; a group of one for one.
        facts: Versions and checksums, as JSON types, that must be the same in all processes.

    Raises:
        UsageError: the processes have other models or settings.
        LostPeerError: another process has ended or cannot be reached.
    """
    protocol = settings.protocol(dataset.rating_scale)
    sample = protocol.sample(dataset.split(settings.split))
    whom = "" if sample is None else f", to a sample of {len(sample):,} users (--all-users takes all)"
    if dataset.info.get("feedback") == "interactions":
        relevant = f"all {settings.split} interactions are relevant"
    else:
        relevant = f"{settings.split} ratings from {protocol.relevant_from:g} are relevant"
    logger.info(f"recommending from all items that are new to a user{whom}; {relevant}")
    rankers = [name for name, model in models if not model.predicts_ratings]
    if 0 < len(rankers) < len(models):
        logger.info(f"ranking metrics only, as these models output scores, not ratings: {', '.join(rankers)}")
    with connected(process_group, EVALUATION_TIMEOUT):
        require_same({**(facts or {}), **asdict(settings), "models": len(models)}, process_group)
        partition = (process_group.rank, process_group.size)
        parts = measure(models, dataset, settings.split, protocol, partition)
        measured = [part.reduced(process_group.sum) for part in parts]
    for sentence in no_better(measured, len(models)):
        logger.warning(sentence)
    return measured


def no_better(measured: Sequence[Measurement], n_models: int) -> Iterator[str]:
    """Name models that are not clearly better than the bias baseline."""
    bias = next((of_model.errors for of_model in measured if of_model.name == BIAS_BASELINE), None)
    for of_model in measured[:n_models]:
        if bias is None or of_model.errors is None or is_clearly_better(of_model.errors, bias):
            continue
        ours, theirs = rmse(of_model.errors).value, rmse(bias).value
        if ours <= theirs * CLEARLY_WORSE:  # else `findings` says worse
            against = f"the bias baseline (RMSE {error_text(ours)} against {error_text(theirs)})"
            if is_clearly_better(bias, of_model.errors):
                yield f"{of_model.name} is a little worse than {against}"
            else:
                yield f"{of_model.name} is not clearly better than {against}"


def load_models(files: Sequence[Path]) -> list[tuple[str, Scorer]]:
    """Load models and name them by their files.

    By the path if two files or a baseline have the same name.
    """
    taken = [*(file.name for file in files), *RATING_BASELINES, POPULARITY_BASELINE, EASE_BASELINE]
    names = [readable(file.absolute() if taken.count(file.name) > 1 else file.name) for file in files]
    return list(zip(names, map(model_file.load_model, files), strict=True))


def training_data_of(models: Models) -> Path:
    """Path of the first model's training dataset.

    Raises:
        ArtifactError: it is no longer there.
    """
    name, model = models[0]
    found = Path(model.provenance["dataset"])
    if not found.exists():
        raise ArtifactError(
            f"the dataset that {name} was trained on is no longer at {found}; say where it is with --data DIR"
        )
    return found


def check_models(models: Models, dataset: Dataset, split: str) -> None:
    """Check that models belong to the dataset.

    Log a warning if a model was fitted on the split.

    Raises:
        ArtifactError: a model was trained on another dataset, or the split is empty.
    """
    # Indices of another dataset would name other users and items without any error.
    fingerprint = dataset.fingerprint()
    for name, model in models:
        if model.provenance["fingerprint"] != fingerprint:
            raise ArtifactError(
                f"{name} was not trained on this dataset (their fingerprints differ); evaluate models of different "
                "datasets separately, and pass --data DIR if a dataset has moved"
            )
        if (model.catalog.n_users, model.catalog.n_items) != (dataset.n_users, dataset.n_items):
            raise ArtifactError(f"{name} has other numbers of users or items than its dataset; train it again")
    if dataset.split(split).nnz == 0:
        advice = "smaller --test and --valid" if split == "train" else f"--{split} above 0"
        raise ArtifactError(f"the {split} set of the dataset has no ratings; prepare it with {advice}")
    for name, model in models:
        if split in model.provenance["fitted_parts"] and split != "train":
            logger.warning(f"{name} was fitted on the {split} ratings too: its metrics are training errors")


def log_findings(rows: Sequence[Row], n_models: int, settings: EvaluateSettings, advice: str | None = None) -> None:
    """Log `findings` about the first `n_models` rows."""
    for level, sentence in findings(rows, n_models, settings, advice):
        logger.log(level, sentence)
    bias = next((row for row in rows if row["model"] == BIAS_BASELINE), None)
    if bias:
        n_cold = max(row.get("n_cold", 0) for row in rows[:n_models])  # an older model may know fewer users and items
        logger.info(
            f"evaluated on the {settings.split} set: {bias['n_pairs']:,} pairs, {n_cold:,} of them cold (user "
            f"or item without training ratings, predicted by user+item bias); predictions are clipped to "
            f"{bias['clip_low']:g} to {bias['clip_high']:g}; confidence intervals are over users"
        )


def findings(
    rows: Sequence[Row], n_models: int, settings: EvaluateSettings, advice: str | None = None
) -> Iterator[tuple[int, str]]:
    """Compare the first `n_models` rows with baselines, in sentences.

    Args:
        rows: Models first, then baselines.
        n_models: Number of models.
        settings: Split and metrics.
        advice: What to do about a model that is worse than a baseline; None for how to train a better one.

    Yields:
        The level of each sentence, as in `logging`, and the sentence.
    """
    by_name = {row["model"]: row for row in rows}
    bias, popularity, ease = map(by_name.get, (BIAS_BASELINE, POPULARITY_BASELINE, EASE_BASELINE))
    ndcg = f"ndcg@{settings.k}"
    for row in rows[:n_models]:
        if bias and "rmse" in row and row["rmse"] > bias["rmse"] * CLEARLY_WORSE:
            yield (
                logging.WARNING,
                f"{row['model']} predicts worse than the bias baseline (RMSE {error_text(row['rmse'])} against "
                f"{error_text(bias['rmse'])}): {advice or BETTER_RATINGS}",
            )
        # Rankings without users have no nDCG to compare.
        if popularity and "n_users" in row and row[ndcg] < popularity[ndcg]:
            yield (
                logging.WARNING,
                f"{row['model']} ranks worse than the popularity baseline (nDCG@{settings.k} {row[ndcg]:.4f} against "
                f"{popularity[ndcg]:.4f}): {advice or BETTER_RANKING}",
            )
        elif ease and "n_users" in row and row[ndcg] <= ease[ndcg]:
            yield (
                logging.INFO,
                f"{row['model']} ranks no better than EASE, a linear model without a network (nDCG@{settings.k} "
                f"{row[ndcg]:.4f} against {ease[ndcg]:.4f})",
            )
    if popularity and "n_users" not in popularity:
        yield (
            logging.WARNING,
            f"no user has a relevant {settings.split} rating, so nothing was ranked; lower --relevant-from",
        )
