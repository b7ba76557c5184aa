import dataclasses

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from autorec_cli.config import OUTPUT_ACTIVATIONS
from autorec_cli.inference.catalog import UNKNOWN
from autorec_cli.inference.fold_in import fold_in
from autorec_cli.inference.ridge import BIAS_DAMPING, OrdinalTargets, solve_decoder_row, solve_ordinal_row
from autorec_cli.inference.scorer import clipped
from autorec_cli.inference.scoring import item_scorer, trained_users
from autorec_cli.network.ordinal import Levels
from autorec_cli.network.pytorch.engine import FUNCTIONS
from autorec_cli.training.loop.examples import make_examples
from tests.planted import planted_dataset
from tests.trained import model_of, small_settings

DATASET = planted_dataset()


CASES = [(variant, output) for variant in ("item", "user") for output in OUTPUT_ACTIVATIONS]


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def settings(request):
    variant, output_activation = request.param
    return small_settings(
        variant, center="both", hidden_sizes=(12, 6), refit=False, output_activation=output_activation
    )


@pytest.fixture(scope="module")
def model(settings):
    return model_of(DATASET, settings)


def plain_definition(model, settings):
    """Every example through the network as dense vectors: (n_users, n_items) in rating units, unclipped."""
    examples = make_examples(DATASET.train, DATASET.rating_scale, settings)
    hidden = torch.from_numpy(examples.inputs[:].toarray())
    for weight, bias in zip(model.encoder_weights, model.encoder_biases, strict=True):
        hidden = FUNCTIONS[settings.hidden_activation](hidden @ torch.from_numpy(weight) + torch.from_numpy(bias))
    centers = centers_of(examples, settings)
    output = hidden.numpy() @ model.decoder_weight.T + model.decoder_bias
    if settings.output_activation == "sigmoid":  # the paper's f, stretched from the lowest to the highest target
        low, high = examples.matrix.data.min(), examples.matrix.data.max()
        output = low + (high - low) / (1 + np.exp(-output))
    if settings.output_activation == "ordinal":  # the expected one of five stars, of width 1
        limits = hidden.numpy() @ model.thresholds.weight.T + model.thresholds.bias
        slope = np.pi / np.sqrt(3) / DATASET.train.data.std()
        location = output + centers
        output = 1 + sum(1 / (1 + np.exp(slope * (limits[:, [j]] - location))) for j in range(4)) - centers
    if settings.variant == "item":
        output = output.T
    users, items = np.indices(output.shape)
    return output * model.output_unit + examples.centering.predict(users, items)


def centers_of(examples, settings):
    """Centers subtracted from the ratings, (N, P); the unit of five stars is 1."""
    users, items = np.indices((80, 50))
    centers = examples.centering.predict(users, items)
    return centers.T if settings.variant == "item" else centers


def test_scores_are_columns_of_the_plain_definition(model, settings):
    users = np.array([3, 0, 41])
    expected = plain_definition(model, settings)[users]
    np.testing.assert_allclose(item_scorer(model)(trained_users(model, users)), expected, rtol=1e-4, atol=1e-4)


def test_predictions_of_pairs_are_clipped_scores(model):
    users, items = np.array([5, 5, 70]), np.array([0, 49, 20])
    scores = item_scorer(model)(trained_users(model, np.arange(80)))
    np.testing.assert_allclose(model.predict_pairs(users, items), clipped(model, scores[users, items]), rtol=1e-5)


@pytest.mark.parametrize("output_activation", OUTPUT_ACTIVATIONS)
def test_a_user_variant_user_folds_in_to_the_trained_code(output_activation):
    model = model_of(DATASET, small_settings("user", refit=False, output_activation=output_activation))
    cells = slice(DATASET.train.indptr[7], DATASET.train.indptr[8])
    folded = fold_in(model, [(DATASET.train.indices[cells], DATASET.train.data[cells])])
    trained = trained_users(model, np.array([7]))
    np.testing.assert_allclose(item_scorer(model)(folded), item_scorer(model)(trained), rtol=1e-4, atol=1e-4)


