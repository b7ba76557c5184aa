"""The options of training, declared once."""

import inspect
from dataclasses import fields

import pytest

from autorec_cli.cli.commands.train import train_command
from autorec_cli.cli.options import OPTIONS, TrainingOptions, with_training_options
from autorec_cli.config import TrainSettings, settings_for
from autorec_cli.errors import UsageError


def test_every_setting_has_an_option_and_what_is_not_typed_is_the_default():
    given = TrainingOptions().given()
    assert {"variant", *given} == {field.name for field in fields(TrainSettings)}
    assert settings_for("item", (50, 40), 1000, given) == settings_for("item", (50, 40), 1000, {})


def test_options_stand_where_the_command_has_its_parameter():
    def command(data, training: TrainingOptions, force=False):
        """Do it."""
        return data, training, force

    wrapped = with_training_options(command)
    assert list(inspect.signature(wrapped).parameters) == ["data", *OPTIONS, "force"]
    assert wrapped.__doc__ == "Do it."
    values = {name: option.default for name, option in OPTIONS.items()}
    assert wrapped(data=1, force=True, **{**values, "epochs": 7}) == (1, TrainingOptions(epochs=7), True)
    assert set(OPTIONS) < set(inspect.signature(train_command).parameters)


def test_a_hidden_size_that_is_no_number_is_refused():
    with pytest.raises(UsageError, match="--hidden-size must be a whole number or a comma list"):
        TrainingOptions(hidden_size="many").given()
