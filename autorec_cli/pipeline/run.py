"""Pipeline: prepare, train, evaluate, recommend, report, and publish at once."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autorec_cli.data import dataset, preparation
from autorec_cli.data.dataset import Dataset
from autorec_cli.data.item_columns import item_columns
from autorec_cli.errors import AutoRecError, install_command
from autorec_cli.evaluation.evaluate import log_findings, measure_in_group
from autorec_cli.evaluation.gates import check_gates, enforce
from autorec_cli.inference.files import model_file
from autorec_cli.inference.ranking.item_rules import check_rules, item_table
from autorec_cli.inference.recommender import recommend_to, target_users
from autorec_cli.inference.scorer import Scorer
from autorec_cli.inference.users.dataset_users import dataset_users
from autorec_cli.pipeline.generations import COMPLETE, MODEL, open_generations
from autorec_cli.pipeline.request import RunReporter, RunRequest
from autorec_cli.pipeline.training_stage import TrainingStage, plan_training, train_or_keep
from autorec_cli.report.page import to_html
from autorec_cli.report.report import make_report, missing_packages
from autorec_cli.report.subject import ReportSettings, Subject
from autorec_cli.runtime.process_group import SINGLE_PROCESS
from autorec_cli.storage.files import replace_file
from autorec_cli.storage.locks import hold
from autorec_cli.training.retraining.known_ratings import with_unseen_test

if TYPE_CHECKING:
    from autorec_cli.evaluation.measurement import Row

logger = logging.getLogger(__name__)

DATA, METRICS, REPORT = "data", "metrics.json", "report.html"
RESULTS = (DATA, MODEL, METRICS, REPORT, COMPLETE)
"""Results of a run besides the recommendations, whose name depends on their format."""
ADVICE = (
    "check the ratings and the options of training; with --fail-above or --fail-below such a model is not published"
)
"""Advice about a model that is worse than a baseline, and may be that of an earlier run."""


def run(request: RunRequest, reporter: RunReporter) -> dict[str, Any]:
    """Fill a new generation and publish it; a failure publishes nothing.

    Returns:
        The contents of `run.json`.

    Raises:
        UsageError: the directory is not one of generations, or cannot be written.
        LockedError: another run is writing the directory.
        InputDataError: a source cannot be used.
        TrainingDivergedError: the loss is not finite.
        NotEnoughMemoryError: training would not fit into memory.
        QualityGateError: the model misses a gate; it is kept for the next run.
        Stopped: a signal came; a checkpoint or the finished model is kept for the next run.
    """
    started = datetime.now(UTC)
    with hold(request.output, request.train.wait_lock):
        generations = open_generations(request.output, (*RESULTS, request.recommendations), request.keep)
        number = generations.last()
        current = None if number is None else generations.folder(number) / MODEL
        with generations.filling() as number:
            folder = generations.folder(number)
            facts = _fill(folder, current, request, reporter)
            finished = datetime.now(UTC)
            document = {
                "format": "autorec-run",
                "version": 1,
                "generation": number,
                "started": started.isoformat(timespec="milliseconds"),
                "finished": finished.isoformat(timespec="milliseconds"),
                **facts,
            }
            with replace_file(folder / COMPLETE) as stream:
                stream.write(json.dumps(document, indent=2).encode() + b"\n")
            generations.publish(number, request.keep)
    return document


def roll_back(output: Path, wait_lock: float) -> dict[str, Any]:
    """Publish the previous generation again.

    Returns:
        Its number.

    Raises:
        UsageError: there is none.
        LockedError: a run is writing the directory.
    """
    with hold(output, wait_lock):
        number = open_generations(output, RESULTS).roll_back()
    logger.info(f"rolled back to generation {number} in {output}")
    return {"generation": number}


@dataclass
class _Clock:
    """Seconds of each stage."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure a block."""
        started = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - started, 3)


