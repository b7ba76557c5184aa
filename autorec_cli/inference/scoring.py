"""Predictions and fold-in from a model file, with numpy alone.

Every prediction is an inner product of a user vector and an item vector plus what each side adds:

    prediction(u, i) = f(user_vector . item_vector + user_shift + item_shift) * output_unit + centering(u, i)

In the item variant the item vectors are the codes and the user vectors are rows of the decoder; in the user variant it
is the other way round. Shapes: B users, k units in the last hidden layer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import expit

from autorec_cli.csr import Array
from autorec_cli.data.bias import USER_DAMPING
from autorec_cli.inference.model import Model
from autorec_cli.network.encoder_input import shown_cells

ACTIVATIONS: Mapping[str, Callable[[Array], Array]] = {
    "identity": lambda z: z,
    "sigmoid": expit,
    "tanh": np.tanh,
    "relu": lambda z: np.maximum(z, 0),
    "elu": lambda z: np.where(z > 0, z, np.expm1(np.minimum(z, 0))),
}
"""The hidden activations of `autorec_cli.network.autoencoder`, which needs torch."""

PAIRS_AT_ONCE = 1 << 16


@dataclass(frozen=True)
class Users:
    """Users ready to be scored against all items.

    Attributes:
        vectors: (B, k) float32.
        shift: (B,) what the user adds inside f.
        centering_bias: (B,) what the user adds outside f, in rating units.
        baseline_bias: (B,) the user's bias in the damped-mean baseline.
        cold: (B,) bool, users without a rating to go by; the baseline predicts for them.
    """

    vectors: Array
    shift: Array
    centering_bias: Array
    baseline_bias: Array
    cold: Array


def known_users(model: Model, user_index: Array) -> Users:
    """The users at `user_index` (B,) as they were trained."""
    item_variant = model.settings.variant == "item"
    vectors = model.decoder_weight if item_variant else model.codes
    n = len(user_index)
    return Users(
        vectors=vectors[user_index],
        shift=model.decoder_bias[user_index] if item_variant else np.zeros(n, dtype=np.float32),
        centering_bias=model.centering.user_bias[user_index],
        baseline_bias=model.baseline.user_bias[user_index],
        cold=model.user_counts[user_index] == 0,
    )


def nameless_users(users: Users, unknown: Array) -> Users:
    """`users` with those at `unknown` (B,) bool made cold and without a bias of their own."""
    return replace(users, baseline_bias=np.where(unknown, 0.0, users.baseline_bias), cold=users.cold | unknown)


ItemScorer = Callable[[Users], Array]
"""B users -> the prediction of every item for each of them, before clipping: (B, n_items) float32, rating units."""


def item_scorer(model: Model) -> ItemScorer:
    """What scores all items of `model` for any users.

    The shifts and biases are two more units of the vectors, so that a block of users costs one matrix product. The item
    vectors are copied for it once.
    """
    k = model.codes.shape[1]
    linear = model.settings.output_activation == "identity"
    scale = np.float32(model.output_unit if linear else 1.0)
    centering_bias = model.centering.item_bias.astype(np.float32)
    items = np.empty((k + 2, model.n_items), dtype=np.float32)
    if model.settings.variant == "item":
        items[:k], items[k + 1] = model.codes.T, 0
    else:
        items[:k], items[k + 1] = model.decoder_weight.T, scale * model.decoder_bias
    items[k] = 1
    if linear:
        items[k + 1] += centering_bias
    cold_items = np.flatnonzero(model.item_counts == 0)

    def score(users: Users) -> Array:
        offset = (model.centering.mean + users.centering_bias).astype(np.float32)
        sides = np.empty((len(offset), k + 2), dtype=np.float32)
        sides[:, :k], sides[:, k], sides[:, k + 1] = scale * users.vectors, scale * users.shift, 1
        if linear:
            sides[:, k] += offset
        scores: Array = sides @ items
        if not linear:
            scores = _output(model, scores)
            scores *= np.float32(model.output_unit)
            scores += offset[:, None]
            scores += centering_bias
        by_baseline = model.baseline.mean + users.baseline_bias[:, None]
        scores[users.cold] = by_baseline[users.cold] + model.baseline.item_bias
        scores[:, cold_items] = by_baseline + model.baseline.item_bias[cold_items]
        return scores

    return score


def predict_pairs(model: Model, user_index: Array, item_index: Array) -> Array:
    """The prediction of each (user, item) pair, (n_pairs,) float64, clipped to the rating scale.

    A pair whose user or item has no training rating is predicted by the damped-mean baseline.
    """
    baseline = model.baseline.predict(user_index, item_index)
    offset = model.centering.predict(user_index, item_index)
    encoded, decoded = (item_index, user_index) if model.settings.variant == "item" else (user_index, item_index)
    z = np.empty(len(user_index), dtype=np.float32)
    for start in range(0, len(z), PAIRS_AT_ONCE):
        part = slice(start, start + PAIRS_AT_ONCE)
        z[part] = np.einsum("pk,pk->p", model.codes[encoded[part]], model.decoder_weight[decoded[part]])
    predictions = _output(model, z + model.decoder_bias[decoded]).astype(np.float64) * model.output_unit + offset
    values: Array = np.where(cold_pairs(model, user_index, item_index), baseline, predictions)
    return clip(model, values)


def cold_pairs(model: Model, user_index: Array, item_index: Array) -> Array:
    """Whether the user or the item of each pair has no rating that the model was fitted on, (n_pairs,) bool."""
    cold: Array = (model.user_counts[user_index] == 0) | (model.item_counts[item_index] == 0)
    return cold


def clip(model: Model, values: Array) -> Array:
    """Predicted ratings moved into the rating scale; scores as they are."""
    return np.clip(values, *model.rating_scale) if model.predicts_ratings else values


def fold_in(model: Model, histories: Sequence[tuple[Array, Array]]) -> Users:
    """Users that the model was not trained on, from their ratings.

    In the user variant a history goes through the encoder, as in training. In the item variant the user's decoder row
    is the mean row of the trained users plus the ridge solution for what that leaves unexplained, with the codes fixed
    (see `solve_decoder_row`); for the ranking objective it is the ridge solution over all items, as in training (see
    `solve_scoring_row`). Without the mean row a user of few ratings would be predicted the mean of those for every
    item: on ML-100K, with users left out of training, RMSE from 1 rating is 1.04 with it and 1.55 without, from 50
    ratings 0.925 and 0.945. A row along the mean of the codes would move the predictions of all items, so that is
    left to the damped bias: 1.007 instead of 1.125 from 1 rating, 0.944 instead of 0.973 from 5 (averages: 1.010 and
    0.954).

    Args:
        model: The model to fold into.
        histories: For each user, item_index (n,) without repetition and the ratings (n,). Items without training
            ratings tell nothing to the network; a user with only such items is cold.
    """
    fold = _fold_of(model)
    k = model.codes.shape[1]
    vectors = np.zeros((len(histories), k), dtype=np.float32)
    shift = np.zeros(len(histories), dtype=np.float32)
    centering_bias = np.zeros(len(histories))
    baseline_bias = np.zeros(len(histories))
    cold = np.ones(len(histories), dtype=bool)
    for row, (item_index, ratings) in enumerate(histories):
        known = model.item_counts[item_index] > 0
        items, values = item_index[known], ratings[known].astype(np.float64)
        if len(items) == 0:
            continue
        cold[row] = False
        if model.predicts_ratings:
            baseline_bias[row] = _user_bias(model.baseline.mean, model.baseline.item_bias, items, values)
        if model.settings.center in ("user", "both"):
            centering_bias[row] = _user_bias(model.centering.mean, model.centering.item_bias, items, values)
        offset = model.centering.mean + model.centering.item_bias[items] + centering_bias[row]
        vectors[row], shift[row] = fold(items, (values - offset) / model.unit)
    return Users(vectors, shift, centering_bias, baseline_bias, cold)


def solve_decoder_row(
    codes: Array, targets: Array, regularization: float, bias_damping: float = 0.0
) -> tuple[Array, float]:
    """The decoder row and bias of one new column, codes fixed.

    Minimizes |codes w + b - targets|^2 + regularization/2 |w|^2 + bias_damping b^2 over w and b. Solved in whichever is
    smaller, the number of targets n or of units k.

    Args:
        codes: (n, k) codes of the observed rows.
        targets: (n,) values, in the network's unit.
        regularization: lambda in the paper's units.
        bias_damping: Pretended targets of 0, as in `baselines`; 0 leaves the bias free, as in training.

    Returns:
        w (k,) and b.
    """
    n, k = codes.shape
    code_sum, target_sum = codes.sum(0), float(targets.sum())
    # b = (target_sum - code_sum w) / (n + damping) leaves a ridge in w with rows less this share of their sum; without
    # damping the share is 1/n, which is centring.
    share = (1 - np.sqrt(bias_damping / (n + bias_damping))) / n
    centred, residual = codes - share * code_sum, targets - share * target_sum
    ridge = max(regularization / 2, 1e-6)
    if n < k:
        row = centred.T @ np.linalg.solve(centred @ centred.T + ridge * np.eye(n), residual)
    else:
        row = np.linalg.solve(centred.T @ centred + ridge * np.eye(k), centred.T @ residual)
    return row, (target_sum - float(code_sum @ row)) / (n + bias_damping)


def solve_scoring_row(
    codes: Array, targets: Array, gram: Array, missing_weight: float, regularization: float
) -> tuple[Array, float]:
    """The decoder row and bias of one new column where every other cell is a weak observation of 0, codes fixed.

    Minimizes |codes w + b - targets|^2 + missing_weight * (sum over the other rows of (h w + b)^2)
    + regularization/2 |w|^2 over w and b: what training minimizes, for one column (Hu, Koren and Volinsky, ICDM 2008,
    eq. 4).

    Args:
        codes: (n, k) codes of the observed rows.
        targets: (n,) values, in the network's unit.
        gram: (k+1, k+1) product of the codes of all rows, with a column of ones, and their transpose.
        missing_weight: What a cell without a rating counts.
        regularization: lambda in the paper's units.

    Returns:
        w (k,) and b.
    """
    n, k = codes.shape
    rows = np.hstack([codes, np.ones((n, 1))])
    ridge = np.full(k + 1, max(regularization / 2, 1e-6))
    ridge[k] = 1e-6
    system = missing_weight * gram + (1 - missing_weight) * (rows.T @ rows) + np.diag(ridge)
    solution = np.linalg.solve(system, rows.T @ targets)
    return solution[:k], float(solution[k])


def _output(model: Model, z: Array) -> Array:
    """f(z); overwrites z."""
    if model.settings.output_activation == "sigmoid":
        low, high = model.output_range
        expit(z, out=z)
        z *= high - low
        z += low
    return z


def _user_bias(mean: float, item_bias: Array, items: Array, ratings: Array) -> float:
    """The damped mean of a user's deviations, as in `baselines`."""
    return float((ratings - mean - item_bias[items]).sum() / (len(items) + USER_DAMPING))


