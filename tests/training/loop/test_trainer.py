import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy import sparse

from autorec_cli.defaults import RatingFacts
from autorec_cli.errors import TrainingDivergedError, UsageError
from autorec_cli.evaluation.measurement import metric_rows
from autorec_cli.inference.files import model_file
from autorec_cli.network.autoencoder import new_network
from autorec_cli.network.engine import make_engine
from autorec_cli.training.export import to_model
from autorec_cli.training.loop import randomness
from autorec_cli.training.loop.examples import make_examples
from autorec_cli.training.loop.trainer import Trainer
from autorec_cli.training.loop.validation import _least_squares_scale
from autorec_cli.training.plan import complete
from autorec_cli.training.settings import TrainSettings
from tests.planted import dataset_of, planted_dataset
from tests.trained import PROVENANCE, model_of, run, small_settings

CPU = "cpu"


@pytest.mark.parametrize("variant", ["item", "user"])
def test_planted_factors_are_found(variant):
    dataset = planted_dataset(n_users=200, n_items=120)
    rows = metric_rows([("ours", model_of(dataset, small_settings(variant, epochs=80)))], dataset, "test")
    rmse = {row["model"]: row["rmse"] for row in rows}
    assert rmse["ours"] < 0.85 * rmse["user+item bias"]


@pytest.mark.parametrize("center", ["none", "global", "item", "user", "both"])
@pytest.mark.parametrize("sizes", [(12,), (12, 6, 12)])
def test_every_centering_and_depth_beats_the_global_mean(center, sizes):
    dataset = planted_dataset()
    settings = small_settings(center=center, hidden_sizes=sizes, epochs=40)
    rows = metric_rows([("ours", model_of(dataset, settings))], dataset, "test")
    rmse = {row["model"]: row["rmse"] for row in rows}
    assert rmse["ours"] < rmse["global mean"]


def test_same_seed_gives_the_same_bytes_and_another_seed_does_not(tmp_path):
    dataset = planted_dataset()
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        model_file.save_model(model_of(dataset, small_settings(seed=seed)), tmp_path / name)
    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    assert a == b
    assert a != c


def test_test_ratings_change_nothing():
    dataset = planted_dataset()
    _, first = run(dataset, small_settings())
    dataset.test.data[:] = 0
    _, second = run(dataset, small_settings())
    np.testing.assert_array_equal(first.network.decoder_weight, second.network.decoder_weight)


def test_valid_ratings_do_not_enter_the_choosing_network():
    dataset = planted_dataset()
    results, first = run(dataset, small_settings(refit=False, epochs=3))
    dataset.valid.data[:] = 6 - dataset.valid.data
    shifted, _ = run(dataset, small_settings(refit=False, epochs=3))
    assert [result.train_rmse for result in results] == [result.train_rmse for result in shifted]
    assert [result.valid for result in results] != [result.valid for result in shifted]
    assert first.fitted_parts == ("train",)
    assert first.examples.ratings.nnz == dataset.train.nnz


@pytest.mark.parametrize(("variant", "fraction"), [("item", 0.75), ("user", 1)])
def test_final_network_is_fitted_on_train_and_valid(variant, fraction):
    dataset = planted_dataset()
    results, fitted = run(dataset, small_settings(variant))
    choosing = [result for result in results if result.phase == "selection"]
    final = [result for result in results if result.phase == "refit"]
    best = min(choosing, key=lambda result: result.valid)
    assert fitted.epochs == best.epoch
    assert len(final) == math.ceil(fraction * best.epoch)
    # In the item variant it begins with the selected network, shrunk.
    assert (final[0].train_rmse < 0.97 * choosing[0].train_rmse) == (variant == "item")
    assert fitted.validation.value == best.valid
    assert fitted.fitted_parts == ("train", "valid")
    assert fitted.examples.ratings.nnz == dataset.train.nnz + dataset.valid.nnz
    assert all(result.valid is None for result in final)


def test_without_refit_the_best_epoch_is_kept():
    dataset = planted_dataset()
    settings = small_settings(refit=False, learning_rate=0.05, regularization=0.0, epochs=200)
    results, fitted = run(dataset, settings)
    assert fitted.epochs < 200, "the case must overfit for the test to mean something"
    model = to_model(fitted, dataset, settings, {**PROVENANCE, "fitted_parts": ["train"]})
    (row, *_) = metric_rows([("kept", model)], dataset, "valid")
    assert row["rmse"] == pytest.approx(fitted.validation.value, rel=1e-4)
    assert results[-1].valid > fitted.validation.value


def test_patience_stops_choosing():
    dataset = planted_dataset()
    results, fitted = run(dataset, small_settings(patience=3, learning_rate=0.05, regularization=0.0, epochs=200))
    choosing = [result for result in results if result.phase == "selection"]
    assert len(choosing) == fitted.epochs + 3 < 200