def _fill(folder: Path, current: Path | None, request: RunRequest, reporter: RunReporter) -> dict[str, Any]:
    """Write all results but `run.json`; returns facts for it."""
    from autorec_cli.training.export import versions

    clock = _Clock()
    with clock.stage("prepare"):
        training = _prepare(folder, current, request, reporter)
    with clock.stage("train"):
        decision = train_or_keep(training, reporter.of_training)
    promoted = decision["promoted"]
    trained = _Trained(dataset.load_dataset(folder / DATA), model_file.load_model(folder / MODEL), promoted)
    with clock.stage("evaluate"):
        measured = _measure(trained, request)
        metrics = _write_metrics(measured, folder, request, reporter)
    with clock.stage("recommend"):
        recommended = _recommend(trained, folder, request, reporter)
    if missing := missing_packages():
        logger.debug(f"no {REPORT} without {' and '.join(missing)}; install it with: {install_command('report')}")
    else:
        with clock.stage("report"):
            _report(measured, training.current if promoted else None, folder / REPORT)
    prepared = trained.dataset
    return {
        "versions": versions(),
        "seconds": clock.seconds,
        "sources": [
            {name: source[name] for name in ("path", "bytes", "sha256")} for source in prepared.info["sources"]
        ],
        "feedback": prepared.info["feedback"],
        "n_users": prepared.n_users,
        "n_items": prepared.n_items,
        **{name: prepared.info["counts"][name] for name in ("n_ratings", "n_train", "n_valid", "n_test")},
        "warm_start": training.request.warm_start is not None,
        **decision,
        "metrics": {name: value for name, value in metrics.items() if name != "model"},
        "recommendations": {"file": request.recommendations, "k": request.recommend.k, **recommended},
    }


def _prepare(folder: Path, current: Path | None, request: RunRequest, reporter: RunReporter) -> TrainingStage:
    """Write the dataset, and plan what to train on it."""
    prepared = preparation.prepare(
        request.source,
        request.prepare,
        items=request.items,
        test_files=request.test_files,
        announce=reporter.reading,
        report=reporter.skipped,
    )
    # Now, and not after hours of training.
    check_rules(item_table(prepared.items["id"], item_columns(prepared.items)), request.recommend)
    dataset.save_dataset(prepared, folder / DATA)
    reporter.prepared(prepared, folder / DATA)
    training = replace(request.train, data=folder / DATA, output=folder / MODEL)
    return plan_training(training, current, prepared, request.warm_start)


@dataclass(frozen=True)
class _Trained:
    """Dataset of a generation, and its new (`promoted`) or kept model."""

    dataset: Dataset
    model: Scorer
    promoted: bool

    @property
    def aligned(self) -> Scorer:
        """The model with the dataset's users, items and their columns."""
        users, items = self.dataset.users["id"].to_list(), self.dataset.items["id"].to_list()
        return self.model.aligned(users, items, item_columns(self.dataset.items))


def _measure(trained: _Trained, request: RunRequest) -> Subject:
    """Measure the model on test ratings that it has not seen."""
    model, prepared = trained.model, trained.dataset
    # A kept model is of an older dataset, and may have learned from ratings that are held out now.
    if not trained.promoted:
        model = trained.aligned
        prepared = with_unseen_test(prepared, model)
    subject = Subject([("model", model)], prepared, ReportSettings(request.evaluate), known=())
    check_gates(request.gates, subject.models, subject.k)
    if not prepared.test.nnz:
        logger.warning("nothing was evaluated, as there are no test ratings")
        return subject
    known = measure_in_group(subject.models, prepared, request.evaluate, SINGLE_PROCESS)
    return replace(subject, known=known)


def _write_metrics(subject: Subject, folder: Path, request: RunRequest, reporter: RunReporter) -> Mapping[str, Any]:
    """Write metrics and check gates; returns those of the model.

    Raises:
        QualityGateError: a gate is missed.
    """
    rows: list[Row] = [of_model.row(subject.dataset.rating_scale) for of_model in subject.measured]
    log_findings(rows, len(subject.models), request.evaluate, ADVICE)
    rows = rows or [{"model": "model"}]
    written = reporter.write_metrics(rows, folder / METRICS)
    enforce(rows[:1], request.gates, "nothing was published")
    return written[0]


def _recommend(trained: _Trained, folder: Path, request: RunRequest, reporter: RunReporter) -> dict[str, int]:
    """Write recommendations for all users; returns numbers of users and rows."""
    model, settings = trained.model, request.recommend
    if trained.promoted:
        users = target_users(model, settings)
        frames = recommend_to(users, model, settings)
    else:  # a kept model knows neither new users nor the ratings and items since it was trained
        users = dataset_users(model, trained.dataset)
        frames = recommend_to(users, trained.aligned, settings)
    n_rows = reporter.write_recommendations(frames, folder / request.recommendations)
    return {"n_users": len(users.user_ids), "n_rows": n_rows}


def _report(subject: Subject, older: Path | None, page: Path) -> None:
    """Write the page about the model and the `older` one."""
    try:
        if older is not None:
            subject = subject.against("last model", model_file.load_model(older))
        text = to_html(make_report(subject))
    except Exception as error:  # recommendations are worth more than a page about them
        is_bug = not isinstance(error, AutoRecError)
        problem = f"a bug in autorec ({type(error).__name__}: {error}); please report it" if is_bug else error
        logger.warning(f"wrote no {page.name}: {problem}")
        return
    with replace_file(page) as stream:
        stream.write(text.encode())
