"""Training from an older model: parameters by id, the leak that there is, and the command."""

import dataclasses

import numpy as np
import polars as pl
import pytest
from scipy import sparse

from autorec_cli.csr import add_splits
from autorec_cli.data import dataset
from autorec_cli.data.dataset import Dataset
from autorec_cli.defaults import WARM_EPOCHS
from autorec_cli.errors import ArtifactError, UsageError
from autorec_cli.inference.files import model_file
from autorec_cli.training.export import to_model
from autorec_cli.training.loop import randomness
from autorec_cli.training.loop.examples import make_examples
from autorec_cli.training.loop.phases import NetworkTraining, select_and_refit
from autorec_cli.training.loop.shrink_and_perturb import KEPT
from autorec_cli.training.retraining import known_ratings, warm_start
from autorec_cli.training.retraining.warm_start import MUST_AGREE, load_older_model, prepare_start
from autorec_cli.training.settings import TrainSettings
from tests.planted import dataset_of, planted_dataset
from tests.program import SMALL, call

CPU = "cpu"
GIVEN = {"hidden_sizes": (12, 6), "epochs": 3, "batch_size": 16, "regularization": 5.0}


def settings_of(variant, **given):
    return TrainSettings(variant=variant, **{**GIVEN, **given}).complete((80, 50), 2000)


def fit(prepared, settings, start=None):
    epochs = select_and_refit(NetworkTraining(prepared, settings, CPU, start))
    while True:
        try:
            next(epochs)
        except StopIteration as end:
            return end.value


def model_of(prepared, settings, **provenance):
    fitted = fit(prepared, settings)
    parts = list(fitted.fitted_parts)
    known = {"fingerprint": prepared.fingerprint(), "split": prepared.info.get("split"), "fitted_parts": parts}
    return to_model(fitted, prepared, settings, {"dataset": "/data", **known, **provenance})


def taken(prepared, user_index, item_index, more=0):
    """The dataset with some of its users and items in another order, and `more` new ones of each, who rated all."""

    def part(name):
        old = prepared.split(name)[user_index][:, item_index].tocoo()
        shape = (len(user_index) + more, len(item_index) + more)
        rows, columns, data = old.row, old.col, old.data
        if more and name == "train":
            new = np.array([(u, i) for u in range(shape[0]) for i in range(shape[1])
                            if u >= len(user_index) or i >= len(item_index)])  # fmt: skip
            rows, columns = np.append(rows, new[:, 0]), np.append(columns, new[:, 1])
            data = np.append(data, (1 + new.sum(1) % 5).astype(np.float32))
        matrix = sparse.csr_array((data, (rows, columns)), shape=shape)
        matrix.sort_indices()
        return matrix

    def side(table, index, kind):
        ids = [*table["id"].gather(index), *(f"new {kind} {n}" for n in range(more))]
        return pl.DataFrame({"index": range(len(ids)), "id": ids})

    users, items = side(prepared.users, user_index, "user"), side(prepared.items, item_index, "item")
    parts = {name: part(name) for name in dataset.SPLITS}
    return Dataset(**parts, users=users, items=items, rating_scale=prepared.rating_scale, info=prepared.info)


@pytest.mark.parametrize("variant", ["item", "user"])
def test_parameters_follow_their_ids_when_a_dataset_grows_shrinks_and_is_reordered(variant):
    before, settings, rng = planted_dataset(), settings_of(variant), np.random.default_rng(0)
    users, items = rng.permutation(before.n_users)[:60], rng.permutation(before.n_items)[:40]
    after = taken(before, users, items, more=3)
    model = model_of(before, settings)
    start = warm_start.start_from(model, after.users["id"].to_list(), after.items["id"].to_list())
    examples = make_examples(after.train, after.rating_scale, settings)
    # Two equal ones, as a start may use the memory of the network that it replaces.
    fresh, replaced = (randomness.initial_network(examples, settings, np.random.default_rng(0)) for _ in range(2))
    network = start(replaced)
    kept = users if variant == "item" else items
    counts = (model.catalog.user_counts if variant == "item" else model.catalog.item_counts)[kept]
    known = np.flatnonzero(counts > 0)
    new = np.setdiff1d(np.arange(len(kept) + 3), known)
    assert len(new) >= 3
    for ours, theirs, unknown in (
        (network.encoder_weights[0], model.encoder_weights[0], fresh.encoder_weights[0]),
        (network.decoder_weight, model.decoder_weight, fresh.decoder_weight),
        (network.decoder_bias, model.decoder_bias, fresh.decoder_bias),
    ):
        share = KEPT if theirs.ndim == 2 else 1
        expected = share * theirs[kept[known]] + (1 - share) * unknown[known]
        np.testing.assert_allclose(ours[known], expected, rtol=1e-5, atol=1e-7)
        np.testing.assert_array_equal(ours[new], unknown[new])
    np.testing.assert_array_equal(network.encoder_weights[1], model.encoder_weights[1])
    np.testing.assert_array_equal(network.encoder_biases[0], model.encoder_biases[0])
    fitted = fit(after, settings, start)
    assert all(np.isfinite(part).all() for part in fitted.network.parameters())