def test_fold_in_predicts_a_left_out_user_better_than_the_baseline(settings):
    """Users 60 to 79 are taken out of training; half of what they rated is folded in, the other half predicted."""
    rest, history, hidden = planted_dataset(200, 60), [], []
    train = rest.train.copy()
    for user in range(160, 200):
        cells = np.arange(train.indptr[user], train.indptr[user + 1])
        history.append((train.indices[cells[::2]], train.data[cells[::2]]))
        hidden.append((train.indices[cells[1::2]], train.data[cells[1::2]]))
    shorter = dataclasses.replace(
        rest, train=train[:160], valid=rest.valid[:160], test=rest.test[:160], users=rest.users[:160]
    )
    model = model_of(shorter, dataclasses.replace(settings, hidden_sizes=(16,), epochs=60))
    folded = fold_in(model, history)
    scores = clipped(model, item_scorer(model)(folded))
    cold = item_scorer(model)(dataclasses.replace(folded, cold=np.ones(40, dtype=bool)))
    error, baseline_error = [], []
    for row, (items, ratings) in enumerate(hidden):
        error.extend(scores[row, items] - ratings)
        baseline_error.extend(cold[row, items] - ratings)
    assert np.mean(np.square(error)) < 0.9 * np.mean(np.square(baseline_error))


def test_cold_users_and_items_get_the_baseline(model):
    user_counts, item_counts = model.catalog.user_counts.copy(), model.catalog.item_counts.copy()
    user_counts[2] = item_counts[4] = 0
    catalog = dataclasses.replace(model.catalog, user_counts=user_counts, item_counts=item_counts)
    cold = dataclasses.replace(model, catalog=catalog)
    scores = item_scorer(cold)(trained_users(cold, np.array([2, 3])))
    np.testing.assert_allclose(scores[0], cold.baseline.predict(np.array(2), np.arange(50)), rtol=1e-5)
    assert scores[1, 4] == pytest.approx(cold.baseline.predict(np.array(3), np.array(4)), rel=1e-5)
    scores = model.user_scorer()(np.array([UNKNOWN]))
    np.testing.assert_allclose(scores[0], model.baseline.mean + model.baseline.item_bias, rtol=1e-5)


def test_history_of_unknown_items_only_is_cold(model):
    catalog = dataclasses.replace(model.catalog, item_counts=np.zeros(50, dtype=int))
    folded = fold_in(dataclasses.replace(model, catalog=catalog), [(np.array([1]), np.array([5.0]))])
    assert folded.cold.tolist() == [True]


@pytest.mark.parametrize("damping", [0.1, 5.0])
@pytest.mark.parametrize("n", [1, 3, 30])
def test_decoder_row_solves_the_normal_equations(n, damping):
    rng = np.random.default_rng(0)
    codes, targets, regularization = rng.normal(size=(n, 8)), rng.normal(size=n), 3.0
    row, bias = solve_decoder_row(codes, targets, regularization, damping)
    residual = codes @ row + bias - targets
    np.testing.assert_allclose(2 * codes.T @ residual + regularization * row, 0, atol=1e-9)
    assert residual.sum() + damping * bias == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("spread", [1, 8])  # 8: far outside the levels, where a full Newton step overshoots