def test_without_valid_all_epochs_are_run_once():
    dataset = planted_dataset()
    empty = dataset_of({"train": {(0, 0): 1.0}}, (80, 50)).valid
    results, fitted = run(dataclasses.replace(dataset, valid=empty), small_settings(epochs=4))
    assert [result.phase for result in results] == ["fit"] * 4
    assert (fitted.epochs, fitted.validation, fitted.fitted_parts) == (4, None, ("train",))


def test_training_without_ratings_is_refused():
    dataset = planted_dataset()
    empty = dataset_of({"train": {(0, 0): 1.0}}, (80, 50)).valid
    for settings in (
        small_settings(),
        TrainSettings(objective="ranking").complete((80, 50), 0, RatingFacts(0.0, 0.0, 0)),
    ):
        with pytest.raises(UsageError, match="no ratings"):
            run(dataclasses.replace(dataset, train=empty), settings)


def test_infinite_loss_is_an_error():
    with pytest.raises(TrainingDivergedError, match="--learning-rate"):
        run(planted_dataset(), small_settings(learning_rate=1e20, hidden_activation="identity"))


def test_a_last_step_that_goes_to_infinity_is_an_error():
    """One epoch of one step: the loss before it is finite, the weights after it are not."""
    settings = small_settings(learning_rate=1e39, epochs=1, batch_size=1000, hidden_activation="identity")
    with pytest.raises(TrainingDivergedError):
        run(planted_dataset(), settings)


def test_regularization_shrinks_the_weights():
    norms = []
    for regularization in (0.0, 50.0):
        _, fitted = run(planted_dataset(), small_settings(regularization=regularization, refit=False))
        norms.append(float(np.linalg.norm(fitted.network.decoder_weight)))
    assert norms[1] < 0.7 * norms[0]


def papers_objective(network, examples, regularization):
    """Gradients of the sum of squared errors over the observed cells + lambda/2 (|V|^2 + |W|^2) by autograd."""
    copy = network.map(torch.clone)
    parameters = [parameter.requires_grad_() for parameter in copy.parameters()]
    dense, observed = torch.from_numpy(examples.matrix.toarray()), torch.from_numpy(pattern_of(examples.matrix))
    hidden = torch.from_numpy(examples.inputs[:].toarray())
    for weight, bias in zip(copy.encoder_weights, copy.encoder_biases, strict=True):
        hidden = torch.sigmoid(hidden @ weight + bias)
    errors = (hidden @ copy.decoder_weight.T + copy.decoder_bias - dense)[observed]
    penalty = regularization / 2 * (copy.encoder_weights[0].square().sum() + copy.decoder_weight.square().sum())
    return torch.autograd.grad(errors.square().sum() + penalty, parameters)


def pattern_of(examples):
    return sparse.csr_array(
        (np.ones(examples.nnz, dtype=bool), examples.indices, examples.indptr), examples.shape
    ).toarray()


class Watched:
    """An engine that notes what its steps are told."""

    def __init__(self, engine):
        self.engine = engine
        self.decays = []

    def step(self, batch, rate, decay):
        self.decays.append(decay)
        return self.engine.step(batch, rate, decay)

    def __getattr__(self, name):
        return getattr(self.engine, name)


def one_epoch(settings):
    """Train one epoch on the planted dataset; returns the examples, the network before it and the engine after it."""
    examples = make_examples(planted_dataset().train, (1.0, 5.0), settings)
    generator = np.random.default_rng(0)
    # Large weights and biases, so that the penalty and its absence both show.
    network = new_network(
        settings, np.full(examples.matrix.shape[1], 3.0), 1.0, (1.0, 5.0), generator, examples.partition
    )
    for parameter in network.parameters():
        parameter += 0.5 * generator.standard_normal(parameter.shape, dtype=np.float32)
    watched = Watched(make_engine(network, "cpu", settings.batch_size))
    trainer = Trainer(watched, examples, settings, generator, n_epochs=2, phase="fit")
    for batch in trainer.batches():
        trainer.step(batch)
    trainer.end_epoch()
    return examples, network.map(torch.from_numpy), watched


@pytest.mark.parametrize("sizes", [(16,), (12, 6)])
@pytest.mark.parametrize("variant", ["item", "user"])
def test_a_step_over_all_examples_follows_the_gradient_of_the_papers_objective(variant, sizes):
    settings = small_settings(
        variant, hidden_sizes=sizes, regularization=70.0, center="none", batch_size=80, epochs=1, dropout=0.0
    )
    examples, before, watched = one_epoch(settings)
    expected = papers_objective(before, examples, 70.0)
    free = papers_objective(before, examples, 0.0)
    assert (expected[0] - free[0]).norm() > 0.1 * expected[0].norm(), "the penalty must show"
    for mean, gradient in zip(watched.engine.state().means, expected, strict=True):
        seen = torch.from_numpy(mean.whole()) / (1 - 0.9)  # Adam's first average is a tenth of the gradient
        assert (seen - gradient).norm() <= 1e-4 * gradient.norm()


