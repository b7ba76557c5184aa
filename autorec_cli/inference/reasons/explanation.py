"""Explanation of recommendations by the user's own ratings.

The effect of a rating on a recommended item is the item's score less the score without that rating: above 0 if the
rating raised the score. The score is computed from the ratings, as fold-in does; see `leave_one_out`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from autorec_cli.csr import Array
from autorec_cli.inference.blending import Blend
from autorec_cli.inference.model import Model
from autorec_cli.inference.ranking.top_k import top_k
from autorec_cli.inference.reasons.leave_one_out import leave_one_out
from autorec_cli.inference.scorer import History, Scorer
from autorec_cli.inference.scoring import item_scorer

HiddenScorer = Callable[[History, Array], Array]
"""n ratings of a user and item_index (m,) -> scores (n + 1, m): with all ratings, then without each."""


@dataclass(frozen=True)
class Reasons:
    """Ratings that raised the scores of m recommended items most.

    Attributes:
        scores: (m,) score of each item, computed from the user's ratings.
        ratings: (m, N) positions in the user's history, largest effect first; NO_ITEM beyond the number of reasons.
        effects: (m, N), above 0; -inf beyond the number of reasons.
    """

    scores: Array
    ratings: Array
    effects: Array


def explain(score: HiddenScorer, history: History, items: Array, n_reasons: int, least: float) -> Reasons:
    """Find the ratings that raised the score of each item most.

    A rating that lowered the score is no reason to recommend an item, nor is one whose effect is below `least`.
    """
    scores = score(history, items).astype(np.float64)
    effects = (scores[0] - scores[1:]).T
    if effects.shape[1] == 0:
        return Reasons(scores[0], np.empty((len(items), 0), dtype=np.int64), effects)
    return Reasons(scores[0], *top_k(np.where(effects >= least, effects, -np.inf), n_reasons))


def hidden_scorer(model: Scorer) -> HiddenScorer:
    """Make a function that scores with and without each rating."""
    ranker = model.ranker
    of_networks = [_network_scorer(network) for network in ranker.networks]
    if not isinstance(ranker, Blend):
        return of_networks[0]
    weights, scale = ranker.weights, ranker.catalog.rating_scale

    def score(history: History, items: Array) -> Array:
        blended = np.zeros((len(history[0]) + 1, len(items)), dtype=np.float32)
        for weight, score_by in zip(weights, of_networks, strict=True):
            # Clipped as in the blend.
            blended += np.float32(weight) * np.clip(score_by(history, items), *scale)
        return blended

    return score


def _network_scorer(network: Model) -> HiddenScorer:
    fold, score_users = leave_one_out(network), item_scorer(network)

    def score(history: History, items: Array) -> Array:
        rated, ratings = history
        # Ratings of cold items are no input, so hiding one changes nothing.
        known = np.flatnonzero(network.catalog.item_counts[rated] > 0)
        computed = score_users(fold((rated[known], ratings[known])), items)
        if len(known) == len(rated):
            return computed
        scores = np.repeat(computed[:1], len(rated) + 1, axis=0)
        scores[1 + known] = computed[1:]
        return scores

    return score