def test_a_network_that_ranks_starts_without_the_linear_units_of_its_older_model(tmp_path):
    before = planted_dataset()
    model = model_of(before, settings_of("user", objective="ranking", hidden_sizes=(9,), linear_units=7))
    plain = model_of(before, settings_of("user", objective="ranking", hidden_sizes=(9,), linear_units=0))
    ids = before.users["id"].to_list(), before.items["id"].to_list()
    examples = make_examples(before.train, before.rating_scale, model.settings)
    starts = [
        warm_start.start_from(older, *ids)(
            randomness.initial_network(examples, model.settings, np.random.default_rng(0))
        )
        for older in (model, plain)
    ]
    for one, other in zip(*(network.parameters() for network in starts), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
    for older, n_units in ((model, 50), (plain, 0)):
        model_file.save_model(older, tmp_path / "m")
        (completed,) = load_older_model(tmp_path / "m").completed(TrainSettings(), before)
        assert completed.linear_units == n_units
        assert completed.hidden_sizes == (9,)


def test_a_warm_start_is_ahead_of_a_cold_one_after_as_few_epochs():
    before = planted_dataset(n_users=200, n_items=120)
    rng = np.random.default_rng(0)
    after = taken(before, rng.permutation(200), rng.permutation(120), more=2)
    old = fit(before, settings_of("item", epochs=40, hidden_sizes=(16,), refit=False))
    model = to_model(old, before, settings_of("item", hidden_sizes=(16,)), {"fitted_parts": ["train"]})
    start = warm_start.start_from(model, after.users["id"].to_list(), after.items["id"].to_list())
    few = settings_of("item", epochs=6, hidden_sizes=(16,), refit=False)
    warm, cold = (fit(after, few, begin).validation.value for begin in (start, None))
    assert warm < 0.97 * cold


def random_split(strategy="random", **more):
    return {"split": {"strategy": strategy, "test": 0.1, "valid": 0.1, "seed": 0, "test_given": False, **more}}


def as_before(prepared, strategy):
    return dataclasses.replace(prepared, info=random_split(strategy))


def test_of_another_random_split_only_new_ratings_are_honest():
    prepared = as_before(planted_dataset(), "random")
    model = model_of(prepared, settings_of("item"))
    after = as_before(taken(prepared, np.arange(80)[::-1].copy(), np.arange(50), more=2), "random")
    found = known_ratings.separate_known(model, after)
    assert (found.n_known_valid, found.n_known_test) == (prepared.valid.nnz, prepared.test.nnz)
    assert found.dataset.valid.nnz == 0
    assert found.dataset.train.nnz == after.train.nnz + after.valid.nnz
    assert found.dataset.test is after.test


def test_of_a_stable_split_test_stays_honest_and_valid_if_it_was_not_fitted():
    prepared = as_before(planted_dataset(), "stable")
    after = as_before(taken(prepared, np.arange(80), np.arange(50), more=2), "stable")
    alone = model_of(prepared, settings_of("item", refit=False))
    assert known_ratings.separate_known(alone, after) == known_ratings.Separated(after, 0, 0)
    both = known_ratings.separate_known(model_of(prepared, settings_of("item")), after)
    assert (both.n_known_valid, both.n_known_test, both.dataset.valid.nnz) == (prepared.valid.nnz, 0, 0)
    other = dataclasses.replace(after, info=random_split("stable", seed=1))
    assert known_ratings.separate_known(alone, other).n_known_test == prepared.test.nnz


@pytest.mark.parametrize(("n_new", "n_left"), [(194, 0), (195, 195)])
def test_epochs_are_not_chosen_by_ratings_of_which_most_are_known(n_new, n_left):
    prepared = as_before(planted_dataset(), "stable")
    rows, columns = np.nonzero(~(prepared.train + prepared.valid + prepared.test).toarray().astype(bool))
    new = sparse.csr_array((np.full(n_new, 3, np.float32), (rows[:n_new], columns[:n_new])), shape=prepared.valid.shape)
    grown = dataclasses.replace(prepared, valid=add_splits(prepared.valid, new))
    found = known_ratings.separate_known(model_of(prepared, settings_of("item")), grown)
    assert (found.n_known_valid, found.dataset.valid.nnz) == (prepared.valid.nnz, n_left)
    assert found.dataset.train.nnz + n_left == grown.train.nnz + grown.valid.nnz


def test_what_an_older_model_started_from_counts_too():
    prepared = as_before(planted_dataset(), "stable")
    for before, expected in (
        ({"kept_parts": True, "fitted_parts": []}, (0, 0)),
        ({"kept_parts": True, "fitted_parts": ["train", "valid"]}, (prepared.valid.nnz, 0)),
        ({"kept_parts": False, "fitted_parts": ["train"]}, (prepared.valid.nnz, prepared.test.nnz)),
    ):
        model = model_of(prepared, settings_of("item", refit=False), warm_start=before)
        found = known_ratings.separate_known(model, prepared)
        assert (found.n_known_valid, found.n_known_test) == expected


def test_the_same_dataset_with_any_split_has_an_honest_test_part():
    prepared = as_before(planted_dataset(), "random")
    found = known_ratings.separate_known(model_of(prepared, settings_of("item")), prepared)
    assert (found.n_known_valid, found.n_known_test) == (prepared.valid.nnz, 0)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"objective": "ranking"}, "--objective is ranking here and rating there"),
        ({"variant": "user"}, "--variant is user here and item there"),
        ({"hidden_sizes": (8,)}, "--hidden-size is 8 here and 12,6 there"),
        ({"hidden_activation": "tanh"}, "--hidden-activation is tanh here and sigmoid there"),
        ({"output_activation": "sigmoid"}, "--output-activation is sigmoid here and identity there"),
        ({"center": "global"}, "--center is global here and both there"),
        ({"implicit": False}, "--implicit is no here and yes there"),
        ({"normalize": False}, "--normalize is no here and yes there"),
    ],
)
def test_a_model_of_another_kind_is_refused(tmp_path, given, told):
    model_file.save_model(model_of(planted_dataset(), settings_of("item", center="both")), tmp_path / "m")
    with pytest.raises(UsageError, match=told) as error:
        load_older_model(tmp_path / "m").completed(TrainSettings(**given), planted_dataset())
    assert error.value.exit_status == 2


