"""Models of both objectives, presets and ensembles: networks, phases, resume, warm start."""

import json

import numpy as np
import pytest

import autorec_cli as autorec
from autorec_cli.config import OBJECTIVES
from autorec_cli.defaults import PRESETS, RatingFacts
from autorec_cli.errors import UsageError
from autorec_cli.inference.files import model_file
from autorec_cli.inference.joint import JointModel
from autorec_cli.inference.model import Model
from autorec_cli.runtime.process_group import ProcessGroup
from autorec_cli.training.request import TrainRequest
from autorec_cli.training.settings import TrainSettings
from autorec_cli.training.sources import open_training_data
from tests.planted import planted_dataset
from tests.program import call
from tests.trained import without_curves
from tests.training.checkpoints.test_resume import assert_resumes

FACTS = RatingFacts(3.0, 1.0, 5)
TYPED = ("--hidden-size", 16, "--epochs", 12, "--seed", 1, "--batch-size", 16, "--regularization", 5,
         "--learning-rate", 0.02, "--threads", 1)  # fmt: skip
TINY = {"hidden_sizes": (16,), "epochs": 6, "batch_size": 16, "regularization": 5.0, "learning_rate": 0.02}


def networks(shape=(60, 60), n_ratings=3000, facts=FACTS, **given):
    found = TrainSettings(**given).networks(shape, n_ratings, facts)
    return [(one.objective, one.variant, one.hidden_sizes) for one in found]