def test_the_penalties_of_an_epochs_unequal_batches_sum_to_lambda():
    settings = small_settings("item", regularization=70.0, batch_size=16, epochs=1)
    _, _, watched = one_epoch(settings)
    assert watched.decays == pytest.approx([70 * 16 / 50, 70 * 16 / 50, 70 * 16 / 50, 70 * 2 / 50])
    assert sum(watched.decays) == pytest.approx(70)


def test_batches_visit_every_row_once_and_differ_between_epochs():
    generator = np.random.default_rng(0)
    epochs = [[row for rows in randomness.shuffled_rows(10, 3, generator) for row in rows.tolist()] for _ in range(2)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(10))
    assert epochs[0] != epochs[1]


def test_ratings_are_measured_in_quarters_of_the_scale():
    dataset = planted_dataset()
    times_ten = planted_dataset()
    for part in (times_ten.train, times_ten.valid, times_ten.test):
        part.data *= 10
    times_ten = dataclasses.replace(times_ten, rating_scale=(10.0, 50.0))
    results, _ = run(dataset, small_settings(epochs=5))
    wide, _ = run(times_ten, small_settings(epochs=5))
    assert wide[-1].train_rmse == pytest.approx(10 * results[-1].train_rmse, rel=1e-4)


def test_examples_of_the_item_variant_are_the_transpose():
    dataset = planted_dataset()
    by_item = make_examples(dataset.train, dataset.rating_scale, small_settings("item", center="none")).matrix
    by_user = make_examples(dataset.train, dataset.rating_scale, small_settings("user", center="none")).matrix
    np.testing.assert_array_equal(by_item.toarray(), by_user.toarray().T)
    assert by_item.nnz == dataset.train.nnz


def test_cold_validation_pairs_are_predicted_by_the_baseline():
    cells = {(user, item): float(1 + (user + item) % 5) for user in range(6) for item in range(4)}
    dataset = dataset_of({"train": cells, "valid": {(6, 0): 2.0}, "test": {}}, (7, 5))
    settings = small_settings(epochs=1)
    results, _ = run(dataset, settings)
    baseline = make_examples(dataset.train, dataset.rating_scale, settings).baseline
    expected = abs(baseline.mean + baseline.item_bias[0] - 2.0)
    assert results[0].valid == pytest.approx(expected)
    assert math.isfinite(results[0].train_rmse)


def test_cold_validation_pairs_are_clipped():
    """User 0 gives 5 to all that everybody else gives 1: mean and bias add up to more than 5 for a new item."""
    cells = {(user, item): 5.0 if item < 20 else 1.0 for user in range(1, 20) for item in range(40)}
    cells |= {(0, item): 5.0 for item in range(20, 40)}
    dataset = dataset_of({"train": cells, "valid": {(0, 40): 5.0}}, (20, 41))
    settings = small_settings(epochs=1)
    baseline = make_examples(dataset.train, dataset.rating_scale, settings).baseline
    assert baseline.predict(np.array(0), np.array(40)) > 5.5
    results, _ = run(dataset, settings)
    assert results[0].valid == 0


# --- how far outputs are trusted


@pytest.mark.parametrize("variant", ["item", "user"])
def test_outputs_are_weighed_by_what_valid_says_of_them(variant):
    """Ratings of pure noise: the network fits it, valid does not follow, and the model leaves it out."""
    dataset, rng = planted_dataset(), np.random.default_rng(0)
    for part in (dataset.train, dataset.valid):
        part.data[:] = rng.integers(1, 6, part.nnz)
    settings = small_settings(variant, center="both", regularization=0.1)
    _, fitted = run(dataset, settings)
    assert fitted.validation.scale < 0.3
    assert fitted.validation.value < 1.02 * fitted.validation.baseline
    model = to_model(fitted, dataset, settings, {"fitted_parts": ["train", "valid"]})
    assert model.output_unit == fitted.validation.scale * model.unit


def test_outputs_that_are_whole_ratings_are_taken_as_they_are():
    _, fitted = run(planted_dataset(), small_settings(center="none"))
    assert fitted.validation.scale == 1


def test_few_held_out_ratings_say_little_of_the_scale():
    outputs, targets = np.ones(5, dtype=np.float32), np.full(5, 9.0)
    assert _least_squares_scale(outputs, targets) < 3
    assert _least_squares_scale(np.ones(5000, dtype=np.float32), np.full(5000, 9.0)) == pytest.approx(9, rel=0.01)
    assert _least_squares_scale(np.ones(5000, dtype=np.float32), np.full(5000, -9.0)) == 0
    assert _least_squares_scale(np.zeros(5, dtype=np.float32), targets) == 1


def test_levels_of_the_validation_set_count_too():
    """The refit learns from both; it must not find more levels than the plan did."""
    twenty = {(user, user % 20): float(user % 20) for user in range(79)}
    dataset = dataset_of({"train": twenty, "valid": {(79, 3): 19.5}}, (80, 50))
    assert complete(TrainSettings(), dataset).output_activation == "identity"
    assert complete(TrainSettings(), dataclasses.replace(dataset, valid=dataset.train)).output_activation == "ordinal"