@pytest.mark.parametrize("variant", ["item", "user"])
def test_a_model_of_others_is_refused(tmp_path, variant):
    prepared, settings = planted_dataset(), settings_of(variant)
    model_file.save_model(model_of(prepared, settings), tmp_path / "m")
    side = "users" if variant == "item" else "items"
    others = getattr(prepared, side).with_columns(pl.col("id") + "x")
    with pytest.raises(ArtifactError, match=f"no ids in common with the {side} of this dataset"):
        prepare_start(load_older_model(tmp_path / "m"), dataclasses.replace(prepared, **{side: others}), [settings])
    one = pl.concat([getattr(prepared, side)[:1], others[1:]])
    prepare_start(load_older_model(tmp_path / "m"), dataclasses.replace(prepared, **{side: one}), [settings])


@pytest.mark.parametrize(
    "older",
    [
        {"variant": "user", "center": "item", "implicit": False, "normalize": True, "hidden_sizes": (9,)},
        {"center": "item", "implicit": True, "normalize": False, "hidden_activation": "tanh"},
        {"center": "none", "objective": "ranking", "decoder_mean": False, "missing_weight": 0.3, "missing_value": -2.0},
    ],
)
def test_what_is_not_asked_for_follows_the_older_model(tmp_path, older):
    """So that a nightly run goes on when the defaults, or the data that they follow, have changed."""
    prepared = planted_dataset()
    settings = settings_of(older.pop("variant", "item"), **older)
    model_file.save_model(model_of(prepared, settings), tmp_path / "m")
    loaded = load_older_model(tmp_path / "m")
    wide = dataset_of({"train": {(user, user % 2): 70.0 + user for user in range(60)}}, (60, 2))
    (completed,) = loaded.completed(TrainSettings(epochs=3, decoder_mean=False), wide)
    for name in (*MUST_AGREE, "missing_value"):
        assert getattr(completed, name) == getattr(settings, name), name
    assert completed.epochs == 3
    (completed,) = loaded.completed(TrainSettings(seed=1, decoder_mean=False), wide)
    assert completed.epochs == WARM_EPOCHS