@pytest.fixture
def shop(workshop, tmp_path, monkeypatch):
    """A directory with the workshop's dataset, the current one."""
    (tmp_path / "data").symlink_to(workshop / "data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_model_rates_and_ranks_by_default():
    sizes = (500,)
    both = [("rating", "item", sizes), ("rating", "user", sizes), ("ranking", "user", sizes)]
    assert networks() == networks(objective="both") == both
    assert networks(objective="rating") == both[:2]
    assert networks(objective="ranking") == both[2:]
    assert networks(variant="item") == [("rating", "item", sizes), ("ranking", "item", sizes)]
    assert networks(shape=(1201, 60), n_ratings=9000)[0][1] == "user"


def test_linear_units_are_for_rankings_by_users():
    def units(**given):
        return [network.linear_units for network in TrainSettings(**given).networks((600, 700), 9000, FACTS)]

    assert units() == [0, 0, 600]
    assert units(linear_units=20) == [0, 0, 20]
    assert units(objective="ranking", variant="item") == units(objective="ranking", linear_units=0) == [0]
    assert units(objective="ranking", hidden_sizes=(9, 8)) == units(objective="ranking", implicit=True) == [0]
    assert units(objective="ranking", hidden_activation="tanh") == [0]
    for shape, n_units in (((90, 70), 70), ((1000, 5000), 1000), ((5000, 1001), 500)):
        assert TrainSettings(objective="ranking").complete(shape, 9000, FACTS).linear_units == n_units
    assert TrainSettings(objective="ranking", linear_units=80).complete((90, 70), 900, FACTS).linear_units == 70
    with pytest.raises(UsageError, match="--linear-units must be a whole number from 0"):
        TrainSettings(linear_units=-1)


@pytest.mark.parametrize(
    ("given", "lacking"),
    [
        ({"objective": "rating"}, "--objective ranking"),
        ({"variant": "item"}, "--variant user"),
        ({"hidden_sizes": (9, 8)}, "one hidden layer"),
        ({"hidden_activation": "tanh"}, "--hidden-activation sigmoid"),
        ({"implicit": True}, "--no-implicit"),
    ],
)
def test_a_refusal_of_linear_units_names_what_they_lack(given, lacking):
    with pytest.raises(UsageError, match=f"^--linear-units needs {lacking}$"):
        TrainSettings(**{"objective": "ranking", "linear_units": 20, **given})


@pytest.mark.parametrize(
    ("given", "asked"), [({"linear_units": 20}, "--linear-units"), ({"variant": "both"}, "--variant both")]
)
def test_what_needs_the_whole_dataset_is_refused_under_torchrun(tmp_path, given, asked):
    # Nothing is read before: there is no dataset.
    request = TrainRequest(tmp_path / "data", tmp_path / "m", TrainSettings(**given))
    with pytest.raises(UsageError, match=f"^{asked} needs the whole dataset in one process: no torchrun$"):
        open_training_data(request, ProcessGroup(0, 2))


def test_options_of_one_objective_are_of_its_networks():
    rating, _, ranking = TrainSettings(
        center="item", decoder_mean=True, implicit=False, missing_weight=0.2, dropout=0.1
    ).networks((60, 60), 3000, FACTS)
    assert (rating.center, rating.implicit, rating.missing_weight) == ("item", False, 0)
    assert (ranking.center, ranking.missing_weight, ranking.decoder_mean) == ("none", 0.2, False)
    assert rating.dropout == ranking.dropout == 0.1


def test_rankings_stop_early_and_ratings_do_not():
    rating, _, ranking = TrainSettings().networks((60, 60), 3000, FACTS)
    assert (rating.patience, ranking.patience) == (0, 10)
    for network in TrainSettings(patience=3).networks((60, 60), 3000, FACTS):
        assert network.patience == 3


def test_an_ensemble_has_each_variant_with_all_hyperparameters():
    found = networks(
        ensemble=({"hidden_sizes": (30,)}, {"hidden_sizes": (20, 10), "implicit": False}), hidden_sizes=(40,)
    )
    assert found == [
        *(("rating", variant, sizes) for sizes in ((40,), (30,), (20, 10)) for variant in ("item", "user")),
        ("ranking", "user", (40,)),
    ]
    with pytest.raises(UsageError, match="--hidden-size"):
        TrainSettings(ensemble=({"hidden_sizes": (0,)},))


@pytest.mark.parametrize("name", PRESETS)
def test_presets_stand_for_what_is_not_given(name):
    settings = TrainSettings(preset=name, seed=3)
    for hyperparameter, value in PRESETS[name].items():
        assert getattr(settings, hyperparameter) == value
        assert getattr(TrainSettings(preset=name, epochs=7), hyperparameter) == (
            7 if hyperparameter == "epochs" else value
        )
    assert settings.networks((60, 60), 3000, FACTS)
    assert TrainSettings(preset="paper").objectives == ("rating",)
    with pytest.raises(UsageError, match="--preset must be one of default, paper, fast, best"):
        TrainSettings(preset="papers")


def test_both_parts_are_those_of_single_trainings():
    prepared = planted_dataset()
    fitting = autorec.fit(prepared, TrainSettings(variant="user", **TINY), device="cpu", threads=1)
    phases = list(dict.fromkeys((result.objective, result.phase) for result in fitting))
    assert phases == [(objective, phase) for objective in OBJECTIVES for phase in ("selection", "refit")]
    model = fitting.model
    assert isinstance(model, JointModel)
    for part, objective in ((model.rater, "rating"), (model.ranker, "ranking")):
        alone = autorec.train(
            prepared, TrainSettings(objective=objective, variant="user", **TINY), device="cpu", threads=1
        )
        np.testing.assert_array_equal(part.codes, alone.codes)
        assert part.provenance == without_curves(alone.provenance), "the joint model has the curves"
    assert model.provenance["metrics"] == {**model.rater.provenance["metrics"], **model.ranker.provenance["metrics"]}
    assert [one["settings"]["objective"] for one in model.provenance["networks"]] == list(OBJECTIVES)


def test_interactions_are_only_ranked(caplog):
    prepared = planted_dataset()
    for name in ("train", "valid", "test"):
        prepared.split(name).data[:] = 1
    caplog.set_level("INFO")
    model = autorec.train(prepared, TrainSettings(**TINY), device="cpu", threads=1)
    assert isinstance(model, Model)
    assert model.settings.objective == "ranking"
    assert "only ranks" in caplog.text
    with pytest.raises(autorec.errors.InputDataError, match="equal ratings teach nothing"):
        autorec.fit(prepared, TrainSettings(objective="rating"), device="cpu")


@pytest.mark.parametrize("after", ["rating, user, selection", "rating, user, refit", "ranking, user, selection",
                                   "ranking, user, refit"])  # fmt: skip
def test_a_run_that_was_interrupted_in_any_phase_goes_on_to_the_same_model(shop, after):
    assert_resumes(shop, after, *TYPED, "--epochs", 6)


def test_a_summary_and_a_log_hold_both_metrics(shop):
    result = call("train", "data", "-o", "m", *TYPED, "--log", "log", "--summary", "run.json")
    assert result.status == 0, result.stderr
    told = json.loads((shop / "run.json").read_text())["result"]
    for metric in ("rmse", "ndcg@10"):
        assert told[f"valid_{metric}"] > 0
        assert told[f"baseline_valid_{metric}"] > 0
    assert [one["settings"]["objective"] for one in told["networks"]] == ["rating", "rating", "ranking"]
    epochs = [json.loads(line) for line in (shop / "log").read_text().splitlines()]
    assert {epoch["objective"] for epoch in epochs} == {"rating", "ranking"}


def test_a_warm_start_goes_on_with_both_objectives(shop):
    assert call("train", "data", "-o", "m", *TYPED).status == 0
    before = model_file.load_model(shop / "m")
    result = call("train", "data", "-o", "new", "--warm-start", "m", "--threads", 1)
    assert result.status == 0, result.stderr
    model = model_file.load_model(shop / "new")
    assert isinstance(model, JointModel)
    assert model.weights == before.weights
    structure = [(one.settings.objective, one.settings.variant, one.settings.hidden_sizes) for one in model.networks]
    assert structure == [(one.settings.objective, one.settings.variant, (16,)) for one in before.networks]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("--objective", "ranking"), "--objective is ranking here and both there"),
        (("--variant", "item"), "--variant is item here and"),
        (("--preset", "best"), "leave out --warm-start"),
        (("--center", "item"), "--center is item here and none there"),
    ],
)
def test_what_a_warm_start_cannot_change_is_refused(both_model, workshop, tmp_path, given, message):
    result = call("train", workshop / "data", "-o", tmp_path / "m", "--warm-start", both_model, *given)
    assert (result.status, message in result.stderr) == (2, True)


def test_an_objective_that_was_not_trained_cannot_be_started(item_model, workshop, tmp_path):
    result = call("train", workshop / "data", "-o", tmp_path / "m", "--warm-start", item_model, "--objective", "both")
    assert (result.status, "--objective is both here and rating there" in result.stderr) == (2, True)
    # Unsaid, the objective is that of the older model.
    result = call("train", workshop / "data", "-o", tmp_path / "m", "--warm-start", item_model, "--epochs", 1)
    assert result.status == 0, result.stderr
    assert isinstance(model_file.load_model(tmp_path / "m"), Model)


def test_a_model_of_the_best_preset_predicts_at_least_as_well_on_validation(workshop, tmp_path):
    small = ("--preset", "best", "--objective", "rating", *TYPED)
    result = call("train", workshop / "data", "-o", tmp_path / "m", *small, "--summary", tmp_path / "run.json")
    assert result.status == 0, result.stderr
    told = json.loads((tmp_path / "run.json").read_text())["result"]
    assert len(told["networks"]) == 2 * (1 + len(PRESETS["best"]["ensemble"]))
    assert told["valid_rmse"] <= min(network["valid_rmse"] for network in told["networks"])
