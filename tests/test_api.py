"""The Python API, as its user calls it."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import autorec_cli as autorec
from autorec_cli.inference.joint import JointModel
from autorec_cli.training.loop.epoch_result import EpochResult
from tests.planted import PARTS, planted_dataset
from tests.trained import blend_of, model_of, small_settings

TINY = {"hidden_sizes": [4], "epochs": 2}


def planted_frame():
    planted = planted_dataset(n_users=40, n_items=30)
    cells = [planted.split(name).tocoo() for name in PARTS]
    users, items, ratings = (
        np.concatenate([getattr(part, field) for part in cells]) for field in ("row", "col", "data")
    )
    return pl.DataFrame({"user": users, "item": [f"i{item}" for item in items], "rating": ratings})


RATINGS = planted_frame()


@pytest.fixture(scope="module")
def dataset():
    return autorec.prepare(RATINGS, items=pl.DataFrame({"id": ["i1", "i2"], "title": ["One", "Two"]}))


@pytest.fixture(scope="module")
def model(dataset):
    return autorec.train(dataset, autorec.TrainSettings(**TINY))


def test_names_are_imported_when_they_are_used():
    code = (
        "import sys, autorec_cli as autorec\n"
        "heavy = {'numpy', 'polars', 'scipy', 'torch', 'typer'}\n"
        "assert not heavy & set(sys.modules)\n"
        "for name in autorec.__all__: getattr(autorec, name)\n"
        "assert 'torch' not in sys.modules and 'typer' not in sys.modules\n"
        "assert set(autorec.__all__) <= set(dir(autorec))\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = autorec.trian


def test_types_are_imported_from_the_same_modules():
    tree = ast.parse(Path(autorec.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    imported = {node.names[0].asname: node.module for node in block.body}
    assert imported == {name: f"autorec_cli.{module}" for name, module in autorec._MODULES.items()}


@pytest.mark.parametrize("given", [{}, {"variant": "user"}, {"objective": "ranking", "epochs": 1}])
def test_a_frame_becomes_recommendations_and_a_saved_model_makes_the_same(dataset, tmp_path, given):
    model = autorec.train(dataset, autorec.TrainSettings(**{**TINY, **given}))
    autorec.save_model(model, str(tmp_path / "m"))
    autorec.save_dataset(dataset, str(tmp_path / "d"))
    loaded = autorec.load_model(str(tmp_path / "m"))
    settings = autorec.RecommendSettings(k=3)
    top = autorec.recommend(loaded, settings)
    assert top.equals(autorec.recommend(model, settings))
    assert top.equals(pl.concat(autorec.recommend_batches(model, settings)))
    assert top.group_by("user_id").len()["len"].to_list() == [3] * dataset.n_users
    rows = autorec.evaluate([loaded], autorec.load_dataset(tmp_path / "d"))
    assert rows == autorec.evaluate({"model": model}, dataset)
    assert rows[0]["model"] == "model"
    assert ("rmse" in rows[0]) == ("objective" not in given)
    assert "ndcg@10" in rows[0]


def test_one_model_is_evaluated_like_a_list_of_one(dataset, model):
    assert autorec.evaluate(model, dataset) == autorec.evaluate([model], dataset)
    assert autorec.evaluate({"m": model}.values(), dataset) == autorec.evaluate([model], dataset)


def test_scores_are_no_predictions(dataset):
    ranker = autorec.train(dataset, autorec.TrainSettings(objective="ranking", **TINY))
    with pytest.raises(autorec.errors.UsageError, match="the model only ranks"):
        autorec.predict(ranker, [("0", "i1")])


def test_groups_are_measured_by_a_column(dataset, model):
    rows = autorec.evaluate([model], dataset, by="users.n_train_ratings")
    assert {row["model"] for row in rows} == {"model", "user+item bias", "popularity"}
    assert rows[0]["group"] == "all"
    assert len({row["group"] for row in rows}) > 2
    assert rows[0]["rmse"] == pytest.approx(autorec.evaluate([model], dataset)[0]["rmse"])
    with pytest.raises(autorec.errors.UsageError, match=r"users\.n_train_ratings"):
        autorec.evaluate([model], dataset, by="shoe_size")


def test_epochs_are_facts_and_the_model_is_there_at_the_end(dataset, model):
    fitting = autorec.fit(dataset, autorec.TrainSettings(**TINY))
    results = list(fitting)
    assert all(isinstance(result, autorec.EpochResult) for result in results)
    assert [result.epoch for result in results[:2]] == [1, 2]
    pairs = [("0", "i0"), ("1", "i2")]
    np.testing.assert_array_equal(autorec.predict(fitting.model, pairs), autorec.predict(model, pairs))


def test_defaults_suit_the_data(dataset, model):
    networks = model.provenance["networks"]
    found = [tuple(one["settings"][name] for name in ("objective", "variant", "batch_size")) for one in networks]
    assert found == [("rating", "item", 1), ("rating", "user", 2), ("ranking", "user", 2)]
    user = autorec.fit(dataset, autorec.TrainSettings(objective="rating", variant="user", epochs=1))
    assert len(list(user)) == 2


def test_files_are_prepared_like_frames(dataset, tmp_path):
    RATINGS.write_csv(tmp_path / "r.csv")
    (tmp_path / "t.csv").write_text("item,title\ni1,One\ni2,Two\n")
    from_file = autorec.prepare(tmp_path / "r.csv", items=tmp_path / "t.csv")
    assert from_file.fingerprint() == dataset.fingerprint()
    assert from_file.items.equals(dataset.items)


def to_pandas(frame):
    pandas = pytest.importorskip("pandas")
    return pandas.DataFrame({name: frame[name].to_list() for name in frame.columns})


@pytest.mark.parametrize("convert", [pl.DataFrame, to_pandas])
def test_new_users_are_recommended_to_from_a_frame_of_their_ratings(model, tmp_path, convert):
    history = pl.DataFrame({"user": ["new"] * 2, "item": ["i1", "i5"], "rating": [5.0, 1.0]})
    history.write_csv(tmp_path / "h.csv")
    top = autorec.recommend(model, autorec.RecommendSettings(k=4, history=convert(history)))
    assert top["user_id"].to_list() == ["new"] * 4
    assert not set(top["item_id"]) & {"i1", "i5"}
    assert top.equals(autorec.recommend(model, autorec.RecommendSettings(k=4, history=str(tmp_path / "h.csv"))))
    low, high = model.catalog.rating_scale
    assert top["predicted_rating"].is_between(low, high).all()


def test_ids_are_text_and_numbers_stand_for_it(model):
    by_number = autorec.recommend(model, autorec.RecommendSettings(user_ids=[3, 1], candidates=["i1", "i2", "i3"]))
    assert by_number["user_id"].unique(maintain_order=True).to_list() == ["3", "1"]
    pairs = [(3, "i1"), ("3", "i1"), ("nobody", "i1"), ("nobody", "nothing")]
    values = autorec.predict(model, pairs)
    assert values[0] == values[1]
    assert values[3] == pytest.approx(model.baseline.mean)
    frame = pl.DataFrame({"user_id": [3], "item_id": ["i1"]})
    assert autorec.predict(model, frame).tolist() == [values[0]]


def test_unknown_users_are_an_error_or_get_the_most_popular_items(model):
    with pytest.raises(autorec.errors.InputDataError, match="'nobody'"):
        autorec.recommend(model, autorec.RecommendSettings(user_ids=["nobody"]))
    skipped = autorec.recommend(model, autorec.RecommendSettings(user_ids=["nobody"], on_unknown="skip"))
    assert skipped.height == 0
    popular = autorec.recommend(model, autorec.RecommendSettings(k=2, user_ids=["nobody"], on_unknown="popular"))
    assert popular.height == 2


@pytest.mark.parametrize(
    ("call", "error", "named"),
    [
        (lambda _: autorec.prepare("none.csv"), autorec.errors.InputDataError, "none.csv"),
        (lambda _: autorec.prepare(RATINGS.drop("item")), autorec.errors.InputDataError, "column"),
        (lambda _: autorec.prepare(RATINGS.with_columns(rating=pl.lit(None, pl.Float64))),
         autorec.errors.InputDataError, "rating"),
        (lambda _: autorec.prepare(RATINGS, items=RATINGS.select("user")), autorec.errors.InputDataError, "column"),
        (lambda _: autorec.prepare(42), autorec.errors.UsageError, "int"),
        (lambda _: autorec.prepare(RATINGS, autorec.ReadOptions()), autorec.errors.UsageError,
         r"PrepareSettings\(read=ReadOptions"),
        (lambda _: autorec.prepare(RATINGS, {"seed": 1}), autorec.errors.UsageError, "not dict"),
        (lambda model: autorec.recommend(model, autorec.SimilarSettings()), autorec.errors.UsageError,
         r"must be RecommendSettings\(...\), not SimilarSettings"),
        (lambda _: autorec.TrainSettings(hidden_sizes=5), autorec.errors.UsageError, r"such as \[500\], not 5"),
        (lambda _: autorec.TrainSettings(hidden_sizes="500"), autorec.errors.UsageError, "not '500'"),
        (lambda _: autorec.TrainSettings(variant="all"), autorec.errors.UsageError, "--variant"),
        (lambda _: autorec.load_model("none.model"), autorec.errors.ArtifactError, "none.model"),
        (lambda _: autorec.load_dataset("none"), autorec.errors.ArtifactError, "none"),
        (lambda model: autorec.evaluate([model], planted_dataset()), autorec.errors.ArtifactError, "fingerprint"),
        (lambda model: autorec.predict(model, RATINGS), autorec.errors.InputDataError, "item_id"),
        (lambda model: autorec.save_model(model, "/nowhere/m"), autorec.errors.UsageError, "/nowhere"),
    ],
)  # fmt: skip
def test_errors_are_those_of_the_tree(model, call, error, named):
    with pytest.raises(error, match=named) as caught:
        call(model)
    assert isinstance(caught.value, autorec.AutoRecError)


WARNED = """
import logging, sys
import autorec_cli as autorec
frame = {"user": [], "item": [], "rating": []}
for user in range(12):
    for item in range(8):
        if (user + item) % 3:
            frame["user"].append(user), frame["item"].append(item), frame["rating"].append((user * item) % 5 + 1)