# --- the program


@pytest.fixture
def night(workshop, tmp_path, monkeypatch):
    """The current folder, with two nights of a stable split, the second larger, and the model of the first."""
    lines = (workshop / "ratings.csv").read_text().splitlines(keepends=True)
    order = np.random.default_rng(0).permutation(np.arange(1, len(lines)))
    monkeypatch.chdir(tmp_path)
    for name, share in (("one", 0.7), ("two", 1.0)):
        rows = [lines[index] for index in order[: int(share * len(order))]]
        (tmp_path / "ratings.csv").write_text(lines[0] + "".join(rows))
        assert call("prepare", "ratings.csv", "-o", name, "--split", "stable").status == 0
    assert call("train", "one", "-o", "m", *SMALL).status == 0
    return tmp_path


def options(**replaced):
    values = dict(zip(SMALL[::2], SMALL[1::2], strict=True))
    values |= {f"--{name.replace('_', '-')}": value for name, value in replaced.items()}
    return [part for pair in values.items() for part in pair if pair[1] is not None]


def test_train_starts_from_an_older_model_in_a_third_of_the_epochs_and_tells_what_is_honest(night):
    result = call("train", "two", "-o", "new", "--warm-start", "m", *options(epochs=None, center=None))
    assert result.status == 0, result.stderr
    n_valid = dataset.load_dataset(night / "two").valid.nnz
    assert f"of {n_valid} validation ratings" in result.stderr
    assert "warning" not in result.stderr
    model = model_file.load_model(night / "new")
    assert (model.settings.epochs, model.settings.center) == (10, "none")
    before = model.provenance["warm_start"]
    assert (before["kept_parts"], before["fitted_parts"]) == (True, ["train", "valid"])
    assert model.provenance["fitted_parts"] == ["train", "valid"]
    again = call("train", "two", "-o", "new", "--force", "--warm-start", "new", *options())
    assert again.status == 0
    assert "all 15 epochs run" in again.stderr
    assert " fit: train RMSE" in again.stderr


def test_train_warns_where_the_older_model_may_have_learned_from_test_ratings(night):
    assert call("prepare", "ratings.csv", "-o", "other", "--seed", 3).status == 0
    result = call("train", "other", "-o", "new", "--warm-start", "m", *options())
    assert result.status == 0
    assert "warning: m may have learned from" in result.stderr
    assert "prepare both datasets with --split stable" in result.stderr


def test_training_that_cannot_start_from_the_model_is_refused(night):
    for given, status, message in (
        ({"warm_start": "nowhere"}, 4, "there is no model nowhere"),
        ({"warm_start": "m", "hidden_size": 3}, 2, "cannot start from m: --hidden-size is 3 here and 16 there"),
    ):
        result = call("train", "two", "-o", "new", *options(**given))
        assert (result.status, result.stdout) == (status, "")
        assert message in result.stderr.splitlines()[-1]
        assert not (night / "new").exists()


def test_a_warm_start_that_is_cut_off_goes_on_to_the_same_bytes(night, monkeypatch):
    """In place of the very model that it started from, too."""
    from autorec_cli.errors import Stopped
    from autorec_cli.training.checkpoints.checkpointer import Checkpointer

    command = ("train", "two", "-o", "m", "--force", "--warm-start", "m", *options(), "--save-every", 0)
    old = (night / "m").read_bytes()
    assert call(*command).status == 0
    wanted = (night / "m").read_bytes()
    (night / "m").write_bytes(old)
    real, n_epochs = Checkpointer.after_epoch, []

    def stop(self, state):
        real(self, state)
        n_epochs.append(1)
        if len(n_epochs) == 4:
            raise Stopped(143, "terminated")

    monkeypatch.setattr(Checkpointer, "after_epoch", stop)
    assert call(*command).status == 143
    state = (night / "m.resume").read_bytes()
    other = call(*command[:-2], "--resume", "--warm-start", "new")
    assert other.status == 4
    result = call(*command, "--resume")
    assert result.status == 0, result.stderr
    assert (night / "m").read_bytes() == wanted
    (night / "m.resume").write_bytes(state)  # killed between the two
    result = call(*command, "--resume")
    assert result.status == 0, result.stderr
    assert "m is complete" in result.stderr
    assert (night / "m").read_bytes() == wanted