@pytest.mark.parametrize("values", [(0.0, 1.0), (1.0, 2.0, 3.0, 4.0, 5.0), (-2.0, 0.0, 0.5)])
@pytest.mark.parametrize("n", [1, 3, 30])
def test_an_ordinal_row_has_the_least_loss(n, values, spread):
    """The cross-entropies themselves, minimized by a general method."""
    rng = np.random.default_rng(n)
    levels, regularization, damping = Levels(values, 1.7), 3.0 if spread == 1 else 0.1, 5.0
    codes, start = rng.normal(size=(n, 8)), rng.normal(np.mean(values), spread, n)
    thresholds = np.array(levels.midpoints) + rng.normal(0, 0.3, (n, len(values) - 1))
    targets = OrdinalTargets(rng.choice(values, n), start, thresholds, levels)

    def loss(solution):
        z = (start + codes @ solution[:-1] + solution[-1])[:, None] - thresholds
        is_above = targets.ratings[:, None] > np.array(levels.midpoints)
        entropy = np.logaddexp(0, levels.slope * np.where(is_above, -z, z))
        penalty = regularization / 2 * solution[:-1] @ solution[:-1] + damping * solution[-1] ** 2
        return 2 / levels.slope * (entropy @ np.array(levels.gaps)).sum() + penalty

    least = minimize(loss, np.zeros(9), tol=1e-12)
    row, bias = solve_ordinal_row(codes, targets, regularization, damping)
    assert loss(np.append(row, bias)) <= least.fun * (1 if spread == 1 else 1.001) + 1e-6
    if spread == 1:
        np.testing.assert_allclose(np.append(row, bias), least.x, atol=1e-3)


@pytest.mark.parametrize("center", ["none", "both"])
@pytest.mark.parametrize("output_activation", ["identity", "sigmoid"])
def test_an_item_variant_user_folds_in_to_the_directly_solved_row(output_activation, center):
    """Penalty and damping as rows of their own in one least-squares problem, by another method than the program's."""
    settings = small_settings("item", refit=False, center=center, output_activation=output_activation)
    model = model_of(DATASET, settings)
    items, ratings = np.array([3, 8, 20, 21, 30, 44, 49]), np.array([5.0, 1, 4, 4, 2, 5, 3])
    means = model.centering.mean + model.centering.item_bias[items]
    bias = (ratings - means).sum() / (len(items) + model.centering.user_damping) if center == "both" else 0.0
    targets = (ratings - means - bias) / model.unit
    if output_activation == "sigmoid":
        low, high = model.output_range
        share = np.clip((targets - low) / (high - low), 0.01, 0.99)
        targets = np.log(share) - np.log1p(-share)
    codes, k = model.codes[items].astype(np.float64), model.codes.shape[1]
    mean_row, mean_shift = model.decoder_weight.mean(0), model.decoder_bias.mean()
    mean_code = model.codes.mean(0, dtype=np.float64)
    equations = np.block(
        [
            [codes - mean_code, np.ones((len(items), 1))],
            [np.sqrt(settings.regularization / 2) * np.eye(k), np.zeros((k, 1))],
            [np.zeros((1, k)), np.full((1, 1), np.sqrt(BIAS_DAMPING))],
        ]
    )
    right = np.concatenate([targets - codes @ mean_row - mean_shift, np.zeros(k + 1)])
    solution = np.linalg.lstsq(equations, right)[0]
    assert np.abs(solution[:-1]).max() > 0.01, "the row must say something for the test to mean something"
    folded = fold_in(model, [(items, ratings)])
    np.testing.assert_allclose(folded.vectors[0], mean_row + solution[:-1], rtol=1e-4, atol=1e-5)
    assert folded.shift[0] == pytest.approx(mean_shift + solution[-1] - mean_code @ solution[:-1], rel=1e-4)
    assert folded.centering_bias[0] == pytest.approx(bias)


def test_a_user_of_one_rating_is_predicted_much_like_the_mean_user():
    """The plain ridge would predict that one rating for every item, and list them in the order of the file."""
    model = model_of(DATASET, small_settings("item", refit=False, regularization=20.0))
    mean_user = item_scorer(model)(trained_users(model, np.arange(80))).mean(0)
    (scores,) = item_scorer(model)(fold_in(model, [(np.array([7]), np.array([5.0]))]))
    assert np.corrcoef(scores, mean_user)[0, 1] > 0.9
    assert mean_user.mean() < scores.mean() < 4.2
