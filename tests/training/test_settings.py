from dataclasses import fields

import pytest

from autorec_cli.config import Hyperparameters
from autorec_cli.defaults import RatingFacts
from autorec_cli.errors import UsageError
from autorec_cli.training.settings import TrainSettings


def settings(variant="item", shape=(6040, 3706), n_ratings=1_000_000, **given):
    return TrainSettings(variant=variant, **given).complete(shape, n_ratings)


def test_defaults_follow_the_shape_of_the_ratings():
    movielens = settings()
    assert (movielens.batch_size, movielens.regularization, movielens.hidden_sizes) == (464, 210.0, (500,))
    assert settings("user").batch_size == 755
    assert settings("user").regularization == movielens.regularization
    assert settings(shape=(10, 5), n_ratings=20).batch_size == 1
    assert settings(shape=(10, 4), n_ratings=16).regularization == 2.5


def test_few_ratings_take_fewer_units_and_longer_batches():
    sparse = settings(shape=(20_000, 300_000), n_ratings=900_000)
    assert sparse.hidden_sizes == (320,)
    assert sparse.batch_size == 21_846  # 65,536 ratings
    tiny = settings(shape=(1000, 1000), n_ratings=1000)
    assert tiny.hidden_sizes == (64,)
    assert tiny.batch_size == 125


def test_users_of_few_items_have_more_of_their_input_hidden():
    def dropout(variant, n_users, **given):
        return settings(variant, (n_users, 100), 50_000, **given).dropout

    assert (dropout("user", 1001), dropout("user", 1000), dropout("item", 1001)) == (0.5, 0.3, 0.3)
    assert dropout("user", 1001, dropout=0.1) == 0.1
    assert dropout("user", 1000, objective="ranking") == 0.5


def test_none_means_default():
    assert settings(center=None, epochs=None) == settings()
    assert settings(epochs=7).epochs == 7


def test_every_hyperparameter_can_be_given():
    given = [field.name for field in fields(TrainSettings) if field.name not in ("preset", "ensemble")]
    assert given == [field.name for field in fields(Hyperparameters)]
    assert settings(hidden_sizes=[30, 20]).hidden_sizes == (30, 20)


def test_settings_survive_json_types():
    deep = settings(hidden_sizes=(500, 250, 500))
    assert Hyperparameters.from_document(deep.to_document()) == deep


@pytest.mark.parametrize(
    ("name", "value", "flag"),
    [
        ("hidden_sizes", (0,), "--hidden-size"),
        ("hidden_sizes", (), "--hidden-size"),
        ("hidden_activation", "step", "--hidden-activation"),
        ("output_activation", "relu", "--output-activation"),
        ("regularization", -1.0, "--regularization"),
        ("regularization", float("nan"), "--regularization"),
        ("center", "mean", "--center"),
        ("learning_rate", 0.0, "--learning-rate"),
        ("learning_rate", float("inf"), "--learning-rate"),
        ("batch_size", 0, "--batch-size"),
        ("epochs", 0, "--epochs"),
        ("patience", -1, "--patience"),
        ("seed", -1, "--seed"),
        ("seed", 2**63, "--seed"),
    ],
)
def test_a_bad_value_is_refused_by_the_name_of_its_flag(name, value, flag):
    with pytest.raises(UsageError, match=flag):
        TrainSettings(**{name: value})


def test_unknown_variant():
    with pytest.raises(UsageError, match="--variant must be one of item, user, both"):
        TrainSettings(variant="neither")


def test_ordinal_outputs_are_for_few_levels_and_ratings_only():
    def output(n_levels, **given):
        return TrainSettings(**given).complete((10, 10), 50, RatingFacts(3.0, 1.0, n_levels)).output_activation

    assert [output(n_levels) for n_levels in (0, 1, 2, 20, 21)] == ["identity"] * 2 + ["ordinal"] * 2 + ["identity"]
    assert output(5, objective="ranking") == output(5, decoder_mean=False) == "identity"
    with pytest.raises(UsageError, match="--objective ranking needs --output-activation identity"):
        output(5, objective="ranking", output_activation="ordinal")
    with pytest.raises(UsageError, match="--no-decoder-mean needs"):
        output(5, decoder_mean=False, output_activation="ordinal")


@pytest.mark.parametrize(
    ("epochs", "rate"), [(1, 0.006), (10, 0.006), (20, 0.005), (30, 0.003), (50, 0.002), (200, 0.002)]
)
def test_fewer_epochs_have_a_higher_rate_and_more_steps(epochs, rate):
    settings = TrainSettings(objective="rating", variant="item", epochs=epochs).complete((6000, 3200), 1_000_000)
    assert settings.learning_rate == rate
    n_steps = -(-3200 // settings.batch_size)
    assert 8 <= n_steps <= 32
    assert epochs * n_steps >= 160 or n_steps == 32


@pytest.mark.parametrize(
    ("objective", "variant", "n_epochs"), [("rating", "item", 8), ("rating", "user", 10), ("ranking", "user", 8)]
)
def test_a_refit_that_continues_takes_fewer_epochs(objective, variant, n_epochs):
    settings = TrainSettings(objective=objective, variant=variant).complete((60, 60), 1000)
    assert (settings.continues, settings.refit_epochs(10)) == (n_epochs == 8, n_epochs)
