"""Reranking: recommendations that are more diverse, or less popular."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from autorec_cli.csr import Array
from autorec_cli.errors import UsageError, quoted
from autorec_cli.inference.ranking.top_k import NO_ITEM, TopItems
from autorec_cli.inference.scorer import Scorer
from autorec_cli.inference.similarity import similarity_vectors

CANDIDATES = 100
"""Fewest best items of a user to choose from."""
LARGEST_WEIGHT = 1e20
"""Largest weight of a `PopularityCorrection`, far from where scores overflow."""
USERS_AT_ONCE = 64
"""Users whose candidates' vectors are in memory at once: 12 MiB for 100 candidates of 500 units."""


def check_strength(strength: float) -> None:
    """Check the strength of a `PopularityCorrection`.

    Raises:
        UsageError: it is not a number from 0.
    """
    if not (math.isfinite(strength) and strength >= 0):
        raise UsageError(f"--popularity-correction must be a number from 0, not {strength}")


def parse_rerank(text: str) -> float:
    """Parse `mmr:0.3`; returns the weight of diversity.

    Raises:
        UsageError: it is not of that form, or the weight is not from 0 to 1.
    """
    name, _, number = text.partition(":")
    try:
        weight = float(number)
    except ValueError:
        weight = -1.0
    if name != "mmr" or not 0 <= weight <= 1:
        raise UsageError(f"--rerank must be mmr: and a weight from 0 to 1, such as mmr:0.3, not {quoted(text)}")
    return weight


def reranker(model: Scorer, rerank: str | None, k: int) -> tuple[int, Callable[[TopItems], TopItems]]:
    """Make a function that chooses k of each user's best items.

    Returns:
        How many of the best it needs, and the function.
    """
    if rerank is None:
        return k, lambda block: block
    weight, vectors = parse_rerank(rerank), similarity_vectors(model, "items")
    return max(CANDIDATES, 3 * k), lambda block: more_diverse(block, vectors, weight, k)


def more_diverse(block: TopItems, item_vectors: Array, weight: float, k: int) -> TopItems:
    """Choose k items of each user by maximal marginal relevance.

    It is that of Carbonell and Goldstein (SIGIR 1998). One by one, the item with the highest (1 - weight) * relevance -
    weight * (similarity to the nearest chosen item). The relevance is the score, scaled to [0, 1] over the user's
    candidates.

    Args:
        block: Candidates of some users, best first.
        item_vectors: (n_items, d) of length 1 or 0, whose inner products are similarities.
        weight: Of diversity, from 0 to 1.
        k: Items to choose; a user with fewer candidates gets all.

    Returns:
        The chosen items, in the order in which they were chosen, with their scores.
    """
    some = [slice(start, start + USERS_AT_ONCE) for start in range(0, len(block.items), USERS_AT_ONCE)]
    parts = [_chosen(block.items[users], block.scores[users], item_vectors, weight, k) for users in some]
    chosen = np.concatenate(parts) if parts else np.empty((0, min(k, block.items.shape[1])), dtype=np.int64)
    return replace(
        block,
        items=np.take_along_axis(block.items, chosen, axis=1),
        scores=np.take_along_axis(block.scores, chosen, axis=1),
    )


def _chosen(items: Array, scores: Array, item_vectors: Array, weight: float, k: int) -> Array:
    """Positions (B, k) of the chosen items among the candidates.

    Candidates are (B, n); those without an item are last.
    """
    rows, is_item = np.arange(len(items)), items != NO_ITEM
    vectors = item_vectors[items]  # (B, n, d)
    value = (1 - weight) * _scaled(scores, is_item)
    # Places without an item come last, but before places that were chosen already.
    value[~is_item] = np.finfo(np.float32).min
    nearest = np.full(items.shape, -np.inf, dtype=np.float32)
    chosen = np.empty((len(items), min(k, items.shape[1])), dtype=np.int64)
    for rank in range(chosen.shape[1]):
        # The first has nothing to differ from.
        best = (value if rank == 0 else value - weight * nearest).argmax(axis=1)
        chosen[:, rank] = best
        value[rows, best] = -np.inf
        np.maximum(nearest, (vectors @ vectors[rows, best][:, :, None])[:, :, 0], out=nearest)
    return chosen


def _scaled(scores: Array, is_item: Array) -> Array:
    """Scores (B, n) scaled to [0, 1] in each row.

    They are 0 where all are the same.
    """
    highest = np.where(is_item, scores, -np.inf).max(axis=1, keepdims=True)
    lowest = np.where(is_item, scores, np.inf).min(axis=1, keepdims=True)
    widths = highest - lowest
    scaled: Array = np.divide(scores - lowest, widths, out=np.zeros_like(scores), where=(widths > 0) & is_item)
    return scaled


class PopularityCorrection:
    """Weights of items that take some of their popularity off the scores.

        corrected = c + (score - c) * (n_i / mean n) ** -strength

    with n_i the number of training ratings, at least 1, and c the score of an item about which nothing is known: the
    value imputed for unrated cells, or the mean rating. It takes weights of items after training from linear models
    (IPS-LAE), whose scores are 0 without any information.

    Args:
        model: Its items.
        strength: 0 changes nothing.

    Raises:
        UsageError: the strength is too large to compute with.
    """

    def __init__(self, model: Scorer, strength: float) -> None:
        counts = np.maximum(model.catalog.item_counts, 1)
        self._center = np.float32(model.ranker.baseline.mean)
        with np.errstate(over="ignore"):
            weights = (counts / counts.mean()) ** -strength
        if weights.max() > LARGEST_WEIGHT:
            raise UsageError(f"--popularity-correction {strength:g} leaves only the least popular items; lower it")
        self._weights = weights.astype(np.float32)

    def __call__(self, scores: Array, chosen: Array | None = None) -> Array:
        """Correct scores (B, n) in place.

        They are of all items, or of item_index `chosen` (n,).
        """
        scores -= self._center
        scores *= self._weights if chosen is None else self._weights[chosen]
        scores += self._center
        return scores