import polars
settings = autorec.RecommendSettings(user_ids=["nobody"], on_unknown="popular")
model = autorec.train(autorec.prepare(polars.DataFrame(frame)), autorec.TrainSettings(hidden_sizes=(2,), epochs=1))
autorec.recommend(model, settings)
print("now", file=sys.stderr)
logging.basicConfig()
autorec.recommend(model, settings)
"""


def test_nothing_is_printed_unless_the_caller_sets_up_logging():
    ended = subprocess.run([sys.executable, "-c", WARNED], capture_output=True, text=True, check=True)
    before, warned = ended.stderr.split("now\n")
    assert (ended.stdout, before, "unknown to the model" in warned) == ("", "", True)


def test_objects_describe_themselves_in_a_line():
    dataset = planted_dataset()
    model = model_of(dataset, small_settings("item", epochs=1))
    counts = f"{dataset.train.nnz:,} train, {dataset.valid.nnz:,} valid, {dataset.test.nnz:,} test"
    assert repr(dataset) == f"Dataset(80 users, 50 items, ratings 1 to 5: {counts})"
    assert repr(model.catalog) == "Catalog(80 users, 50 items, ratings 1 to 5)"
    assert repr(model) == f"Model(rating, item variant, layers 80-16-80, {model.catalog})"
    blend = blend_of([model, model], [0.25, 0.75])
    assert repr(blend) == f"Blend(0.25 {model} + 0.75 {model})"
    assert repr(JointModel(blend, model, {})) == f"JointModel(rater={blend}, ranker={model})"
    assert repr(autorec.TrainSettings(variant="item", epochs=3)) == "TrainSettings(variant='item', epochs=3)"
    epoch = EpochResult("rating", "item", "selection", 2, 20, 0.9, "rmse", 0.95, 1.0, True)
    assert repr(epoch) == (
        "EpochResult(rating, item variant, selection, epoch 2 of 20: train RMSE 0.9000, validation rmse 0.9500, best)"
    )
