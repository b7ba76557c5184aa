"""User and item vectors whose inner product is the score.

Of a network with the identity as output, every score is an inner product plus what each side adds (`scoring`). Two more
units hold that: the user vector ends in (its shift, 1), and the item vector in (1, its shift). A blend is a sum, so its
vectors are those of its networks in one. A last unit, 0 for users, makes all item vectors equally long, so that cosine
and Euclidean distance order items as the inner product does (Bachrach et al., RecSys 2014). Graph indexes depend on it:
at unequal lengths they miss a quarter of the best items (docs/export.md).
"""

from __future__ import annotations

import numpy as np
import polars as pl

from autorec_cli.config import OBJECTIVES, require_choice
from autorec_cli.csr import Array
from autorec_cli.errors import UsageError, not_finite
from autorec_cli.inference.catalog import item_names
from autorec_cli.inference.model import Model
from autorec_cli.inference.scorer import Scorer
from autorec_cli.inference.scoring import is_linear, item_vectors, trained_users, user_vectors


def vectors(model: Scorer, objective: str = "ranking") -> pl.DataFrame:
    """Make item and user vectors whose inner product is the score.

    Args:
        model: A model, a blend or a joint model.
        objective: Of a joint model: "ranking" takes the network that orders items, "rating" those that predict ratings.

    Returns:
        Frame of side ("item" or "user"), id, title (null for users and without titles) and vector (float32, all of one
        length); items first. Users and items without training ratings are left out.

    Raises:
        ArtifactError: the vectors are not finite.
        UsageError: the scores are not inner products, or the model has no network of this objective.
    """
    networks, catalog = networks_for(model, objective), model.catalog
    also_ranks = objective == "rating" and model.ranker is not model.rater
    advice = "leave out --objective rating" if also_ranks else "export a model that also ranks (--objective both)"
    for network, _ in networks:
        _check_linear(network, advice)
    items, users = np.flatnonzero(catalog.item_counts > 0), np.flatnonzero(catalog.user_counts > 0)
    of_items = np.concatenate([item_vectors(network)[:, items].T for network, _ in networks], axis=1)
    of_users = np.concatenate(
        [np.float32(weight) * user_vectors(network, trained_users(network, users)) for network, weight in networks],
        axis=1,
    )
    of_items, of_users = np.hstack([of_items, _missing_length(of_items)]), np.pad(of_users, ((0, 0), (0, 1)))
    ids, titles = item_names(catalog)
    return pl.concat(
        [
            _frame("item", ids.gather(items), titles.gather(items), of_items),
            _frame("user", pl.Series(catalog.user_ids, dtype=pl.String).gather(users), None, of_users),
        ]
    )


def networks_for(model: Scorer, objective: str) -> list[tuple[Model, float]]:
    """Networks of an objective, with weights above 0.

    Raises:
        UsageError: it predicts no ratings.
    """
    require_choice("--objective", objective, OBJECTIVES)
    part = model.ranker if objective == "ranking" else model.rater
    if part is None:
        raise UsageError("--objective rating: the model was trained only to rank; leave the option out")
    return [(network, weight) for network, weight in zip(part.networks, part.weights, strict=True) if weight > 0]


def _check_linear(network: Model, advice: str) -> None:
    if not is_linear(network):
        raise UsageError(
            "predicted ratings of this model are not inner products of vectors, as its output activation is "
            f"{network.settings.output_activation}; {advice}, or train with --output-activation identity"
        )


def _missing_length(of_items: Array) -> Array:
    """Last unit (n, 1), which makes all vectors equally long."""
    squares = np.square(of_items, dtype=np.float64).sum(axis=1, keepdims=True)
    missing: Array = np.sqrt(squares.max(initial=0) - squares).astype(np.float32)
    return missing


def _frame(side: str, ids: pl.Series, titles: pl.Series | None, of_side: Array) -> pl.DataFrame:
    if not np.isfinite(of_side).all():
        raise not_finite("the model's vectors are not finite")
    columns = {
        "side": pl.Series([side], dtype=pl.String).new_from_index(0, len(ids)),
        "id": ids,
        "title": pl.Series([None] * len(ids), dtype=pl.String) if titles is None else titles,
        "vector": pl.Series(np.ascontiguousarray(of_side), dtype=pl.Array(pl.Float32, of_side.shape[1])),
    }
    return pl.DataFrame(columns)