Fold = Callable[[Array, Array], tuple[Array, float]]
"""item_index (n,) and targets (n,) in the network's unit -> the user's vector (k,) and shift."""


def _fold_of(model: Model) -> Fold:
    if model.settings.variant == "user":
        return _user_variant_fold(model)
    return _item_variant_fold(model) if model.predicts_ratings else _item_variant_scoring_fold(model)


def _item_variant_scoring_fold(model: Model) -> Fold:
    settings = model.settings
    rows = np.hstack([model.codes[model.item_counts > 0], np.ones((int((model.item_counts > 0).sum()), 1))])
    gram = rows.T @ rows

    def fold(items: Array, targets: Array) -> tuple[Array, float]:
        codes = model.codes[items].astype(np.float64)
        return solve_scoring_row(codes, targets, gram, settings.missing_weight, settings.regularization)

    return fold


def _item_variant_fold(model: Model) -> Fold:
    trained = model.user_counts > 0
    mean_row, mean_bias = model.decoder_weight[trained].mean(0), float(model.decoder_bias[trained].mean())
    low, high = model.output_range
    # Codes are much alike, so that a row along their mean moves all items; that is left to the damped bias.
    warm = model.item_counts > 0
    mean_code = model.codes[warm].sum(0, dtype=np.float64) / max(1, int(warm.sum()))

    def fold(items: Array, targets: Array) -> tuple[Array, float]:
        if model.settings.output_activation == "sigmoid":
            share = np.clip((targets - low) / (high - low), 0.01, 0.99)
            targets = np.log(share / (1 - share))
        codes = model.codes[items].astype(np.float64)
        unexplained = targets - codes @ mean_row - mean_bias
        row, bias = solve_decoder_row(codes - mean_code, unexplained, model.settings.regularization, USER_DAMPING)
        return mean_row + row, mean_bias + bias - float(mean_code @ row)

    return fold


def _user_variant_fold(model: Model) -> Fold:
    activation = ACTIVATIONS[model.settings.hidden_activation]

    def fold(items: Array, targets: Array) -> tuple[Array, float]:
        rows, values = shown_cells(items, targets, model.n_items, model.settings.implicit, model.input_norm)
        hidden = activation(values.astype(np.float32) @ model.encoder_weights[0][rows] + model.encoder_biases[0])
        for weight, bias in zip(model.encoder_weights[1:], model.encoder_biases[1:], strict=True):
            hidden = activation(hidden @ weight + bias)
        return hidden, 0.0

    return fold
