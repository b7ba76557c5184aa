"""Subject of a report: models, their dataset and measurements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy import sparse

from autorec_cli.csr import Array, row_indices
from autorec_cli.data.dataset import Dataset
from autorec_cli.evaluation.measurement import (
    EvaluateSettings,
    Measurement,
    Models,
    Predictions,
    fitted_ratings,
    measure,
    predictions,
)
from autorec_cli.inference.scorer import Scorer
from autorec_cli.report.text import short_title
from autorec_cli.training.retraining.known_ratings import with_unseen_test

N_USERS = 10


@dataclass(frozen=True)
class ReportSettings:
    """Options of a report.

    Attributes:
        evaluate: What is measured, and how.
        user_ids: Users whose recommendations are shown; None chooses some.
        n_users: Number of users to choose.
    """

    evaluate: EvaluateSettings = field(default_factory=EvaluateSettings)
    user_ids: Sequence[str | int] | None = None
    n_users: int = N_USERS


class Older(NamedTuple):
    """An older model to compare with, aligned with the dataset."""

    name: str
    model: Scorer


@dataclass(frozen=True)
class Subject:
    """Models to report on, all of one dataset.

    Attributes:
        models: Names and models.
        dataset: Ratings; the test set has none that the older model may know.
        settings: Options of the report.
        older: Older model, if there is one to compare with.
        known: Measurements of the models and of baselines on the dataset, if they were taken before.
    """

    models: Models
    dataset: Dataset
    settings: ReportSettings
    older: Older | None = None
    known: Sequence[Measurement] | None = None

    @property
    def all_models(self) -> Models:
        """Models with the older one."""
        return [*self.models, *([self.older] if self.older else [])]

    @property
    def split(self) -> str:
        """Name of the held-out set."""
        return self.settings.evaluate.split

    @property
    def held_out(self) -> sparse.csr_array:
        """Ratings that are predicted."""
        return self.dataset.split(self.split)

    @property
    def k(self) -> int:
        """Recommendations per user."""
        return self.settings.evaluate.k

    @property
    def are_interactions(self) -> bool:
        """True if ratings have no values."""
        return bool(self.dataset.info.get("feedback") == "interactions")

    @cached_property
    def measured(self) -> Sequence[Measurement]:
        """Measurements of models, then of baselines; none without held-out ratings."""
        if self.known is not None:
            return self.known
        if not self.held_out.nnz:
            return []
        protocol = self.settings.evaluate.protocol(self.dataset.rating_scale)
        return measure(self.all_models, self.dataset, self.split, protocol)

    @cached_property
    def predicted(self) -> list[Predictions]:
        """Predictions of held-out ratings by models, then by baselines."""
        raters = [(name, model) for name, model in self.all_models if model.predicts_ratings]
        return list(predictions(raters, self.dataset, self.held_out)) if raters and self.held_out.nnz else []

    @cached_property
    def held_out_users(self) -> Array:
        """User of each held-out rating."""
        return row_indices(self.held_out)

    @cached_property
    def fitted(self) -> sparse.csr_array:
        """Ratings that at least one model was fitted on."""
        return fitted_ratings(self.all_models, self.dataset)

    @cached_property
    def user_counts(self) -> Array:
        """Number of fitted ratings of each user."""
        return np.diff(self.fitted.indptr)

    @cached_property
    def item_counts(self) -> Array:
        """Number of fitted ratings of each item."""
        return np.bincount(self.fitted.indices, minlength=self.dataset.n_items)

    @cached_property
    def item_names(self) -> list[str]:
        """Title of each item, its id without one."""
        items = self.dataset.items
        ids = items["id"].to_list()
        titles = items["title"].fill_null("").to_list() if "title" in items.columns else ids
        return [short_title(title or item_id, len(self.models)) for title, item_id in zip(titles, ids, strict=True)]

    def against(self, name: str, model: Scorer) -> Subject:
        """Compare with an older model on ratings new to it."""
        aligned = model.aligned(self.dataset.users["id"].to_list(), self.dataset.items["id"].to_list())
        unseen = with_unseen_test(self.dataset, aligned)
        return replace(self, dataset=unseen, older=Older(name, aligned), known=None)
